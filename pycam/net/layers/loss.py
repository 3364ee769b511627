"""Layers that compare scores with labels: losses and accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from pycam.net.layers.base import Layer, Shape, count, dims, need, positive_axis

SMALLEST = float(np.finfo(np.float32).tiny)


class Comparison(Layer):
    """A comparison of scores, its first bottom, with labels, its second: one label per position.

    Attributes
    ----------
    axis : int
        The axis of the classes in the scores.
    ignore_label : int or None
        Positions with this label are left out; None: all positions count.
    """

    bottom_count = (2, 2)
    axis: int
    ignore_label: int | None

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return self.input_shapes[0][self.axis]

    @staticmethod
    def _compared(param: Any, axis: int, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        scores, labels = shapes
        axis = positive_axis(axis, scores)
        need(
            count(labels) * scores[axis] == count(scores),
            f"labels of {dims(labels)} do not match scores of {dims(scores)}: one label per position is needed",
        )
        ignored = int(param.ignore_label) if param.HasField("ignore_label") else None
        return {"axis": axis, "ignore_label": ignored}


class SoftmaxWithLoss(Comparison):
    """The mean of −log softmax at the labels; a second top is the softmax.

    A softmax below the smallest normal number of single precision, `SMALLEST`, counts as that number.

    Attributes
    ----------
    normalization : str
        The divisor of the sum: `FULL`, all positions; `VALID`, those not ignored; `BATCH_SIZE`; `NONE`, 1.
    """

    type = "SoftmaxWithLoss"
    top_count = (1, 2)
    auto_tops = 1
    normalization: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.loss_param
        normalization = {0: "FULL", 1: "VALID", 2: "BATCH_SIZE", 3: "NONE"}[param.normalization]
        if param.HasField("normalize") and not param.HasField("normalization"):
            normalization = "VALID" if param.normalize else "BATCH_SIZE"
        tops: tuple[Shape, ...] = ((), shapes[0])
        return {
            "output_shapes": tops[: max(len(message.top), cls.auto_tops)],
            "normalization": normalization,
            **cls._compared(param, message.softmax_param.axis, shapes),
        }


class Accuracy(Comparison):
    """The fraction of labels among the `top_k` classes with the highest scores; a second top is that of each class."""

    type = "Accuracy"
    top_count = (1, 2)
    top_k: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.accuracy_param
        compared = cls._compared(param, param.axis, shapes)
        classes = shapes[0][compared["axis"]]
        need(1 <= param.top_k <= classes, f"top_k {param.top_k}: must be from 1 to the number of classes, {classes}")
        tops: tuple[Shape, ...] = ((), (classes,))
        return {"output_shapes": tops[: len(message.top)], "top_k": int(param.top_k), **compared}
