"""How long scoring takes on one core: `python benchmarks/scoring.py`.

Predictions and maps are made up; they have the number, the size and about the shape of real ones. The rate on maps is
compared, in the same run, with a plain version of the loop of the benchmark's own evaluator: `findContours` at each of
1,000 thresholds, once for the largest contour and once for all, and a histogram for PxAP. That evaluator itself takes
70, 83 and 2.1 ms per map on one core of a server.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pycam.ilsvrc.baselines import Baselines
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.map_scores import score_maps
from pycam.ilsvrc.maps import find_maps
from pycam.ilsvrc.predictions import Predictions, read_predictions, write_predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.maps.boxes import iou
from pycam.metrics.baselines import SIDE
from pycam.metrics.box_accuracy import THRESHOLDS, box_hits, candidates, scaled
from pycam.metrics.errors import error_interval
from pycam.metrics.pixel_precision import pixel_histograms

PREDICTED = 50_000
LIMIT_PREDICTIONS = 20.0
MAPPED = 40
LEAST_RATIO = 20.0
SMALL = 14
STORED = (5_000, 50_000)
LIMIT_STORED = 600.0
LIMIT_MEMORY = 1_000.0


def boxes(random: np.random.Generator, *shape: int) -> np.ndarray:
    corners = np.sort(random.integers(1, 376, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4)


def made_up_truth(random: np.random.Generator, count: int) -> GroundTruth:
    """One to three boxes an image."""
    classes = random.integers(0, 1000, count)
    images = np.repeat(np.arange(count), random.integers(1, 4, count))
    return GroundTruth(
        tuple(f"{row:05}" for row in range(count)),
        classes,
        boxes(random, len(images)),
        classes[images],
        images,
        np.tile([500, 375], (count, 1)),
        np.zeros(count, bool),
    )


def made_up_maps(random: np.random.Generator, count: int, side: int = SIDE) -> Iterator[np.ndarray]:
    """Two to four hills of 14×14, blown up and stretched to [0, 1], as class activation maps are."""
    rows, columns = np.mgrid[:SMALL, :SMALL]
    for _ in range(count):
        coarse = 0.1 * random.random((SMALL, SMALL), np.float32)
        for x, y, spread, height in zip(*(random.random((4, random.integers(2, 5)))), strict=True):
            distance = (rows - y * SMALL) ** 2 + (columns - x * SMALL) ** 2
            coarse += (0.3 + height) * np.exp(-distance / (2 * (1.5 + 2 * spread) ** 2))
        smooth = cv2.resize(coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        yield np.clip(cv2.normalize(smooth, None, 0, 1, cv2.NORM_MINMAX), 0, 1)


def plain_boxes(score_map: np.ndarray, threshold: float, every: bool) -> list[tuple[int, int, int, int]]:
    """Cut a map at one threshold, as the benchmark does."""
    height, width = score_map.shape
    grey = (score_map * 255).astype(np.uint8)[..., None]
    _, cut = cv2.threshold(grey, int(threshold * np.max(grey)), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0, 0, 1, 1)]
    chosen = contours if every else [max(contours, key=cv2.contourArea)]
    rectangles = [cv2.boundingRect(contour) for contour in chosen]
    return [(x, y, min(x + w, width - 1) + 1, min(y + h, height - 1) + 1) for x, y, w, h in rectangles]


def plain_scores(score_map: np.ndarray, true: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hits, (4, 1000), and the histograms of a map, threshold by threshold."""
    hits = np.zeros((4, len(THRESHOLDS)), bool)
    for column, threshold in enumerate(THRESHOLDS):
        for every in (False, True):
            best = iou(np.array(plain_boxes(score_map, threshold, every))[:, None], true).max()
            if every:
                hits[1:, column] = best >= 0.3, best >= 0.5, best >= 0.7
            else:
                hits[0, column] = best >= 0.5
    edges = [*THRESHOLDS, 1, 2, 3]
    return hits, np.stack([np.histogram(score_map[area], edges)[0] for area in (mask, ~mask)])


def compare_rates(random: np.random.Generator) -> None:
    truth = made_up_truth(random, MAPPED)
    maps = [each.astype(np.float64) for each in made_up_maps(random, MAPPED)]
    true = [scaled(truth.boxes_of(row), truth.sizes[row], (SIDE, SIDE)) for row in range(MAPPED)]
    masks = [random.random((SIDE, SIDE)) < 0.3 for _ in maps]
    nothing = np.zeros((SIDE, SIDE), bool)

    def ours(score_map: np.ndarray, box: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return box_hits(candidates(score_map), box)[:4], pixel_histograms(score_map, mask, nothing)

    seconds = {}
    results = {}
    for name, score in (("pycam", ours), ("plain", plain_scores)):
        start = time.process_time()
        results[name] = [score(*each) for each in zip(maps, true, masks, strict=True)]
        seconds[name] = (time.process_time() - start) / MAPPED
    for one, other in zip(results["pycam"], results["plain"], strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True)), "the two versions differ"
    ratio = seconds["plain"] / seconds["pycam"]
    times = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in seconds.items())
    print(f"a map of 224×224, boxes and pixels: {times}: {ratio:.0f} times; at least {LEAST_RATIO:.0f} were expected")


def score_stored(random: np.random.Generator, count: int) -> None:
    """Score so many maps of 14×14 in a `.npz`, with boxes at 500×375: all metrics, intervals and baselines."""
    truth = made_up_truth(random, count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.npz"
        np.savez(path, **dict(zip(truth.names, made_up_maps(random, count, SMALL), strict=True)))
        start = time.perf_counter()
        scores = score_maps(find_maps(path, truth.names), truth)
        assert scores.boxes is not None
        scores.boxes.intervals()
        Baselines.of(scores.truth)
        seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    show(f"{count:,} maps of 14×14: all metrics, intervals, baselines", seconds, LIMIT_STORED)
    print(f"  {1000 * seconds / count:.2f} ms per map; memory {memory:.0f} MB, limit {LIMIT_MEMORY:.0f} MB")


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
    compare_rates(random)
    for count in STORED:
        score_stored(random, count)
    truth = made_up_truth(random, PREDICTED)
    predictions = Predictions(random.integers(0, 1000, (PREDICTED, 5)), boxes(random, PREDICTED, 5).astype(float))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.txt"
        write_predictions(path, predictions)
        start = time.perf_counter()
        score_file(path, truth)
        show(f"{PREDICTED:,} predictions: read, k = 1…5, intervals", time.perf_counter() - start, LIMIT_PREDICTIONS)


if __name__ == "__main__":
    main()
