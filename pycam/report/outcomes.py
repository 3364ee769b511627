"""The outcome of an image: right, or wrong in which way; and how it differs between runs and thresholds."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam.maps.boxes import RIGHT_IOU, Box, Boxes, iou, shared_area

NO_IOU = 0xFFFF
"""Stands for the IoU of an image without ground-truth boxes."""

MOSTLY = 2 / 3
"""Fraction of a box that counts as most of it. With an IoU i below 1/2, a box cannot both lie mostly in the
ground-truth box and mostly cover it: 1/i = 1/c + 1/p - 1, where c and p are the fractions of the ground-truth box and
of the found box that both share."""

OUTCOMES = {
    "right": ("good", "The class is right, and the IoU of the box with a ground-truth box is 0.5 or more."),
    "right, like the center": ("easy", "Right; but a box in the middle, the same for all images, is right as well."),
    "too small": ("near", "The class is right; at least two thirds of the box lie in the nearest ground-truth box."),
    "too large": ("near", "The class is right; the box covers at least two thirds of the nearest ground-truth box."),
    "shifted": ("far", "The class is right; the box lies next to the nearest ground-truth box, or far from it."),
    "merged": ("far", "The class is right; one box covers most of two or more ground-truth boxes, and matches none."),
    "wrong class": ("bad", "The best class is not the ground-truth class."),
}
"""Outcome -> its tone on the page, and its meaning."""

CHANGES = {
    "fixed": ("good", "Wrong in the first run, right in a later one."),
    "regressed": ("bad", "Right in the first run, wrong in a later one."),
    "wrong in another way": ("near", "Wrong in all runs, but not in the same way."),
    "unchanged": ("same", "The same outcome in all runs."),
}
"""Change from the first run to later ones -> its tone on the page, and its meaning."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of an image in one run.

    Attributes
    ----------
    name : str
        A key of `OUTCOMES`.
    iou : float, optional
        Intersection over union with the nearest ground-truth box; None without such a box.
    severity : float
        Order of "worst first": 1 or more for a wrong class, 1 + its score if that is above 0; for a box 1 - IoU.
    """

    name: str
    iou: float | None
    severity: float

    @property
    def right(self) -> bool:
        """Whether the class and the box are right."""
        return self.name.startswith("right")


@dataclass(frozen=True, eq=False)
class Rescored:
    """An image of a run at each of t thresholds.

    Attributes
    ----------
    boxes : (t, 4) int
        The box of the best class, half-open image pixels.
    outcomes : sequence of Outcome
        The outcome of the image.
    hits : (t,) bool
        Whether the box of the ground-truth class is right.
    """

    boxes: Boxes
    outcomes: Sequence[Outcome]
    hits: NDArray[np.bool_]

    def packed_boxes(self) -> str:
        """Return the boxes for the viewer: base64 of little-endian int32."""
        return base64.b64encode(self.boxes.astype("<i4").tobytes()).decode()

    def packed_outcomes(self) -> str:
        """Return the outcomes for the viewer: base64 of t bytes and t little-endian uint16.

        The bytes are positions in `OUTCOMES`; the others are the IoU times 10,000, or `NO_IOU`.
        """
        names = list(OUTCOMES)
        positions = np.array([names.index(outcome.name) for outcome in self.outcomes], np.uint8)
        ious = [NO_IOU if outcome.iou is None else round(10_000 * outcome.iou) for outcome in self.outcomes]
        return base64.b64encode(positions.tobytes() + np.array(ious, "<u2").tobytes()).decode()


def judge(
    index: int, score: float, box: Box | None, true_index: int, truths: Sequence[Box], centre: bool = False
) -> Outcome:
    """Return the outcome of an image.

    Parameters
    ----------
    index, score, box : int, float, Box or None
        The best class, its score and its box.
    true_index : int
        The ground-truth class.
    truths : sequence of Box
        The ground-truth boxes. Without boxes, only the class counts.
    centre : bool
        Whether a box in the middle of the image is right as well.
    """
    ious = iou(box, truths).tolist() if box is not None and truths else []
    best = max(ious, default=None)
    if index != true_index:
        return Outcome("wrong class", best, 1 + max(score, 0.0))
    if not truths:
        return Outcome("right", None, 0.0)
    if box is None or best is None:
        return Outcome("shifted", None, 1.0)
    if best >= RIGHT_IOU:
        return Outcome("right, like the center" if centre else "right", best, 1 - best)
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


def group_of(outcomes: Sequence[Outcome]) -> tuple[str, float]:
    """Return the group and the severity of an image from its outcomes in one or more runs.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Those of each run; empty without ground truth.

    Returns
    -------
    (str, float)
        For one run, its outcome's name and severity. For more, a key of `CHANGES`, and the largest difference of a
        severity to that of the first run.
    """
    if len(outcomes) < 2:
        return next(((outcome.name, outcome.severity) for outcome in outcomes), ("", 0.0))
    first, *later = outcomes
    if any(other.right != first.right for other in later):
        name = "regressed" if first.right else "fixed"
    else:
        same = first.right or all(other.name == first.name for other in later)
        name = "unchanged" if same else "wrong in another way"
    return name, max(abs(first.severity - other.severity) for other in later)
