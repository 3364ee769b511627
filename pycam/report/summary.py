"""What stands above the images of a report: tables, and charts whose both axes go from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.tables import Table

Section = dict[str, Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

BINS = 10


def threshold_curve(runs: Mapping[str, tuple[Floats, Floats]], note: str = "", mark: float | None = None) -> Section:
    """Draw how many boxes of the true class are right at each threshold.

    Parameters
    ----------
    runs
        What each run is called -> thresholds and fractions, (t,) each.
    note
        What the curve is of.
    mark
        A threshold to be marked.
    """
    series = []
    for label, (thresholds, fractions) in runs.items():
        best = int(np.argmax(fractions))
        told = f"best {fractions[best]:.1%} at a threshold of {thresholds[best]:.0%}"
        series.append({"summary": _named(label, told), "points": _points(thresholds, fractions)})
    return {
        "title": "Threshold",
        "x": "threshold, of the map's maximum",
        "y": "boxes that are right",
        "series": series,
        "marks": [] if mark is None else [mark],
        "note": note,
    }


def calibration(runs: Mapping[str, tuple[Floats, Bools]]) -> Section:
    """Draw how often the first class is right, by its score.

    Parameters
    ----------
    runs
        What each run is called -> the first class's score of each image, and whether the class is right: (n,) each.

    Notes
    -----
    The expected calibration error is the mean distance between score and share, over images, in ten bins of score.
    """
    series = []
    for label, (scores, right) in runs.items():
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        there = counts > 0
        means = np.bincount(bins, scores, BINS)[there] / counts[there]
        shares = np.bincount(bins, right, BINS)[there] / counts[there]
        error = float(np.abs(means - shares) @ counts[there] / len(scores))
        dots = 1.5 + 7 * np.sqrt(counts[there] / counts.max())
        told = f"expected calibration error {error:.1%}, {len(scores)} images"
        series.append(
            {"summary": _named(label, told), "points": _points(means, shares), "dots": dots.round(1).tolist()}
        )
    return {
        "title": "Calibration",
        "x": "score of the first class",
        "y": "how often it is right",
        "series": series,
        "diagonal": True,
        "note": "On the diagonal a score of 70 % is right 70 times in a hundred. Large dots: many images.",
    }


def errors_by_class(classes: NDArray[np.int64], words: Sequence[str], named: Bools, placed: Bools) -> Table:
    """Make a table of the errors of each true class, the worst first.

    Parameters
    ----------
    classes
        (n,): the true class of each image.
    words
        What each class is called.
    named, placed
        (n,): whether the first class of each image is right, and whether its box is right too.
    """
    from pandas import DataFrame

    indices, rows, counts = np.unique(classes, return_inverse=True, return_counts=True)
    misnamed, misplaced = (1 - np.bincount(rows, right) / counts for right in (named, placed))
    order = np.lexsort([-counts, -misnamed, -misplaced])
    frame = DataFrame(
        {
            "class": [words[index].split(", ")[0] for index in indices[order]],
            "images": counts[order],
            "top-1": 100 * misnamed[order],
            "with box": 100 * misplaced[order],
        }
    )
    note = "Errors of the first guess: of its class alone, and of class and box."
    return Table("Errors by class", frame, note, dict.fromkeys(["top-1", "with box"], "{:.0f}%".format))


def _named(label: str, told: str) -> str:
    return f"{label}: {told}" if label else told


def _points(x: Floats, y: Floats) -> list[list[float]]:
    return np.stack([x, y], axis=1).round(4).tolist()  # type: ignore[no-any-return]
