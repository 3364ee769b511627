"""The layers that fill blobs of a net from outside: batches of data layers, fillers, and arrays of the script."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pycam.net.layers import Shape, dims
from pycam.pycaffe.blob import Blob, Floats
from pycam.pycaffe.errors import WrongCall
from pycam.training.batches import Batches


class Filling(Protocol):
    """What fills the tops of a layer in each forward run."""

    def fill(self, tops: Sequence[Blob]) -> None:
        """Write the next values."""
        ...


class Script:
    """An Input: the script fills its tops."""

    def fill(self, tops: Sequence[Blob]) -> None:
        """Leave the tops as they are."""


class Files:
    """A data layer: its tops are the batches of its source, one after the other.

    The constants of a DummyData are written once: what a script writes over them stays.
    """

    def __init__(self, batches: Batches, tops: Sequence[Blob]) -> None:
        self._batches = batches
        self._next = 0
        if batches.constant:
            self._write(batches[0], tops, batches.constant)

    def fill(self, tops: Sequence[Blob]) -> None:
        """Read the next batch."""
        self._write(self._batches[self._next], tops, set(self._batches.tops) - self._batches.constant)
        self._next += 1

    def _write(self, values: Mapping[str, Floats], tops: Sequence[Blob], names: Collection[str]) -> None:
        for name, blob in zip(self._batches.tops, tops, strict=True):
            if name in names:
                blob.reshape(*values[name].shape)
                blob.values[...] = values[name]


class Arrays:
    """A MemoryData: its tops are parts of arrays, which start again at their end."""

    def __init__(self, layer: Any, shape: Shape) -> None:
        self._name, self._shape = layer.name, shape
        self._images: NDArray[np.float32] | None = None
        self._labels: NDArray[np.float32] = np.zeros(0, np.float32)
        self._place = 0

    def give(self, images: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Set the images, (N, C, H, W), and the labels, (N,), both float32, and start with the first.

        As in Caffe, N is a multiple of the batch size, and arrays that are written later give what was written.
        """
        batch, *image = self._shape
        for array, what in ((images, "data"), (labels, "labels")):
            if array.dtype != np.float32 or not array.flags.c_contiguous:
                raise WrongCall(
                    f"set_input_arrays: {what} of dtype {array.dtype}"
                    f"{'' if array.flags.c_contiguous else ', not contiguous'}: "
                    "give np.ascontiguousarray(values, np.float32)"
                )
        if images.ndim != len(self._shape) or list(images.shape[1:]) != image:
            raise WrongCall(
                f"set_input_arrays: data of {dims(images.shape)}: layer {self._name!r} takes N×{dims(tuple(image))}"
            )
        if labels.size != len(images) or len(images) % batch or not len(images):
            raise WrongCall(
                f"set_input_arrays: {len(images)} images and {labels.size} labels: give one label per image, and a "
                f"multiple of the batch size, {batch}, of images"
            )
        self._images, self._labels, self._place = images, labels.reshape(-1), 0

    def fill(self, tops: Sequence[Blob]) -> None:
        """Take the next part."""
        if self._images is None:
            raise WrongCall(f"layer {self._name!r} (MemoryData) has no data: call net.set_input_arrays(data, labels)")
        part = slice(self._place, self._place + self._shape[0])
        # The labels begin with one axis, and have four after the first run.
        tops[1].reshape(self._shape[0], 1, 1, 1)
        for blob, values in zip(tops, (self._images, self._labels), strict=True):
            blob.values[...] = values[part].reshape(blob.shape)
        self._place = part.stop % len(self._images)
