"""Finished runs as a page: what stands above, and the images with their maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam import zoo
from pycam.errors import ImageError, RunError, UsageError
from pycam.evaluation.figures import errors_table
from pycam.evaluation.plan import Plan
from pycam.evaluation.record import TOP, TRUE, Result, unpack
from pycam.evaluation.results import Results, read_report, read_results
from pycam.evaluation.run import STORE
from pycam.evaluation.store import Store
from pycam.ilsvrc import wsol
from pycam.images.read import Image, read_image
from pycam.maps.boxes import RIGHT_IOU, Box, iou, paper_box
from pycam.paper.tables import paper_tables, ranking
from pycam.predict import Cam
from pycam.prediction import Prediction
from pycam.report import summary
from pycam.report.html import Entry, Heading
from pycam.report.outcomes import Outcome, difference, judge
from pycam.report.record import Truth
from pycam.zoo.labels import Labels, read_labels

THRESHOLDS = np.arange(5, 100, 5) / 100
SHOWN_NOTES = 20


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes
    ----------
    label
        What the page calls it; `""` for the only one.
    plan, results
        What was evaluated, and what came of it.
    report
        What its `report.json` says.
    kept
        Position in the plan -> what is kept of the image.
    """

    label: str
    plan: Plan
    results: Results
    report: Mapping[str, Any]
    kept: Callable[[int], Result]

    @classmethod
    @contextmanager
    def open(cls, folder: Path, label: str = "") -> Iterator[Run]:
        """Open the folder of a finished run; while it is open, nobody else can work on it.

        Raises
        ------
        RunError
            It is no run, or one that is not finished or is damaged.
        """
        plan = Plan.restore(folder)
        report = read_report(folder)
        identity = report["identity"]
        if changed := [name for name, value in plan.identity(()) if identity.get(name) != value]:
            raise RunError(f"{folder}: {' and '.join(changed)} changed since the run: start it anew, in a new --out")
        with Store(folder / STORE, tuple(identity.items())) as store:
            results = read_results(plan, store)
            if len(results.records) != report["images"]:
                raise RunError(
                    f"{folder}: {len(results.records)} images are kept, its report is of {report['images']}: "
                    "start the run again, what is missing is done"
                )

            def kept(position: int) -> Result:
                return next(store.results(position, position + 1))

            yield cls(label, plan, results, report, kept)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Name of each image that could be evaluated -> its row in `results`."""
        return {name: row for row, name in enumerate(self.results.truth.names)}

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What became of each image, by the boxes that count in the run's errors."""
        truth, records = self.results.truth, self.results.records
        boxes = self.results.boxes[:, 0, 0].tolist()
        return [
            judge(
                int(record["classes"][0]),
                float(record["scores"][0]),
                tuple(boxes[row]) if record["found"][0] else None,
                int(truth.classes[row]),
                self.true_boxes(row),
                bool(self._center[row]),
            )
            for row, record in enumerate(records)
        ]

    @cached_property
    def _center(self) -> NDArray[np.bool_]:
        """Whether the box of a Gaussian in the middle, cut where it suits the set best, is right: (n,)."""
        truth = self.results.truth
        right = np.zeros(len(truth), bool)
        if len(truth.counted) and truth.has_boxes:
            gaussian = wsol.center_gaussian(truth)
            right[truth.counted] = gaussian.hits(0)[:, gaussian.curves[0].argmax()]
        return right

    def true_boxes(self, row: int) -> list[Box]:
        """Return an image's true boxes; none if localization leaves it out."""
        truth = self.results.truth
        if truth.blacklisted[row]:
            return []
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in truth.boxes_of(row).tolist()]

    def image(self, name: str) -> Image:
        """Read an image again.

        Raises
        ------
        ImageError
            It cannot be read, or is another one by now.
        """
        row = self.rows[name]
        image = read_image(self.plan.images[int(self.results.positions[row])])
        width, height = self.results.records["size"][row].tolist()
        if image.size != (width, height):
            raise ImageError(f"{image.path}: {width}×{height} pixels were evaluated, now it has other ones")
        return image

    def prediction(self, name: str, image: Image, cam: Cam) -> Prediction:
        """Give the run's prediction of an image; maps that it did not keep are made once more."""
        row = self.rows[name]
        record, kept = self.results.records[row], self.kept(int(self.results.positions[row]))
        if not kept.maps:
            maps = cam(image, classes=record["classes"].tolist()).feature_maps
            kept = replace(kept, maps=maps.astype("<f4").tobytes())
        boxes = [found[:count] for found, count in zip(record["boxes"], record["found"], strict=True)]
        made_with = {"model": cam.model.name, "engine": cam.engine.name, "labels": cam.model.labels}
        prediction = unpack(kept, cam.placement, cam.protocol, image=image, kept_boxes=boxes, **made_with)
        # The true class stands last, and mostly among the best too.
        shown = TOP if prediction.classes[TRUE] in prediction.classes[:TOP] else TOP + 1
        return replace(prediction, classes=prediction.classes[:shown])


