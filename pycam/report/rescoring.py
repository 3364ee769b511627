"""The results of a run at every threshold of its box rule, for the threshold that a page applies to all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.evaluation.results import Results
from pycam.ilsvrc.scores import by_k
from pycam.maps.boxes import RIGHT_IOU, Box, Boxes, half_open, iou, paper_box
from pycam.metrics.errors import error, error_interval
from pycam.prediction import ClassPrediction, Prediction
from pycam.report.outcomes import THRESHOLDS, Outcome, Rescored, judge
from pycam.report.viewer_data import Truth


def rescore(prediction: Prediction, truth: Truth, centre: bool) -> Rescored:
    """Find the boxes of an image at each of `THRESHOLDS`, and judge them as a run with this threshold does.

    Parameters
    ----------
    prediction : Prediction
        With the maps of the best class and of the ground-truth class.
    truth : Truth
        The ground truth.
    centre : bool
        As for `pycam.report.outcomes.judge`.
    """
    best = prediction.top[0]
    true = next(item for item in prediction.top if item.index == truth.index)
    boxes = _boxes(best)
    of_truth = boxes if true.index == best.index else _boxes(true)
    submitted, of_truth = (_submitted(prediction, found) for found in (boxes, of_truth))
    outcomes: dict[Box, Outcome] = {}
    for x0, y0, x1, y1 in submitted.tolist():
        if (box := (x0, y0, x1, y1)) not in outcomes:
            outcomes[box] = judge(best.index, best.score, box, truth.index, truth.boxes, centre)
    true_boxes = np.reshape(truth.boxes, (-1, 4))
    hits = np.asarray((iou(of_truth[:, None], true_boxes) >= RIGHT_IOU).any(axis=1))
    return Rescored(boxes, [outcomes[x0, y0, x1, y1] for x0, y0, x1, y1 in submitted.tolist()], hits)


def errors_at(results: Results, hits: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the errors of a run that depend on the threshold, at each of `THRESHOLDS`, as in `report.json`.

    Parameters
    ----------
    results : Results
        The n images of the run.
    hits : (n, t) bool
        `Rescored.hits` of each image.
    """
    truth = results.truth
    named = results.records["classes"][:, :5] == truth.classes[:, None]
    first_k = np.logical_or.accumulate(named, axis=1)[truth.counted]
    right = hits[truth.counted]
    # (c, t, 6): the first k classes, k = 1…5, and the ground-truth class alone
    correct = np.concatenate([first_k[:, None] & right[:, :, None], right[:, :, None]], axis=2)
    flat = correct.reshape(len(correct), -1)
    shape = (len(THRESHOLDS), 6)
    errors, intervals = error(flat).reshape(shape), error_interval(flat).reshape(*shape, 2)
    return [
        {
            "localization_error": by_k(at[:5]),
            "gt_known_error": float(at[5]),
            "intervals": {"localization_error": by_k(bounds[:5]), "gt_known_error": bounds[5].tolist()},
        }
        for at, bounds in zip(errors, intervals, strict=True)
    ]


def live_cells(rows: Sequence[Sequence[str]], others: Sequence[Sequence[Sequence[str]]]) -> list[Mapping[str, Any]]:
    """Return the cells of a table that depend on the threshold, with their texts at each of `THRESHOLDS`.

    Parameters
    ----------
    rows : sequence of rows of text
        The table.
    others : sequence of the same
        The table at each threshold.
    """
    return [
        {"row": row, "column": column, "texts": texts}
        for row, cells in enumerate(rows)
        for column in range(len(cells))
        if len({*(texts := [other[row][column] for other in others]), cells[column]}) > 1
    ]


def has_threshold(rule: str) -> bool:
    """Return whether a box rule has a threshold that a page can change."""
    return rule == "paper"


def _boxes(item: ClassPrediction) -> Boxes:
    """Return the paper's box of a class at each of `THRESHOLDS`: (t, 4)."""
    part, left, top = item.image_map, 0, 0
    peak = part.max()
    boxes = []
    for threshold in THRESHOLDS.tolist():
        boxes.append(np.add(paper_box(part, threshold), (left, top, left, top)))
        if peak > 0:
            # The foreground of a higher threshold lies in that of this one.
            x, y, w, h = cv2.boundingRect((part >= part.dtype.type(threshold) * peak).view(np.uint8))
            part, left, top = part[y : y + h, x : x + w], left + x, top + y
    return np.array(boxes, np.intp)


def _submitted(prediction: Prediction, boxes: Boxes) -> NDArray[np.int64]:
    """Return boxes as an evaluation reads them: `pycam.evaluation.results.read_results`."""
    return half_open(boxes) if prediction.protocol.submission == "as_released" else boxes
