"""Box accuracies at all thresholds: those of the WSOL benchmark (CVPR 2020), and localization.

A map of the ground-truth class is cut at every threshold, and every contour gives a box. A threshold is chosen for the
whole set, never for an image. Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right";
docs/wsol.md.

With b(i, t) the box of the largest contour of map i at threshold t, B(i, t) the boxes of all its contours, and G(i) the
ground-truth boxes of image i:

- accuracy of the largest contour at an IoU of d: 100 · mean over i of [max over g in G(i) of IoU(b(i, t), g) ≥ d]
- accuracy of any contour: the same with the best IoU of all boxes in B(i, t)
- MaxBoxAcc = max over t of the largest contour's accuracy at 0.5
- MaxBoxAccV2 = mean over d = 0.3, 0.5, 0.7 of the max over t of any contour's accuracy
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.maps.boxes import inclusive, iou
from pycam.metrics.intervals import interval, resampled_means

IOUS = (0.3, 0.5, 0.7)
RULES = ("largest, 0.5", *(f"any, {least}" for least in IOUS), "largest, 0.3", "largest, 0.7")
"""Which contours count, and from which IoU on a box is correct. The first is MaxBoxAcc's, the next three are V2's."""


def thresholds(step: float = 0.001) -> NDArray[np.float64]:
    """Return the thresholds 0, step, 2 · step, … below 1: (round(1 / step),)."""
    return np.multiply(np.arange(round(1 / step)), step, dtype=np.float64)


THRESHOLDS = thresholds()


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
    cut_of_threshold : (t,) int64
        The cut at each threshold.
    """

    size: tuple[int, int]
    boxes: NDArray[np.int64]
    starts: NDArray[np.int64]
    largest: NDArray[np.int64]
    cut_of_threshold: NDArray[np.int64]


