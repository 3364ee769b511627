"""ILSVRC submission files: one line per image, up to five times `label xmin ymin xmax ymax`, best first."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import atomic_write
from pycam.ilsvrc.lines import numbered_lines
from pycam.ilsvrc.synsets import CLASSES, synsets
from pycam.maps.boxes import half_open, inclusive

PREDICTIONS_PER_IMAGE = 5
MOST = 500_000
_FIELDS = 5
_LARGEST = 1e9

SUBMISSIONS = {
    "bbox1": ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0)),
    "bbox2": ((0, 1), (1, 1), (2, 1), (3, 1), (4, 1)),
    "bboxCombine": ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0)),
}
"""The release's three submissions: the class rank and box number, 0-based, of each of the five predictions."""


@dataclass(frozen=True)
class Predictions:
    """Up to five predictions for each of n images, best first.

    Attributes
    ----------
    classes : (n, 5) int64
        Network indices; -1 where an image has fewer predictions.
    boxes : (n, 5, 4) float64
        Half-open; a submission file may contain fractions of pixels.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.classes)


def read_predictions(path: Path) -> Predictions:
    """Read a submission file; its labels are ILSVRC2014 IDs.

    An empty line is an image without predictions. A box with xmin > xmax is read, too; it is never correct.

    Raises
    ------
    GroundTruthError
        With file and line: the file is empty, a line is not up to five times five numbers, a label is outside of
        1…1000, or a coordinate is not finite.
    """
    values = array("d")
    counts: list[int] = []
    for number, line in numbered_lines(path, MOST):
        fields = line.split()
        count, rest = divmod(len(fields), _FIELDS)
        if rest or count > PREDICTIONS_PER_IMAGE:
            form = f"up to {PREDICTIONS_PER_IMAGE} times `label xmin ymin xmax ymax`"
            raise GroundTruthError(f"{path}:{number}: {len(fields)} numbers; {form} was expected")
        values.extend(_numbers(fields, f"{path}:{number}"))
        values.extend([0.0] * _FIELDS * (PREDICTIONS_PER_IMAGE - count))
        counts.append(count)
    if not counts:
        raise GroundTruthError(f"{path}:1: an empty file; one line of predictions per image was expected")
    numbers = np.frombuffer(values).reshape(-1, PREDICTIONS_PER_IMAGE, _FIELDS)
    labels, boxes = numbers[:, :, 0], numbers[:, :, 1:]
    made = np.arange(PREDICTIONS_PER_IMAGE) < np.array(counts)[:, None]
    wrong = made & ~((labels >= 1) & (labels <= CLASSES) & (labels == np.rint(labels)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        label = f"label {labels[row, column]:g}"
        raise GroundTruthError(f"{path}:{row + 1}: {label}; an ILSVRC2014 ID, 1…{CLASSES}, was expected")
    ids = np.where(made, labels, 0).astype(np.int64)
    return Predictions(synsets().index_of_id[ids], half_open(boxes))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a submission file atomically; its labels are ILSVRC2014 IDs."""
    ids = synsets().ids[predictions.classes].tolist()
    classes, boxes = predictions.classes.tolist(), inclusive(predictions.boxes).tolist()
    lines = (
        " ".join(
            f"{label} {' '.join(f'{side:.10g}' for side in box)}"
            for index, label, box in zip(*image, strict=True)
            if index >= 0
        )
        for image in zip(classes, ids, boxes, strict=True)
    )
    atomic_write(path, "".join(f"{line}\n" for line in lines))


def _numbers(fields: list[str], where: str) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = [math.nan]
    if not all(-_LARGEST <= number <= _LARGEST for number in numbers):
        raise GroundTruthError(f"{where}: {' '.join(fields)[:80]!r} is not a list of finite numbers")
    return numbers
