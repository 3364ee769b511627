"""Paired tests and intervals: against SciPy, all permutations, and the coverage of simulated runs."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom, binomtest

from pycam.metrics.paired import difference_interval, mcnemar

ROOT = Path(__file__).parents[1]

pairs = st.integers(0, 60).flatmap(lambda n: st.tuples(arrays(bool, n), arrays(bool, n)))


@given(pairs)
def test_mcnemar_is_a_binomial_test_of_the_images_that_differ(pair):
    first, second = pair
    found = mcnemar(first, second)
    assert (found.fixed, found.regressed) == (sum(second & ~first), sum(first & ~second))
    count, fewer = found.fixed + found.regressed, min(found.fixed, found.regressed)
    assert found.p == pytest.approx(binomtest(found.fixed, count).pvalue if count else 1.0)
    # Half of the probability of what was seen, in either direction.
    mid = 2 * (binom.cdf(fewer, count, 0.5) - 0.5 * binom.pmf(fewer, count, 0.5))
    assert found.mid_p == pytest.approx(mid)


@pytest.mark.parametrize("seed", range(4))
def test_mcnemar_is_the_permutation_test_of_the_difference(seed):
    """Exchange the two methods on each image or not: under the hypothesis, all results are equally probable."""
    first, second = np.random.default_rng(seed).random((2, 11)) < [[0.35], [0.75]]
    seen = abs(int(second.sum()) - int(first.sum()))
    extreme = 0
    for exchanged in itertools.product([False, True], repeat=11):
        one, other = np.where(exchanged, second, first), np.where(exchanged, first, second)
        extreme += abs(int(other.sum()) - int(one.sum())) >= seen
    assert mcnemar(first, second).p == pytest.approx(extreme / 2**11)


def test_tail_of_many_images_is_not_rounded_to_zero():
    first = np.repeat([True, False], [100, 900])
    found = mcnemar(first, ~first)
    assert found.p == pytest.approx(binomtest(100, 1000).pvalue, rel=1e-6)
    assert 0 < found.mid_p < found.p


def test_interval_is_that_of_images_drawn_with_both_of_their_values():
    random = np.random.default_rng(3)
    first = random.random(150) < 0.6
    second = np.where(random.random(150) < 0.2, ~first, first)
    draws = random.integers(150, size=(20_000, 150))
    means = second[draws].mean(axis=1) - first[draws].mean(axis=1)
    expected = np.quantile(means, [0.025, 0.975])
    # A lattice of 1/150; the two ends are quantiles of different draws.
    assert difference_interval(first, second) == pytest.approx(expected, abs=1.01 / 150)
    unpaired = second[draws].mean(axis=1) - first[random.permutation(draws)].mean(axis=1)
    assert np.ptp(difference_interval(first, second)) < 0.8 * np.ptp(np.quantile(unpaired, [0.025, 0.975]))


def test_interval_of_fractions_is_students_for_many_images():
    random = np.random.default_rng(4)
    first = random.normal(size=2000)
    second = first + random.normal(0.1, 0.5, 2000)
    difference = second - first
    half = 1.96 * difference.std(ddof=1) / np.sqrt(2000)
    expected = [difference.mean() - half, difference.mean() + half]
    assert difference_interval(first, second, replicates=2000) == pytest.approx(expected, abs=0.1 * half)


@given(pairs)
def test_interval_contains_the_difference_and_turns_with_the_order(pair):
    first, second = pair
    low, high = difference_interval(first, second, replicates=200)
    if not len(first):
        assert np.isnan([low, high]).all()
        return
    assert -1 <= low <= high <= 1
    if (first == second).all():
        assert (low, high) == (0, 0)
    low, high = difference_interval(first, second)
    assert low - 1e-12 <= second.mean() - first.mean() <= high + 1e-12


def test_other_shapes_are_refused():
    for first, second in [([True], [True, False]), ([[True]], [[True]])]:
        with pytest.raises(ValueError, match="expected two of the same"):
            mcnemar(first, second)
        with pytest.raises(ValueError, match="expected two of the same"):
            difference_interval(first, second)


def test_intervals_contain_the_true_difference_in_95_of_100_runs():
    spec = importlib.util.spec_from_file_location("simulated", ROOT / "benchmarks/coverage.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    runs = 300
    covered, exact, mid = benchmark.coverage(1000, 0.08, 0.08, runs)
    # Three standard deviations of a share of so many runs.
    allowed = 3 * np.sqrt(0.95 * 0.05 / runs)
    assert covered == pytest.approx(0.95, abs=allowed)
    assert exact <= mid <= 0.05 + allowed
