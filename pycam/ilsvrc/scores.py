"""Errors on ILSVRC's localization task ("clsloc"), as ILSVRC's own evaluation computes them.

Source: release, docs/release.md section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.predictions import Predictions
from pycam.maps.boxes import inclusive
from pycam.metrics.errors import classification_hits, correct_boxes, error, error_interval, localization_hits


@dataclass(frozen=True)
class Scores:
    """The correct predictions of n images, and the errors.

    Attributes
    ----------
    classified : (n, 5) bool
        True at k if one of the first k predictions, k = 1…5, has the ground-truth class.
    localized : (c, 5) bool, or None
        True at k if one of the first k predictions has the ground-truth class and a correct box, for the c images
        that are not blacklisted; None if the ground truth has no boxes.
    """

    classified: NDArray[np.bool_]
    localized: NDArray[np.bool_] | None

    @property
    def classification_error(self) -> NDArray[np.float64]:
        """The fraction of all images that is misclassified, at k = 1…5: (5,)."""
        return error(self.classified)

    @property
    def localization_error(self) -> NDArray[np.float64] | None:
        """The fraction of the images that are not blacklisted, at k = 1…5: (5,)."""
        return None if self.localized is None else error(self.localized)

    def figures(self) -> dict[str, Any]:
        """Return both errors and their 95 % bootstrap intervals, under their names in reports; None if unknown."""
        found: dict[str, Any] = {"intervals": {}}
        for name, correct in (("classification_error", self.classified), ("localization_error", self.localized)):
            if correct is None or not len(correct):
                found[name] = found["intervals"][name] = None
            else:
                found[name], found["intervals"][name] = by_k(error(correct)), by_k(error_interval(correct))
        return found


def score_predictions(predictions: Predictions, truth: GroundTruth) -> Scores:
    """Compare predictions with the ground truth.

    A prediction is correct if it has the ground-truth class and its box is correct. A box is correct if its IoU
    with any box of the ground-truth class is at least 0.5.

    Raises
    ------
    GroundTruthError
        The number of predictions is not the number of images.
    """
    if len(predictions) != len(truth):
        raise GroundTruthError(
            f"{len(predictions)} lines of predictions for {len(truth)} images; one line per image was expected"
        )
    classified = classification_hits(predictions.classes, truth.classes)
    if not truth.has_boxes:
        return Scores(classified, None)
    localized = localization_hits(predictions.classes, predictions.boxes, truth.classes, *truth.targets)
    return Scores(classified, localized[~truth.blacklisted])


def box_warnings(predictions: Predictions, truth: GroundTruth) -> list[str]:
    """Return warnings about boxes that cannot belong to these images, one line per kind."""
    boxes = inclusive(predictions.boxes)
    made = predictions.classes >= 0
    sizes = np.where(truth.sizes > 0, truth.sizes, np.inf)[:, None]
    backward = made & (boxes[..., :2] > boxes[..., 2:]).any(axis=-1)
    outside = made & ((boxes[..., :2] < 0).any(axis=-1) | (boxes[..., 2:] > sizes).any(axis=-1))
    return [
        f"{found.sum()} of {made.sum()} boxes {problem}"
        for found, problem in (
            (backward, "have xmin > xmax or ymin > ymax, which is never correct"),
            (outside, "extend outside of their image: were they made for images of this size?"),
        )
        if found.any()
    ]


def known_class_hits(boxes: ArrayLike, truth: GroundTruth) -> NDArray[np.bool_]:
    """Check the box that is predicted for the ground-truth class of each image ("GT-known").

    Parameters
    ----------
    boxes : (n, 4)
        One half-open box per image.
    truth : GroundTruth
        With boxes.

    Returns
    -------
    (c,) bool
        True for a correct box, for the c images that are not blacklisted.
    """
    correct = correct_boxes(np.asarray(boxes, dtype=np.float64)[:, None], *truth.targets)[:, 0]
    return correct[~truth.blacklisted]


def by_k(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return figures for k = 1…5, the first dimension, under their names in reports: "top1", …, "top5"."""
    return {f"top{k}": value for k, value in enumerate(values.tolist(), 1)}
