"""Segmentations of images by a unit's own map, in the four ways of Zhou et al. (ICLR 2015) and their programs.

Each takes the map of a unit and gives the region of the image that the unit responds to. The image has the size of the
net's input, or a smaller one.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.images.matlab import imresize
from pycam.images.resize import resize
from pycam.images.views import Size

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SEGMENTATIONS = {
    "bilinear": "the map over the maximum of the best image, enlarged, above 0.2; black elsewhere",
    "smooth": "the smoothed absolute map over its maximum, enlarged, above 0.4; a fifth as bright elsewhere",
    "disk": "a disk at each position above half of the maximum; a fifth as bright elsewhere",
    "measured": "the measured receptive field in place of the disk; a fifth as bright elsewhere",
}
"""Name -> region, and what is drawn outside of it."""

ACTUAL_SHARE = 65 / 163
"""The actual size of the receptive fields of AlexNet's conv5, which the authors' program uses, over their size."""

DIM = 0.2
"""How bright the rest of an image is in `smooth`, `disk` and `measured`."""


def bilinear_region(map_: Map, largest: float, size: Size) -> Mask:
    """Return where a map, divided by a maximum and enlarged by OpenCV, is above 0.2.

    Parameters
    ----------
    map_ : (h, w) float32
        The map of a unit.
    largest : float
        The maximum of the unit's map for its best image.
    size : (int, int)
        Height and width of the region.
    """
    enlarged: Mask = resize((map_ / largest).astype(np.float32), *size) > 0.2
    return enlarged


def smooth_region(map_: Map, size: Size) -> Mask:
    """Return where the mean of |map| over 3×3 positions, divided by its maximum and enlarged by MATLAB, is above 0.4.

    Positions beyond the map count as 0.
    """
    absolute = np.abs(map_.astype(np.float64))
    means = cv2.blur(absolute, (3, 3), borderType=cv2.BORDER_CONSTANT)
    peak = float(means.max())
    if peak == 0:
        return np.zeros(size, np.bool_)
    region: Mask = imresize(means / peak, size, "bicubic") > 0.4
    return region


def stamped_region(map_: Map, stamp: Mask, size: Size) -> Mask:
    """Return the union of copies of a stamp at the positions of a map that are above half of its maximum.

    Parameters
    ----------
    map_ : (h, w)
        The map of a unit.
    stamp : (2 · r + 1, 2 · s + 1) bool
        A disk, or a measured field; its middle is put at each position.
    size : (int, int)
        Height and width of the region. Positions are floor(side / (positions − 1)) pixels apart, the first at 0.
    """
    steps = [side // max(1, count - 1) for side, count in zip(size, map_.shape, strict=True)]
    reach = [side // 2 for side in stamp.shape]
    # The region with a margin, so that a stamp may reach beyond the image.
    extent = [
        max(side, step * (count - 1) + 1) + 2 * around
        for side, step, count, around in zip(size, steps, map_.shape, reach, strict=True)
    ]
    region = np.zeros(extent, np.bool_)
    if map_.max() > 0:
        for row, column in np.argwhere(map_ > map_.max() / 2):
            y, x = row * steps[0], column * steps[1]
            region[y : y + stamp.shape[0], x : x + stamp.shape[1]] |= stamp
    return region[reach[0] : reach[0] + size[0], reach[1] : reach[1] + size[1]]


def disk(diameter: float) -> Mask:
    """Return a disk with a radius of half the diameter, rounded up at a half."""
    radius = math.floor(diameter / 2 + 0.5)
    across = np.arange(-radius, radius + 1)
    found: Mask = across[:, None] ** 2 + across**2 <= radius**2
    return found


def masked(pixels: Pixels, region: Mask, brightness: float) -> Pixels:
    """Return an image that is less bright outside of a region."""
    rest = np.floor(pixels * brightness + 0.5).astype(np.uint8)
    return np.where(region[:, :, np.newaxis], pixels, rest)
