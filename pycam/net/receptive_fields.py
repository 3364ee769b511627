"""Receptive fields: which pixels of the input a value of each blob can depend on, from the layers alone.

Along each side, position i of a blob reads a range of positions of its bottom. Those of all layers up to the input give
a range of pixels that moves by the same distance from one position to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pycam.net import layers as L
from pycam.net.layers import Shape
from pycam.net.net import Net

Sides = tuple[Fraction, Fraction]
"""A number for the rows and a number for the columns."""

Range = tuple[int, int]
"""Pixels along a side: the first, and the end, which does not belong to it."""

Ranges = tuple[Range, ...]

EACH_POSITION = (
    *(L.AbsVal, L.BatchNorm, L.Dropout, L.ELU, L.Exp, L.Log, L.PReLU, L.Power, L.ReLU, L.Sigmoid, L.TanH),
    *(L.Eltwise, L.ShuffleChannel, L.Silence, L.Split),
)
"""Types that compute a position from the same position of their bottoms, in any case."""


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a blob, in pixels of the net's input. Numbers are pairs, for rows and columns.

    Attributes
    ----------
    size : pair of Fraction
        How many pixels a value can depend on, padding included. They may be more than the input has.
    start : pair of Fraction
        The first of these pixels for the position (0, 0), 0-based; negative if padding comes before it.
    distance : pair of Fraction
        From a position to the next one; 0 if each value can depend on the pixels of all positions. Fractions come from
        a Deconvolution.
    ranges : pair of tuples of (int, int)
        For each row of the blob the rows of the input that it depends on, and the same for columns: first and end,
        without padding. Equal numbers if there are none.
    """

    size: Sides
    start: Sides
    distance: Sides
    ranges: tuple[Ranges, Ranges] = field(repr=False)

    @property
    def center(self) -> tuple[float, float]:
        """The center of the field of the position (0, 0): row and column, where 0 is the center of the first pixel."""
        row, column = (float(start + (size - 1) / 2) for start, size in zip(self.start, self.size, strict=True))
        return row, column

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the field of a position inside the input.

        Parameters
        ----------
        row, column : int
            The position in the blob; 0, 0 for a blob without rows and columns.

        Returns
        -------
        (x0, y0, x1, y1)
            Pixels of the input, 0-based, half-open. No pixel outside of it changes the value. The box is empty if the
            position reads nothing but padding.
        """
        (y0, y1), (x0, x1) = self.ranges[0][row], self.ranges[1][column]
        return x0, y0, x1, y1

    def as_dict(self) -> dict[str, Any]:
        """Return size, center and distance for JSON, each as rows and columns."""
        return {"size": _numbers(self.size), "center": self.center, "distance": _numbers(self.distance)}

    def __str__(self) -> str:
        size, distance = (
            "×".join(f"{float(side):g}" for side in (sides[:1] if sides[0] == sides[1] else sides))
            for sides in (self.size, self.distance)
        )
        return f"{size} every {distance}" if any(self.distance) else size


def _numbers(sides: Sides) -> tuple[float, float]:
    rows, columns = (int(side) if side.denominator == 1 else float(side) for side in sides)
    return rows, columns


@dataclass(frozen=True)
class _Line:
    """The field along one side: of position i, the pixels from start + i · distance on, and its range in the input."""

    size: Fraction
    start: Fraction
    distance: Fraction
    ranges: Ranges

    def of_all(self, count: int) -> _Line:
        """Return the field of so many positions that depend on all positions of this one."""
        size = self.size + (len(self.ranges) - 1) * self.distance
        return _Line(size, self.start, Fraction(0), (_hull(self.ranges),) * count)


@dataclass(frozen=True)
class _Reach:
    """The positions that a layer reads for its position i: from i · stride − pad on, so many."""

    count: Fraction = Fraction(1)
    stride: Fraction = Fraction(1)
    pad: Fraction = Fraction(0)

    def of(self, line: _Line, count: int) -> _Line:
        """Return the field of so many positions that read a field with this reach."""
        ranges = []
        for position in range(count):
            first = position * self.stride - self.pad
            begin, end = max(math.ceil(first), 0), math.floor(first + self.count - 1) + 1
            ranges.append(_hull(line.ranges[begin : max(begin, end)]))
        return _Line(
            line.size + (self.count - 1) * line.distance,
            line.start - self.pad * line.distance,
            line.distance * self.stride,
            tuple(ranges),
        )


_SAME = _Reach()


def _hull(ranges: Iterable[Range]) -> Range:
    """Return the range that covers others, as far as they are not empty."""
    covered = [each for each in ranges if each[0] < each[1]]
    return (min(first for first, _ in covered), max(end for _, end in covered)) if covered else (0, 0)


def receptive_fields(net: Net, image_input: str) -> dict[str, ReceptiveField]:
    """Return the receptive field of every value that depends on an input.

    Parameters
    ----------
    net : Net
        With or without parameters.
    image_input : str
        The input blob, N×C×H×W.

    Returns
    -------
    dict of str to ReceptiveField
        Value (`pycam.net.layers.Layer`) -> its field. Where branches meet, it covers all of them. A value without rows
        and columns, or of a layer that reads all positions, has the field of all positions together, and so has one
        where branches of different distances meet.
    """
    first = net.input_values[image_input]
    rows, columns = (
        _Line(Fraction(1), Fraction(0), Fraction(1), tuple((i, i + 1) for i in range(side)))
        for side in net.value_shapes[first][2:]
    )
    lines = {first: (rows, columns)}
    for layer in net.layers:
        if isinstance(layer, L.Source):
            continue
        for index, value in enumerate(layer.outputs):
            branches = [
                [_applied(layer, side, index, lines[name][side], shape) for side in (0, 1)]
                for name, shape in zip(layer.inputs, layer.input_shapes, strict=True)
                if name in lines and not _only_a_size(layer, name)
            ]
            if branches:
                rows, columns = (_joined(lines_of_side) for lines_of_side in zip(*branches, strict=True))
                lines[value] = rows, columns
    return {
        value: ReceptiveField(
            (rows.size, columns.size),
            (rows.start, columns.start),
            (rows.distance, columns.distance),
            (rows.ranges, columns.ranges),
        )
        for value, (rows, columns) in lines.items()
    }


def _only_a_size(layer: L.Layer, name: str) -> bool:
    """Return whether a layer reads only the size of an input, not its values."""
    return isinstance(layer, L.Crop) and name == layer.inputs[1] != layer.inputs[0]


def _side(shape: Shape, side: int) -> int:
    return shape[2 + side] if len(shape) == 4 else 1


def _applied(layer: L.Layer, side: int, index: int, line: _Line, shape: Shape) -> _Line:
    """Return the field of an output along a side, as far as it comes from one input, whose field is a line."""
    reach, count = _reach(layer, side, index, shape), _side(layer.output_shapes[index], side)
    if reach == _SAME and count == len(line.ranges):
        return line
    return line.of_all(count) if reach is None else reach.of(line, count)


def _reach(layer: L.Layer, side: int, index: int, shape: Shape) -> _Reach | None:
    """Return the positions that a layer reads along rows or columns; None if it reads all of them."""
    output = layer.output_shapes[index]
    if len(shape) != 4 or len(output) != 4:
        return None
    axis = 2 + side
    match layer:
        case L.Pooling():
            return _Reach(*map(Fraction, (layer.kernel[side], layer.stride[side], layer.pad[side])))
        case L.Convolution():
            reach = layer.dilation[side] * (layer.kernel[side] - 1) + 1
            return _Reach(*map(Fraction, (reach, layer.stride[side], layer.pad[side])))
        case L.Deconvolution():
            # Position o gets what position i writes to i · stride − pad + tap · dilation.
            stride, last = layer.stride[side], layer.dilation[side] * (layer.kernel[side] - 1)
            return _Reach(Fraction(last, stride) + 1, Fraction(1, stride), Fraction(last - layer.pad[side], stride))
        case L.LRN() if layer.within_channel:
            return _Reach(Fraction(layer.local_size), pad=Fraction(layer.local_size // 2))
        case L.LRN():
            return _SAME
        case L.Softmax() if layer.axis == 1:
            return _SAME
        case L.ArgMax() if layer.axis == 1:
            return _SAME
        case L.Scale() if shape == output:
            return _SAME
        case L.Concat() | L.Tile() if layer.axis != axis:
            return _SAME
        case L.Slice():
            start = (0, *layer.points)[index] if layer.axis == axis else 0
            return _Reach(Fraction(1), pad=Fraction(-start))
        case L.Crop():
            start = layer.offsets[axis - layer.axis] if layer.axis <= axis else 0
            return _Reach(Fraction(1), pad=Fraction(-start))
        case L.Flatten() | L.Reshape() if shape == output:
            return _SAME
    return _SAME if isinstance(layer, EACH_POSITION) else None


def _joined(lines: Sequence[_Line]) -> _Line:
    """Return the field that covers those of all branches."""
    ranges = tuple(map(_hull, zip(*(line.ranges for line in lines), strict=True)))
    distance = lines[0].distance
    if any(line.distance != distance for line in lines):
        lines = [line.of_all(len(ranges)) for line in lines]
        distance = Fraction(0)
    start = min(line.start for line in lines)
    return _Line(max(line.start + line.size for line in lines) - start, start, distance, ranges)