def grey_levels(score_map: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a map in 8 bits, as the benchmark cuts it.

    Floating point in [0, 1] is multiplied by 255 and truncated; 8 bits stay as they are. Numbers of half precision are
    multiplied in double precision, others in their own.
    """
    if score_map.dtype == np.uint8:
        return np.ascontiguousarray(score_map)
    wide = score_map.astype(np.float64) if score_map.dtype.itemsize < 4 else score_map
    return np.ascontiguousarray(wide * 255, np.uint8)


def checked_map(score_map: ArrayLike) -> NDArray[Any]:
    """Return a map as an array.

    Raises
    ------
    UsageError
        It is not (H, W) of floating point in [0, 1], or of uint8.
    """
    given = np.asarray(score_map)
    if given.ndim != 2 or not given.size or not (given.dtype.kind == "f" or given.dtype == np.uint8):
        raise UsageError(f"a map of shape {given.shape}, {given.dtype}; (H, W) of floating point or uint8 was expected")
    if given.dtype != np.uint8 and not (given.min() >= 0 and given.max() <= 1):
        fix = ": (map - map.min()) / (map.max() - map.min()) has these" if np.isfinite(given).all() else ""
        found = f"values from {given.min():g} to {given.max():g}"
        raise UsageError(f"a map with {found}; finite ones in [0, 1] were expected{fix}")
    return given


def candidates(score_map: NDArray[Any], at: NDArray[np.float64] = THRESHOLDS) -> Candidates:
    """Cut a map at all thresholds, and return the boxes of the contours above them.

    Parameters
    ----------
    score_map : (H, W) floating point in [0, 1], or uint8
        A map in 8 bits, k, is the map k / 255.
    at : (t,) float64
        The thresholds, in [0, 1).

    Returns
    -------
    Candidates
        At most 256 cuts differ. Contours are those of OpenCV's `findContours`; the largest has the largest
        `contourArea`, the first in its order (`RETR_TREE`) if several have.

    Raises
    ------
    UsageError
        As `checked_map`.
    """
    grey = grey_levels(checked_map(score_map))
    height, width = grey.shape
    shapes = _Shapes.of(grey)
    values = np.flatnonzero(shapes.pixels)
    limits = (at * values[-1]).astype(np.int64)
    lowest_above = np.append(values, 256)[np.searchsorted(values, limits, side="right")]
    cuts, cut_of_threshold = np.unique(lowest_above, return_inverse=True)
    boxes, areas, counts = _contours(grey, shapes, cuts)
    starts = np.cumsum(counts) - counts
    # The benchmark uses x + w and y + h, clipped to the map, as the last pixels of a box.
    boxes[:, 2:] = np.minimum(boxes[:, 2:] + 1, (width, height))
    first = np.flatnonzero(areas == np.repeat(np.maximum.reduceat(areas, starts), counts))
    largest = first[np.searchsorted(first, starts)]
    return Candidates((width, height), boxes, starts, largest, cut_of_threshold.reshape(-1))


@dataclass(frozen=True)
class _Shapes:
    """What is known of the foregrounds of an 8-bit map, one per level v: the pixels ≥ v, v = 0…256, without contours.

    Attributes
    ----------
    pixels : (256,) int64
        The number of pixels of each value.
    euler : list of int
        Components (8-connected) minus holes (4-connected) of each foreground.
    peaks : list of int
        The number of regional maxima in each foreground. Every component has at least one.
    extents : (256, 4) int64
        The box around each foreground, half-open.
    """

    pixels: NDArray[np.int64]
    euler: list[int]
    peaks: list[int]
    extents: NDArray[np.int64]

    @classmethod
    def of(cls, grey: NDArray[np.uint8]) -> _Shapes:
        pixels = _histogram(grey)
        # Each pixel is a closed square. A side or a corner has the largest value of the pixels that it belongs to.
        padded = cv2.copyMakeBorder(grey, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        upright, level = cv2.max(padded[:, 1:], padded[:, :-1]), cv2.max(padded[1:], padded[:-1])
        corners = cv2.max(upright[1:], upright[:-1])
        euler = pixels - _histogram(upright[1:-1]) - _histogram(level[:, 1:-1]) + _histogram(corners)
        return cls(pixels, _at_least(euler), _at_least(_regional_maxima(grey)), _extents(grey))


_SQUARE = np.ones((3, 3), np.uint8)


def _histogram(grey: NDArray[Any]) -> NDArray[np.int64]:
    return np.bincount(grey.ravel(), minlength=256)


def _at_least(histogram: NDArray[np.int64]) -> list[int]:
    """Return the sums over all values from each one on; 0 for value 256."""
    return [*histogram[::-1].cumsum()[::-1].tolist(), 0]


def _regional_maxima(grey: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the plateaus without a brighter neighbour, by their value: (256,)."""
    tops = cv2.compare(grey, cv2.dilate(grey, _SQUARE), cv2.CMP_EQ)
    count, labels = cv2.connectedComponents(tops, connectivity=8)
    # A plateau also touches equal pixels that are no tops, if one of these has a brighter neighbour.
    beside = cv2.dilate(cv2.bitwise_and(grey, cv2.bitwise_not(tops)), _SQUARE)
    where = np.flatnonzero(tops)
    label, value = labels.ravel()[where], grey.ravel()[where]
    values = np.zeros(count, np.int64)
    values[label] = value
    regional = np.arange(count) > 0
    regional[label[beside.ravel()[where] == value]] = False
    return np.bincount(values[regional], minlength=256)


def _extents(grey: NDArray[np.uint8]) -> NDArray[np.int64]:
    levels = np.arange(256, dtype=np.uint8)
    sides = []
    for profile in (grey.max(axis=0), grey.max(axis=1)):
        first, last = (np.searchsorted(np.maximum.accumulate(each), levels) for each in (profile, profile[::-1]))
        sides.append((first, len(profile) - last))
    (x0, x1), (y0, y1) = sides
    return np.stack([x0, y0, x1, y1], axis=1)


def _contours(
    grey: NDArray[np.uint8], shapes: _Shapes, cuts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the box, half-open, and twice the area of every contour, and the number of contours of each cut.

    A foreground without contours has the box of no pixels at 0, 0. A foreground with one component and no hole has one
    contour, in the box around all its pixels. Its number of components is known without contours: it cannot grow from a
    level to a lower one if there is no regional maximum in between. The Euler number then gives that of its holes.
    """
    counts = np.ones(len(cuts), np.int64)
    alone = np.ones(len(cuts), bool)
    extents = shapes.extents.tolist()
    found: list[NDArray[np.int32]] = []
    components = peaks = 0
    for cut in range(len(cuts) - 1, -1, -1):
        lowest = int(cuts[cut])
        if lowest == 256:
            continue
        if shapes.peaks[lowest] == 1:
            components = 1
        elif shapes.peaks[lowest] != peaks:
            components = 0  # unknown
        peaks = shapes.peaks[lowest]
        if components == shapes.euler[lowest] == 1:
            continue
        x0, y0, x1, y1 = extents[lowest]
        _, foreground = cv2.threshold(grey[y0:y1, x0:x1], lowest - 1, 1, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
        components = (len(contours) + shapes.euler[lowest]) // 2
        counts[cut], alone[cut] = len(contours), False
        found[:0] = contours
    starts = np.cumsum(counts) - counts
    boxes, areas = np.zeros((counts.sum(), 4), np.int64), np.zeros(counts.sum(), np.int64)
    some = alone & (cuts < 256)
    boxes[starts[some]] = shapes.extents[cuts[some]]
    if found:
        others = np.repeat(~alone, counts)
        boxes[others], areas[others] = _measures(found)
    return boxes, areas, counts


def _measures(contours: list[NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the box, half-open, and twice the area of each contour, as `cv2.boundingRect` and `cv2.contourArea` do."""
    lengths = np.fromiter(map(len, contours), np.int64, len(contours))
    starts = np.cumsum(lengths) - lengths
    points = np.concatenate(contours)[:, 0].astype(np.int64)
    following = np.arange(1, len(points) + 1)
    following[starts + lengths - 1] = starts
    x, y = points.T
    areas = np.abs(np.add.reduceat(x * y[following] - x[following] * y, starts))
    boxes = np.hstack([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts) + 1])
    return boxes, areas


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
    (6, t) bool
        Hits under each of `RULES` at each threshold.
    """
    best = iou(found.boxes[:, None], boxes).max(axis=1, initial=0.0)
    largest, any_contour = best[found.largest], np.maximum.reduceat(best, found.starts)
    hits = np.stack([largest >= 0.5, *(any_contour >= least for least in IOUS), largest >= IOUS[0], largest >= IOUS[2]])
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
    packed : (n, r, ceil(t / 8)) uint8
        The results of `box_hits`, `np.packbits` along the last axis: images, the first r of `RULES`, thresholds.
    thresholds : (t,) float64
        The thresholds.
    """

    packed: NDArray[np.uint8]
    thresholds: NDArray[np.float64] = field(default_factory=lambda: THRESHOLDS)

    def hits(self, rule: int) -> NDArray[np.bool_]:
        """Return the hits under a rule, a position in `RULES`, of each image at each threshold: (n, t)."""
        return np.unpackbits(self.packed[:, rule], axis=1, count=len(self.thresholds)).view(bool)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of images with a hit under each rule at each threshold: (r, t)."""
        return np.stack([self.hits(rule).sum(axis=0) for rule in range(self.packed.shape[1])])

    @cached_property
    def curves(self) -> NDArray[np.float64]:
        """The accuracy under each rule at each threshold: (r, t)."""
        shares: NDArray[np.float64] = self.counts * 100 / len(self.packed)
        return shares

    @property
    def max_box_acc(self) -> float:
        """The accuracy of the largest contour at its best threshold."""
        return float(self.curves[0].max())

    @property
    def max_box_acc_v2(self) -> dict[str, float]:
        """The accuracy of any contour at IoUs of "30", "50", "70" percent, each at its best threshold; their "mean"."""
        return _v2(self.curves[1:4].max(axis=1))

    @property
    def best(self) -> NDArray[np.int64]:
        """The position of the (first) best threshold of each rule: (r,)."""
        first: NDArray[np.int64] = self.counts.argmax(axis=1)
        return first

    @property
    def best_thresholds(self) -> NDArray[np.float64]:
        """The (first) best threshold of each rule: (r,)."""
        best: NDArray[np.float64] = self.thresholds[self.best].round(12)
        return best

    def at(self, positions: ArrayLike) -> dict[str, Any]:
        """Return the accuracies at given thresholds, such as those that are best on another set.

        Parameters
        ----------
        positions : (4,) int
            Positions of the thresholds for the largest contour at 0.5, and for any contour at 0.3, 0.5 and 0.7.

        Returns
        -------
        dict
            "box_acc" and "box_acc_v2", in the form of `max_box_acc` and `max_box_acc_v2`.
        """
        chosen = self.curves[np.arange(4), np.asarray(positions)]
        return {"box_acc": float(chosen[0]), "box_acc_v2": _v2(chosen[1:])}

    def samples(self) -> NDArray[np.float64]:
        """Return the accuracies of bootstrap samples of the images, each at its best thresholds.

        The samples of two sets of maps of the same images are drawn alike, so that their differences are paired.

        Returns
        -------
        (1000, 5) float64
            MaxBoxAcc, then MaxBoxAccV2 in the order of `V2`.
        """
        # Rule by rule, because 50,000 images have 200 million hits; the same seed draws the same images for each rule.
        best = np.stack([resampled_means(self.hits(rule)).max(axis=1) for rule in range(4)], axis=1) * 100
        return np.column_stack([best, best[:, 1:].mean(axis=1)])

    def intervals(self) -> dict[str, Any]:
        """Return 95 % bootstrap intervals of both accuracies, in the same form; each sample has its best thresholds."""
        bounds = interval(self.samples()).tolist()
        return {"max_box_acc": bounds[0], "max_box_acc_v2": dict(zip(V2, bounds[1:], strict=True))}


V2 = ("30", "50", "70", "mean")
"""The keys of MaxBoxAccV2: IoUs in percent, and the mean over them."""


def _v2(accuracies: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(V2, [*accuracies.tolist(), float(accuracies.mean())], strict=True))
