"""Layers that change each value by itself, and the softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pycam.net.layers.base import (
    Layer,
    Shape,
    dims,
    finite,
    need,
    numbers,
    positive_axis,
)


@dataclass(frozen=True, kw_only=True)
class ReLU(Layer):
    """max(x, 0), or `negative_slope`·x below 0."""

    type = "ReLU"
    works_in_place = True
    negative_slope: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return numbers(message.relu_param, "negative_slope")


@dataclass(frozen=True, kw_only=True)
class PReLU(Layer):
    """ReLU with a learned slope below 0, one a channel or one for all."""

    type = "PReLU"
    works_in_place = True

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        need(len(shapes[0]) >= 2, f"its bottom must have a channel axis, it has {dims(shapes[0])}")
        slopes: Shape = () if message.prelu_param.channel_shared else (shapes[0][1],)
        return {"param_shapes": (slopes,)}


@dataclass(frozen=True, kw_only=True)
class ELU(Layer):
    """x above 0, `alpha`·(exp(x) − 1) below."""

    type = "ELU"
    works_in_place = True
    alpha: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return numbers(message.elu_param, "alpha")


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Layer):
    """1 / (1 + exp(−x))."""

    type = "Sigmoid"
    works_in_place = True


@dataclass(frozen=True, kw_only=True)
class TanH(Layer):
    """Hyperbolic tangent."""

    type = "TanH"
    works_in_place = True


@dataclass(frozen=True, kw_only=True)
class AbsVal(Layer):
    """Absolute value."""

    type = "AbsVal"


@dataclass(frozen=True, kw_only=True)
class Power(Layer):
    """(shift + scale·x)^power."""

    type = "Power"
    works_in_place = True
    power: float
    scale: float
    shift: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return numbers(message.power_param, "power", "scale", "shift")


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """exp(x) over its sum along `axis`."""

    type = "Softmax"
    works_in_place = True
    axis: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"axis": positive_axis(message.softmax_param.axis, shapes[0])}


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Nothing when testing; in training, values are dropped at `ratio` and the rest scaled up."""

    type = "Dropout"
    works_in_place = True
    ratio: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        ratio = finite(message.dropout_param.dropout_ratio, "dropout_ratio")
        need(0 <= ratio < 1, f"dropout_ratio {ratio}: must be a share of the values, from 0 to less than 1")
        return {"ratio": ratio}
