"""Class indices: the labels that a net compares scores with must name its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pycam.errors import TrainingError
from pycam.net import Net
from pycam.net.layers import Classification, Flatten, Reshape, Slice, Split
from pycam.training.batches import Batches, Floats, ImageBatches
from pycam.training.lists import ImageFiles


@dataclass(frozen=True)
class ClassLabels:
    """Labels in a blob of a data layer that a layer takes as class indices.

    Attributes
    ----------
    blob : str
        The blob of the data layer.
    layer : str
        The layer that compares them with scores.
    classes : int
        The number of its classes.
    ignored : int or None
        A label that it leaves out.
    parts : tuple of functions
        Each takes an array, (N, …), and returns the part of it that reaches the layer.
    """

    blob: str
    layer: str
    classes: int
    ignored: int | None
    parts: tuple[Callable[[Floats], Floats], ...]

    def check_list(self, files: ImageFiles) -> None:
        """Raise a `TrainingError` for a label in a list or a folder that is no class."""
        self._refuse(np.array(files.labels, np.float32), files.where)

    def check_batch(self, number: int, batches: Batches, values: Floats) -> None:
        """Raise a `TrainingError` for a label in a batch that is no class."""
        for part in self.parts:
            values = part(values)
        self._refuse(values, lambda place: batches.where(number, place))

    def _refuse(self, labels: Floats, where: Callable[[int], str]) -> None:
        # Caffe cuts off decimals. NaN is no class.
        whole = np.trunc(labels)
        good = (whole >= 0) & (whole < self.classes)
        if self.ignored is not None:
            good |= whole == self.ignored
        if not good.all():
            at = tuple(np.argwhere(~good)[0])
            raise TrainingError(
                f"{where(int(at[0]))}: label {labels[at]:g}, but layer {self.layer!r} has {self.classes} classes, 0 to "
                f"{self.classes - 1}"
            )


def class_labels(net: Net) -> Iterator[ClassLabels]:
    """Yield the labels of a net's inputs that layers take as class indices."""
    for layer in net.layers:
        if not isinstance(layer, Classification):
            continue
        value = layer.inputs[1]
        parts: list[Callable[[Floats], Floats]] = []
        while isinstance(maker := net.producer[value], Split | Flatten | Reshape | Slice):
            if isinstance(maker, Slice):
                parts.insert(0, _piece(maker, maker.outputs.index(value)))
            else:
                parts.insert(0, _reshaped(net.value_shapes[value]))
            value = maker.inputs[0]
        blob = next((blob for blob, given in net.input_values.items() if given == value), None)
        if blob is not None:
            yield ClassLabels(blob, layer.name, layer.class_count, layer.ignore_label, tuple(parts))


def _piece(layer: Slice, index: int) -> Callable[[Floats], Floats]:
    return lambda values: np.split(values, layer.points, layer.axis)[index]


def _reshaped(shape: tuple[int, ...]) -> Callable[[Floats], Floats]:
    return lambda values: values.reshape(-1, *shape[1:])


def check_lists(labels: tuple[ClassLabels, ...], batches: tuple[Batches, ...]) -> None:
    """Raise a `TrainingError` for a label in a list or a folder that is no class, before the first batch is made."""
    for each in batches:
        # Other sources are too large to be read before the start.
        if isinstance(each, ImageBatches) and isinstance(each.source, ImageFiles):
            for wanted in labels:
                if wanted.blob == each.tops[-1] and len(each.tops) == 2:
                    wanted.check_list(each.source)
