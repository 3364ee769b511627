"""Errors on ILSVRC's localization task, as its own evaluation computes them ("clsloc").

Source: release, docs/release.md section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.bootstrap import interval, resampled_means
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.predictions import Predictions
from pycam.maps.boxes import RIGHT_IOU, inclusive, iou


@dataclass(frozen=True)
class Scores:
    """What is right of n images, and the errors that follow.

    Attributes
    ----------
    classified : (n, 5) bool
        Whether one of the first k guesses, k = 1…5, names the true class.
    localized : (c, 5) bool, or None
        Whether one of them also has a right box, for the c images that are not blacklisted; None without
        boxes to compare with.
    """

    classified: NDArray[np.bool_]
    localized: NDArray[np.bool_] | None

    @property
    def classification_error(self) -> NDArray[np.float64]:
        """Fraction of all images, at k = 1…5: (5,)."""
        return error(self.classified)

    @property
    def localization_error(self) -> NDArray[np.float64] | None:
        """Fraction of the images that are not blacklisted, at k = 1…5: (5,)."""
        return None if self.localized is None else error(self.localized)


def score_predictions(predictions: Predictions, truth: GroundTruth) -> Scores:
    """Compare guesses with the truth: a guess is right if it names the true class and its box fits.

    A box fits if its IoU with any box of the true class is at least 0.5.

    Raises
    ------
    GroundTruthError
        If there are not as many predictions as images.
    """
    if len(predictions) != len(truth):
        raise GroundTruthError(
            f"{len(predictions)} lines of predictions for {len(truth)} images; one each was expected"
        )
    named = predictions.classes == truth.classes[:, None]
    classified = np.logical_or.accumulate(named, axis=1)
    if not truth.has_boxes:
        return Scores(classified, None)
    placed = named & _fits(predictions.boxes, truth)
    localized = np.logical_or.accumulate(placed, axis=1)[~truth.blacklisted]
    return Scores(classified, localized)


def doubts(predictions: Predictions, truth: GroundTruth) -> list[str]:
    """Say, a line each, what about the boxes makes one doubt that they were made for these images."""
    boxes = inclusive(predictions.boxes)
    made = predictions.classes >= 0
    sizes = np.where(truth.sizes > 0, truth.sizes, np.inf)[:, None]
    backward = made & (boxes[..., :2] > boxes[..., 2:]).any(axis=-1)
    outside = made & ((boxes[..., :2] < 0).any(axis=-1) | (boxes[..., 2:] > sizes).any(axis=-1))
    return [
        f"{found.sum()} of {made.sum()} boxes {what}"
        for found, what in (
            (backward, "have xmin > xmax or ymin > ymax, which is never right"),
            (outside, "reach outside of their image: were they made for images of this size?"),
        )
        if found.any()
    ]


def known_class_hits(boxes: ArrayLike, truth: GroundTruth) -> NDArray[np.bool_]:
    """Whether the box found for each image's true class fits ("GT-known"), blacklisted images left out.

    Parameters
    ----------
    boxes : (n, 4)
        One half-open box for each image.
    truth : GroundTruth
        With boxes.

    Returns
    -------
    (c,) bool
        For the c images that are not blacklisted.
    """
    fits = _fits(np.asarray(boxes, dtype=np.float64)[:, None], truth)[:, 0]
    return fits[~truth.blacklisted]


def whole_images(truth: GroundTruth) -> NDArray[np.int64]:
    """Return the box of the whole of each image: (n, 4), half-open."""
    return np.hstack([np.zeros_like(truth.sizes), truth.sizes])


def error(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fraction of the images, the first dimension, that are not right."""
    wrong: NDArray[np.float64] = np.mean(~right, axis=0)
    return wrong


def error_interval(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """95 % bootstrap interval over images of the error: (n, m) -> (m, 2)."""
    return interval(1 - resampled_means(right))


def by_k(values: NDArray[np.float64]) -> dict[str, Any]:
    """Give figures for k = 1…5, the first dimension, the names that reports use: "top1", …, "top5"."""
    return {f"top{k}": value for k, value in enumerate(values.tolist(), 1)}


def _fits(boxes: NDArray[np.float64], truth: GroundTruth) -> NDArray[np.bool_]:
    """Whether each of (n, g) boxes overlaps one of its image's boxes of the true class enough: (n, g)."""
    targets, images = truth.targets
    near = iou(boxes[images], targets[:, None]) >= RIGHT_IOU
    fits = np.zeros(boxes.shape[:2], dtype=bool)
    target, guess = np.nonzero(near)
    fits[images[target], guess] = True
    return fits
