"""`eval_clsloc.m`."""

from __future__ import annotations

from pathlib import Path

from matlab_ports.evaluation.simpleEvaluation import simpleEvaluation
from pycam.errors import UsageError
from pycam.ilsvrc.predictions import PREDICTIONS_PER_IMAGE


def eval_clsloc(
    predict_file: str | Path,
    gtruth_dir: str | Path,
    meta_file: str | Path | None,
    max_num_pred_per_image: int,
    gtruth_file: str | Path | None,
    blacklist_file: str | Path | None,
    optional_cache_file: str | Path | None = None,
) -> tuple[float, float]:
    """Return the classification error and the localization error of a submission file.

    Parameters
    ----------
    predict_file : path
        One line per image: up to five times `label xmin ymin xmax ymax`; labels are ILSVRC2014 IDs.
    gtruth_dir : path
        The folder of VOC-style XML; not read if there is a cache.
    meta_file : path, optional
        `meta_clsloc.mat`; its IDs are compared with those of pycam.
    max_num_pred_per_image : int
        The number of predictions that count, 1 to 5.
    gtruth_file, blacklist_file : path, optional
        The ground-truth labels of the images, and the numbers of the images that are excluded from localization.
    optional_cache_file : path, optional
        The devkit's cache of the boxes. If it does not exist, the original writes it, and this function reads the XML.

    Returns
    -------
    (cls_error, loc_error)
        Fractions. docs/release.md, section 7.
    """
    if not 1 <= max_num_pred_per_image <= PREDICTIONS_PER_IMAGE:
        raise UsageError(
            f"eval_clsloc: max_num_pred_per_image is {max_num_pred_per_image}; expected 1 to {PREDICTIONS_PER_IMAGE}"
        )
    boxes = gtruth_dir
    if optional_cache_file is not None and Path(optional_cache_file).is_file():
        boxes = optional_cache_file
    table = simpleEvaluation(predict_file, boxes, gtruth_file, blacklist_file, meta_file)
    _, cls_error, loc_error = table[max_num_pred_per_image - 1].tolist()
    return cls_error, loc_error
