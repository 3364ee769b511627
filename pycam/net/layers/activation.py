"""Layers that compute each value from one value, and the softmax."""

from __future__ import annotations

from typing import Any

from pycam.net.layers.base import Layer, Shape, dims, finite, need, positive_axis


class ReLU(Layer):
    """max(x, 0), or `negative_slope`·x below 0."""

    type = "ReLU"
    works_in_place = True
    negative_slope: float


class PReLU(Layer):
    """ReLU with a learned slope below 0: one per channel, or one for all channels."""

    type = "PReLU"
    works_in_place = True

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        need(len(shapes[0]) >= 2, f"its bottom must have a channel axis, it has {dims(shapes[0])}")
        return {"param_shapes": (() if message.prelu_param.channel_shared else (shapes[0][1],),)}


class ELU(Layer):
    """x above 0, `alpha`·(exp(x) − 1) below."""

    type = "ELU"
    works_in_place = True
    alpha: float


class Sigmoid(Layer):
    """1 / (1 + exp(−x))."""

    type = "Sigmoid"
    works_in_place = True


class TanH(Layer):
    """Hyperbolic tangent."""

    type = "TanH"
    works_in_place = True


class AbsVal(Layer):
    """Absolute value."""

    type = "AbsVal"


class Power(Layer):
    """(shift + scale·x)^power."""

    type = "Power"
    works_in_place = True
    power: float
    scale: float
    shift: float


class Softmax(Layer):
    """exp(x) over its sum along `axis`."""

    type = "Softmax"
    works_in_place = True
    axis: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"axis": positive_axis(message.softmax_param.axis, shapes[0])}


class Dropout(Layer):
    """The identity at test time; in training, a fraction `ratio` of the values is dropped and the rest is scaled up."""

    type = "Dropout"
    works_in_place = True
    ratio: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        ratio = finite(message.dropout_param.dropout_ratio, "dropout_ratio")
        need(0 <= ratio < 1, f"dropout_ratio {ratio}: must be a fraction of the values, from 0 to less than 1")
        return {"ratio": ratio}
