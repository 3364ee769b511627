"""How long scoring takes on one core: `python benchmarks/scoring.py`.

Guesses and maps are made up; they have the number, the size and about the shape of real ones.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.map_scores import score_maps
from pycam.ilsvrc.predictions import Predictions, read_predictions, write_predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.metrics.baselines import SIDE
from pycam.metrics.errors import error_interval

GUESSED = 50_000
LIMIT_GUESSES = 20.0
MAPPED = 300
LIMIT_MAPS = 30.0


def boxes(random: np.random.Generator, *shape: int) -> np.ndarray:
    corners = np.sort(random.integers(1, 501, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4)


def made_up_truth(random: np.random.Generator, count: int) -> GroundTruth:
    """One to three boxes an image."""
    classes = random.integers(0, 1000, count)
    images = np.repeat(np.arange(count), random.integers(1, 4, count))
    return GroundTruth(
        tuple(map(str, range(count))),
        classes,
        boxes(random, len(images)),
        classes[images],
        images,
        np.full((count, 2), 500),
        random.random(count) < 0.03,
    )


def made_up_maps(random: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """Maps of 14×14 blown up and stretched to [0, 1], as class activation maps are."""
    for _ in range(count):
        coarse = cv2.GaussianBlur(random.random((14, 14), np.float32), (0, 0), 1.5)
        smooth = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        yield cv2.normalize(smooth, None, 0, 1, cv2.NORM_MINMAX)


def score_file(path: Path, truth: GroundTruth) -> None:
    scores = score_predictions(read_predictions(path), truth)
    assert scores.localized is not None
    error_interval(scores.classified)
    error_interval(scores.localized)


def show(name: str, seconds: float, limit: float) -> None:
    print(f"{name:58}{seconds:7.2f} s   limit {limit:.0f} s   {'kept' if seconds < limit else 'EXCEEDED'}")


def main() -> None:
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    truth = made_up_truth(random, GUESSED)
    guesses = Predictions(random.integers(0, 1000, (GUESSED, 5)), boxes(random, GUESSED, 5).astype(float))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.txt"
        write_predictions(path, guesses)
        start = time.perf_counter()
        score_file(path, truth)
        show(f"{GUESSED:,} predictions: read, k = 1…5, intervals", time.perf_counter() - start, LIMIT_GUESSES)

    truth = made_up_truth(random, MAPPED)
    maps = list(made_up_maps(random, len(truth.counted)))
    start = time.perf_counter()
    score_maps(maps, truth).intervals()
    show(
        f"{MAPPED} maps of 224×224 at 1,000 thresholds: MaxBoxAcc and V2",
        time.perf_counter() - start,
        LIMIT_MAPS,
    )


if __name__ == "__main__":
    main()
