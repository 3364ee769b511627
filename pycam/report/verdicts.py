"""What became of a picture: right, or wrong in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycam.boxes import Box

FITS = 0.5
"""The overlap from which a box is right."""

MOSTLY = 2 / 3
"""A box whose overlap is below a half cannot lie mostly in the true box and mostly cover it too: for an overlap i,
with the shares c of the true box and p of the found one that they share, 1/i = 1/c + 1/p - 1."""

OUTCOMES = {
    "right": ("good", "The class is right, and the box overlaps a true one by half or more."),
    "right, like the centre": (
        "easy",
        "As right; but a box in the middle of the picture, the same for all pictures, is right as well.",
    ),
    "too small": ("near", "The class is right; two thirds of the box or more lie in the nearest true box."),
    "too large": ("near", "The class is right; the box holds two thirds or more of the nearest true box."),
    "shifted": ("far", "The class is right; the box lies beside the nearest true box, or nowhere near."),
    "merged": ("far", "The class is right; the one box holds most of two or more true boxes, and fits none."),
    "wrong class": ("bad", "The first class is not the true one."),
}
"""Outcome -> tone in the page, and what it means."""

CHANGES = {
    "mended": ("good", "Wrong in the first run, right in the second."),
    "broken": ("bad", "Right in the first run, wrong in the second."),
    "wrong in another way": ("near", "Wrong in both runs, not in the same way."),
    "as before": ("same", "The same outcome in both runs."),
}
"""What changed between two runs -> tone in the page, and what it means."""


@dataclass(frozen=True)
class Verdict:
    """What became of a picture in one run.

    Attributes
    ----------
    name
        A key of `OUTCOMES`.
    overlap
        Intersection over union with the nearest true box; None where there are none.
    badness
        By which the worst come first: a wrong class by its score, above 1; a box by what it lacks, up to 1.
    """

    name: str
    overlap: float | None
    badness: float

    @property
    def right(self) -> bool:
        """Whether class and box are right."""
        return self.name.startswith("right")


def judge(
    index: int, score: float, box: Box | None, true_index: int, truths: Sequence[Box], centre: bool = False
) -> Verdict:
    """Say what became of a picture.

    Parameters
    ----------
    index, score, box
        The first class, its score and its box.
    true_index, truths
        The true class and its boxes: (x0, y0, x1, y1), picture pixels, 0-based half-open. None: the class decides.
    centre
        Whether a box in the middle is right for this picture.
    """
    overlaps = [overlap(box, truth) for truth in truths] if box is not None else []
    best = max(overlaps, default=None)
    if index != true_index:
        return Verdict("wrong class", best, 1 + score)
    if not truths:
        return Verdict("right", None, 0.0)
    if box is None or best is None:
        return Verdict("shifted", None, 1.0)
    if best >= FITS:
        return Verdict("right, like the centre" if centre else "right", best, 1 - best)
    nearest = truths[overlaps.index(best)]
    if sum(_shared(box, truth) >= _area(truth) / 2 for truth in truths) > 1:
        name = "merged"
    elif _shared(box, nearest) >= MOSTLY * _area(box):
        name = "too small"
    elif _shared(box, nearest) >= MOSTLY * _area(nearest):
        name = "too large"
    else:
        name = "shifted"
    return Verdict(name, best, 1 - best)


def change(first: Verdict, second: Verdict) -> str:
    """Say what changed from one run to the other: a key of `CHANGES`."""
    if first.right != second.right:
        return "mended" if second.right else "broken"
    return "as before" if first.right or first.name == second.name else "wrong in another way"


def difference(first: Verdict, second: Verdict) -> float:
    """Say how much changed from one run to the other."""
    return abs(first.badness - second.badness)


def overlap(a: Box, b: Box) -> float:
    """Give the intersection over union of two half-open boxes."""
    shared = _shared(a, b)
    return shared / (_area(a) + _area(b) - shared)


def _shared(a: Box, b: Box) -> int:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])
