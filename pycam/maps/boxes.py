"""Boxes: the paper's rule and the released generator that find them in maps, and how well two of them agree.

A box is (x0, y0, x1, y1) in image pixels, 0-based, half-open: x1 and y1 are the first pixels outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError

Box = tuple[int, int, int, int]
Boxes = NDArray[np.intp]
Mask = NDArray[np.uint8]

RELEASED_THRESHOLDS = (20, 100, 110)
"""What the release's ILSVRC scripts pass to the box generator."""

OWN_THRESHOLDS = (30, 90, 150)
"""What the released box generator falls back on by itself."""

RIGHT_IOU = 0.5
"""A box is right if its IoU with a true box is at least this."""


def paper_box(map: NDArray[Any], threshold: float = 0.2) -> Box:
    """Box the largest region of a map whose values reach a fraction of its maximum.

    Parameters
    ----------
    map : (H, W)
        A class's map at the image's size.
    threshold : float
        A value of at least `threshold` times the maximum is foreground.

    Returns
    -------
    (x0, y0, x1, y1)
        Image pixels, 0-based, half-open: of the 8-connected component with most pixels, the first in raster
        order on a tie. A map whose maximum is not positive gives the whole image.
        Zhou et al., CVPR 2016, section 3.2; docs/release.md, section 5.

    Raises
    ------
    UsageError
        The map is not two-dimensional or not finite.
    """
    map = np.asarray(map)
    if map.dtype.kind != "f":
        map = map.astype(np.float64)
    if map.ndim != 2 or not map.size or not np.isfinite(peak := map.max()):
        raise UsageError(f"paper_box: a map of shape {map.shape} came, expected (H, W), all values finite")
    height, width = map.shape
    if peak <= 0:
        return 0, 0, width, height
    # In the map's own precision, so that a float32 value equal to the threshold is not lost to a float64 one.
    foreground = (map >= map.dtype.type(threshold) * peak).astype(np.uint8)
    count, labels = cv2.connectedComponents(foreground, connectivity=8)
    if count > 2:  # the background is one
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        # Of equally large regions the first counts, but their labels are not in that order.
        largest = np.flatnonzero(areas == areas.max())
        chosen = largest[0] if len(largest) == 1 else labels.flat[np.isin(labels, largest).argmax()]
        foreground = (labels == chosen).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(foreground)
    return x, y, x + w, y + h


def released_boxes(heatmap: NDArray[np.uint8], thresholds: Sequence[int] = RELEASED_THRESHOLDS) -> Boxes:
    """Find boxes in a grey heat map as the release's box generator does.

    Parameters
    ----------
    heatmap : (H, W) uint8
        As the release writes it, see `grey_heatmap`.
    thresholds : three ints
        0 < t0 < t1 < t2 < 255.

    Returns
    -------
    (n, 4) int
        x, y, width, height in pixels, 0-based, large areas first, of equal areas the first found; none for an
        empty heat map. The release uses them as corners (x, y, x + width, y + height).
        docs/release.md, section 5.

    Raises
    ------
    UsageError
        The heat map is not grey 8-bit, or the thresholds are not in order.
    """
    heatmap = np.asarray(heatmap)
    if heatmap.ndim != 2 or heatmap.dtype != np.uint8 or not heatmap.size:
        raise UsageError(
            f"released_boxes: a {heatmap.dtype} heat map of shape {heatmap.shape} came, expected (H, W) uint8"
        )
    if len(thresholds) != 3 or not 0 < thresholds[0] < thresholds[1] < thresholds[2] < 255:
        raise UsageError(
            f"released_boxes: thresholds {', '.join(map(str, thresholds))} came, "
            "expected three that rise, above 0 and below 255"
        )
    found = [box for threshold in thresholds for box in _contour_boxes(_core(heatmap, threshold))]
    boxes = np.array(found, np.intp).reshape(-1, 4)
    return _suppressed(boxes[np.argsort(-boxes[:, 2:].prod(axis=1), kind="stable")])


def grey_heatmap(map: NDArray[Any], *, jpeg: bool = True) -> Mask:
    """Turn a merged map into the grey heat map that the released box generator reads.

    Parameters
    ----------
    map : (H, W)
        A class's merged map at the image's size.
    jpeg : bool
        Pass through the JPEG file, of quality 75, that the release writes in between.

    Returns
    -------
    (H, W) uint8
        255 is the maximum; all 0 where the maximum is not positive. docs/release.md, section 4.
    """
    peak = float(np.max(map))
    grey = np.clip(np.asarray(map) / peak, 0, 1) * 255 + 0.5 if peak > 0 else np.zeros(np.shape(map))
    heatmap: Mask = grey.astype(np.uint8)
    if jpeg:
        _, encoded = cv2.imencode(".jpg", heatmap, [cv2.IMWRITE_JPEG_QUALITY, 75])
        heatmap = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return heatmap


def corners(boxes: ArrayLike) -> Boxes:
    """Return the half-open boxes x, y, x + width, y + height of (..., 4) boxes x, y, width, height."""
    given = np.asarray(boxes, np.intp)
    return np.concatenate([given[..., :2], given[..., :2] + given[..., 2:]], axis=-1)


