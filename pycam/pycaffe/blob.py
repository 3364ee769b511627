"""Blobs: the mutable arrays of a net. A script keeps and writes them; a run reads and writes the same memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.pycaffe.errors import WrongArguments, WrongCall

Floats = NDArray[np.float32]

_LEGACY_AXES = 4


class Memory:
    """Values that blobs may share. As in Caffe it only grows, and is zero after it grew."""

    def __init__(self) -> None:
        self.flat: Floats = np.zeros(0, np.float32)

    def view(self, shape: Sequence[int]) -> Floats:
        """Return the first values in a shape, as a view."""
        count = math.prod(shape)
        if count > self.flat.size:
            self.flat = np.zeros(count, np.float32)
        return self.flat[:count].reshape(shape)


class Blob:
    """The values of a blob and their gradients.

    Parameters
    ----------
    shape : sequence of int
        The first shape.
    data, diff : Memory, optional
        That of another blob, to share it.
    """

    def __init__(self, shape: Sequence[int], data: Memory | None = None, diff: Memory | None = None) -> None:
        self._shape = tuple(shape)
        self.data_memory, self.diff_memory = data or Memory(), diff or Memory()
        self._data = self.data_memory.view(self._shape)
        # Not made before somebody asks for it: most nets never go backward.
        self._diff: Floats | None = None

    @property
    def values(self) -> Floats:
        """The same as `data`, for runs of the net."""
        if self._data.base is not self.data_memory.flat or self._data.shape != self._shape:
            self._data = self.data_memory.view(self._shape)
        return self._data

    @property
    def data(self) -> Floats:
        """The values: float32, to read and to write (`blob.data[...] = values`).

        The net's next run writes into the same array, as in Caffe: keep a `.copy()`.
        """
        return self.values

    @property
    def diff(self) -> Floats:
        """The gradients, as `data`. After a step of a solver, those of a parameter are what was subtracted."""
        if self._diff is None or self._diff.base is not self.diff_memory.flat or self._diff.shape != self._shape:
            self._diff = self.diff_memory.view(self._shape)
        return self._diff

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self._shape)

    @property
    def num(self) -> int:
        """The first of four sides."""
        return self._side(0)

    @property
    def channels(self) -> int:
        """The second of four sides; as all of these, 1 if the blob has fewer axes."""
        return self._side(1)

    @property
    def height(self) -> int:
        """The third of four sides."""
        return self._side(2)

    @property
    def width(self) -> int:
        """The fourth of four sides."""
        return self._side(3)

    def _side(self, axis: int) -> int:
        if len(self._shape) > _LEGACY_AXES:
            raise WrongCall(f"num, channels, height and width of a blob with {len(self._shape)} axes: use its shape")
        return self._shape[axis] if axis < len(self._shape) else 1

    def reshape(self, *shape: int) -> None:
        """Change the shape; of an input, the next run or `net.reshape()` adapts the net.

        The values stay in their memory in C order, unless the blob never had so many: then it is zero.
        """
        if not all(isinstance(side, int | np.integer) for side in shape):
            raise WrongArguments(f"reshape{shape}: give the sides one by one, as integers: reshape(1, 3, 224, 224)")
        if any(side < 0 for side in shape):
            raise WrongCall(f"reshape{tuple(map(int, shape))}: a side is negative")
        self._shape = tuple(map(int, shape))


class Parameter(Blob):
    """A parameter: a blob that tells whether it was written.

    Until somebody asks for `data`, nobody can write it, and nothing is compared.
    """

    _kept: Floats | None = None
    _changed = True

    @property
    def data(self) -> Floats:
        """The values, to read and to write; the net's next run takes them."""
        if self._kept is None:
            self._kept = self.values.copy()
        return self.values

    def assign(self, values: ArrayLike) -> None:
        """Write the values, without handing them out."""
        self.values[...] = values
        self._changed = True

    def share(self, other: Parameter) -> None:
        """Use the memory of another parameter, which anybody may write from now on."""
        self.data_memory, self._changed = other.data_memory, True
        for each in (self, other):
            _ = each.data

    def take_change(self) -> bool:
        """Return True if the values changed since the last call."""
        values = self.values
        # As integers, so that NaN equals itself.
        if self._kept is not None and not np.array_equal(self._kept.view(np.uint32), values.view(np.uint32)):
            self._kept[...] = values
            self._changed = True
        changed, self._changed = self._changed, False
        return changed


def any_changed(parameters: Iterable[Parameter]) -> bool:
    """Return True if one of the parameters changed since the last call; each is asked."""
    return sum(each.take_change() for each in parameters) > 0
