"""Layers that change only the shape of a blob, or the order of its channels."""

from __future__ import annotations

from typing import Any

from pycam.errors import NetError
from pycam.net.layers.base import Layer, Shape, count, dims, need, positive_axis


class _Reshaping(Layer):
    """The same values in another shape.

    Attributes
    ----------
    target : tuple of int
        The new shape, valid for any batch. 0 stands for the bottom's own side, and one side may be −1, the remaining
        values.
    """

    target: Shape


class Flatten(_Reshaping):
    """Several adjacent axes merged into one."""

    type = "Flatten"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        shape, param = shapes[0], message.flatten_param
        start, end = positive_axis(param.axis, shape), positive_axis(param.end_axis, shape)
        need(start <= end, f"axis {start} is behind end_axis {end}")
        kept, merged, rest = shape[:start], count(shape[start : end + 1]), shape[end + 1 :]
        return {"output_shapes": ((*kept, merged, *rest),), "target": (0,) * len(kept) + (-1,) + rest}


class Reshape(_Reshaping):
    """A blob in a requested shape."""

    type = "Reshape"

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that Caffe can run the net with; None for any."""
        asked = _asked(self.message.reshape_param, self.input_shapes[0])
        return asked[0] // self.output_shapes[0][0] if asked and asked[0] > 0 else None

    @classmethod
    def for_any_batch(cls, message: Any, shapes: tuple[Shape, ...], batch: int) -> Any:
        (shape,), param = shapes, message.reshape_param
        asked = _asked(param, shape)
        in_file = (shape[0] * batch, *shape[1:])
        if not asked or asked[0] == 0 or (asked[0] == -1 and _fits(param, asked, shape)):
            return message
        if asked[0] == in_file[0]:
            opened = type(message)()
            opened.CopyFrom(message)
            opened.reshape_param.shape.dim[0] = 0
            return opened
        bottom = f"its bottom is {dims(in_file)} in the file"
        need(
            not _fits(param, asked, in_file),
            f"its shape {dims(asked)} mixes the images of a batch ({bottom}): pycam computes each image by itself",
        )
        need(
            asked[0] < 0 or not _fits(param, (0, *asked[1:]), shape),
            f"its shape {dims(asked)} fixes the batch at {asked[0]}, but {bottom}: make the first side 0 (as in the "
            "bottom) or -1",
        )
        _reshaped(param, asked, in_file)  # raises: with the file's own numbers
        return message

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.reshape_param
        full = _reshaped(param, tuple(param.shape.dim), shapes[0])
        # A first side other than 0 is -1 here, see `for_any_batch`.
        return {"output_shapes": (full,), "target": (-1 if -1 in _asked(param, shapes[0])[:1] else 0, *full[1:])}


def _start(param: Any, shape: Shape) -> int:
    """Return the first axis that is reshaped; -1 means "behind the last axis" here, unlike in other layers."""
    return int(param.axis if param.axis >= 0 else len(shape) + param.axis + 1)


def _asked(param: Any, shape: Shape) -> Shape:
    """Return the requested sides if the first one is that of the batch, else none."""
    return tuple(map(int, param.shape.dim)) if _start(param, shape) == 0 else ()


def _reshaped(param: Any, asked: Shape, shape: Shape) -> Shape:
    """Return the whole shape for the requested sides, or raise a `NetError`."""
    start = _start(param, shape)
    end = len(shape) if param.num_axes == -1 else start + param.num_axes
    need(
        0 <= start <= end <= len(shape),
        f"axis {param.axis} and num_axes {param.num_axes} exceed its bottom of {dims(shape)}",
    )
    need(asked.count(-1) <= 1, "two sides of -1: only one can be computed")
    need(all(d >= -1 for d in asked), f"a side below -1: {dims(asked)}")
    need(all(start + i < len(shape) for i, d in enumerate(asked) if d == 0), "a side of 0 where its bottom has none")
    sides = [shape[start + i] if d == 0 else d for i, d in enumerate(asked)]
    full = [*shape[:start], *sides, *shape[end:]]
    if -1 in full:
        known = count(tuple(d for d in full if d != -1))
        need(count(shape) % known == 0, f"{dims(shape)} does not divide into {dims(asked)}")
        full[full.index(-1)] = count(shape) // known
    need(count(tuple(full)) == count(shape), f"{dims(shape)} cannot become {dims(tuple(full))}")
    return tuple(full)


def _fits(param: Any, asked: Shape, shape: Shape) -> bool:
    try:
        _reshaped(param, asked, shape)
    except NetError:
        return False
    return True


class ShuffleChannel(Layer):
    """Channels in another order: those of `group` groups, taken from each group in turn.

    Channel i of group g becomes channel i · group + g. Caffe 1.0 does not have this type; ShuffleNet's fork has it.
    """

    type = "ShuffleChannel"
    group: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        (shape,), group = shapes, int(message.shuffle_channel_param.group)
        need(len(shape) > 1, f"its bottom must have channels, it has {dims(shape)}")
        need(group > 0 and shape[1] % group == 0, f"{shape[1]} channels do not divide into {group} groups")
        return {"group": group}


class Crop(Layer):
    """A part of the first bottom with the size of the second, from `offsets` on, along the axes from `axis` on."""

    type = "Crop"
    bottom_count = (2, 2)
    axis: int
    offsets: Shape

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, (shape, like) = message.crop_param, shapes
        need(len(shape) == len(like), f"bottoms of {dims(shape)} and {dims(like)} differ in their number of axes")
        axis = positive_axis(param.axis, shape)
        need(axis > 0, "axis 0 would crop the batch")
        offsets = tuple(int(o) for o in param.offset) or (0,)
        cropped = len(shape) - axis
        need(
            len(offsets) in (1, cropped),
            f"{len(offsets)} offsets for {cropped} axes: give one for all or one per axis",
        )
        if len(offsets) == 1:
            offsets *= cropped
        for i, offset in enumerate(offsets, start=axis):
            need(
                offset + like[i] <= shape[i],
                f"offset {offset} and size {like[i]} exceed the {shape[i]} values of axis {i}",
            )
        return {"output_shapes": ((*shape[:axis], *like[axis:]),), "axis": axis, "offsets": offsets}
