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
from pycam.formats.lines import cells_of, numbered_lines
from pycam.ilsvrc.classes import class_index, has_ilsvrc_classes, indices
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.names import join_all, normal
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


def names_images(path: Path) -> bool:
    """Return True for a file with commas, as `read_classes` reads, which names images and has no boxes."""
    return "," in next((line for _, line in numbered_lines(path, MOST) if line), "")


def read_predictions(path: Path, class_names: tuple[str, ...] = ()) -> Predictions:
    """Read a submission file; its labels are ILSVRC2014 IDs, or network indices if the classes are not ILSVRC's.

    An empty line is an image without predictions. A box with xmin > xmax is read, too; it is never correct.

    Raises
    ------
    GroundTruthError
        With file and line: the file is empty, a line is not up to five times five numbers, a label is outside of
        its range, or a coordinate is not finite.
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
    ilsvrc = has_ilsvrc_classes(class_names)
    low, high = (1, CLASSES) if ilsvrc else (0, len(class_names) - 1)
    wrong = made & ~((labels >= low) & (labels <= high) & (labels == np.rint(labels)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        kind = "an ILSVRC2014 ID" if ilsvrc else "a network index"
        raise GroundTruthError(f"{path}:{row + 1}: label {labels[row, column]:g}; {kind}, {low}…{high}, was expected")
    ids = np.where(made, labels, 0 if ilsvrc else -1).astype(np.int64)
    return Predictions(synsets().index_of_id[ids] if ilsvrc else ids, half_open(boxes))


def read_classes(path: Path, truth: GroundTruth) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Read the classes that are predicted for each image, best first, without boxes.

    Parameters
    ----------
    path : Path
        A submission file, as for `read_predictions`; or a comma-separated file with a line per image, in any order: its
        name and up to five classes, which are network indices or names of classes. A first line `image,…` is a header.
    truth : GroundTruth
        Images and names of classes.

    Returns
    -------
    classes : (n, 5) int64
        In the order of the ground truth; -1 where an image has fewer predictions.
    extra : tuple of str
        Images of the file that are not in the ground truth.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, a class is unknown, an image occurs twice; or an image has no line.
    """
    if not names_images(path):
        classes = read_predictions(path, truth.class_names).classes
        if len(classes) != len(truth):
            raise GroundTruthError(
                f"{path}: {len(classes)} lines for {len(truth)} images; one line per image was expected"
            )
        return classes, ()
    known = indices(truth.class_names)
    row_of: dict[str, int] = {}
    rows: list[list[int]] = []
    for number, line in numbered_lines(path, MOST):
        where = f"{path}:{number}"
        name, *cells = cells_of(line, where) or [""]
        if not line or (number == 1 and name.lower() in ("image", "id", "image_id")):
            continue
        if not name or not 1 <= len(cells) <= PREDICTIONS_PER_IMAGE:
            form = f"an image and up to {PREDICTIONS_PER_IMAGE} classes, best first"
            raise GroundTruthError(f"{where}: {line[:80]!r}; {form}, with commas between, were expected")
        if normal(name) in row_of:
            raise GroundTruthError(f"{where}: image {name!r} occurs twice")
        row_of[normal(name)] = len(rows)
        rows.append([class_index(cell, known, where) for cell in cells])
    classes = np.full((len(truth), PREDICTIONS_PER_IMAGE), -1)
    keys = join_all(truth.names, row_of, path, "line")
    for row, key in enumerate(keys):
        found = rows[row_of[key]]
        classes[row, : len(found)] = found
    return classes, tuple(sorted(row_of.keys() - set(keys)))


def write_predictions(path: Path, predictions: Predictions, class_names: tuple[str, ...] = ()) -> None:
    """Write a submission file atomically; its labels are those that `read_predictions` reads."""
    ilsvrc = has_ilsvrc_classes(class_names)
    ids = (synsets().ids[predictions.classes] if ilsvrc else predictions.classes).tolist()
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
