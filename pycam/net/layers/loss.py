"""What compares scores with labels: losses and accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pycam.net.layers.base import (
    Layer,
    Shape,
    count,
    dims,
    need,
    positive_axis,
)


@dataclass(frozen=True, kw_only=True)
class _Judging(Layer):
    """What compares scores, its first bottom, with labels, its second: one a position.

    Attributes
    ----------
    axis
        Along which the scores of the classes lie.
    ignore_label
        Positions with this label don't count; None: all do.
    """

    bottom_count = (2, 2)
    axis: int
    ignore_label: int | None

    @property
    def class_count(self) -> int:
        """How many classes are told apart."""
        return self.input_shapes[0][self.axis]

    @staticmethod
    def _judged(param: Any, axis: int, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        scores, labels = shapes
        axis = positive_axis(axis, scores)
        need(
            count(labels) * scores[axis] == count(scores),
            f"labels of {dims(labels)} do not go with scores of {dims(scores)}: one label a position is needed",
        )
        ignored = int(param.ignore_label) if param.HasField("ignore_label") else None
        return {"axis": axis, "ignore_label": ignored}


@dataclass(frozen=True, kw_only=True)
class SoftmaxWithLoss(_Judging):
    """The mean of −log softmax at the labels; a second top is the softmax.

    Attributes
    ----------
    normalization
        What the sum is divided by: `FULL`, all positions; `VALID`, those not ignored; `BATCH_SIZE`; `NONE`, 1.
    """

    type = "SoftmaxWithLoss"
    top_count = (1, 2)
    normalization: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.loss_param
        normalization = {0: "FULL", 1: "VALID", 2: "BATCH_SIZE", 3: "NONE"}[param.normalization]
        if param.HasField("normalize") and not param.HasField("normalization"):
            normalization = "VALID" if param.normalize else "BATCH_SIZE"
        tops: tuple[Shape, ...] = ((), shapes[0])
        return {
            "output_shapes": tops[: len(message.top)],
            "normalization": normalization,
            **cls._judged(param, message.softmax_param.axis, shapes),
        }


@dataclass(frozen=True, kw_only=True)
class Accuracy(_Judging):
    """The fraction of labels among the `top_k` classes of the highest scores."""

    type = "Accuracy"
    top_k: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.accuracy_param
        judged = cls._judged(param, param.axis, shapes)
        classes = shapes[0][judged["axis"]]
        need(1 <= param.top_k <= classes, f"top_k {param.top_k}: must be from 1 to the {classes} classes")
        return {"output_shapes": ((),), "top_k": int(param.top_k), **judged}
