"""Bootstrap intervals over images: how far a figure would move if other images had been drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
_REPLICATES_AT_ONCE = 250
_ROWS_AT_ONCE = 4096


def resampled_means(right: NDArray[np.bool_], *, replicates: int = REPLICATES, seed: int = 0) -> NDArray[np.float64]:
    """Means over images drawn again with replacement.

    Parameters
    ----------
    right : (n, m) bool
        What holds of each of n images. The m columns are resampled together, image by image.
    replicates : int
        How many times n images are drawn.
    seed : int
        Of the random generator: the same seed gives the same figures.

    Returns
    -------
    (replicates, m) float64
    """
    count = len(right)
    generator = np.random.default_rng(seed)
    sums = np.zeros((replicates, right.shape[1]))
    for start in range(0, replicates, _REPLICATES_AT_ONCE):
        some = sums[start : start + _REPLICATES_AT_ONCE]
        times = np.empty((len(some), count), np.float32)
        for row in times:
            row[:] = np.bincount(generator.integers(count, size=count), minlength=count)
        for first in range(0, count, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            # Sums of at most 2**24 zeros and ones are exact in float32, in whatever order BLAS adds them.
            some += times[:, rows] @ right[rows].astype(np.float32)
    return sums / count


def interval(samples: NDArray[np.float64], level: float = 0.95) -> NDArray[np.float64]:
    """Lower and upper bound of the middle `level` of the samples: (replicates, ...) -> (..., 2)."""
    tail = (1 - level) / 2
    bounds: NDArray[np.float64] = np.moveaxis(np.quantile(samples, [tail, 1 - tail], axis=0), 0, -1)
    return bounds
