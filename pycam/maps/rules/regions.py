"""Steps that several rules share: 8 bits, foreground, contours, and the change between two sizes of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.images.resize import resize
from pycam.images.scaling import min_max_scale
from pycam.maps.boxes import Boxes, Mask, corners

Size = tuple[int, int]
"""Width and height."""

CROP: Size = (224, 224)
"""The size to which most programs bring a map: that of their crops."""


def eight_bits(map: NDArray[Any]) -> Mask:
    """Convert a map in [0, 1] to 8 bits: the value times 255, truncated, in the precision of the map."""
    return np.asarray(map * map.dtype.type(255)).astype(np.uint8)


def above(grey: Mask, threshold: float, reference: float | None = None) -> Mask:
    """Return the foreground of an 8-bit map, 0 and 1: pixels above a share of a value, by default of the maximum.

    The share is truncated to a whole number first.
    """
    limit = int(threshold * float(grey.max() if reference is None else reference))
    return (grey > limit).view(np.uint8)


def contours(mask: Mask) -> Sequence[NDArray[np.int32]]:
    """Return the contours of a mask, outer ones and those of holes, in OpenCV's order."""
    found: Sequence[NDArray[np.int32]] = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    return found


def rectangles(found: Sequence[NDArray[np.int32]]) -> Boxes:
    """Return the bounding rectangles of contours: (n, 4) int, half-open."""
    return corners(np.array([cv2.boundingRect(contour) for contour in found], np.intp).reshape(-1, 4))


def largest(mask: Mask) -> Boxes:
    """Return the rectangle of the contour of largest area, half-open: (1, 4) int, or (0, 4) for an empty mask.

    The area is that of the polygon through the centers of the pixels, so a line one pixel wide has none. The first of
    equally large contours counts.
    """
    found = contours(mask)
    return rectangles([max(found, key=cv2.contourArea)] if found else [])


def extent(mask: Mask) -> Boxes:
    """Return the smallest box around all of a mask, half-open: (1, 4) int, or (0, 4) for an empty mask."""
    x, y, w, h = cv2.boundingRect(mask)
    return corners([(x, y, w, h)] if w else np.empty((0, 4)))


def resized(map: NDArray[Any], size: Size, resizer: str) -> NDArray[np.float32]:
    """Resize a map, in float32, to a width and height."""
    width, height = size
    return resize(map.astype(np.float32, copy=False), height, width, resizer)


def scaled_crop(map: NDArray[Any], size: Size, resizer: str) -> NDArray[np.float32]:
    """Resize a map to a width and height, and scale it to [0, 1] afterwards, both in float32."""
    return min_max_scale(resized(map, size, resizer))


def in_map(boxes: ArrayLike, size: Size, map: NDArray[Any]) -> NDArray[Any]:
    """Bring half-open boxes from a map that was resized to a width and height back to the map: float64, or int."""
    factors = np.tile(np.divide(map.shape[::-1], size), 2)
    return np.asarray(boxes) if (factors == 1).all() else np.asarray(boxes * factors)
