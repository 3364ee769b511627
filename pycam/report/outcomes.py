"""What became of an image: right, or wrong in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycam.maps.boxes import RIGHT_IOU, Box, iou, shared_area

MOSTLY = 2 / 3
"""A box whose overlap is below a half cannot lie mostly in the true box and mostly cover it too: for an overlap i,
with the shares c of the true box and p of the found one that they share, 1/i = 1/c + 1/p - 1."""

OUTCOMES = {
    "right": ("good", "The class is right, and the box overlaps a true one by half or more."),
    "right, like the centre": (
        "easy",
        "As right; but a box in the middle of the image, the same for all images, is right as well.",
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
class Outcome:
    """What became of an image in one run.

    Attributes
    ----------
    name
        A key of `OUTCOMES`.
    overlap
        Intersection over union with the nearest true box; None where there are none.
    severity
        By which the worst come first: a wrong class by its score, above 1; a box by what it lacks, up to 1.
    """

    name: str
    overlap: float | None
    severity: float

    @property
    def right(self) -> bool:
        """Whether class and box are right."""
        return self.name.startswith("right")


def judge(
    index: int, score: float, box: Box | None, true_index: int, truths: Sequence[Box], centre: bool = False
) -> Outcome:
    """Say what became of an image.

    Parameters
    ----------
    index, score, box
        The first class, its score and its box.
    true_index, truths
        The true class and its boxes; without any, the class decides.
    centre
        Whether a box in the middle is right for this image.
    """
    ious = iou(box, truths).tolist() if box is not None and truths else []
    best = max(ious, default=None)
    if index != true_index:
        return Outcome("wrong class", best, 1 + score)
    if not truths:
        return Outcome("right", None, 0.0)
    if box is None or best is None:
        return Outcome("shifted", None, 1.0)
    if best >= RIGHT_IOU:
        return Outcome("right, like the centre" if centre else "right", best, 1 - best)
    nearest = ious.index(best)
    shared, areas = shared_area(box, truths), shared_area(truths, truths)
    if (shared >= areas / 2).sum() > 1:
        name = "merged"
    elif shared[nearest] >= MOSTLY * shared_area(box, box):
        name = "too small"
    elif shared[nearest] >= MOSTLY * areas[nearest]:
        name = "too large"
    else:
        name = "shifted"
    return Outcome(name, best, 1 - best)


def change(first: Outcome, second: Outcome) -> str:
    """Say what changed from one run to the other: a key of `CHANGES`."""
    if first.right != second.right:
        return "mended" if second.right else "broken"
    return "as before" if first.right or first.name == second.name else "wrong in another way"


def difference(first: Outcome, second: Outcome) -> float:
    """Say how much changed from one run to the other."""
    return abs(first.severity - second.severity)
