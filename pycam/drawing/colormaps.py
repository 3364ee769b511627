"""Colours for maps: OpenCV's, MATLAB's and matplotlib's JET, viridis, and MATLAB's steps from a map to colours.

The release colours a map by `ind2rgb(gray2ind(mat2gray(map)), matlab_jet())`: docs/release.md, section 3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError

Floats = NDArray[np.float64]
Table = NDArray[np.uint8]


def opencv_jet(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (H, W) uint8 indices with OpenCV's JET: (H, W, 3) uint8, BGR."""
    return _coloured(indices, _opencv_table(cv2.COLORMAP_JET))


def viridis(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (H, W) uint8 indices with viridis, as matplotlib and OpenCV have it: (H, W, 3) uint8, BGR."""
    return _coloured(indices, _opencv_table(cv2.COLORMAP_VIRIDIS))


def matplotlib_jet(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (H, W) uint8 indices with matplotlib's jet: (H, W, 3) uint8, BGR.

    Each colour is linear between a few points; those of red and blue are not symmetric, unlike MATLAB's.
    """
    return _coloured(indices, _matplotlib_jet_table())


@lru_cache
def _opencv_table(code: int) -> Table:
    return np.asarray(cv2.applyColorMap(np.arange(256, dtype=np.uint8), code), np.uint8).reshape(256, 3)


@lru_cache
def _matplotlib_jet_table() -> Table:
    levels = np.linspace(0, 1, 256)
    blue = np.interp(levels, [0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0])
    green = np.interp(levels, [0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0])
    red = np.interp(levels, [0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5])
    table: Table = (np.stack([blue, green, red], axis=1) * 255).astype(np.uint8)
    return table


def _coloured(indices: NDArray[np.uint8], table: Table) -> NDArray[np.uint8]:
    # Channel by channel: twice as fast as OpenCV's own look-up of three at once.
    channels = [cv2.LUT(indices, np.ascontiguousarray(channel)) for channel in table.T]
    return np.asarray(cv2.merge(channels), np.uint8)


def matlab_jet(levels: int = 256) -> Floats:
    """Give MATLAB's `jet(levels)`: (levels, 3) float64 in [0, 1], RGB.

    Each colour climbs, stays at 1 and falls, in steps of a quarter of the levels; blue, green and red follow
    one another.
    """
    if levels < 1:
        raise UsageError(f"jet: {levels} levels came, expected 1 or more")
    quarter = -(-levels // 4)
    start = -(-quarter // 2) - (levels % 4 == 1)
    red_green_blue = start + quarter * np.array([1, 0, -1])
    step = np.arange(1, levels + 1)[:, None] - red_green_blue  # (levels, 3)
    ramp: Floats = np.clip(np.minimum(step, 3 * quarter - step) / quarter, 0, 1)
    return ramp


def mat2gray(map: ArrayLike, limits: tuple[float, float] | None = None) -> Floats:
    """Scale a map to [0, 1] as MATLAB's `mat2gray`: float64, clamped; limits default to minimum and maximum.

    Equal limits clamp without scaling.
    """
    values: Floats = np.asarray(map, np.float64)
    low, high = limits if limits is not None else (values.min(), values.max())
    if low != high:
        values = (values - low) / (high - low)
    scaled: Floats = np.clip(values, 0, 1)
    return scaled


def gray2ind(map: ArrayLike, levels: int = 256) -> NDArray[np.uint16]:
    """Turn values in [0, 1] into indices 0 to levels - 1, halves upwards, as MATLAB's `gray2ind`."""
    indices = np.floor(np.asarray(map, np.float64) * (levels - 1) + 0.5)
    return np.clip(indices, 0, levels - 1).astype(np.uint16)


def ind2rgb(indices: NDArray[Any], colours: Floats) -> Floats:
    """Look up (H, W) indices, from 0, in (levels, 3) colours: (H, W, 3); those too large get the last one."""
    found: Floats = colours[np.minimum(indices, len(colours) - 1)]
    return found
