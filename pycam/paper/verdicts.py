"""Verdicts: is our value equal to the published one, within a margin? An equivalence test.

The published value is taken as a fixed number, as printed. Ours comes from some of the images, and lies within bounds.
Two of the three answers can be wrong, each with a probability of at most `ALPHA`, whatever our value on all images is:

- reproduced: both bounds lie within the margin around the published value (two one-sided tests);
- not reproduced: both bounds lie outside, on the same side;
- undecided: anything else.

The bounds of a share of images are exact: Clopper and Pearson's, or those of the hypergeometric distribution if the
images are a part of a known number of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pycam.errors import UsageError

ALPHA = 0.05
"""The probability of a wrong `REPRODUCED`, and of a wrong `NOT_REPRODUCED`, is at most this."""

MARGINS = {"classification": 0.5, "localization": 1.0, "accuracy": 1.0}
"""The default margins, in points: differences that other decoders and resizers make in the same net."""

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"

MOST_IMAGES = 10**9
"""What needs more images than this is never decided."""

_Z = 1.6448536269514722  # quantile 1 - ALPHA of the normal distribution
_Z_OF_95 = 1.959963984540054
_STEP = 1.02
"""Numbers of images that would decide are found in steps of this factor."""

_SPREADS = 12
"""Terms of a distribution farther than so many standard deviations from its mean do not count."""


@dataclass(frozen=True)
class Verdict:
    """An answer, with its reasons.

    Attributes
    ----------
    answer : str
        `REPRODUCED`, `NOT_REPRODUCED` or `UNDECIDED`.
    low, high : float
        Bounds of our value, in percent, each of which is wrong with a probability of at most `ALPHA`.
    margin : float
        The largest difference, in points, that counts as equal.
    more : int, optional
        About how many more images would decide, if our value stays as it is; None for a decision, and if no number
        would.
    """

    answer: str
    low: float
    high: float
    margin: float
    more: int | None = None

    def __str__(self) -> str:
        if self.answer != UNDECIDED:
            return self.answer
        needs = "no number of images would decide" if self.more is None else f"needs {self.more:,} more images"
        return f"{self.answer} ({needs})"


def check_margin(margin: float) -> None:
    """Raise a UsageError unless a margin is a positive number."""
    if not (margin > 0 and math.isfinite(margin)):
        raise UsageError(f"a margin of {margin} points: a positive number was expected")


def of_share(published: float, count: int, images: int, margin: float, population: int | None = None) -> Verdict:
    """Compare a published percentage with a share of images.

    Parameters
    ----------
    published : float
        In percent.
    count, images : int
        So many of so many images.
    margin : float
        In points.
    population : int, optional
        The number of all images, of which ours are a random part. All of them leave nothing undecided. None if ours are
        a sample from images without number.

    Raises
    ------
    UsageError
        The numbers are impossible.
    """
    if not 0 <= count <= images or not images or (population is not None and population < images):
        raise UsageError(f"{count} of {images} images of {population or 'any number'}: impossible")

    def bounds(total: int) -> tuple[float, float]:
        low, high = share_bounds(round(count * total / images), total, population)
        return 100 * low, 100 * high

    return _decide(published, margin, bounds, images, MOST_IMAGES if population is None else population)


def of_interval(published: float, value: float, low: float, high: float, images: int, margin: float) -> Verdict:
    """Compare a published percentage with a value that has a 95 % interval, such as a mean over splits.

    The bounds are those of a normal distribution with this interval, so that error rates are nominal, not exact.

    Parameters
    ----------
    published, value, low, high : float
        In percent.
    images : int
        The number of images.
    margin : float
        In points.

    Raises
    ------
    UsageError
        The value lies outside of its interval.
    """
    if not low <= value <= high or images < 1:
        raise UsageError(f"{value} ({low} to {high}), {images} images: a value inside of its interval was expected")

    def bounds(total: int) -> tuple[float, float]:
        factor = _Z / _Z_OF_95 * math.sqrt(images / total)
        return value - (value - low) * factor, value + (high - value) * factor

    return _decide(published, margin, bounds, images, MOST_IMAGES)


def share_bounds(count: int, images: int, population: int | None = None) -> tuple[float, float]:
    """Return exact bounds of the share in all images, each wrong with a probability of at most `ALPHA`.

    Parameters
    ----------
    count, images, population
        As for `of_share`.

    Returns
    -------
    (float, float)
        Fractions.
    """
    from scipy.special import betaincinv

    if population is None:
        low = betaincinv(count, images - count + 1, ALPHA) if count else 0.0
        high = betaincinv(count + 1, images - count, 1 - ALPHA) if count < images else 1.0
        return float(low), float(high)
    # Counts in the population, least and most, that do not make ours improbable.
    least, most = count, population - images + count
    # A probability of exactly ALPHA is improbable enough; sums of rounded terms may lie on either side of it.
    limit = ALPHA * (1 + 1e-9)
    low = _first(least, most, lambda total: _at_most(images - count, images, population - total, population) > limit)
    high = _first(-most, -least, lambda total: _at_most(count, images, -total, population) > limit)
    return low / population, -high / population


def _first(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """Return the least integer for which a condition holds, which holds for `most` and stays true."""
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return most


def _at_most(count: int, images: int, total: int, population: int) -> float:
    """Return the probability that at most `count` of `images` are among the `total` of the whole population."""
    from scipy.special import gammaln

    mean = images * total / population
    spread = math.sqrt(mean * (1 - total / population) * (population - images) / max(population - 1, 1))
    least, most = max(0, images - population + total), min(images, total)
    first = max(least, math.floor(mean - _SPREADS * spread) - 1)
    last = min(most, math.ceil(mean + _SPREADS * spread) + 1)
    if not first <= count < last:
        return float(count >= last)
    x = np.arange(first, last + 1)
    logs = (
        gammaln(total + 1) - gammaln(x + 1) - gammaln(total - x + 1)
        + gammaln(population - total + 1) - gammaln(images - x + 1) - gammaln(population - total - images + x + 1)
    )  # fmt: skip
    weights = np.exp(logs - logs.max())
    return float(weights[: count - first + 1].sum() / weights.sum())


def _decide(
    published: float, margin: float, bounds: Callable[[int], tuple[float, float]], images: int, most: int
) -> Verdict:
    """Return the verdict; `bounds` gives those of so many images, up to `most`, if our value stays as it is."""
    check_margin(margin)

    def answer(total: int) -> str:
        low, high = bounds(total)
        # A count and a decimal that mean the same number may differ in their last bit.
        least, most = published - margin - 1e-9, published + margin + 1e-9
        if least <= low and high <= most:
            return REPRODUCED
        return NOT_REPRODUCED if high < least or most < low else UNDECIDED

    def total(step: int) -> int:
        return min(math.ceil(images * _STEP**step), most)

    found, more = answer(images), None
    last = math.ceil(math.log(most / images) / math.log(_STEP))
    if found == UNDECIDED and answer(total(last)) != UNDECIDED:
        more = total(_first(1, last, lambda step: answer(total(step)) != UNDECIDED)) - images
    return Verdict(found, *bounds(images), margin, more)
