"""Maps and boxes that need no net. A method is worth something only if it is better than these."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIDE = 224
"""The width and height of the benchmark's maps."""


def center_gaussian(width: int = SIDE, height: int = SIDE) -> NDArray[np.float64]:
    """Return a Gaussian at the center of a map: (height, width), its maximum is 1.

    The map is exp(-(x² + y²) / 2σ²), with x and y from the center, in widths and heights. All thresholds are tried, so
    that σ = 1 / 4 matters only for rounding.
    """
    upright, level = _profile(height), _profile(width)
    gaussian = np.outer(upright, level)
    normal: NDArray[np.float64] = gaussian / gaussian.max()
    return normal


def _profile(side: int) -> NDArray[np.float64]:
    steps = np.arange(side) - (side - 1) / 2
    profile: NDArray[np.float64] = np.exp(-(steps**2) / (2 * (side / 4) ** 2))
    return profile


def whole_images(sizes: ArrayLike) -> NDArray[np.int64]:
    """Return the box of the whole of each image: widths and heights, (n, 2) -> (n, 4), half-open."""
    extents = np.asarray(sizes, np.int64)
    return np.hstack([np.zeros_like(extents), extents])
