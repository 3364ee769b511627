"""How often the 95 % intervals of a paired difference contain the true one: `python benchmarks/coverage.py`.

Two methods are right on images with known probabilities, together and alone, so that the true difference is known.
"""

from __future__ import annotations

import numpy as np

from pycam.metrics.paired import difference_interval, mcnemar

RUNS = 2000
SETTINGS = [(300, 0.10, 0.05), (1000, 0.08, 0.08), (1000, 0.12, 0.06), (5000, 0.03, 0.02)]
"""Number of images, and the probabilities that only the second and only the first method is right."""


def coverage(
    images: int, fixed: float, regressed: float, runs: int = RUNS, seed: int = 0
) -> tuple[float, float, float]:
    """Return how often the interval contains the difference, and how often either test finds one at 5 %."""
    random = np.random.default_rng(seed)
    found = np.zeros(3)
    for run in range(runs):
        draw = random.random(images)
        first = (draw < regressed) | (draw >= 0.5)  # both are right from 0.5 on
        second = ((draw >= regressed) & (draw < regressed + fixed)) | (draw >= 0.5)
        low, high = difference_interval(first, second, seed=run)
        test = mcnemar(first, second)
        found += low <= fixed - regressed <= high, test.p <= 0.05, test.mid_p <= 0.05
    covered, exact, mid = (found / runs).tolist()
    return covered, exact, mid


def main() -> None:
    print(f"{RUNS} simulated runs; a coverage of 95 % has a standard deviation of {np.sqrt(0.95 * 0.05 / RUNS):.1%}")
    for images, fixed, regressed in SETTINGS:
        covered, exact, mid = coverage(images, fixed, regressed)
        print(
            f"{images} images, {fixed:.0%} fixed, {regressed:.0%} regressed: coverage {covered:.1%}; "
            f"p ≤ 0.05: exact {exact:.1%}, mid-p {mid:.1%}"
        )


if __name__ == "__main__":
    main()
