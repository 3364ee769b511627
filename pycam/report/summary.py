"""Tables and charts for the heading of a report. Both axes of a chart go from 0 to 1."""

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
    """Return a chart of the fraction of right boxes at each threshold.

    Parameters
    ----------
    runs : mapping
        Label of each run -> thresholds and fractions, (t,) float each.
    note : str
        Text below the chart.
    mark : float, optional
        A threshold to mark.
    """
    series = []
    for label, (thresholds, fractions) in runs.items():
        best = int(np.argmax(fractions))
        result = f"best {fractions[best]:.1%} at a threshold of {thresholds[best]:.0%}"
        series.append(_line(label, result, thresholds, fractions))
    return {
        "title": "Threshold",
        "x": "threshold, as a fraction of the map's maximum",
        "y": "right boxes",
        "series": series,
        "marks": [] if mark is None else [mark],
        "note": note,
    }


def calibration(runs: Mapping[str, tuple[Floats, Bools]]) -> Section:
    """Return a chart of how often the best class is right, by its score.

    Parameters
    ----------
    runs : mapping
        Label of each run -> score of the best class of each image, (n,) float, and whether it is right, (n,) bool.

    Notes
    -----
    The expected calibration error is the mean distance between score and accuracy, over images, in ten bins of score.
    """
    series = []
    for label, (scores, right) in runs.items():
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        used = counts > 0
        means, accuracies = (np.bincount(bins, values, BINS)[used] / counts[used] for values in (scores, right))
        error = float(np.abs(means - accuracies) @ counts[used] / len(scores))
        dots = 1.5 + 7 * np.sqrt(counts[used] / counts.max())
        result = f"expected calibration error {error:.1%}, {len(scores)} images"
        series.append(_line(label, result, means, accuracies) | {"dots": dots.round(1).tolist()})
    return {
        "title": "Calibration",
        "x": "score of the best class",
        "y": "accuracy",
        "series": series,
        "diagonal": True,
        "note": "On the diagonal, 70 % of the classes with a score of 70 % are right. Large dots: many images.",
    }


def errors_by_class(classes: NDArray[np.int64], labels: Sequence[str], named: Bools, placed: Bools) -> Table:
    """Return a table of the errors of each ground-truth class, the worst first.

    Parameters
    ----------
    classes : (n,) int
        The ground-truth class of each image.
    labels : sequence of str
        Label of each class.
    named, placed : (n,) bool
        Whether the best class of each image is right, and whether its box is right too.
    """
    from pandas import DataFrame

    indices, rows, counts = np.unique(classes, return_inverse=True, return_counts=True)
    misnamed, misplaced = (1 - np.bincount(rows, right) / counts for right in (named, placed))
    order = np.lexsort([-counts, -misnamed, -misplaced])
    frame = DataFrame(
        {
            "class": [labels[index].split(", ")[0] for index in indices[order]],
            "images": counts[order],
            "top-1": 100 * misnamed[order],
            "with box": 100 * misplaced[order],
        }
    )
    note = "Errors of the best class: of the class alone, and of class and box."
    return Table("Errors by class", frame, note, dict.fromkeys(["top-1", "with box"], "{:.0f}%".format))


def _line(label: str, result: str, x: Floats, y: Floats) -> dict[str, Any]:
    points = np.stack([x, y], axis=1).round(4).tolist()
    return {"summary": f"{label}: {result}" if label else result, "points": points}
