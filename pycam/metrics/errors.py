"""Errors of classification and localization at k = 1…g, of g predictions per image.

Source: release, docs/release.md section 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.maps.boxes import RIGHT_IOU, iou
from pycam.metrics.intervals import interval, resampled_means


def classification_hits(classes: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Check whether one of the first k predictions of an image has its label.

    Parameters
    ----------
    classes : (n, g) int
        Predicted classes, best first; -1 where an image has fewer predictions.
    labels : (n,) int
        The class of each image.

    Returns
    -------
    (n, g) bool
        True at position k - 1 if the label is among the first k predictions.

    Raises
    ------
    UsageError
        The arrays have other shapes.
    """
    return np.logical_or.accumulate(_named(classes, labels), axis=1)


def localization_hits(
    classes: ArrayLike, boxes: ArrayLike, labels: ArrayLike, targets: ArrayLike, images: ArrayLike
) -> NDArray[np.bool_]:
    """Check whether one of the first k predictions of an image has its label and a correct box.

    Parameters
    ----------
    classes, labels
        As for `classification_hits`.
    boxes : (n, g, 4)
        The box of each prediction.
    targets, images
        As for `correct_boxes`: the boxes of each image's label.

    Returns
    -------
    (n, g) bool
        True at position k - 1 if one of the first k predictions has both.

    Raises
    ------
    UsageError
        As `classification_hits`.
    """
    return np.logical_or.accumulate(_named(classes, labels) & correct_boxes(boxes, targets, images), axis=1)


def correct_boxes(
    boxes: ArrayLike, targets: ArrayLike, images: ArrayLike, least: float = RIGHT_IOU
) -> NDArray[np.bool_]:
    """Check whether the IoU of a box with one of its image's ground-truth boxes is at least `least`.

    Parameters
    ----------
    boxes : (n, g, 4)
        g boxes of each image, half-open.
    targets : (t, 4)
        Ground-truth boxes, half-open.
    images : (t,) int
        The position of the image of each ground-truth box.
    least : float
        The least IoU of a correct box.

    Returns
    -------
    (n, g) bool
        False for all boxes of an image without ground-truth boxes.
    """
    boxes, targets, images = np.asarray(boxes), np.asarray(targets), np.asarray(images)
    correct = np.zeros(boxes.shape[:2], dtype=bool)
    np.logical_or.at(correct, images, iou(boxes[images], targets[:, None]) >= least)
    return correct


def error(correct: ArrayLike) -> NDArray[np.float64]:
    """Return the fraction of the images, the first dimension, that are not correct."""
    wrong: NDArray[np.float64] = np.mean(~np.asarray(correct, bool), axis=0)
    return wrong


def error_interval(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the 95 % bootstrap interval over images of the error: (n, m) -> (m, 2)."""
    return interval(1 - resampled_means(correct))


def _named(classes: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    predicted, true = np.asarray(classes), np.asarray(labels)
    if predicted.ndim != 2 or true.shape != predicted.shape[:1]:
        raise UsageError(f"classes {predicted.shape}, labels {true.shape}; (n, g) and (n,) were expected")
    named: NDArray[np.bool_] = predicted == true[:, None]
    return named
