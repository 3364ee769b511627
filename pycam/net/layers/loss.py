"""Layers that compare predictions with labels or targets: losses and accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np

from pycam.net.layers.base import LAYER_TYPES, Layer, Shape, count, dims, finite, need, positive_axis

SMALLEST = float(np.finfo(np.float32).tiny)

NORMALIZATIONS = {0: "FULL", 1: "VALID", 2: "BATCH_SIZE", 3: "NONE"}


class Comparison(Layer):
    """A comparison of predictions, the first bottom, with labels or targets, the last."""

    bottom_count = (2, 2)


class Classification(Comparison):
    """A comparison of scores with the labels of classes.

    Attributes
    ----------
    class_count : int
        The number of classes.
    ignore_label : int or None
        Positions with this label are left out; None: all positions count.
    """

    class_count: int
    ignore_label: int | None


class SoftmaxWithLoss(Classification):
    """The mean of −log softmax at the labels; a second top is the softmax.

    A softmax below the smallest normal number of single precision, `SMALLEST`, counts as that number.

    Attributes
    ----------
    axis : int
        The axis of the classes in the scores.
    normalization : str
        The divisor of the sum: `FULL`, all positions; `VALID`, those not ignored; `BATCH_SIZE`; `NONE`, 1.
    """

    type = "SoftmaxWithLoss"
    top_count = (1, 2)
    auto_tops = 1
    axis: int
    normalization: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        tops: tuple[Shape, ...] = ((), shapes[0])
        return {
            "output_shapes": tops[: max(len(message.top), cls.auto_tops)],
            "normalization": _normalization(message.loss_param, "VALID"),
            **_positions(message.loss_param, message.softmax_param.axis, shapes),
        }


class Accuracy(Classification):
    """The fraction of labels among the `top_k` classes with the highest scores; a second top is that of each class.

    Attributes
    ----------
    axis : int
        The axis of the classes in the scores.
    top_k : int
        How many classes count as right.
    """

    type = "Accuracy"
    top_count = (1, 2)
    axis: int
    top_k: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.accuracy_param
        compared = _positions(param, param.axis, shapes)
        classes = compared["class_count"]
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


class HingeLoss(Classification):
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

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {**_images(shapes), "squared": message.hinge_loss_param.norm == 2}


class MultinomialLogisticLoss(Classification):
    """The mean over images of −log of the probability at the label; a probability below 1e-20 counts as 1e-20."""

    type = "MultinomialLogisticLoss"
    auto_tops = 1

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return _images(shapes)


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


def loss_weights(message: Any, tops: int) -> list[float]:
    """Return the weight in the loss of each of a layer's tops: the first top of a loss has 1 by itself."""
    is_loss = message.type in LAYER_TYPES and LAYER_TYPES[message.type].auto_tops > 0
    given = list(message.loss_weight) or [1.0] * is_loss
    return (given + [0.0] * tops)[:tops]


def _ignored(param: Any) -> int | None:
    return int(param.ignore_label) if param.HasField("ignore_label") else None


def _normalization(param: Any, default: str) -> str:
    if param.HasField("normalization"):
        return NORMALIZATIONS[param.normalization]
    if param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return default


def _positions(param: Any, axis: int, shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Return the fields of a comparison with one label per position; the classes lie along one axis of the scores."""
    scores, labels = shapes
    axis = positive_axis(axis, scores)
    need(
        count(labels) * scores[axis] == count(scores),
        f"labels of {dims(labels)} do not match scores of {dims(scores)}: one label per position is needed",
    )
    return {"axis": axis, "class_count": scores[axis], "ignore_label": _ignored(param)}


def _images(shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Return the fields of a loss with one label per image; all scores of an image are classes."""
    scores, labels = shapes
    need(
        len(scores) > 0 and labels[:1] == scores[:1] and count(labels) == scores[0],
        f"labels of {dims(labels)} do not match scores of {dims(scores)}: one label per image is needed",
    )
    return {"output_shapes": ((),), "class_count": count(scores[1:]), "ignore_label": None}