def run_page(runs: Sequence[Run], worst: int | None = None) -> tuple[Heading, Iterator[Entry]]:
    """Make a page of one run, or of two side by side.

    Parameters
    ----------
    runs
        One, or two.
    worst
        Show only so many images: the worst, or those that changed most.

    Returns
    -------
    (Heading, iterator of Entry)
        For `pycam.report.html.write_html`.

    Raises
    ------
    UsageError
        The runs have no image in common.
    """
    names = [name for name in runs[0].rows if all(name in run.rows for run in runs)]
    if not names:
        raise UsageError("the runs have no image in common: side by side they must be of the same images")
    total = len(names)
    if worst is not None and worst < total:
        names = sorted(names, key=lambda name: -_severity(_outcomes(runs, name)))[:worst]
    labels = read_labels(zoo.models_folder() / "labels" / "ilsvrc.tsv")
    sections = list(_sections(runs, labels))
    curve = None if any(run.results.hits is not None for run in runs) or len(names) < total else _Curve(runs)
    heading = Heading(
        " and ".join(run.label for run in runs) if len(runs) > 1 else f"{runs[0].report['model']} on ILSVRC",
        {run.label: _facts(run) for run in runs},
        [*_notes(runs), *([f"Of {total} images {len(names)} are shown: the worst."] if len(names) < total else [])],
        sections,
    )
    return heading, _entries(runs, names, labels, curve, sections)


def _entries(
    runs: Sequence[Run], names: Sequence[str], labels: Labels, curve: _Curve | None, sections: list[Any]
) -> Iterator[Entry]:
    with ExitStack() as stack:
        cams = [stack.enter_context(run.plan.recipe.make(run.plan.recipe.load())) for run in runs]
        for name in names:
            image = runs[0].image(name)
            row = runs[0].rows[name]
            index = int(runs[0].results.truth.classes[row])
            truth = Truth(index, labels.label(index), runs[0].true_boxes(row))
            found = {run.label: run.prediction(name, image, cam) for run, cam in zip(runs, cams, strict=True)}
            if curve is not None:
                curve.add(found, truth)
            yield Entry(name, image, {label: [each] for label, each in found.items()}, truth, _outcomes(runs, name))
    if curve is not None and curve.images:
        sections.insert(1, curve.section())


def _outcomes(runs: Sequence[Run], name: str) -> list[Outcome]:
    return [run.outcomes[run.rows[name]] for run in runs]


def _severity(outcomes: Sequence[Outcome]) -> float:
    return difference(*outcomes) if len(outcomes) == 2 else outcomes[0].severity


class _Curve:
    """Counts at which thresholds the paper's box of the true class is right, image by image."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.images = 0
        self._right = {run.label: np.zeros(len(THRESHOLDS)) for run in runs}

    def add(self, predictions: Mapping[str, Prediction], truth: Truth) -> None:
        if not truth.boxes:
            return
        self.images += 1
        for label, prediction in predictions.items():
            map_ = next(item.image_map for item in prediction.top if item.index == truth.index)
            boxes = [paper_box(map_, float(threshold)) for threshold in THRESHOLDS]
            self._right[label] += (iou(np.array(boxes)[:, None], truth.boxes) >= RIGHT_IOU).any(axis=1)

    def section(self) -> summary.Section:
        curves = {label: (THRESHOLDS, right / self.images) for label, right in self._right.items()}
        note = f"The paper's box of the true class, {self.images} images; dotted: the paper's threshold."
        return summary.threshold_curve(curves, note, mark=0.2)


def _sections(runs: Sequence[Run], labels: Labels) -> Iterator[summary.Section]:
    yield errors_table({run.label: run.report for run in runs}).section()
    sweeps = {run.label: run.results.box_accuracy for run in runs}
    curves = {
        label: (wsol.THRESHOLDS[::10], accuracy.curves[0, ::10] / 100)
        for label, accuracy in sweeps.items()
        if accuracy is not None
    }
    if curves:
        yield summary.threshold_curve(curves, "The largest contour in the map of the true class (MaxBoxAcc).")
    firsts = {run.label: run.results.records for run in runs}
    named = {run.label: run.results.records["classes"][:, 0] == run.results.truth.classes for run in runs}
    yield summary.calibration({label: (firsts[label]["scores"][:, 0].astype(float), named[label]) for label in named})
    if len(runs) == 1:
        (run,) = runs
        right = np.array([outcome.right for outcome in run.outcomes])
        yield summary.errors_by_class(run.results.truth.classes, labels.names, named[""], right).section()
    for table in paper_tables([run.report for run in runs]):
        if table.frame["top-5"].notna().any():
            yield ranking(table).section()


def _facts(run: Run) -> list[str]:
    identity = run.report["identity"]
    report = run.report
    weights = f"weights {identity['weights'][:12]}" if "weights" in identity else ""
    return [
        str(fact)
        for fact in (
            report["model"],
            f"protocol {report['protocol']}",
            f"view {identity.get('view', '')}",
            report["engine"],
            f"{report['images']} images",
            weights,
        )
        if fact
    ]


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        prefix = f"{run.label}: " if run.label else ""
        lines = [
            *run.report["notes"],
            *(f"left out: {each['image']}: {each['reason']}" for each in run.report["skipped"]),
        ]
        yield from (prefix + line for line in lines[:SHOWN_NOTES])
        if len(lines) > SHOWN_NOTES:
            yield f"{prefix}{len(lines) - SHOWN_NOTES} more in report.json"
