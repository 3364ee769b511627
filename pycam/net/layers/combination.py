"""Layers that split a blob or combine several blobs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pycam.net.layers.base import Layer, Shape, dims, finite, need, positive_axis


class Split(Layer):
    """The same values under several names."""

    type = "Split"
    top_count = (1, None)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"output_shapes": shapes * len(message.top)}


class Silence(Layer):
    """Nothing: its bottoms are read by a layer, and so are no outputs of the net."""

    type = "Silence"
    bottom_count = (1, None)
    top_count = (0, 0)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"output_shapes": ()}


class Concat(Layer):
    """Blobs joined along `axis`."""

    type = "Concat"
    bottom_count = (1, None)
    axis: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, first = message.concat_param, shapes[0]
        axis = positive_axis(param.concat_dim if param.HasField("concat_dim") else param.axis, first)
        for name, shape in zip(message.bottom, shapes, strict=True):
            need(
                len(shape) == len(first) and shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :],
                f"bottom {name!r} of {dims(shape)} does not match {message.bottom[0]!r} of {dims(first)} "
                f"in the axes other than {axis}",
            )
        total = sum(shape[axis] for shape in shapes)
        return {"output_shapes": ((*first[:axis], total, *first[axis + 1 :]),), "axis": axis}


class Slice(Layer):
    """A blob cut along `axis` at `points`, one top per piece."""

    type = "Slice"
    top_count = (1, None)
    axis: int
    points: Shape

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape, tops = message.slice_param, shapes[0], len(message.top)
        axis = positive_axis(param.slice_dim if param.HasField("slice_dim") else param.axis, shape)
        need(axis > 0, "axis 0 would cut the batch")
        points = tuple(int(p) for p in param.slice_point)
        if points:
            need(len(points) == tops - 1, f"{len(points)} slice points for {tops} tops: give one fewer than tops")
        else:
            need(shape[axis] % tops == 0, f"{shape[axis]} values along axis {axis} do not divide into {tops} tops")
            points = tuple(range(shape[axis] // tops, shape[axis], shape[axis] // tops))
        sizes = [after - before for before, after in pairwise((0, *points, shape[axis]))]
        need(
            min(sizes) > 0,
            f"slice points {points} must increase and lie within the {shape[axis]} values of axis {axis}",
        )
        outputs = tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)
        return {"output_shapes": outputs, "axis": axis, "points": points}


class Tile(Layer):
    """A blob repeated `tiles` times along `axis`."""

    type = "Tile"
    axis: int
    tiles: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape = message.tile_param, shapes[0]
        axis, tiles = positive_axis(param.axis, shape), int(param.tiles)
        need(axis > 0, "axis 0 would repeat the images of a batch")
        need(tiles > 0, f"tiles {tiles}: must be positive")
        return {
            "output_shapes": ((*shape[:axis], shape[axis] * tiles, *shape[axis + 1 :]),),
            "axis": axis,
            "tiles": tiles,
        }


class Eltwise(Layer):
    """Blobs of one shape, combined value by value: `PROD`, `SUM` with `coefficients`, or `MAX`."""

    type = "Eltwise"
    bottom_count = (2, None)
    operation: str
    coefficients: tuple[float, ...]

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.eltwise_param
        for name, shape in zip(message.bottom, shapes, strict=True):
            need(
                shape == shapes[0],
                f"bottom {name!r} of {dims(shape)} differs from {message.bottom[0]!r} of {dims(shapes[0])}",
            )
        operation = {0: "PROD", 1: "SUM", 2: "MAX"}[param.operation]
        given = tuple(finite(c, "coeff") for c in param.coeff)
        need(
            len(given) in (0, len(shapes)),
            f"{len(given)} coefficients for {len(shapes)} bottoms: give one per bottom",
        )
        need(not given or operation == "SUM", f"coefficients are for SUM, the operation is {operation}")
        return {"operation": operation, "coefficients": given or (1.0,) * len(shapes)}
