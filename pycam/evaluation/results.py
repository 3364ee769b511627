"""The results of a finished run: its errors, its predictions in ILSVRC's form and as a table, and a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from pycam.errors import RunError
from pycam.evaluation.figures import errors_table, figures
from pycam.evaluation.notes import read_note
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import BOXES, RECORD, STORED_RULES, TOP, TRUE
from pycam.evaluation.store import Store
from pycam.evaluation.timing import shares
from pycam.formats.files import atomic_open, atomic_write, utf8
from pycam.ilsvrc.baselines import Baselines, accuracies, known_class_errors
from pycam.ilsvrc.classes import has_ilsvrc_classes
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.predictions import PREDICTIONS_PER_IMAGE, SUBMISSIONS, Predictions, write_predictions
from pycam.ilsvrc.scores import known_class_hits, score_predictions
from pycam.maps.boxes import half_open, inclusive, iou
from pycam.metrics.box_accuracy import BoxAccuracy
from pycam.metrics.errors import error, error_interval
from pycam.protocols import PROTOCOLS, RELEASED_BOX_RULES, Protocol
from pycam.tables import csv_text

REPORT = "report.json"
SLICE = 1000
"""The number of images whose boxes are written together."""


@dataclass(frozen=True, eq=False)
class Results:
    """The records of the images that could be evaluated, with their ground truth.

    Attributes
    ----------
    positions : (n,) int64
        Positions of the images in the run's list.
    records : (n,) RECORD
        Their stored predictions.
    boxes : (n, 6, 2, 4) int64
        The records' boxes as the protocol submits them, half-open.
    hits : (n, 4, 125) uint8, optional
        `box_hits`, packed to bits, for the metric `max_box_acc`.
    truth : GroundTruth
        Ground truth of these images.
    """

    positions: NDArray[np.int64]
    records: NDArray[np.void]
    boxes: NDArray[np.int64]
    hits: NDArray[np.uint8] | None
    truth: GroundTruth

    @cached_property
    def known_class_hits(self) -> NDArray[np.bool_]:
        """Correctness of each box of the ground-truth class: (c, 2), for the images that are not blacklisted."""
        boxes = self._boxes(np.full(BOXES, TRUE), np.arange(BOXES))
        return np.stack([known_class_hits(boxes[:, number], self.truth) for number in range(BOXES)], axis=1)

    @cached_property
    def box_accuracy(self) -> BoxAccuracy | None:
        """The accuracies from `hits`, for the images that are not blacklisted; None without them or without boxes."""
        if self.hits is None or not (self.truth.has_boxes and len(self.truth.counted)):
            return None
        return BoxAccuracy(self.hits[self.truth.counted])

    def predictions(self, submission: str) -> Predictions:
        """Return the five predictions per image of one of the `SUBMISSIONS`."""
        ranks, numbers = np.array(SUBMISSIONS[submission]).T
        return Predictions(
            self.records["classes"][:, ranks].astype(np.int64), self._boxes(ranks, numbers).astype(float)
        )

    def fallbacks(self, submission: str) -> dict[str, int]:
        """Count predictions that use the first box of a class because it has no second, and those without a box."""
        ranks, numbers = np.array(SUBMISSIONS[submission]).T
        found = self.records["found"][:, ranks]
        return {"fallbacks": int(((found > 0) & (found <= numbers)).sum()), "missing": int((found == 0).sum())}

    def _boxes(self, ranks: NDArray[np.intp], numbers: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the boxes with these numbers of the classes with these ranks: (n, g, 4); else the first box."""
        existing = np.where(numbers < self.records["found"][:, ranks], numbers, 0)
        boxes: NDArray[np.int64] = self.boxes[np.arange(len(self.boxes))[:, None], ranks, existing]
        return boxes


def read_results(plan: Plan, store: Store) -> Results:
    """Read all stored results of a run, without the maps.

    Raises
    ------
    RunError
        No image could be evaluated.
    """
    rows = [(each.position, each.record, each.hits) for each in store.results()]
    if not rows:
        reason = next(iter(store.failures().values()), "")
        raise RunError(f"{store.path.parent}: none of the {len(plan)} images could be evaluated; the first: {reason}")
    positions, stored, hits = zip(*rows, strict=True)
    records = np.frombuffer(b"".join(stored), RECORD)
    boxes = submitted(records["boxes"].astype(np.int64), plan.recipe.protocol)
    truth = plan.truth.select([plan.truth.names[position] for position in positions])
    truth = replace(truth, class_names=plan.class_names)
    if not truth.has_sizes:
        truth = replace(truth, sizes=records["size"].astype(np.int64))
    bits = np.frombuffer(b"".join(hits), np.uint8).reshape(len(hits), STORED_RULES, -1) if all(hits) else None
    return Results(np.array(positions), records, boxes, bits, truth)


