"""Layers that keep a sum, a mean, or the largest of several values."""

from __future__ import annotations

from typing import Any

from pycam.net.layers.base import Layer, Shape, count, finite, need, positive_axis, single


class Reduction(Layer):
    """`coefficient` times the sum of all values along the axes from `axis` on.

    Attributes
    ----------
    axis : int
        The first axis that disappears.
    operation : str
        What is summed: `SUM`, the values; `ASUM`, their absolute values; `SUMSQ`, their squares.
    coefficient : float
        For Caffe's MEAN, a sum, it includes the division by the number of values.
    """

    type = "Reduction"
    axis: int
    operation: str
    coefficient: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape = message.reduction_param, shapes[0]
        axis = positive_axis(param.axis, shape)
        need(axis > 0, "axis 0, the default, would sum over the images of a batch")
        operation = {1: "SUM", 2: "ASUM", 3: "SUMSQ", 4: "MEAN"}[param.operation]
        coefficient = finite(param.coeff, "coeff")
        if operation == "MEAN":
            operation, coefficient = "SUM", single(coefficient / count(shape[axis:]))
        return {"output_shapes": (shape[:axis],), "axis": axis, "operation": operation, "coefficient": coefficient}


class ArgMax(Layer):
    """The positions of the `top_k` largest values, in descending order, or the values themselves.

    Of equal values, the one at the higher position comes first.

    Attributes
    ----------
    axis : int or None
        The axis along which values are compared. None: all values of an image are one row; the output is
        N×1×`top_k`, with as many axes of 1 behind it as the bottom has more than three.
    top_k : int
        How many.
    gives : str
        `positions`, `values`, or `both`: positions and values, along axis 1; only without `axis`.
    """

    type = "ArgMax"
    axis: int | None
    top_k: int
    gives: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape = message.argmax_param, shapes[0]
        top_k = int(param.top_k)
        if param.HasField("axis"):
            axis = positive_axis(param.axis, shape)
            need(axis > 0, "axis 0 would compare the images of a batch")
            compared, output = shape[axis], (*shape[:axis], top_k, *shape[axis + 1 :])
            gives = "values" if param.out_max_val else "positions"
        else:
            axis, compared = None, count(shape[1:])
            gives = "both" if param.out_max_val else "positions"
            output = (shape[0], 2 if param.out_max_val else 1, top_k, *(1 for _ in shape[3:]))
        need(1 <= top_k <= compared, f"top_k {top_k}: must be from 1 to the number of values, {compared}")
        return {"output_shapes": (output,), "axis": axis, "top_k": top_k, "gives": gives}
