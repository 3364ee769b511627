"""Layers that compute each value from one value, and the softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pycam.net.layers.base import Layer, Shape, dims, finite, need, numbers, positive_axis


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


class Exp(Layer):
    """base^(shift + scale·x), computed as `outer`·exp(`inner`·x)."""

    type = "Exp"
    works_in_place = True
    inner: float
    outer: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        given, base_log = numbers(message.exp_param, "scale", "shift"), _log_of_base(message.exp_param)
        with np.errstate(over="ignore"):
            outer = float(np.exp(base_log * given["shift"]).astype(np.float32))
        return {"inner": finite(base_log * given["scale"], "scale"), "outer": finite(outer, "base^shift")}


class Log(Layer):
    """The logarithm of shift + scale·x to a base, computed as `factor`·ln(shift + scale·x)."""

    type = "Log"
    works_in_place = True
    scale: float
    shift: float
    factor: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        base_log = _log_of_base(message.log_param)
        need(base_log != 0, "base 1: no number but 1 is a power of it")
        return {**numbers(message.log_param, "scale", "shift"), "factor": finite(1 / base_log, "1/ln(base)")}


def _log_of_base(param: Any) -> float:
    """Return the natural logarithm of a layer's base; −1 stands for e."""
    base = finite(param.base, "base")
    need(base > 0 or base == -1, f"base {base}: must be positive, or -1 for e")
    return 1.0 if base == -1 else math.log(base)


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