def submitted(boxes: NDArray[np.int64], protocol: Protocol) -> NDArray[np.int64]:
    """Return half-open boxes, (..., 4), as a protocol submits them, half-open as well."""
    # The release writes 0-based half-open corners, and its evaluation reads them as 1-based inclusive ones.
    return half_open(boxes) if protocol.submission == "as_released" else boxes


MOST_IMAGES = 10**9
"""More than any run has; tables hold such numbers exactly."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_IMAGES)]


class _Skipped(msgspec.Struct):
    image: str
    reason: str


class _Report(TypedDict):
    """The values of a report that every run has."""

    images: Count
    blacklisted: Count
    model: str
    protocol: str
    engine: str
    overrides: dict[str, str]
    identity: dict[str, str]
    skipped: list[dict[str, str]]
    notes: list[str]


def read_report(folder: Path) -> dict[str, Any]:
    """Read the `report.json` of a finished run.

    Raises
    ------
    RunError
        The file does not exist, or is damaged.
    """
    path = folder / REPORT
    try:
        report = read_note(path, {"skipped": _Skipped})
    except ValueError as error:
        raise RunError(f"{folder}: not the folder of a finished run ({REPORT}: {error}): start the run again") from None
    try:
        _check_report(report)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{path}: not the report of a run ({error!r:.200}): start the run again") from None
    return report


def _check_report(report: Mapping[str, Any]) -> None:
    """Raise one of several errors unless a report has everything that is shown of it."""
    if "weights" not in msgspec.convert(report, _Report)["identity"]:
        raise KeyError("weights")
    submissions = report.get("submissions", dict.fromkeys(SUBMISSIONS, report))
    if submissions.keys() != SUBMISSIONS.keys():
        raise KeyError(*submissions)
    for errors in submissions.values():
        if missing := {"classification_error", "localization_error", "gt_known_error", "intervals"} - errors.keys():
            raise KeyError(*missing)
    for name, *values in figures(report):
        if not all(0 <= value <= 100 or math.isnan(value) for value in values):
            raise ValueError(f"{name} outside of its range")


def write_results(plan: Plan, identity: Identity, store: Store, folder: Path) -> dict[str, Any]:
    """Write `predictions.txt`, `predictions.csv`, `report.json` and `report.md`.

    Returns
    -------
    dict
        The content of `report.json`.

    Raises
    ------
    RunError
        A file cannot be written.
    """
    results = read_results(plan, store)
    report = _report(plan, identity, results, store.failures()) | {"timing": shares(store.spent())}
    try:
        for number, submission in enumerate(_submissions(plan)):
            path = folder / (f"predictions_{submission}.txt" if number else "predictions.txt")
            write_predictions(
                path, _with_gaps(results.predictions(submission), results.positions, len(plan)), plan.class_names
            )
        _write_boxes(folder / "predictions.csv", results)
        atomic_write(folder / "report.md", _page(report))
        atomic_write(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    except OSError as failure:
        raise RunError(
            f"{failure.filename or folder}: the results cannot be written ({failure.strerror}): all images are "
            "evaluated, and the same command writes the results"
        ) from None
    return report


def _submissions(plan: Plan) -> list[str]:
    """Return the names of a protocol's submissions: all of the release's for its boxes, otherwise only `bbox1`."""
    return list(SUBMISSIONS) if plan.recipe.protocol.box_rule in RELEASED_BOX_RULES else ["bbox1"]


def _report(plan: Plan, identity: Identity, results: Results, failures: Mapping[int, str]) -> dict[str, Any]:
    truth = results.truth
    protocol = plan.recipe.protocol
    row = PROTOCOLS[protocol.name].choices()
    baselines = Baselines.of(truth)
    errors = {name: errors_of(results, name) for name in _submissions(plan)}
    submissions = {name: each | results.fallbacks(name) for name, each in errors.items()}
    report: dict[str, Any] = {
        "images": len(truth),
        "skipped": [{"image": plan.truth.names[position], "reason": reason} for position, reason in failures.items()],
        "blacklisted": int(truth.blacklisted.sum()),
        "model": plan.recipe.name,
        "protocol": protocol.name,
        "view": dict(identity)["view"],
        "box_rule": protocol.box_rule,
        "threshold": protocol.box_threshold,
        "overrides": {name: value for name, value in protocol.choices().items() if value not in ("", row[name])},
        "engine": plan.recipe.engine,
        **({"submissions": submissions} if len(errors) > 1 else errors["bbox1"]),
        **known_class_errors(baselines),
    }
    if baselines is not None and (accuracy := results.box_accuracy) is not None:
        report |= accuracies(accuracy, baselines)
        report["intervals"] |= accuracy.intervals()
    notes = list(truth.notes)
    if failures:
        notes.append(f"{len(failures)} of {len(plan)} images could not be evaluated and are excluded from all figures")
    return report | {"notes": notes, "identity": dict(identity)}


def errors_of(results: Results, submission: str) -> dict[str, Any]:
    """Return the errors of one of the `SUBMISSIONS` of a run, with their intervals, as in its `report.json`."""
    scores = score_predictions(results.predictions(submission), results.truth)
    found = scores.figures() | {"gt_known_error": None}
    if found["localization_error"] is not None:
        # For the ground-truth class: the boxes that the submission uses of its best class.
        numbers = [number for rank, number in SUBMISSIONS[submission] if rank == 0]
        known = np.logical_or.reduce(results.known_class_hits[:, numbers], axis=1, keepdims=True)
        found["gt_known_error"] = float(error(known)[0])
        found["intervals"]["gt_known_error"] = error_interval(known)[0].tolist()
    return found


def _with_gaps(predictions: Predictions, positions: NDArray[np.int64], count: int) -> Predictions:
    """Insert images that could not be evaluated, as lines without predictions."""
    classes = np.full((count, PREDICTIONS_PER_IMAGE), -1)
    boxes = np.zeros((count, PREDICTIONS_PER_IMAGE, 4))
    classes[positions], boxes[positions] = predictions.classes, predictions.boxes
    return Predictions(classes, boxes)


def _write_boxes(path: Path, results: Results) -> None:
    """Write one row for each stored box: of the five best classes by rank, and of the ground-truth class."""
    targets, images = results.truth.targets
    best = np.zeros(results.boxes.shape[:-1])
    np.maximum.at(best, images, iou(results.boxes[images], targets[:, None, None]))
    best[best == 0] = -1  # as in ILSVRC's own evaluation
    with atomic_open(path) as file:
        # One slice at a time, so that the table of a large run is never in memory as a whole.
        for start in range(0, len(results.records), SLICE):
            file.write(utf8(_boxes_csv(results, best, slice(start, start + SLICE), header=start == 0)))


def _boxes_csv(results: Results, best: NDArray[np.float64], images: slice, header: bool) -> str:
    """Return the boxes of images as CSV by image, rank and number; `best` is the IoU of each box."""
    from pandas import DataFrame

    records = results.records[images]
    names = np.array(results.truth.class_names, object)
    kind = "wnid" if has_ilsvrc_classes(results.truth.class_names) else "class"
    row, rank, number = np.nonzero(np.arange(BOXES) < records["found"][:, :, None])
    classes = records["classes"][row, rank]
    xmin, ymin, xmax, ymax = inclusive(results.boxes[images][row, rank, number]).T
    frame = DataFrame(
        {
            "image": np.array(results.truth.names[images], object)[row],
            f"true_{kind}": names[records["classes"][row, TRUE]],
            "rank": np.array([*range(1, TOP + 1), "true"], object)[rank],
            "index": classes,
            kind: names[classes],
            "score": [f"{score:.6g}" for score in records["scores"][row, rank].tolist()],
            "box": number + 1,
            "xmin": xmin,
            "ymin": ymin,
            "xmax": xmax,
            "ymax": ymax,
            "iou": [f"{value:.4f}" for value in best[images][row, rank, number].tolist()],
        }
    )
    return csv_text(frame, header)


def _page(report: Mapping[str, Any]) -> str:
    """Return a report as Markdown."""
    overrides = "".join(f", {name} {value}" for name, value in report["overrides"].items())
    lines = [
        f"# {report['model']}, protocol {report['protocol']}{overrides}",
        "",
        f"{report['images']} images, {report['blacklisted']} of them on the blacklist; 95 % bootstrap intervals.",
        "",
        errors_table({"": report}, every_k=True).markdown().rstrip(),
    ]
    for title, items in (
        ("Notes", report["notes"]),
        ("Skipped images", [f"{each['image']}: {each['reason']}" for each in report["skipped"]]),
        ("Made with", [f"{name}: {value}" for name, value in report["identity"].items()]),
    ):
        if items:
            lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
    return "".join(f"{line}\n" for line in lines)
