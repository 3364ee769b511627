"""Layers that change only the shape of a blob, or the order of its channels."""

from __future__ import annotations

from typing import Any

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

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        shape, param = shapes[0], message.reshape_param
        asked = tuple(int(d) for d in param.shape.dim)
        # An axis of -1 means "behind the last axis" here, unlike in other layers.
        start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
        end = len(shape) if param.num_axes == -1 else start + param.num_axes
        need(
            0 <= start <= end <= len(shape),
            f"axis {param.axis} and num_axes {param.num_axes} exceed its bottom of {dims(shape)}",
        )
        need(asked.count(-1) <= 1, "two sides of -1: only one can be computed")
        need(all(d >= -1 for d in asked), f"a side below -1: {dims(asked)}")
        need(
            all(start + i < len(shape) for i, d in enumerate(asked) if d == 0), "a side of 0 where its bottom has none"
        )
        sides = [shape[start + i] if d == 0 else d for i, d in enumerate(asked)]
        full = [*shape[:start], *sides, *shape[end:]]
        if -1 in full:
            known = count(tuple(d for d in full if d != -1))
            need(count(shape) % known == 0, f"{dims(shape)} does not divide into {dims(asked)}")
            full[full.index(-1)] = count(shape) // known
        need(count(tuple(full)) == count(shape), f"{dims(shape)} cannot become {dims(tuple(full))}")
        keeps_batch = start > 0 or (asked and asked[0] == 0)
        need(
            keeps_batch or -1 in asked[:1],
            f"its shape {dims(asked)} fixes the batch: make the first side 0 (as in the bottom) or -1",
        )
        return {"output_shapes": (tuple(full),), "target": (0 if keeps_batch else -1, *full[1:])}


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
