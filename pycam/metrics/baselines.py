"""Maps and boxes that need no net. A method is worth something only if it is better than these."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIDE = 224
"""The width and height of the benchmark's maps."""


def center_gaussian(side: int = SIDE) -> NDArray[np.float64]:
    """Return an isotropic Gaussian at the center of a square map: (side, side), its maximum is 1.

    The map is exp(-(x² + y²) / 2σ²), x and y from the center. All thresholds are tried, so that σ = side / 4 matters
    only for rounding.
    """
    steps = np.arange(side) - (side - 1) / 2
    profile = np.exp(-(steps**2) / (2 * (side / 4) ** 2))
    gaussian = np.outer(profile, profile)
    normal: NDArray[np.float64] = gaussian / gaussian.max()
    return normal


def whole_images(sizes: ArrayLike) -> NDArray[np.int64]:
    """Return the box of the whole of each image: widths and heights, (n, 2) -> (n, 4), half-open."""
    extents = np.asarray(sizes, np.int64)
    return np.hstack([np.zeros_like(extents), extents])
