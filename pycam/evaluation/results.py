"""What a finished run says: its errors, its guesses in ILSVRC's form and as a table, and a page to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import RunError
from pycam.evaluation.figures import MAX_BOX_ACCURACIES, errors_table, figures
from pycam.evaluation.notes import read_note
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import BOXES, RECORD, TOP, TRUE
from pycam.evaluation.store import Store
from pycam.formats.files import atomic_open, atomic_write
from pycam.ilsvrc import wsol
from pycam.ilsvrc.baselines import Baselines, accuracies, known_class_errors
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.metrics import by_k, error, error_interval, known_class_hits, score_predictions
from pycam.ilsvrc.predictions import PREDICTIONS, SUBMISSIONS, Predictions, write_predictions
from pycam.ilsvrc.synsets import synsets
from pycam.maps.boxes import half_open, inclusive, iou
from pycam.protocols import PROTOCOLS, RELEASED_BOX_RULES, Protocol
from pycam.tables import csv_text

REPORT = "report.json"
SLICE = 1000
"""Images whose boxes are written together."""


@dataclass(frozen=True, eq=False)
class Results:
    """The records of the images that could be evaluated, with what is true of them.

    Attributes
    ----------
    positions
        (n,) int64: where the images stand in the run's list.
    records
        (n,) `RECORD`.
    boxes
        (n, 6, 2, 4): the records' boxes as the protocol submits them, half-open.
    hits
        (n, 4, 125) uint8 for the metric `max_box_acc`, `wsol.box_hits` packed to bits; else None.
    truth
        Of these images.
    """

    positions: NDArray[np.int64]
    records: NDArray[np.void]
    boxes: NDArray[np.int64]
    hits: NDArray[np.uint8] | None
    truth: GroundTruth

    @cached_property
    def known_class_hits(self) -> NDArray[np.bool_]:
        """Whether each box of the true class fits: (c, 2), for the images that are not blacklisted."""
        taken = [self._boxes(np.array([TRUE]), np.array([number]))[:, 0] for number in range(BOXES)]
        return np.stack([known_class_hits(boxes, self.truth) for boxes in taken], axis=1)

    @cached_property
    def box_accuracy(self) -> wsol.BoxAccuracy | None:
        """What `hits` says of the images that are not blacklisted; None without such, or without boxes."""
        if self.hits is None or not (self.truth.has_boxes and len(self.truth.counted)):
            return None
        return wsol.BoxAccuracy(self.hits[self.truth.counted])

    def predictions(self, submission: str) -> Predictions:
        """Fill the five guesses of one of the `SUBMISSIONS`."""
        ranks, numbers = np.array(SUBMISSIONS[submission]).T
        return Predictions(
            self.records["classes"][:, ranks].astype(np.int64), self._boxes(ranks, numbers).astype(float)
        )

    def fallbacks(self, submission: str) -> dict[str, int]:
        """Count guesses that had to take a class's first box for its second, and those that found none."""
        ranks, numbers = np.array(SUBMISSIONS[submission]).T
        found = self.records["found"][:, ranks]
        return {"fallbacks": int(((found > 0) & (found <= numbers)).sum()), "missing": int((found == 0).sum())}

    def _boxes(self, ranks: NDArray[np.intp], numbers: NDArray[np.intp]) -> NDArray[np.int64]:
        """Give the boxes of these numbers of the classes of these ranks: (n, g, 4); the first if there is but one."""
        there = np.where(numbers < self.records["found"][:, ranks], numbers, 0)
        boxes: NDArray[np.int64] = self.boxes[np.arange(len(self.boxes))[:, None], ranks, there]
        return boxes


def read_results(plan: Plan, store: Store) -> Results:
    """Read all that is kept of a run, without the maps.

    Raises
    ------
    RunError
        Not one image could be evaluated.
    """
    positions, records, hits = [], [], []
    for kept in store.results():
        positions.append(kept.position)
        records.append(kept.record)
        hits.append(kept.hits)
    if not positions:
        raise RunError(f"{store.path.parent}: not one of the {len(plan)} images could be evaluated")
    stacked = np.frombuffer(b"".join(records), RECORD)
    boxes = stacked["boxes"].astype(np.int64)
    if plan.recipe.protocol.submission == "as_released":
        # The release writes half-open 0-based corners, which the evaluation reads as ILSVRC's.
        boxes = half_open(boxes)
    truth = plan.truth.select([plan.truth.names[position] for position in positions])
    if not truth.has_sizes:
        truth = replace(truth, sizes=stacked["size"].astype(np.int64))
    bits = None
    if all(hits):
        bits = np.frombuffer(b"".join(hits), np.uint8).reshape(len(hits), len(wsol.RULES), -1)
    return Results(np.array(positions), stacked, boxes, bits, truth)


