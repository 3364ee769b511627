"""Verdicts: exact bounds against SciPy's distributions, and the rates of the three answers in simulations."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from pycam.errors import UsageError
from pycam.paper.verdicts import (
    ALPHA,
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    of_interval,
    of_share,
    share_bounds,
)

SIMULATIONS = 5000
POINT = 0.01


@settings(max_examples=40)
@given(st.integers(1, 400), st.data())
def test_bounds_are_the_shares_at_which_the_count_becomes_improbable(images, data):
    from scipy.stats import binom

    count = data.draw(st.integers(0, images))
    low, high = share_bounds(count, images)
    assert low == 0 if count == 0 else binom.sf(count - 1, images, low) == pytest.approx(ALPHA, rel=1e-6)
    assert high == 1 if count == images else binom.cdf(count, images, high) == pytest.approx(ALPHA, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 300), st.data())
@example(1, 299, None)  # 285 of 300: the probability of not drawing one is exactly ALPHA
def test_bounds_in_a_population_are_the_most_extreme_counts_that_do_not_make_ours_improbable(images, others, data):
    """Probabilities are ratios of whole numbers, so that ties are ties."""
    count = data.draw(st.integers(0, images)) if data else 0
    population = images + others

    def probability(counts: range, total: int) -> Fraction:
        ways = sum(comb(total, drawn) * comb(population - total, images - drawn) for drawn in counts)
        return Fraction(ways, comb(population, images))

    alpha = Fraction(str(ALPHA))
    possible = [
        total
        for total in range(count, others + count + 1)
        if probability(range(count, images + 1), total) > alpha and probability(range(count + 1), total) > alpha
    ]
    bounds = share_bounds(count, images, population)
    assert [round(bound * population) for bound in bounds] == [possible[0], possible[-1]]


@pytest.mark.parametrize(("published", "margin", "images"), [(35.0, 0.5, 60_000), (56.4, 1.0, 20_000)])
def test_answers_have_their_nominal_rates(published, margin, images):
    """At the edge of the margin each wrong answer has a rate of 5 %; inside and outside the right one prevails."""
    rng = np.random.default_rng(1)
    verdict = cache(lambda count: of_share(published, count, images, margin).answer)

    def rates(share: float) -> dict[str, float]:
        found = [verdict(int(count)) for count in rng.binomial(images, share / 100, SIMULATIONS)]
        return {answer: found.count(answer) / SIMULATIONS for answer in (REPRODUCED, NOT_REPRODUCED, UNDECIDED)}

    for edge in (published - margin, published + margin):
        at_edge = rates(edge)
        assert at_edge[REPRODUCED] == pytest.approx(ALPHA, abs=POINT)
        assert at_edge[NOT_REPRODUCED] == pytest.approx(ALPHA, abs=POINT)
    assert rates(published)[NOT_REPRODUCED] == 0
    assert rates(published)[REPRODUCED] > 0.5
    far = rates(published + 3 * margin)
    assert far[REPRODUCED] == 0
    assert far[NOT_REPRODUCED] > 0.95


def test_parts_of_a_known_set_have_rates_of_at_most_the_nominal_ones():
    """A part of 5,000 images whose error on all of them lies exactly at the edge of the margin."""
    rng = np.random.default_rng(2)
    images, population, wrong = 3_000, 5_000, 1_825
    counts = rng.hypergeometric(wrong, population - wrong, images, SIMULATIONS)
    verdict = cache(lambda count: of_share(35.0, count, images, 1.5, population).answer)
    found = [verdict(int(count)) for count in counts]
    for answer in (REPRODUCED, NOT_REPRODUCED):
        assert found.count(answer) / SIMULATIONS == pytest.approx(ALPHA, abs=POINT)


def test_all_images_leave_nothing_undecided():
    assert of_share(35.0, 17_750, 50_000, 0.5, 50_000).answer == REPRODUCED  # 35.5 %, the edge itself
    assert of_share(35.0, 17_751, 50_000, 0.5, 50_000).answer == NOT_REPRODUCED
    assert of_share(35.0, 17_750, 50_000, 0.5).answer == UNDECIDED


@pytest.mark.parametrize("population", [None, 50_000])
@pytest.mark.parametrize(
    ("published", "count", "images"), [(35.2, 350, 1000), (36.7, 350, 1000), (5.1, 50, 1000), (99.4, 7, 7), (3, 0, 40)]
)
def test_so_many_more_images_decide(published, count, images, population):
    """Fewer images, by a twentieth, do not decide."""
    verdict = of_share(published, count, images, 0.5, population)
    assert verdict.answer == UNDECIDED
    assert str(verdict) == f"undecided (needs {verdict.more:,} more images)"
    for factor, decides in ((0.95, False), (1.03, True)):
        total = round(factor * (images + verdict.more))
        found = of_share(published, round(count * total / images), total, 0.5, population)
        assert (found.answer != UNDECIDED) == decides


def test_a_value_at_the_edge_is_never_decided():
    assert str(of_share(50.0, 510, 1000, 1.0)) == "undecided (no number of images would decide)"


def test_intervals_of_splits():
    # 95 % of a normal distribution are ±1.96 deviations, the bounds ±1.645.
    deviation = 0.4
    verdict = of_interval(91.98, 92.2, 92.2 - 1.96 * deviation, 92.2 + 1.96 * deviation, 1692, 1.0)
    assert verdict.answer == REPRODUCED
    assert (verdict.low, verdict.high) == pytest.approx((92.2 - 1.645 * deviation, 92.2 + 1.645 * deviation), abs=1e-3)
    assert of_interval(91.98, 87.6, 86.0, 89.2, 1692, 1.0).answer == NOT_REPRODUCED
    undecided = of_interval(91.98, 92.2, 90.6, 93.8, 1692, 1.0)
    assert undecided.answer == UNDECIDED
    assert undecided.more == pytest.approx(1692 * ((1.6 * 1.645 / 1.96 / 0.78) ** 2 - 1), rel=0.04)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of_share(35, 5, 4, 0.5), "5 of 4 images of any number: impossible"),
        (lambda: of_share(35, 5, 10, 0.5, 9), "5 of 10 images of 9: impossible"),
        (lambda: of_share(35, 5, 10, 0), "a margin of 0 points: a positive number was expected"),
        (lambda: of_share(35, 5, 10, float("nan")), "a margin of nan points"),
        (lambda: of_interval(35, 5, 6, 7, 10, 1), r"5 \(6 to 7\), 10 images: a value inside of its interval"),
    ],
)
def test_impossible_numbers_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
