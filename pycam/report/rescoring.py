"""The results of a run at every threshold of its box rule, for the threshold that a page applies to all images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.evaluation.results import Results, submitted
from pycam.ilsvrc.scores import by_k
from pycam.maps.boxes import RIGHT_IOU, Box, Boxes, iou, paper_box
from pycam.maps.placement import Map
from pycam.maps.rules import box_rules
from pycam.metrics.errors import classification_hits, error, error_interval
from pycam.prediction import Prediction
from pycam.report.outcomes import Outcome, Rescored, judge
from pycam.report.viewer_data import Truth

PERCENTS = [percent / 100 for percent in range(101)]

NO_BOX = (0, 0, 0, 0)


def has_threshold(rule: str) -> bool:
    """Return whether a box rule has a threshold that a page can change: one that needs only the map."""
    found = box_rules[rule]
    return found.threshold is not None and not found.needs_image


def common_thresholds(rules: Iterable[str]) -> list[float]:
    """Return the thresholds that a page offers for these box rules: whole percents that all of them take."""
    with_threshold = [box_rules[rule].threshold for rule in rules if has_threshold(rule)]
    return PERCENTS if all(each is None or each.inclusive for each in with_threshold) else PERCENTS[:-1]


def rescore(prediction: Prediction, truth: Truth, centre: bool, thresholds: Sequence[float]) -> Rescored:
    """Find the boxes of an image at several thresholds, and judge them as a run with this threshold does.

    Parameters
    ----------
    prediction : Prediction
        With the maps of the best class and of the ground-truth class. If its box rule has no threshold, the paper's
        rule is used.
    truth : Truth
        The ground truth.
    centre : bool
        As for `pycam.report.outcomes.judge`.
    thresholds : sequence of float
        In ascending order.
    """
    best = prediction.top[0]
    true = next(item for item in prediction.top if item.index == truth.index)
    own = prediction.protocol.box_rule
    rule = own if has_threshold(own) else "paper"
    boxes = boxes_at(rule, best.image_map, thresholds)
    of_truth = boxes if true.index == best.index else boxes_at(rule, true.image_map, thresholds)
    # The shown box is in pixels of the image; the errors use it as an evaluation reads what is submitted.
    given, counted = (submitted(found, prediction.protocol) for found in (boxes, of_truth))
    outcomes: dict[Box | None, Outcome] = {}
    judged = []
    for shown, (x0, y0, x1, y1) in zip(boxes.tolist(), given.tolist(), strict=True):
        box = None if tuple(shown) == NO_BOX else (x0, y0, x1, y1)
        if box not in outcomes:
            outcomes[box] = judge(best.index, best.score, box, truth.index, truth.boxes, centre)
        judged.append(outcomes[box])
    ious = iou(counted[:, None], np.reshape(truth.boxes, (-1, 4)))
    return Rescored(boxes, judged, np.asarray((ious >= RIGHT_IOU).any(axis=1)))


def boxes_at(rule: str, map_: Map, thresholds: Sequence[float]) -> Boxes:
    """Return the first box of a map at several thresholds, in ascending order: (t, 4); zeros if there is none."""
    if rule == "paper":
        return _paper_boxes(map_, thresholds)
    found = (box_rules[rule].image_boxes(map_, threshold) for threshold in thresholds)
    return np.array([boxes[0] if len(boxes) else NO_BOX for boxes in found], np.intp)


def _paper_boxes(map_: Map, thresholds: Sequence[float]) -> Boxes:
    """Return the boxes of the paper's rule, with less work than one by one."""
    part, left, top = map_, 0, 0
    peak = map_.max()
    boxes = []
    for threshold in thresholds:
        boxes.append(np.add(paper_box(part, threshold), (left, top, left, top)))
        if peak > 0:
            # The foreground of a higher threshold lies in that of this one.
            x, y, w, h = cv2.boundingRect((part >= part.dtype.type(threshold) * peak).view(np.uint8))
            part, left, top = part[y : y + h, x : x + w], left + x, top + y
    return np.array(boxes, np.intp)


def errors_at(results: Results, hits: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the errors of a run that depend on the threshold, at each of t thresholds, as in `report.json`.

    Parameters
    ----------
    results : Results
        The n images of the run.
    hits : (n, t) bool
        `Rescored.hits` of each image.
    """
    truth = results.truth
    named = classification_hits(results.predictions("bbox1").classes, truth.classes)[truth.counted]
    right = hits[truth.counted]
    # (c, t, 6): the first k classes, k = 1…5, and the ground-truth class alone
    correct = np.concatenate([named[:, None] & right[:, :, None], right[:, :, None]], axis=2)
    flat = correct.reshape(len(correct), -1)
    errors, intervals = error(flat).reshape(-1, 6), error_interval(flat).reshape(-1, 6, 2)
    return [
        {
            "localization_error": by_k(at[:5]),
            "gt_known_error": float(at[5]),
            "intervals": {"localization_error": by_k(bounds[:5]), "gt_known_error": bounds[5].tolist()},
        }
        for at, bounds in zip(errors, intervals, strict=True)
    ]


def live_cells(rows: Sequence[Sequence[str]], others: Sequence[Sequence[Sequence[str]]]) -> list[Mapping[str, Any]]:
    """Return the cells of a table that depend on the threshold, with their texts at each threshold.

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
