"""Pixel precision, recall and PxAP, for ground-truth masks.

Over all pixels of all images that are not ignored, at threshold t:

- precision(t) = object pixels with values from t on / all pixels with values from t on
- recall(t) = object pixels with values from t on / all object pixels
- PxAP = 100 · sum over t, from the highest down, of precision(t) · (recall(t) - recall(the threshold above t))

The thresholds are those of `box_accuracy`, and 1. Source: as for `box_accuracy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.metrics.box_accuracy import THRESHOLDS, checked_map
from pycam.metrics.intervals import interval, samples

_IMAGES_AT_ONCE = 64


def pixel_histograms(
    score_map: NDArray[np.floating] | NDArray[np.uint8],
    objects: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64] = THRESHOLDS,
) -> NDArray[np.int64]:
    """Count the pixels of a map between thresholds.

    Parameters
    ----------
    score_map : (H, W) floating point in [0, 1], or uint8
        A map in 8 bits, k, is the map k / 255.
    objects : (H, W) bool
        The pixels of the objects.
    ignored : (H, W) bool
        The pixels that count nowhere, unless they are an object's.
    thresholds : (t,) float64
        Thresholds from 0 on, evenly spaced, below 1.

    Returns
    -------
    (2, t + 2) int64
        The pixels of objects, and of the background. Bin i has the values from threshold i up to the next one; bin t
        the value 1; the last one none, as in the benchmark.

    Raises
    ------
    UsageError
        The shapes differ, or as `checked_map`.
    """
    score_map = checked_map(score_map)
    for name, mask in (("objects", objects), ("ignored", ignored)):
        if mask.shape != score_map.shape or mask.dtype != bool:
            raise UsageError(
                f"{name}: shape {mask.shape}, {mask.dtype}; {score_map.shape} and bool were expected, as of the map"
            )
    bins = _bins(score_map, thresholds)
    count = len(thresholds) + 2
    # Objects, background, and what counts nowhere.
    kinds = np.where(objects, 0, np.where(ignored, 2, 1))
    histograms = np.bincount((kinds * count + bins).ravel(), minlength=3 * count)
    return histograms[: 2 * count].reshape(2, count)


def _bins(score_map: NDArray[np.floating] | NDArray[np.uint8], thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    edges = np.append(thresholds, [1.0, 2.0, 3.0])
    if score_map.dtype == np.uint8:
        levels: NDArray[np.intp] = (np.searchsorted(edges, np.arange(256) / 255, side="right") - 1)[score_map]
        return levels
    values = score_map.astype(np.float64)
    # By rounding, at most one bin too high or too low.
    bins = (values * len(thresholds)).astype(np.intp)
    bins -= values < edges[bins]
    bins += values >= edges[bins + 1]
    return bins


def pxap(histograms: NDArray[np.number]) -> NDArray[np.float64]:
    """Return PxAP in percent of the histograms of a whole set, NaN without object pixels: (..., 2, t + 2) -> (...)."""
    precision, recall = precision_recall(histograms)
    # From the highest threshold down.
    steps = np.diff(recall[..., ::-1], axis=-1)
    areas: NDArray[np.float64] = (precision[..., ::-1][..., 1:] * steps).sum(axis=-1) * 100
    return areas


def precision_recall(histograms: NDArray[np.number]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall at each threshold, of the histograms of a whole set: (..., 2, t + 2) -> (..., t + 2).

    The precision is 0 where no pixel has such a value.
    """
    above = np.cumsum(histograms[..., ::-1], axis=-1, dtype=np.float64)[..., ::-1]
    right, wrong = above[..., 0, :], above[..., 1, :]
    everything = right + wrong
    precision = np.divide(right, everything, out=np.zeros(right.shape), where=everything > 0)
    with np.errstate(invalid="ignore"):
        return precision, right / right[..., :1]


@dataclass
class PixelPrecision:
    """The pixels of a set of images, counted image by image, with bootstrap samples of the images.

    Attributes
    ----------
    count : int
        The number of images of the whole set.
    thresholds : (t,) float64
        As for `pixel_histograms`.
    histograms : (2, t + 2) int64
        The sums over the images that were added.
    """

    count: int
    thresholds: NDArray[np.float64] = field(default_factory=lambda: THRESHOLDS)

    def __post_init__(self) -> None:
        self.histograms = np.zeros((2, len(self.thresholds) + 2), np.int64)
        self._samples = samples(self.count)
        self._sums = np.zeros((len(self._samples), self.histograms.size))
        self._waiting: list[NDArray[np.int64]] = []
        self._added = 0

    def add(self, histograms: NDArray[np.int64]) -> None:
        """Add the `pixel_histograms` of the next image."""
        self.histograms += histograms
        self._waiting.append(histograms.ravel())
        self._added += 1
        # No image's histograms are kept: those of 50,000 images would need 800 MB.
        if len(self._waiting) == _IMAGES_AT_ONCE or self._added == self.count:
            times = self._samples[:, self._added - len(self._waiting) : self._added].astype(np.float64)
            self._sums += times @ np.stack(self._waiting).astype(np.float64)
            self._waiting.clear()

    @property
    def pxap(self) -> float:
        """PxAP of all images, in percent; NaN without object pixels."""
        return float(pxap(self.histograms))

    def interval(self) -> list[float]:
        """Return the 95 % bootstrap interval of PxAP over images, once all were added: two numbers."""
        found = pxap(self._sums.reshape(-1, *self.histograms.shape))
        bounds: list[float] = interval(found[np.isfinite(found)]).tolist()
        return bounds
