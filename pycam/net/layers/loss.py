"""Layers that compare predictions with labels or targets: losses and accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from pycam.net.layers.base import Layer, Shape, count, dims, finite, need, positive_axis

SMALLEST = float(np.finfo(np.float32).tiny)

NORMALIZATIONS = {0: "FULL", 1: "VALID", 2: "BATCH_SIZE", 3: "NONE"}


class Comparison(Layer):
    """A comparison of predictions, the first bottom, with labels or targets, the last."""

    bottom_count = (2, 2)

    @property
    def class_count(self) -> int | None:
        """The number of classes if the last bottom has labels, which are from 0 to less; None if it has targets."""
        return None


class Classification(Comparison):
    """A comparison with the labels of classes: one per position.

    Attributes
    ----------
    axis : int
        The axis of the classes in the scores.
    ignore_label : int or None
        Positions with this label are left out; None: all positions count.
    """

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
        return {"axis": axis, "ignore_label": _ignored(param)}


class SoftmaxWithLoss(Classification):
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
        tops: tuple[Shape, ...] = ((), shapes[0])
        return {
            "output_shapes": tops[: max(len(message.top), cls.auto_tops)],
            "normalization": _normalization(message.loss_param, "VALID"),
            **cls._compared(message.loss_param, message.softmax_param.axis, shapes),
        }


class Accuracy(Classification):
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


class SigmoidCrossEntropyLoss(Comparison):
    """The sum of −t log σ(x) − (1 − t) log(1 − σ(x)) over all predictions x and their targets t, normalized.

    Attributes
    ----------
    ignore_label : int or None
        Predictions with this target are left out; None: all count.
    normalization : str
        The divisor of the sum, as in `SoftmaxWithLoss`.
    """

    type = "SigmoidCrossEntropyLoss"
    auto_tops = 1
    ignore_label: int | None
    normalization: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        predictions, targets = shapes
        need(
            predictions[:1] == targets[:1] and count(predictions) == count(targets),
            f"targets of {dims(targets)} do not match predictions of {dims(predictions)}: one target per prediction "
            "is needed",
        )
        return {
            "output_shapes": ((),),
            "ignore_label": _ignored(message.loss_param),
            "normalization": _normalization(message.loss_param, "BATCH_SIZE"),
        }


class EuclideanLoss(Comparison):
    """Half the sum of the squared differences of its bottoms, divided by the batch size."""

    type = "EuclideanLoss"
    auto_tops = 1

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        predictions, targets = shapes
        need(
            predictions[:1] == targets[:1] and count(predictions) == count(targets),
            f"its bottoms of {dims(predictions)} and {dims(targets)} need the same number of values",
        )
        return {"output_shapes": ((),)}


class HingeLoss(Comparison):
    """The hinge loss, one class against the others: the mean over images of Σ max(0, 1 ∓ score).

    The sign is − for the class of the label, and + for the others.

    Attributes
    ----------
    squared : bool
        Sum the squares of the terms, as with norm L2.
    """

    type = "HingeLoss"
    auto_tops = 1
    squared: bool

    @property
    def class_count(self) -> int:
        """The number of classes: all scores of an image."""
        return count(self.input_shapes[0][1:])

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        _need_label_per_image(shapes)
        return {"output_shapes": ((),), "squared": message.hinge_loss_param.norm == 2}


class MultinomialLogisticLoss(Comparison):
    """The mean over images of −log of the probability at the label; a probability below 1e-20 counts as 1e-20."""

    type = "MultinomialLogisticLoss"
    auto_tops = 1

    @property
    def class_count(self) -> int:
        """The number of classes: all probabilities of an image."""
        return count(self.input_shapes[0][1:])

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        _need_label_per_image(shapes)
        return {"output_shapes": ((),)}


class ContrastiveLoss(Comparison):
    """Half the mean over pairs of d² for similar ones, and of max(margin − d, 0)² for others; d is their distance.

    A label other than 0 marks a similar pair.

    Attributes
    ----------
    margin : float
        The distance from which dissimilar pairs cost nothing.
    legacy : bool
        Dissimilar pairs cost max(margin − d², 0).
    """

    type = "ContrastiveLoss"
    bottom_count = (3, 3)
    auto_tops = 1
    margin: float
    legacy: bool

    @property
    def class_count(self) -> int:
        """Two: similar or not."""
        return 2

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        first, second, labels = shapes
        flat = all(count(shape) == count(shape[:2]) and shape for shape in (first, second))
        need(
            flat and first[:2] == second[:2] and labels[:1] == first[:1] and count(labels) == first[0],
            f"needs two blobs of N×C and N labels, found {', '.join(map(dims, shapes))}",
        )
        param = message.contrastive_loss_param
        return {
            "output_shapes": ((),),
            "margin": finite(param.margin, "margin"),
            "legacy": bool(param.legacy_version),
        }


def _ignored(param: Any) -> int | None:
    return int(param.ignore_label) if param.HasField("ignore_label") else None


def _normalization(param: Any, default: str) -> str:
    if param.HasField("normalization"):
        return NORMALIZATIONS[param.normalization]
    if param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return default


def _need_label_per_image(shapes: tuple[Shape, ...]) -> None:
    scores, labels = shapes
    need(
        len(scores) > 0 and labels[:1] == scores[:1] and count(labels) == scores[0],
        f"labels of {dims(labels)} do not match scores of {dims(scores)}: one label per image is needed",
    )
