"""The accuracies of the WSOL benchmark (CVPR 2020): score maps of the ground-truth class at 1,000 thresholds.

Each map is cut at every threshold, and every contour gives a box. The accuracy is that at the best threshold for the
whole set. MaxBoxAcc uses the largest contour and an IoU of 0.5. MaxBoxAccV2 uses any contour, and is the mean over
IoUs of 0.3, 0.5 and 0.7, each with its own best threshold. Source: Choe et al., "Evaluating Weakly Supervised Object
Localization Methods Right"; docs/wsol.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.maps.boxes import inclusive, iou
from pycam.metrics.intervals import interval, resampled_means

THRESHOLDS = np.arange(0, 1, 0.001)
IOUS = (0.3, 0.5, 0.7)
RULES = ("largest, 0.5", *(f"any, {least}" for least in IOUS))


@dataclass(frozen=True)
class Candidates:
    """The boxes of a map that is cut at every threshold.

    Attributes
    ----------
    size : tuple of int
        Width and height of the map.
    boxes : (c, 4) int64
        Boxes in pixels of the map, half-open, cut by cut.
    starts : (d,) int64
        Position of the first box of each of the d distinct cuts; every cut has at least one box.
    largest : (d,) int64
        Position of the box of each cut's largest contour.
    cut_of_threshold : (1000,) int64
        The cut at each threshold.
    """

    size: tuple[int, int]
    boxes: NDArray[np.int64]
    starts: NDArray[np.int64]
    largest: NDArray[np.int64]
    cut_of_threshold: NDArray[np.int64]


def candidates(score_map: NDArray[np.floating]) -> Candidates:
    """Cut a map, (H, W) in [0, 1], at all thresholds, and return the boxes of the contours above them.

    The map times 255 is truncated to 8 bits, so that at most 256 cuts differ.
    """
    grey = (score_map * 255).astype(np.uint8)
    height, width = grey.shape
    values = np.unique(grey)
    limits = (THRESHOLDS * values[-1]).astype(np.int64)
    lowest_above = np.append(values, 256)[np.searchsorted(values, limits, side="right")]
    cuts, cut_of_threshold = np.unique(lowest_above, return_inverse=True)
    boxes: list[tuple[int, int, int, int]] = []
    starts: list[int] = []
    largest: list[int] = []
    for lowest in cuts:
        foreground = (grey >= lowest).astype(np.uint8)
        contours, _ = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        areas = [cv2.contourArea(contour) for contour in contours] or [0.0]
        starts.append(len(boxes))
        largest.append(len(boxes) + int(np.argmax(areas)))
        for x, y, w, h in [cv2.boundingRect(contour) for contour in contours] or [(0, 0, 0, 0)]:
            # The benchmark uses x + w and y + h, clipped to the map, as the last pixels of a box.
            boxes.append((x, y, min(x + w + 1, width), min(y + h + 1, height)))
    return Candidates(
        (width, height), np.array(boxes), np.array(starts), np.array(largest), cut_of_threshold.reshape(-1)
    )


def box_hits(found: Candidates, boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Compare the boxes of a map with ground-truth boxes.

    Parameters
    ----------
    found : Candidates
        The boxes of the map.
    boxes : (b, 4) int64
        Ground-truth boxes in pixels of the map; without boxes, nothing is a hit.

    Returns
    -------
    (4, 1000) bool
        Hits under each of `RULES` at each threshold: the largest contour at an IoU of 0.5, then any contour at
        0.3, 0.5 and 0.7.
    """
    best = iou(found.boxes[:, None], boxes).max(axis=1, initial=0.0)
    any_contour = np.maximum.reduceat(best, found.starts)
    hits = np.stack([best[found.largest] >= 0.5, *(any_contour >= least for least in IOUS)])
    chosen: NDArray[np.bool_] = hits[:, found.cut_of_threshold]
    return chosen


def scaled(boxes: NDArray[np.int64], size: ArrayLike, map_size: tuple[int, int]) -> NDArray[np.int64]:
    """Scale boxes, (b, 4), from an image's width and height to those of a map, as the benchmark does.

    The benchmark scales the corners in ILSVRC's files, truncates them to whole numbers, and uses both as 0-based pixels
    of the map that belong to the box.
    """
    ends = (inclusive(boxes) * np.tile(map_size, 2) / np.tile(size, 2)).astype(np.int64)
    shrunk: NDArray[np.int64] = ends + np.array([0, 0, 1, 1])
    return shrunk


@dataclass(frozen=True)
class BoxAccuracy:
    """The hits of n images, and their accuracies in percent.

    Attributes
    ----------
    packed : (n, 4, 125) uint8
        The results of `box_hits`, `np.packbits` along the last axis: images, rules in the order of `RULES`, thresholds.
    """

    packed: NDArray[np.uint8]

    def hits(self, rule: int) -> NDArray[np.bool_]:
        """Return the hits under a rule, a position in `RULES`, of each image at each threshold: (n, 1000)."""
        return np.unpackbits(self.packed[:, rule], axis=1).view(bool)

    @cached_property
    def curves(self) -> NDArray[np.float64]:
        """The accuracy under each rule at each threshold: (4, 1000)."""
        return np.stack([self.hits(rule).mean(axis=0) for rule in range(len(RULES))]) * 100

    @property
    def max_box_acc(self) -> float:
        """The accuracy of the largest contour at its best threshold."""
        return float(self.curves[0].max())

    @property
    def max_box_acc_v2(self) -> float:
        """The mean over three IoUs of the accuracy of any contour, each at its best threshold."""
        return float(self.curves[1:].max(axis=1).mean())

    @property
    def best_thresholds(self) -> NDArray[np.float64]:
        """The (first) best threshold of each rule: (4,)."""
        best: NDArray[np.float64] = THRESHOLDS[self.curves.argmax(axis=1)]
        return best

    def samples(self) -> NDArray[np.float64]:
        """Return MaxBoxAcc and MaxBoxAccV2 of bootstrap samples of the images, (1000, 2), each at its best thresholds.

        The samples of two maps of the same images are drawn alike, so that their differences are paired.
        """
        # Rule by rule, because 50,000 images have 200 million hits; the same seed draws the same images for each rule.
        best = np.stack([resampled_means(self.hits(rule)).max(axis=1) for rule in range(len(RULES))], axis=1) * 100
        return np.stack([best[:, 0], best[:, 1:].mean(axis=1)], axis=1)

    def intervals(self) -> NDArray[np.float64]:
        """Return 95 % bootstrap intervals of MaxBoxAcc and MaxBoxAccV2: (2, 2)."""
        return interval(self.samples())
