"""`ILSVRC_evaluate_bbox.m`: `python -m matlab_ports.ILSVRC_evaluate_bbox HEATMAPS GROUND_TRUTH`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from matlab_ports.evaluation.simpleEvaluation import simpleEvaluation
from matlab_ports.generate_bbox import dt_box
from pycam.errors import FormatError, UsageError
from pycam.ilsvrc.predictions import SUBMISSIONS, Predictions, write_predictions
from pycam.ilsvrc.synsets import CLASSES
from pycam.maps.boxes import corners, half_open

RANKS = range(1, 6)


def ILSVRC_evaluate_bbox(
    heatmapFolder: str | Path,
    resultFolder: str | Path,
    ground_truth: str | Path,
    ground_truth_labelfile: str | Path | None = None,
    blacklist_file: str | Path | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Find boxes in heat maps, write the three submissions of the release, and evaluate them.

    Parameters
    ----------
    heatmapFolder : path
        The output of `ILSVRC_generate_heatmap` for all images of the ground truth. Images are numbered in the order
        of their names.
    resultFolder : path
        The folder for `bbox1.txt`, `bbox2.txt` and `bboxCombine.txt`, in ILSVRC's form.
    ground_truth, ground_truth_labelfile, blacklist_file : path
        The same as for `simpleEvaluation`.

    Returns
    -------
    dict of (5, 3) double
        For each submission the columns k, classification error, localization error. docs/release.md, section 5.
    """
    names = sorted(path.stem for path in Path(heatmapFolder).glob("*.txt"))
    if not names:
        raise UsageError(f"{heatmapFolder}: no .txt files; expected the output of ILSVRC_generate_heatmap")
    found = [_classes_and_boxes(Path(heatmapFolder), name) for name in names]
    folder = Path(resultFolder)
    folder.mkdir(parents=True, exist_ok=True)
    errors = {}
    for kind in SUBMISSIONS:
        submissions = [submission(kind, classes, boxes) for classes, boxes in found]
        predictions = Predictions(
            np.array([one.classes for one in submissions], np.int64),
            half_open(np.array([one.boxes for one in submissions], np.float64)),
        )
        write_predictions(folder / f"{kind}.txt", predictions)
        errors[kind] = simpleEvaluation(folder / f"{kind}.txt", ground_truth, ground_truth_labelfile, blacklist_file)
        fallbacks, missing = sum(one.fallbacks for one in submissions), sum(one.missing for one in submissions)
        print(f"{kind}: {fallbacks} predictions use the first box instead of the second, {missing} have no box")
    return errors


@dataclass(frozen=True, eq=False)
class Submission:
    """The five predictions for an image, best first.

    Attributes
    ----------
    classes : five ints
        Network indices.
    boxes : (5, 4) int
        x, y, x + width, y + height, 0-based, as the release submits them; four zeros if a class has no box.
    fallbacks : int
        The number of predictions that use the first box because there is no second.
    missing : int
        The number of predictions without a box.
    """

    classes: list[int]
    boxes: NDArray[np.intp]
    fallbacks: int
    missing: int


def submission(name: str, classes: Sequence[int], boxes: Sequence[NDArray[np.intp]]) -> Submission:
    """Return the five predictions of one of `SUBMISSIONS` from the boxes of an image's top five classes.

    Parameters
    ----------
    name : {"bbox1", "bbox2", "bboxCombine"}
        docs/release.md, section 5.
    classes : five ints
        The classes, best first.
    boxes : five (n, 4) arrays
        The boxes of each class from `dt_box`.

    Returns
    -------
    Submission
        The release stops at a class that has fewer boxes than needed; here the first box replaces a missing second.
    """
    predictions = SUBMISSIONS[name]
    found = np.zeros((len(predictions), 4), np.intp)
    fallbacks = missing = 0
    for index, (rank, wanted) in enumerate(predictions):
        count = len(boxes[rank])
        if count:
            found[index] = corners(boxes[rank])[wanted if wanted < count else 0]
        fallbacks += 0 < count <= wanted
        missing += count == 0
    return Submission([classes[rank] for rank, _ in predictions], found, fallbacks, missing)


def _classes_and_boxes(folder: Path, name: str) -> tuple[list[int], list[NDArray[np.intp]]]:
    file = folder / f"{name}.txt"
    try:
        classes = [int(line.split()[0]) - 1 for line in file.read_text().splitlines()]
    except (ValueError, IndexError):
        classes = []
    if len(classes) != len(RANKS) or not 0 <= min(classes) <= max(classes) < CLASSES:
        raise FormatError(f"{file}: expected five lines, each with a class from 1 to {CLASSES} and its score")
    return classes, [dt_box(folder / f"{name}_{rank}.jpg") for rank in RANKS]


def _script(
    heatmaps: Annotated[Path, typer.Argument(help="Output folder of ILSVRC_generate_heatmap.")],
    ground_truth: Annotated[Path, typer.Argument(help="Devkit cache (.mat), or folder of XML.")],
    out: Annotated[Path, typer.Option(help="Folder for the submissions.")],
    labels: Annotated[Path | None, typer.Option(help="Labels of the images.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="Images that are excluded from localization.")] = None,
) -> None:
    """Find boxes in heat maps as the release does, and print the errors of the three submissions."""
    for kind, table in ILSVRC_evaluate_bbox(heatmaps, out, ground_truth, labels, blacklist).items():
        for k, cls_error, loc_error in table:
            print(f"{kind} {k:.0f} {cls_error:.4f} {loc_error:.4f}")


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
