"""What stands above the pictures of a report: tables, and charts whose both axes go from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Section = dict[str, Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

BINS = 10


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Section:
    """Make a table of texts."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "note": note}


def threshold_curve(runs: Mapping[str, tuple[Floats, Floats]], title: str, note: str = "") -> Section:
    """Draw how many boxes of the true class are right at each threshold.

    Parameters
    ----------
    runs
        What each run is called -> thresholds and fractions, (t,) each.
    title, note
        What the curve is of.
    """
    series = []
    for label, (thresholds, fractions) in runs.items():
        best = int(np.argmax(fractions))
        told = f"best {fractions[best]:.1%} at a threshold of {thresholds[best]:.0%}"
        series.append({"summary": _named(label, told), "points": _points(thresholds, fractions)})
    return {
        "title": title,
        "x": "threshold, of the map's maximum",
        "y": "boxes that are right",
        "series": series,
        "note": note,
    }


def calibration(runs: Mapping[str, tuple[Floats, Bools]]) -> Section:
    """Draw how often the first class is right, by its score.

    Parameters
    ----------
    runs
        What each run is called -> the first class's score of each picture, and whether the class is right: (n,) each.

    Notes
    -----
    The expected calibration error is the mean distance between score and share, over pictures, in ten bins of score.
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
        told = f"expected calibration error {error:.1%}, {len(scores)} pictures"
        series.append(
            {"summary": _named(label, told), "points": _points(means, shares), "dots": dots.round(1).tolist()}
        )
    return {
        "title": "Calibration",
        "x": "score of the first class",
        "y": "how often it is right",
        "series": series,
        "diagonal": True,
        "note": "On the diagonal a score of 70 % is right 70 times in a hundred. Large dots: many pictures.",
    }


def errors_by_class(
    classes: NDArray[np.int64], words: Mapping[int, str], runs: Mapping[str, tuple[Bools, Bools]]
) -> Section:
    """Make a table of the errors of each true class, the worst of the last run first.

    Parameters
    ----------
    classes
        (n,): the true class of each picture.
    words
        What each class is called.
    runs
        What each run is called -> whether the first class is right, and whether its box is right too: (n,) each.
    """
    indices, rows, counts = np.unique(classes, return_inverse=True, return_counts=True)
    errors = [1 - np.bincount(rows, right) / counts for both in runs.values() for right in both]
    order = np.lexsort([-counts, *(-error for error in errors)])
    columns = [_named(label, kind) for label in runs for kind in ("class error", "box error")]
    return table(
        "Errors by class",
        ["class", "pictures", *columns],
        [
            [words[int(indices[i])].split(", ")[0], str(counts[i]), *(f"{error[i]:.0%}" for error in errors)]
            for i in order
        ],
        "Of the first guess. A box error is a wrong class, or a box that overlaps no true one by half.",
    )


def _named(label: str, told: str) -> str:
    return f"{label}: {told}" if label else told


def _points(x: Floats, y: Floats) -> list[list[float]]:
    return np.stack([x, y], axis=1).round(4).tolist()  # type: ignore[no-any-return]
