"""The accuracies of the WSOL benchmark (CVPR 2020): score maps of the true class, judged at 1,000 thresholds.

The maps are cut at each threshold, every contour gives a box, and the threshold that suits the whole set best
counts. MaxBoxAcc takes the largest contour and an overlap of 0.5; MaxBoxAccV2 any contour, and the mean over
overlaps of 0.3, 0.5 and 0.7, each at a best threshold of its own. Source: Choe et al., "Evaluating
Weakly Supervised Object Localization Methods Right"; docs/wsol.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.bootstrap import interval, resampled_means
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.maps.boxes import inclusive, iou

THRESHOLDS = np.arange(0, 1, 0.001)
OVERLAPS = (0.3, 0.5, 0.7)
SIDE = 224
RULES = ("largest, 0.5", *(f"any, {overlap}" for overlap in OVERLAPS))


@dataclass(frozen=True)
class Candidates:
    """The boxes that a map gives when it is cut at every threshold.

    Attributes
    ----------
    size : tuple of int
        Width and height of the map.
    boxes : (c, 4) int64
        In pixels of the map, half-open, cut by cut.
    starts : (d,) int64
        Where the boxes of each of the d distinct cuts begin; every cut has one.
    largest : (d,) int64
        Which box is that of the cut's largest contour.
    cut_of_threshold : (1000,) int64
        The cut that each threshold makes.
    """

    size: tuple[int, int]
    boxes: NDArray[np.int64]
    starts: NDArray[np.int64]
    largest: NDArray[np.int64]
    cut_of_threshold: NDArray[np.int64]


def candidates(score_map: NDArray[np.floating]) -> Candidates:
    """Cut a map, (H, W) in [0, 1], at all thresholds, and box the contours of what lies above.

    The map times 255 is truncated to 8 bits: however many thresholds there are, at most 256 cuts differ.
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
            # The benchmark takes x + w and y + h, where they lie in the map, for the last pixels of a box.
            boxes.append((x, y, min(x + w + 1, width), min(y + h + 1, height)))
    return Candidates(
        (width, height), np.array(boxes), np.array(starts), np.array(largest), cut_of_threshold.reshape(-1)
    )


def box_hits(found: Candidates, boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a map's boxes meet one of the true ones, (b, 4) in the map's own pixels; without any, none do.

    Returns
    -------
    (4, 1000) bool
        At each threshold: the largest contour at an overlap of 0.5, then any contour at 0.3, 0.5 and 0.7.
    """
    best = iou(found.boxes[:, None], boxes).max(axis=1, initial=0.0)
    any_contour = np.maximum.reduceat(best, found.starts)
    right = np.stack([best[found.largest] >= 0.5, *(any_contour >= least for least in OVERLAPS)])
    chosen: NDArray[np.bool_] = right[:, found.cut_of_threshold]
    return chosen


def packed(hits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack what `box_hits` says of an image to bits, as `BoxAccuracy` takes it: (4, 1000) -> (4, 125)."""
    return np.packbits(hits, axis=-1)


def scaled(boxes: NDArray[np.int64], size: ArrayLike, map_size: tuple[int, int]) -> NDArray[np.int64]:
    """Scale boxes, (b, 4), from an image's width and height to a map's, as the benchmark does.

    It scales the corners that ILSVRC's files hold, truncates them to whole numbers, and takes both for pixels of the
    map, 0-based, that belong to the box.
    """
    ends = (inclusive(boxes) * np.tile(map_size, 2) / np.tile(size, 2)).astype(np.int64)
    shrunk: NDArray[np.int64] = ends + np.array([0, 0, 1, 1])
    return shrunk


@dataclass(frozen=True)
class BoxAccuracy:
    """What `box_hits` says of n images, and the accuracies that follow, in percent.

    Attributes
    ----------
    packed : (n, 4, 125) uint8
        What it says of each, to bits: images, rules in the order of `RULES`, thresholds.
    """

    packed: NDArray[np.uint8]

    def hits(self, rule: int) -> NDArray[np.bool_]:
        """Whether each image is right under a rule, a position in `RULES`, at each threshold: (n, 1000)."""
        return np.unpackbits(self.packed[:, rule], axis=1).view(bool)

    @cached_property
    def curves(self) -> NDArray[np.float64]:
        """Accuracy under each rule at each threshold: (4, 1000)."""
        return np.stack([self.hits(rule).mean(axis=0) for rule in range(len(RULES))]) * 100

    @property
    def max_box_acc(self) -> float:
        """Accuracy of the largest contour at its best threshold."""
        return float(self.curves[0].max())

    @property
    def max_box_acc_v2(self) -> float:
        """Accuracy of any contour at the best threshold of each overlap, the mean of the three."""
        return float(self.curves[1:].max(axis=1).mean())

    @property
    def best_thresholds(self) -> NDArray[np.float64]:
        """The (first) best threshold of each rule: (4,)."""
        best: NDArray[np.float64] = THRESHOLDS[self.curves.argmax(axis=1)]
        return best

    def intervals(self) -> NDArray[np.float64]:
        """95 % bootstrap intervals of MaxBoxAcc and MaxBoxAccV2, (2, 2): images drawn, threshold free."""
        # Rule by rule, for 50,000 images are 200 million verdicts; the same seed draws the same images for each.
        best = np.stack([resampled_means(self.hits(rule)).max(axis=1) for rule in range(len(RULES))], axis=1) * 100
        return interval(np.stack([best[:, 0], best[:, 1:].mean(axis=1)], axis=1))


def score_maps(maps: Iterable[NDArray[np.floating]], truth: GroundTruth) -> BoxAccuracy:
    """Judge a map of the true class for each image that is not blacklisted, in the order of the truth.

    Parameters
    ----------
    maps : iterable of (H, W) float arrays in [0, 1]
        Of any size: the true boxes are scaled to it.
    truth : GroundTruth
        With boxes and sizes.
    """
    return _score(map(candidates, maps), truth)


def center_gaussian(truth: GroundTruth) -> BoxAccuracy:
    """Judge the same map for every image: an isotropic Gaussian in the middle of 224×224."""
    steps = np.arange(SIDE) - (SIDE - 1) / 2
    profile = np.exp(-(steps**2) / (2 * (SIDE / 4) ** 2))
    gaussian = np.outer(profile, profile)
    return _same_map(gaussian / gaussian.max(), truth)


def whole_image(truth: GroundTruth) -> BoxAccuracy:
    """Judge the box of the whole image, whatever the threshold."""
    return _same_map(np.ones((SIDE, SIDE)), truth)


def _same_map(score_map: NDArray[np.floating], truth: GroundTruth) -> BoxAccuracy:
    return _score(repeat(candidates(score_map), len(truth.counted)), truth)


def _score(found: Iterable[Candidates], truth: GroundTruth) -> BoxAccuracy:
    if not (truth.has_boxes and truth.has_sizes):
        lacking = "sizes" if truth.has_boxes else "boxes"
        raise GroundTruthError(f"the ground truth has no image {lacking}, by which maps are judged")
    if not len(truth.counted):
        raise GroundTruthError("every image is on the blacklist: there is none to judge maps by")
    verdicts = [
        packed(box_hits(boxes, scaled(truth.boxes_of(image), truth.sizes[image], boxes.size)))
        for image, boxes in zip(truth.counted.tolist(), found, strict=True)
    ]
    return BoxAccuracy(np.stack(verdicts))
