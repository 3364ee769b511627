"""Colour maps: the JET of OpenCV, MATLAB and matplotlib, viridis, and MATLAB's steps from a map to colours.

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
    """Colour (H, W) uint8 indices with the viridis of matplotlib and OpenCV: (H, W, 3) uint8, BGR."""
    return _coloured(indices, _opencv_table(cv2.COLORMAP_VIRIDIS))


def matplotlib_jet(indices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour (H, W) uint8 indices with matplotlib's jet: (H, W, 3) uint8, BGR.

    Each channel is piecewise linear. Unlike in MATLAB's jet, red and blue are not symmetric.
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
    return np.asarray(np.stack([blue, green, red], axis=1) * 255, np.uint8)


def _coloured(indices: NDArray[np.uint8], table: Table) -> NDArray[np.uint8]:
    # One look-up per channel is twice as fast as OpenCV's look-up of three channels together.
    channels = [cv2.LUT(indices, np.ascontiguousarray(channel)) for channel in table.T]
    return np.asarray(cv2.merge(channels), np.uint8)


def matlab_jet(levels: int = 256) -> Floats:
    """Return MATLAB's `jet(levels)`: (levels, 3) float64 in [0, 1], RGB.

    Each channel rises, stays at 1 and falls; each part takes a quarter of the levels. Blue comes first, then green,
    then red.
    """
    if levels < 1:
        raise UsageError(f"jet: got {levels} levels; expected 1 or more")
    quarter = -(-levels // 4)
    start = -(-quarter // 2) - (levels % 4 == 1)
    red_green_blue = start + quarter * np.array([1, 0, -1])
    step = np.arange(1, levels + 1)[:, None] - red_green_blue  # (levels, 3)
    return np.asarray(np.clip(np.minimum(step, 3 * quarter - step) / quarter, 0, 1))


def mat2gray(map: ArrayLike, limits: tuple[float, float] | None = None) -> Floats:
    """Scale a map to [0, 1], float64, as MATLAB's `mat2gray` does.

    The limits are by default the minimum and the maximum; values outside are clamped. If the limits are equal, values
    are clamped to [0, 1] without scaling.
    """
    values: Floats = np.asarray(map, np.float64)
    low, high = limits if limits is not None else (values.min(), values.max())
    if low != high:
        values = (values - low) / (high - low)
    return np.asarray(np.clip(values, 0, 1))


def gray2ind(map: ArrayLike, levels: int = 256) -> NDArray[np.uint16]:
    """Convert values in [0, 1] to indices from 0 to levels - 1, halves rounded up, as MATLAB's `gray2ind` does."""
    indices = np.floor(np.asarray(map, np.float64) * (levels - 1) + 0.5)
    return np.clip(indices, 0, levels - 1).astype(np.uint16)


def ind2rgb(indices: NDArray[Any], colours: Floats) -> Floats:
    """Return the colours, (H, W, 3), of 0-based (H, W) indices in a (levels, 3) table; larger indices get the last."""
    return np.asarray(colours[np.minimum(indices, len(colours) - 1)])
