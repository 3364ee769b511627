"""Nets for training: the layers of one phase of a prototxt, and the data of its data layers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pycam.errors import TrainingError
from pycam.formats import prototxt, schema
from pycam.net import Net, net_from_message, net_state, takes_part
from pycam.net.state import PHASES
from pycam.training.batches import Batches, Floats
from pycam.training.data import DATA_TYPES, IMAGE_TYPES, open_batches
from pycam.training.labels import ClassLabels, check_lists, class_labels
from pycam.training.solver import NamedNet

UNFILLED = {
    "MemoryData": "a program fills it; use ImageData or Data",
    "WindowData": "pycam does not cut windows; cut them once, and list them for ImageData",
    "Python": "pycam does not run Python layers; write its values for HDF5Data, or use ImageData or Data",
}
"""Types of layers that `pycam train` cannot fill, and what to do instead."""


@dataclass(frozen=True)
class FedNet:
    """A net and its data.

    Attributes
    ----------
    net : Net
        With inputs of the data's shapes in place of its data layers.
    batches : tuple of Batches
        One per data layer: `batches[i].tops` are the blobs that it fills, `batches[i][number]` the values of a batch.
    labels : tuple of ClassLabels
        The blobs of the data that must be class indices.
    """

    net: Net
    batches: tuple[Batches, ...]
    labels: tuple[ClassLabels, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the data is read with a loss, or has no effect; one line for each kind."""
        return tuple(dict.fromkeys(note for each in self.batches for note in each.notes))

    @property
    def open_inputs(self) -> tuple[str, ...]:
        """The inputs of the net that no data layer fills: those of its Input layers."""
        fed = {top for each in self.batches for top in each.tops}
        return tuple(blob for blob in self.net.inputs if blob not in fed)

    def __getitem__(self, number: int) -> dict[str, Floats]:
        """Return the values of all data layers in a pass, from 0: blob -> float32 array.

        Raises
        ------
        TrainingError, ImageError
            An image or a row is damaged, or a label is no class of the net.
        """
        return self._checked(number, [each[number] for each in self.batches])

    def stream(self, first: int, last: int) -> Iterator[dict[str, Floats]]:
        """Yield the inputs of the passes from `first` up to, not including, `last`; errors as for one of them."""
        streams = zip(*(batches.stream(first, last) for batches in self.batches), strict=True)
        for number, parts in enumerate(streams, first):
            yield self._checked(number, parts)

    def _checked(self, number: int, parts: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
        for wanted in self.labels:
            for batches, part in zip(self.batches, parts, strict=True):
                if wanted.blob in part:
                    wanted.check_batch(number, batches, part[wanted.blob])
        return {blob: values for part in parts for blob, values in part.items()}


def feed(
    text: prototxt.NetText,
    phase: str,
    *,
    seed: int = 0,
    data: str | os.PathLike[str] | None = None,
    stages: Sequence[str] = (),
    level: int = 0,
) -> FedNet:
    """Make the net of a prototxt in one state, and open the data of its data layers.

    Parameters
    ----------
    text : NetText
        The prototxt, from `prototxt.read`.
    phase : str
        `TRAIN` or `TEST`.
    seed : int
        Decides what is random in the data.
    data : path, optional
        A list or folder of images in place of the net's own source.
    stages, level
        As for `read_net`.

    Returns
    -------
    FedNet
        Also for a net without data layers, or with inputs that no data layer fills: `open_inputs` names them.

    Raises
    ------
    FormatError, NetError, TrainingError, UsageError
        The net or its data are damaged, or do not go together.
    """
    path = Path(text.path)
    message = schema.NetParameter()
    message.CopyFrom(text.message)
    message.ClearField("layer")
    batches = []
    layers = _layers(text, phase, stages, level)
    for layer, _ in layers:
        if layer.type in DATA_TYPES:
            batches.append(open_batches(layer, path, phase, seed, None if data is None else Path(data)))
            shapes = [{"dim": shape} for shape in batches[-1].shapes]
            message.layer.add(name=layer.name, type="Input", top=layer.top, input_param={"shape": shapes})
        else:
            message.layer.add().CopyFrom(layer)
    # All of these take part. Their rules alone may name no stage or level any more.
    for layer in message.layer:
        layer.ClearField("include")
        layer.ClearField("exclude")
    net = net_from_message(message, [line for _, line in layers], text.path, phase)
    net = replace(net, forks=text.forks, notes=text.notes)
    fed = FedNet(net, tuple(batches), tuple(class_labels(net)))
    check_lists(fed.labels, fed.batches)
    return fed


def open_net(named: NamedNet, seed: int = 0, data: str | os.PathLike[str] | None = None) -> FedNet:
    """Read a net of a solver, and open its data.

    Parameters
    ----------
    named : NamedNet
        The net, from the solver.
    seed : int
        Decides what is random in the data.
    data : path, optional
        A list or folder of images in place of the net's own source.

    Raises
    ------
    FormatError, NetError, TrainingError
        The net or its data are damaged, or do not go together.
    """
    text = named.read()
    phase, level = PHASES[text.message.state.phase], text.message.state.level
    layers = _layers(text, phase, (), level)
    for layer, line in layers:
        if layer.type in UNFILLED and not layer.bottom:
            raise TrainingError(
                f"{text.path}:{line}: layer {layer.name!r} of type {layer.type} has no data in training: "
                f"{UNFILLED[layer.type]}"
            )
    types = {layer.type for layer, _ in layers}
    if not types.intersection(DATA_TYPES):
        raise TrainingError(f"{text.path}: it has no data layer in phase {phase}: add one of type Data or ImageData")
    if data is not None and not types.intersection(IMAGE_TYPES):
        raise TrainingError(
            f"{text.path}: {os.fspath(data)} replaces what layers of type {' or '.join(IMAGE_TYPES)} read, and there "
            f"is none in phase {phase}: leave it out"
        )
    fed = feed(text, phase, seed=seed, data=data, level=level)
    if fed.open_inputs:
        raise TrainingError(
            f"{text.path}: nothing fills its input {fed.open_inputs[0]!r} in training: only layers of the types "
            f"{', '.join(DATA_TYPES)} do"
        )
    return fed


def _layers(text: prototxt.NetText, phase: str, stages: Sequence[str], level: int) -> list[tuple[Any, int]]:
    """Return the layers that take part in a state, with their lines."""
    state = net_state(text.message, phase, stages, level)
    return [each for each in zip(text.message.layer, text.lines, strict=True) if takes_part(each[0], state)]
