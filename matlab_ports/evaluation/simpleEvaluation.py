"""`simpleEvaluation.m`: `python -m matlab_ports.evaluation.simpleEvaluation PREDICTIONS_PER_IMAGE GROUND_TRUTH`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.predictions import PREDICTIONS_PER_IMAGE, read_predictions
from pycam.ilsvrc.scores import score_predictions


def simpleEvaluation(
    predict_file: str | Path,
    ground_truth: str | Path,
    ground_truth_labelfile: str | Path | None = None,
    blacklist_file: str | Path | None = None,
    meta_file: str | Path | None = None,
) -> NDArray[np.float64]:
    """Return the errors of a submission file for the first one to five predictions.

    Parameters
    ----------
    predict_file : path
        One line per image: up to five times `label xmin ymin xmax ymax`; labels are ILSVRC2014 IDs.
    ground_truth : path
        The devkit's cache of the boxes (`.mat`), or a folder of VOC-style XML.
    ground_truth_labelfile, blacklist_file, meta_file : path, optional
        The ground-truth labels of the images; the numbers of the images that are excluded from localization;
        `meta_clsloc.mat`.

    Returns
    -------
    (5, 3) double
        One row for each k = 1…5: k, classification error, localization error. docs/release.md, section 7.
    """
    truth = read_ground_truth(
        Path(ground_truth),
        ground_truth_classes=_path(ground_truth_labelfile),
        blacklist=_path(blacklist_file),
        meta=_path(meta_file),
    )
    scores = score_predictions(read_predictions(Path(predict_file)), truth)
    if scores.localization_error is None:
        raise GroundTruthError(f"{ground_truth}: no boxes; expected a devkit cache or a folder of XML")
    return np.column_stack(
        [np.arange(1, PREDICTIONS_PER_IMAGE + 1), scores.classification_error, scores.localization_error]
    )


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _script(
    predictions: Annotated[Path, typer.Argument(help="Submission file.")],
    ground_truth: Annotated[Path, typer.Argument(help="Devkit cache (.mat), or folder of XML.")],
    labels: Annotated[Path | None, typer.Option(help="Labels of the images.")] = None,
    blacklist: Annotated[Path | None, typer.Option(help="Images that are excluded from localization.")] = None,
) -> None:
    """Print k, the classification error and the localization error for k = 1…5."""
    for k, cls_error, loc_error in simpleEvaluation(predictions, ground_truth, labels, blacklist):
        print(f"{k:.0f} {cls_error:.10f} {loc_error:.10f}")


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
