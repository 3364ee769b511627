"""Compare two methods on the same images: McNemar's test, and the paired bootstrap.

Both look only at images on which the methods differ, so that they find differences that the intervals of two single
errors hide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPLICATES = 10_000
_NUMBERS_AT_ONCE = 5_000_000


@dataclass(frozen=True)
class McNemar:
    """The result of McNemar's test.

    Attributes
    ----------
    fixed : int
        Number of images on which only the second method is right.
    regressed : int
        Number of images on which only the first method is right.
    p : float
        The exact p-value, two-sided.
    mid_p : float
        The mid-p-value, two-sided.
    """

    fixed: int
    regressed: int
    p: float
    mid_p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Test whether two methods are right equally often (McNemar 1947).

    Parameters
    ----------
    first, second : (n,) bool
        Whether each method is right on each of the same n images.

    Returns
    -------
    McNemar
        With f images fixed and r regressed, of d = f + r, and X ~ Binomial(d, 1/2):

        - exact: p = min(1, 2 P(X ≤ min(f, r)));
        - mid-p: p = 2 P(X ≤ min(f, r)) - P(X = min(f, r)).

        Both are 1 if f = r. The exact test never rejects a true hypothesis more often than its level says; the mid-p
        test is less conservative, and rejects about as often as its level says.

    Raises
    ------
    ValueError
        The shapes differ, or are not (n,).
    """
    from scipy.special import bdtr

    one, other = np.asarray(first, bool), np.asarray(second, bool)
    _check(one, other)
    fixed, regressed = int((~one & other).sum()), int((one & ~other).sum())
    fewer, count = min(fixed, regressed), fixed + regressed
    tail = float(bdtr(fewer, count, 0.5))
    below = float(bdtr(fewer - 1, count, 0.5)) if fewer else 0.0
    return McNemar(fixed, regressed, min(1.0, 2 * tail), tail + below)


def difference_interval(
    first: ArrayLike, second: ArrayLike, *, level: float = 0.95, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """Return the paired bootstrap interval of the difference of two means, mean(second) - mean(first).

    Parameters
    ----------
    first, second : (n,) bool or float
        The value of each method on each of the same n images, such as whether it is right.
    level : float
        The coverage, in (0, 1).
    replicates : int
        The number of samples of n images.
    seed : int
        Seed of the random generator; the same seed gives the same interval.

    Returns
    -------
    low, high : float
        The percentile interval: the middle `level` of the mean differences over images that are drawn with
        replacement, each with both of its values. NaN without images. If no image differs, it is 0 to 0, as samples
        of these images cannot show a change that none of them has.

    Raises
    ------
    ValueError
        The shapes differ, or are not (n,).
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    _check(one, other)
    if not len(one):
        return float("nan"), float("nan")
    values, counts = np.unique(other - one, return_counts=True)
    generator = np.random.default_rng(seed)
    means = np.empty(replicates)
    at_once = max(1, _NUMBERS_AT_ONCE // len(values))
    for start in range(0, replicates, at_once):
        some = means[start : start + at_once]
        # How often each distinct difference is drawn: only these numbers matter, not which images are drawn.
        some[:] = generator.multinomial(len(one), counts / len(one), len(some)) @ values / len(one)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail]).tolist()
    return low, high


def _check(one: NDArray[Any], other: NDArray[Any]) -> None:
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(f"got values of shapes {one.shape} and {other.shape}; expected two of the same (n,)")
