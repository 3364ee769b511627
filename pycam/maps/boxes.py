"""Boxes: find them in maps, convert them, and compute their IoU.

A box is (x0, y0, x1, y1) in image pixels, 0-based, half-open: x1 and y1 are the first pixels outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import ImageError, UsageError
from pycam.images.blocks import row_blocks
from pycam.images.files import JPEG_SIDE

Box = tuple[int, int, int, int]
Boxes = NDArray[np.intp]
Mask = NDArray[np.uint8]

RELEASED_THRESHOLDS = (20, 100, 110)
"""The thresholds that the release's ILSVRC scripts pass to the box generator."""

OWN_THRESHOLDS = (30, 90, 150)
"""The default thresholds of the released box generator."""

RIGHT_IOU = 0.5
"""The least IoU with a ground-truth box at which a box is correct."""


def paper_box(map: NDArray[Any], threshold: float = 0.2) -> Box:
    """Return the box of the largest connected region of a map above a fraction of its maximum.

    Parameters
    ----------
    map : (H, W)
        The map of a class at the image's size.
    threshold : float
        From 0 to 1. A pixel is foreground if its value is at least `threshold` times the maximum.

    Returns
    -------
    (x0, y0, x1, y1)
        Image pixels, 0-based, half-open. Regions are 8-connected; the largest has the most pixels. If several are
        equally large, the first in raster order counts. If no value is positive, the box is the whole image.
        Zhou et al., CVPR 2016, section 3.2; docs/release.md, section 5.

    Raises
    ------
    UsageError
        The map is not two-dimensional or not finite, or the threshold is outside its range.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"paper_box: threshold is {threshold}; expected a number from 0 to 1")
    map = np.asarray(map)
    if map.dtype.kind != "f":
        map = map.astype(np.float64)
    if map.ndim != 2 or not map.size or not np.isfinite(peak := map.max()):
        raise UsageError(f"paper_box: got a map of shape {map.shape}; expected (H, W), all values finite")
    height, width = map.shape
    if peak <= 0:
        return 0, 0, width, height
    # In the precision of the map: a float32 value at the threshold can lie below the float64 threshold.
    foreground = (map >= map.dtype.type(threshold) * peak).view(np.uint8)
    left, top, width, height = cv2.boundingRect(foreground)
    # Labels take most of the time, and outside there is only background.
    foreground = foreground[top : top + height, left : left + width]
    count, labels = cv2.connectedComponents(foreground, connectivity=8)
    if count > 2:  # one of them is the background
        blocks = row_blocks(height, width)  # NumPy counts in a copy of 64 bits
        areas = sum((np.bincount(labels[rows].ravel(), minlength=count) for rows in blocks), np.zeros(count, np.intp))
        areas[0] = 0
        # Labels are not in raster order, so the first of equally large regions is searched for.
        largest = np.flatnonzero(areas == areas.max())
        chosen = largest[0] if len(largest) == 1 else labels.flat[np.isin(labels, largest).argmax()]
        x, y, width, height = cv2.boundingRect((labels == chosen).view(np.uint8))
        left, top = left + x, top + y
    return left, top, left + width, top + height


def released_boxes(heatmap: NDArray[np.uint8], thresholds: Sequence[int] = RELEASED_THRESHOLDS) -> Boxes:
    """Return the boxes that the release's box generator finds in a grey heat map.

    Parameters
    ----------
    heatmap : (H, W) uint8
        A heat map from `grey_heatmap`.
    thresholds : three ints
        0 < t0 < t1 < t2 < 255.

    Returns
    -------
    (n, 4) int
        x, y, width, height in pixels, 0-based. The largest area comes first; boxes of equal area keep the order in
        which they were found. An empty heat map has no boxes. The release uses them as corners
        (x, y, x + width, y + height). docs/release.md, section 5.

    Raises
    ------
    UsageError
        The heat map is not grey 8-bit, or the thresholds are not in order.
    """
    heatmap = np.asarray(heatmap)
    if heatmap.ndim != 2 or heatmap.dtype != np.uint8 or not heatmap.size:
        raise UsageError(
            f"released_boxes: got a {heatmap.dtype} heat map of shape {heatmap.shape}; expected (H, W) uint8"
        )
    if len(thresholds) != 3 or not 0 < thresholds[0] < thresholds[1] < thresholds[2] < 255:
        raise UsageError(
            f"released_boxes: got thresholds {', '.join(map(str, thresholds))}; "
            "expected three increasing numbers between 0 and 255"
        )
    boxes = np.vstack([_contour_boxes(_core(heatmap, threshold)) for threshold in thresholds])
    return _suppressed(boxes[np.argsort(-boxes[:, 2:].prod(axis=1), kind="stable")])


def grey_heatmap(map: NDArray[Any], *, jpeg: bool = True) -> Mask:
    """Convert a merged map to the grey heat map that the released box generator reads.

    Parameters
    ----------
    map : (H, W)
        The merged map of a class at the image's size.
    jpeg : bool
        Whether to encode and decode the heat map as a JPEG of quality 75. The release writes such a file.

    Returns
    -------
    (H, W) uint8
        255 is the maximum; all 0 if the maximum is not positive. docs/release.md, section 4.

    Raises
    ------
    ImageError
        The map is longer or wider than a JPEG can be.
    """
    map = np.asarray(map)
    if jpeg and max(map.shape) > JPEG_SIDE:
        raise ImageError(
            f"a map of {map.shape[1]}×{map.shape[0]} cannot be the JPEG that the release saves, which has at most "
            f"{JPEG_SIDE:,} on a side: cut the image into parts, or choose box rule released_no_jpeg"
        )
    peak = float(np.max(map))
    heatmap: Mask = np.zeros(map.shape, np.uint8)
    for rows in row_blocks(*map.shape) if peak > 0 else ():
        heatmap[rows] = np.clip(map[rows] / peak, 0, 1) * 255 + 0.5
    if jpeg:
        _, encoded = cv2.imencode(".jpg", heatmap, [cv2.IMWRITE_JPEG_QUALITY, 75])
        heatmap = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return heatmap


def corners(boxes: ArrayLike) -> Boxes:
    """Convert boxes x, y, width, height, (..., 4), to half-open boxes x, y, x + width, y + height."""
    given = np.asarray(boxes, np.intp)
    return np.concatenate([given[..., :2], given[..., :2] + given[..., 2:]], axis=-1)


_FROM_ONE = np.array([1, 1, 0, 0])


def half_open(boxes: ArrayLike) -> NDArray[Any]:
    """Convert boxes from the form of ILSVRC's files, (..., 4), to half-open boxes.

    ILSVRC's files give xmin, ymin, xmax, ymax: 1-based, both corners included.
    """
    return np.asarray(np.subtract(boxes, _FROM_ONE))


def inclusive(boxes: ArrayLike) -> NDArray[Any]:
    """Convert half-open boxes, (..., 4), to the form of ILSVRC's files; the inverse of `half_open`."""
    return np.asarray(np.add(boxes, _FROM_ONE))


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the intersection over union of half-open boxes.

    Parameters
    ----------
    a, b : (..., 4)
        Integer or fractional pixels; the leading dimensions broadcast.

    Returns
    -------
    (...) float64
        In [0, 1], never NaN; 0 if the boxes do not intersect or one of them is empty.
    """
    shared = shared_area(a, b)
    union = shared_area(a, a) + shared_area(b, b) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=shared > 0)


def shared_area(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the area of the intersection of half-open boxes, (..., 4) each; for equal boxes, their area.

    The parameters are those of `iou`.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    width, height = np.moveaxis(np.maximum(sides, 0), -1, 0)
    return np.asarray(width * height)


def _core(heatmap: NDArray[np.uint8], threshold: int) -> Mask:
    """Return a mask, 0 and 255, of the foreground pixels that are far enough from the background (step 1)."""
    foreground: Mask = np.where(heatmap > threshold, np.uint8(255), np.uint8(0))
    x, y, w, h = cv2.boundingRect(foreground)
    if w == 0 or foreground.all():
        return foreground
    # The border of one background pixel is enough for exact distances.
    around = np.s_[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1]
    depth = cv2.distanceTransform(foreground[around], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The release scales distances to 0…255, rounds halves up and keeps values above 10.
    foreground[around] = np.where(depth * (255 / float(depth.max())) >= 10.5, 255, 0)
    return foreground


def _contour_boxes(mask: Mask) -> Boxes:
    """Return the bounding rectangles of all contours, outer ones and holes, clamped as in the release (step 2)."""
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(contour) for contour in contours], np.intp).reshape(-1, 4)
    start, limit = boxes[:, :2], np.array(mask.shape[::-1]) - 5
    return np.hstack([np.minimum(start, limit), np.minimum(boxes[:, 2:], limit - start)])


def _suppressed(boxes: Boxes) -> Boxes:
    """Drop boxes whose intersection with a larger one is too large (step 4).

    As in the release, the box after a dropped one is not compared.
    """
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
