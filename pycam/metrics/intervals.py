"""Bootstrap intervals over images: the spread of a figure over other samples of the images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
_ROWS_AT_ONCE = 4096


def samples(count: int, *, replicates: int = REPLICATES, seed: int = 0) -> NDArray[np.uint8]:
    """Return how often each of so many images is in each sample of as many images, drawn with replacement.

    Parameters
    ----------
    count : int
        The number of images.
    replicates : int
        The number of samples.
    seed : int
        Seed of the random generator; the same seed gives the same samples.

    Returns
    -------
    (replicates, count) uint8
    """
    generator = np.random.default_rng(seed)
    times = np.empty((replicates, count), np.uint8)
    for row in times:
        row[:] = np.bincount(generator.integers(count, size=count), minlength=count)
    return times


def resampled_means(values: NDArray[np.bool_], *, replicates: int = REPLICATES, seed: int = 0) -> NDArray[np.float64]:
    """Return means over images that are resampled with replacement.

    Parameters
    ----------
    values : (n, m) bool
        m properties of each of n images. The columns are resampled together, image by image.
    replicates, seed
        As for `samples`.

    Returns
    -------
    (replicates, m) float64
    """
    count = len(values)
    times = samples(count, replicates=replicates, seed=seed)
    sums = np.zeros((replicates, values.shape[1]))
    for first in range(0, count, _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        # Sums of at most 2**24 zeros and ones are exact in float32, in any order of BLAS's additions.
        sums += times[:, rows].astype(np.float32) @ values[rows].astype(np.float32)
    return sums / count


def interval(values: NDArray[np.float64], level: float = 0.95) -> NDArray[np.float64]:
    """Return the bounds of the middle `level` of values: (replicates, ...) -> (..., 2)."""
    tail = (1 - level) / 2
    bounds: NDArray[np.float64] = np.moveaxis(np.quantile(values, [tail, 1 - tail], axis=0), 0, -1)
    return bounds