_FIELDS = {
    int: ("images", "blacklisted"),
    str: ("model", "protocol", "engine"),
    dict: ("overrides", "identity"),
    list: ("skipped", "notes"),
}


def read_report(folder: Path) -> dict[str, Any]:
    """Read what the `report.json` of a finished run says.

    Raises
    ------
    RunError
        There is none, or it is damaged.
    """
    path = folder / REPORT
    try:
        report = read_note(path)
    except ValueError as error:
        raise RunError(f"{folder}: not the folder of a finished run ({REPORT}: {error}): start it again") from None
    try:
        _check_report(report)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise RunError(f"{path}: not the report of a run ({error!r:.200}): start the run again") from None
    return report


def _check_report(report: Mapping[str, Any]) -> None:
    """Fail, in one way or another, unless all that is shown of a report is there."""
    for kind, names in _FIELDS.items():
        for name in names:
            if not isinstance(report[name], kind):
                raise TypeError(f"{name} {report[name]!r:.60}")
    texts = [*report["overrides"].values(), *report["identity"].values(), *report["notes"]]
    texts += [each[name] for each in report["skipped"] for name in ("image", "reason")]
    texts.append(report["identity"]["weights"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("numbers in the place of words")
    if set(report.get("submissions", SUBMISSIONS)) != set(SUBMISSIONS):
        raise KeyError(*report["submissions"])
    for errors in report.get("submissions", {"": report}).values():
        if missing := {"classification_error", "localization_error", "gt_known_error", "intervals"} - errors.keys():
            raise KeyError(*missing)
    for name, *values in figures(report):
        if not all(0 <= value <= 100 or math.isnan(value) for value in values):
            raise ValueError(f"{name} outside of its range")


def write_results(plan: Plan, identity: Identity, store: Store, folder: Path) -> dict[str, Any]:
    """Write `predictions.txt`, `predictions.csv`, `report.json` and `report.md`, and give what `report.json` says."""
    results = read_results(plan, store)
    report = _report(plan, identity, results, store.failures())
    try:
        for number, submission in enumerate(_submissions(plan)):
            path = folder / (f"predictions_{submission}.txt" if number else "predictions.txt")
            write_predictions(path, _with_gaps(results.predictions(submission), results.positions, len(plan)))
        _write_boxes(folder / "predictions.csv", results)
        atomic_write(folder / "report.md", _page(report))
        atomic_write(folder / REPORT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    except OSError as failure:
        raise RunError(
            f"{folder}: the results cannot be written ({failure.strerror}): every image is done, "
            "the same command writes them"
        ) from None
    return report


def _submissions(plan: Plan) -> list[str]:
    """Name the submissions that a protocol's boxes can fill: all of the release's, or the plain one, `bbox1`."""
    return list(SUBMISSIONS) if plan.recipe.protocol.box_rule in RELEASED_BOX_RULES else ["bbox1"]


def _report(plan: Plan, identity: Identity, results: Results, failures: Mapping[int, str]) -> dict[str, Any]:
    truth = results.truth
    baselines = Baselines.of(truth)
    first, *others = _submissions(plan)
    errors = {name: _errors(results, name) for name in (first, *others)}
    report: dict[str, Any] = {
        "images": len(truth),
        "skipped": [{"image": plan.truth.names[position], "reason": reason} for position, reason in failures.items()],
        "blacklisted": int(truth.blacklisted.sum()),
        "model": plan.recipe.name,
        "protocol": plan.recipe.protocol.name,
        "overrides": _overrides(plan.recipe.protocol),
        "engine": plan.recipe.engine,
        **({"submissions": {n: e | results.fallbacks(n) for n, e in errors.items()}} if others else errors[first]),
        **known_class_errors(baselines),
    }
    if baselines is not None and (accuracy := results.box_accuracy) is not None:
        report |= accuracies(accuracy, baselines)
        report["intervals"] |= dict(zip(MAX_BOX_ACCURACIES, accuracy.intervals().tolist(), strict=True))
    notes = list(truth.notes)
    if failures:
        notes.append(f"{len(failures)} of {len(plan)} images could not be evaluated and are left out of all figures")
    return report | {"notes": notes, "identity": dict(identity)}


def _overrides(protocol: Protocol) -> dict[str, str]:
    """Give the choices that are not those of the table's row."""
    row = PROTOCOLS[protocol.name].choices()
    return {name: value for name, value in protocol.choices().items() if value != row[name]}


def _errors(results: Results, submission: str) -> dict[str, Any]:
    scores = score_predictions(results.predictions(submission), results.truth)
    found: dict[str, Any] = {
        "classification_error": by_k(scores.classification_error),
        "localization_error": None,
        "gt_known_error": None,
    }
    intervals: dict[str, Any] = {"classification_error": by_k(error_interval(scores.classified))}
    if scores.localized is not None and len(scores.localized):
        # Of the true class, the boxes that the submission takes of its best.
        numbers = [number for rank, number in SUBMISSIONS[submission] if rank == 0]
        known = np.logical_or.reduce(results.known_class_hits[:, numbers], axis=1, keepdims=True)
        found |= {"localization_error": by_k(error(scores.localized)), "gt_known_error": float(error(known)[0])}
        intervals |= {
            "localization_error": by_k(error_interval(scores.localized)),
            "gt_known_error": error_interval(known)[0].tolist(),
        }
    return found | {"intervals": intervals}


def _with_gaps(predictions: Predictions, positions: NDArray[np.int64], count: int) -> Predictions:
    """Give an image that could not be evaluated its line too, without a guess."""
    classes = np.full((count, PREDICTIONS), -1)
    boxes = np.zeros((count, PREDICTIONS, 4))
    classes[positions], boxes[positions] = predictions.classes, predictions.boxes
    return Predictions(classes, boxes)


def _write_boxes(path: Path, results: Results) -> None:
    """Write every box that is kept, one row for each: of the five best classes by rank, and of the true class."""
    truth, records = results.truth, results.records
    targets, images = truth.targets
    best = np.zeros(results.boxes.shape[:-1])
    np.maximum.at(best, images, iou(results.boxes[images], targets[:, None, None]))
    best[best == 0] = -1  # as in ILSVRC's own evaluation
    with atomic_open(path) as file:
        submitted = inclusive(results.boxes)
        # A slice at a time, so that the table of a large run is never in memory as a whole.
        for start in range(0, len(records), SLICE):
            rows = slice(start, start + SLICE)
            table = _boxes_csv(truth.names[rows], records[rows], submitted[rows], best[rows], header=start == 0)
            file.write(table.encode())


def _boxes_csv(
    names: Sequence[str],
    records: NDArray[np.void],
    submitted: NDArray[np.int32],
    best: NDArray[np.float64],
    header: bool,
) -> str:
    """Return the boxes of images as CSV, by image, rank and number; `best` is their overlap with the true ones."""
    from pandas import DataFrame

    wnids = np.array(synsets().wnids)
    row, rank, number = np.nonzero(np.arange(BOXES) < records["found"][:, :, None])
    classes = records["classes"][row, rank]
    xmin, ymin, xmax, ymax = submitted[row, rank, number].T
    frame = DataFrame(
        {
            "image": np.array(names, object)[row],
            "true_wnid": wnids[records["classes"][row, TRUE]],
            "rank": np.array([*range(1, TOP + 1), "true"], object)[rank],
            "index": classes,
            "wnid": wnids[classes],
            "score": [f"{score:.6g}" for score in records["scores"][row, rank].tolist()],
            "box": number + 1,
            "xmin": xmin,
            "ymin": ymin,
            "xmax": xmax,
            "ymax": ymax,
            "overlap": [f"{overlap:.4f}" for overlap in best[row, rank, number].tolist()],
        }
    )
    return csv_text(frame, header)


def _page(report: Mapping[str, Any]) -> str:
    """Lay a report out as Markdown."""
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
        ("Left out", [f"{each['image']}: {each['reason']}" for each in report["skipped"]]),
        ("Made with", [f"{name}: {value}" for name, value in report["identity"].items()]),
    ):
        if items:
            lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
    return "".join(f"{line}\n" for line in lines)