_FROM_ONE = np.array([1, 1, 0, 0])


def half_open(boxes: ArrayLike) -> NDArray[Any]:
    """Return the half-open boxes, (..., 4), that hold the pixels of boxes in the form of ILSVRC's files.

    These give xmin, ymin, xmax, ymax: pixels count from 1, and both corners belong to the box.
    """
    return np.asarray(np.subtract(boxes, _FROM_ONE))


def inclusive(boxes: ArrayLike) -> NDArray[Any]:
    """Return half-open boxes, (..., 4), in the form of ILSVRC's files: the inverse of `half_open`."""
    return np.asarray(np.add(boxes, _FROM_ONE))


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of half-open boxes.

    Parameters
    ----------
    a, b : (..., 4)
        Whole or fractional pixels; the leading dimensions broadcast.

    Returns
    -------
    (...) float64
        In [0, 1]; 0 where two boxes share nothing or one of them is empty, never NaN.
    """
    shared = shared_area(a, b)
    union = shared_area(a, a) + shared_area(b, b) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=shared > 0)


def shared_area(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the area of the intersection of half-open boxes, as `iou`; of a box with itself, its area."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    width, height = np.moveaxis(np.maximum(sides, 0), -1, 0)
    return np.asarray(width * height)


@dataclass(frozen=True)
class BoxRule:
    """How a class's map becomes boxes.

    Attributes
    ----------
    thresholds : three ints or None
        Those of the released generator; None for the paper's rule.
    jpeg : bool
        Whether the released generator reads the JPEG file that the release writes, or the heat map as it is.
    blur : float
        Before the paper's rule, a Gaussian smooths the map: its standard deviation, as a part of the shorter side.
    """

    thresholds: tuple[int, int, int] | None = None
    jpeg: bool = True
    blur: float = 0.0

    def boxes(self, map: NDArray[Any]) -> Boxes:
        """Find the boxes of a map, (H, W) at the image's size: (n, 4), half-open, best first.

        The paper's rule gives one box. The released generator gives any number, none for an empty map.
        """
        if self.thresholds is None:
            smooth = cv2.GaussianBlur(map, (0, 0), self.blur * min(map.shape)) if self.blur else map
            return np.array([paper_box(smooth)], np.intp)
        return corners(released_boxes(grey_heatmap(map, jpeg=self.jpeg), self.thresholds))


BOX_RULES = {
    "paper": BoxRule(),
    "released": BoxRule(RELEASED_THRESHOLDS),
    "released_30_90_150": BoxRule(OWN_THRESHOLDS),
    "released_no_jpeg": BoxRule(RELEASED_THRESHOLDS, jpeg=False),
    # A gradient at the pixels is a cloud of points, which no threshold connects.
    "smoothed": BoxRule(blur=0.035),
}
"""The rules by the names that protocols call them."""


def first_box(map: NDArray[Any], rule: str) -> Box | None:
    """Give the first box that a rule of `BOX_RULES` finds in a map, (H, W) at the image's size; None for none."""
    for x0, y0, x1, y1 in BOX_RULES[rule].boxes(map)[:1].tolist():
        return x0, y0, x1, y1
    return None


def _core(heatmap: NDArray[np.uint8], threshold: int) -> Mask:
    """Step 1: keep the foreground that lies deep enough, as 0 and 255."""
    foreground = _mask(heatmap > threshold)
    x, y, w, h = cv2.boundingRect(foreground)
    if w == 0 or foreground.all():
        return foreground
    # Distances need the foreground and one background pixel around it, no more.
    around = np.s_[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1]
    depth = cv2.distanceTransform(foreground[around], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The release scales depths to 0…255, rounds halves up and keeps what is above 10.
    foreground[around] = _mask(depth * (255 / float(depth.max())) >= 10.5)
    return foreground


def _mask(chosen: NDArray[np.bool_]) -> Mask:
    mask: Mask = chosen.view(np.uint8) * np.uint8(255)
    return mask


def _contour_boxes(mask: Mask) -> list[Box]:
    """Step 2: the bounding rectangles of all contours, outer ones and holes, clamped as the release does."""
    height, width = mask.shape
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append((_clamp(x, width - 5), _clamp(y, height - 5), _clamp(w, width - x - 5), _clamp(h, height - y - 5)))
    return boxes


def _clamp(value: int, high: int) -> int:
    # With a negative bound the release gives the bound, and 0 for values below 0: not what min and max give.
    return 0 if value < 0 else min(value, high)


def _suppressed(boxes: Boxes) -> Boxes:
    """Step 4: drop boxes that overlap a larger one too much; the box after a dropped one is not looked at."""
    i = 0
    while i < len(boxes):
        areas, extents = boxes[:, 2:].prod(axis=1), corners(boxes)
        too_much = shared_area(extents, extents[i]) > np.trunc(0.5 * np.maximum(areas, areas[i]))
        kept = np.ones(len(boxes), bool)
        for j in i + 1 + np.flatnonzero(too_much[i + 1 :]):
            kept[j] = not kept[j - 1]
        boxes = boxes[kept]
        i += 1
    return boxes
