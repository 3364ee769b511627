"""`ILSVRC_evaluate_bbox.m`: `python -m matlab_ports.ILSVRC_evaluate_bbox HEATMAPS GROUND_TRUTH`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from matlab_ports.evaluation.simpleEvaluation import simpleEvaluation
from matlab_ports.generate_bbox import dt_box
from pycam.boxes import SUBMISSIONS, submission
from pycam.errors import FormatError, UsageError
from pycam.ilsvrc.predictions import Predictions, write_predictions
from pycam.ilsvrc.synsets import CLASSES

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
        What `ILSVRC_generate_heatmap` wrote, for all pictures of the ground truth; they count in the order of
        their names.
    resultFolder : path
        Gets `bbox1.txt`, `bbox2.txt` and `bboxCombine.txt`, in ILSVRC's form.
    ground_truth, ground_truth_labelfile, blacklist_file : path
        As for `simpleEvaluation`.

    Returns
    -------
    dict of (5, 3) double
        By submission: rows k, classification error, localisation error. docs/release.md, section 5.
    """
    names = sorted(path.stem for path in Path(heatmapFolder).glob("*.txt"))
    if not names:
        raise UsageError(f"{heatmapFolder}: no .txt in it, expected what ILSVRC_generate_heatmap writes")
    found = [_classes_and_boxes(Path(heatmapFolder), name) for name in names]
    folder = Path(resultFolder)
    folder.mkdir(parents=True, exist_ok=True)
    errors = {}
    for kind in SUBMISSIONS:
        made = [submission(kind, classes, boxes) for classes, boxes in found]
        guesses = Predictions(
            np.array([one.classes for one in made], np.int64),
            np.array([one.boxes for one in made], np.float64),
        )
        write_predictions(folder / f"{kind}.txt", guesses)
        errors[kind] = simpleEvaluation(folder / f"{kind}.txt", ground_truth, ground_truth_labelfile, blacklist_file)
        fallbacks, missing = sum(one.fallbacks for one in made), sum(one.missing for one in made)
        print(f"{kind}: {fallbacks} guesses fell back to the first box, {missing} have none")
    return errors


def _classes_and_boxes(folder: Path, name: str) -> tuple[list[int], list[NDArray[np.intp]]]:
    file = folder / f"{name}.txt"
    try:
        classes = [int(line.split()[0]) - 1 for line in file.read_text().splitlines()]
    except (ValueError, IndexError):
        classes = []
    if len(classes) != len(RANKS) or not 0 <= min(classes) <= max(classes) < CLASSES:
        raise FormatError(f"{file}: expected five lines, a class from 1 to {CLASSES} and its score")
    return classes, [dt_box(folder / f"{name}_{rank}.jpg") for rank in RANKS]


def _script(
    heatmaps: Annotated[Path, typer.Argument(help="Folder of ILSVRC_generate_heatmap.")],
    ground_truth: Annotated[Path, typer.Argument(help="Devkit cache (.mat), or folder of XML.")],
    out: Annotated[Path, typer.Option(help="Folder for the submissions.")],
    labels: Annotated[Path | None, typer.Option(help="The pictures' labels.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="Pictures that localisation leaves out.")] = None,
) -> None:
    """Find boxes in heat maps as the release does, and print the errors of its three submissions."""
    for kind, table in ILSVRC_evaluate_bbox(heatmaps, out, ground_truth, labels, blacklist).items():
        for k, cls_error, loc_error in table:
            print(f"{kind} {k:.0f} {cls_error:.4f} {loc_error:.4f}")


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
