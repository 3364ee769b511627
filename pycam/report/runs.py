"""The page of finished runs: the heading, and the images with their maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import EngineError, ImageError, PycamError, RunError, UsageError
from pycam.evaluation.comparison import Judged, differences, same_images
from pycam.evaluation.figures import errors_table
from pycam.evaluation.image_file import read_file
from pycam.evaluation.plan import Plan
from pycam.evaluation.record import Result, unpack
from pycam.evaluation.results import Results, read_report, read_results
from pycam.evaluation.run import STORE
from pycam.evaluation.store import Store
from pycam.ilsvrc import map_scores
from pycam.ilsvrc.classes import has_ilsvrc_classes
from pycam.images.read import Image, read_image
from pycam.maps.boxes import Box
from pycam.metrics import box_accuracy
from pycam.model import Model
from pycam.paper.tables import error_tables, ranking
from pycam.predict import Cam
from pycam.prediction import Prediction
from pycam.report import summary
from pycam.report.ground_truth import labels_of
from pycam.report.html import NO_LABELS, Entry, Heading
from pycam.report.images import SHOWN_NOTES, noted
from pycam.report.outcomes import Outcome, Rescored, group_of, judge
from pycam.report.rescoring import common_thresholds, errors_at, has_threshold, live_cells, rescore
from pycam.report.viewer_data import PAPER_THRESHOLD, Truth, predict_every_class
from pycam.tables import Table
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes
    ----------
    label : str
        Its name on the page; `""` for the only run.
    plan : Plan
        What was evaluated.
    results : Results
        The kept results, without the maps.
    report : mapping
        Content of its `report.json`.
    store : Store
        The kept results with the maps.
    """

    label: str
    plan: Plan
    results: Results
    report: Mapping[str, Any]
    store: Store

    @classmethod
    @contextmanager
    def open(cls, folder: Path, label: str = "") -> Iterator[Run]:
        """Open the folder of a finished run, and lock it for other processes, unless it cannot be written.

        Raises
        ------
        RunError
            The folder is not that of a finished run, or the run is damaged.
        """
        plan = Plan.restore(folder)
        report = read_report(folder)
        identity = report["identity"]
        if changed := [name for name, value in plan.identity(()) if identity.get(name) != value]:
            raise RunError(
                f"{folder}: {' and '.join(changed)} changed since the run: start a new run with another --out"
            )
        with Store(folder / STORE, tuple(identity.items()), reading=True) as store:
            results = read_results(plan, store)
            if len(results.records) != report["images"]:
                raise RunError(
                    f"{folder}: {len(results.records)} images are stored, but the report is of {report['images']}: "
                    "start the run again, which evaluates the missing images"
                )
            yield cls(label, plan, results, report, store)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Name of each evaluated image -> its row in `results`."""
        return {name: row for row, name in enumerate(self.results.truth.names)}

    @cached_property
    def model(self) -> Model:
        """The model, with the labels of the user, of its card, or of the ground truth."""
        model, sources, truth = self.plan.recipe.load(), self.plan.sources, self.plan.truth
        if sources is not None and sources.labels is not None:
            return replace(model, labels=read_labels(Path(sources.labels)))
        if model.labels.is_numbered and truth.class_names:
            return replace(model, labels=Labels(tuple(labels_of(truth))))
        return model

    @property
    def is_ilsvrc(self) -> bool:
        """Whether the classes are those of ILSVRC, as in the paper's Tables 1 to 3."""
        return has_ilsvrc_classes(self.results.truth.class_names)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each image, from the boxes that count in the run's errors."""
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
    def class_right(self) -> NDArray[np.bool_]:
        """Whether the best class of each image is right: (n,) bool."""
        right: NDArray[np.bool_] = self.results.records["classes"][:, 0] == self.results.truth.classes
        return right

    @cached_property
    def _center(self) -> NDArray[np.bool_]:
        """Whether the box of a Gaussian in the middle, at the best threshold of the whole set, is right: (n,) bool."""
        truth = self.results.truth
        right = np.zeros(len(truth), bool)
        if len(truth.counted) and truth.has_boxes:
            gaussian = map_scores.center_gaussian(truth)
            right[truth.counted] = gaussian.hits(0)[:, gaussian.curves[0].argmax()]
        return right

    def is_center_right(self, name: str) -> bool:
        """Return whether the box of a Gaussian in the middle of an image is right, as for `outcomes`."""
        return bool(self._center[self.rows[name]])

    def true_boxes(self, row: int) -> list[Box]:
        """Return the ground-truth boxes of an image; an empty list if localization excludes it."""
        truth = self.results.truth
        if truth.blacklisted[row]:
            return []
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in truth.boxes_of(row).tolist()]

    def image(self, name: str, channels: int = 3) -> Image:
        """Read an image again, for a net of so many channels.

        Raises
        ------
        ImageError
            It cannot be read, or its file has changed since the run.
        RunError
            The machine cannot read it now.
        """
        path = str(self.plan.images[int(self.results.positions[self.rows[name]])])
        data, state = read_file(path)
        if state != (was := self._stored(name).file):
            raise ImageError(f"{path}: has changed since the run, when it had {was.size} bytes: put that file back")
        return read_image(data, channels=channels, path=path, exif=self.plan.recipe.protocol.exif)

    def _stored(self, name: str) -> Result:
        position = int(self.results.positions[self.rows[name]])
        return next(self.store.results(position, position + 1))

    def prediction(self, name: str, image: Image, cam: Cam) -> Prediction:
        """Return the run's prediction of an image; maps that it did not keep are computed again."""
        record, kept = self.results.records[self.rows[name]], self._stored(name)
        if not kept.maps:
            source = image if cam.model.channels == image.channels else self.image(name, cam.model.channels)
            maps = cam(source, classes=record["classes"].tolist()).feature_maps
            kept = replace(kept, maps=maps.astype("<f4").tobytes())
        boxes = [found[:count] for found, count in zip(record["boxes"], record["found"], strict=True)]
        made_with = {"model": cam.model.name, "engine": cam.engine.name, "labels": cam.model.labels}
        prediction = unpack(kept, cam.placement, cam.protocol, image=image, kept_boxes=boxes, **made_with)
        # The ground-truth class is kept last; in most images it is among the best classes too.
        *best, true = prediction.classes.tolist()
        shown = len(best) + (true not in best)
        return replace(prediction, classes=prediction.classes[:shown])


def run_page(
    runs: Sequence[Run], worst: int | None = None, every_class: bool = False
) -> tuple[Heading, Iterator[Entry]]:
    """Make a page of one run, or of several side by side.

    Parameters
    ----------
    runs : sequence of Run
        One or more.
    worst : int, optional
        Show only the worst images, this many; for several runs, those with the largest change.
    every_class : bool
        Whether the page can show every class, by the runs whose method gives all maps at once.

    Returns
    -------
    (Heading, iterator of Entry)
        For `pycam.report.html.write_html`. Images that cannot be shown are left out and noted; the iterator raises the
        first fault if there is no other image.

    Raises
    ------
    UsageError
        The runs have no image in common, different ground truth, or images of another orientation.
    """
    if len({run.plan.recipe.protocol.exif for run in runs}) > 1:
        raise UsageError("one run applies the EXIF orientation and another ignores it: make one page for each")
    first, *others = same_images([Judged.of_results(run.label, run.results) for run in runs])
    names: Sequence[str] = first.truth.names
    notes = list(_notes(runs))
    shows_all = worst is None or worst >= len(names)
    if not shows_all:
        notes.append(f"Only the worst {worst} of {len(names)} images are shown.")
        names = sorted(names, key=lambda name: -group_of(_outcomes(runs, name))[1])[:worst]
    sections = list(_sections(runs, [differences(first, other) for other in others]))
    # A curve of the worst images would mislead, and a sweep has its own.
    has_curve = shows_all and all(run.results.hits is None for run in runs)
    *most, last = (run.label for run in runs)
    alone = runs[0].report["model"] + (" on ILSVRC" if runs[0].is_ilsvrc else "")
    title = f"{', '.join(most)} and {last}" if most else alone
    rows = [run.plan.recipe.protocol for run in runs]
    thresholds = common_thresholds(row.box_rule for row in rows)
    own = next((row.box_threshold for row in rows if has_threshold(row.box_rule)), None)
    searched = runs[0].model.labels if every_class else NO_LABELS
    heading = Heading(title, {run.label: _facts(run) for run in runs}, notes, sections, own, thresholds, searched)
    return heading, _entries(runs, names, sections, notes, has_curve, thresholds, searched)


def _entries(
    runs: Sequence[Run],
    names: Sequence[str],
    sections: list[Any],
    notes: list[str],
    has_curve: bool,
    thresholds: Sequence[float],
    searched: Labels,
) -> Iterator[Entry]:
    faults: list[PycamError] = []
    hits = {run.label: np.zeros((len(run.rows), len(thresholds)), bool) for run in runs}
    shown: list[str] = []
    with ExitStack() as stack:
        cams = [stack.enter_context(run.plan.recipe.make(run.model)) for run in runs]
        matches = [np.array(cam.model.labels.match(searched), np.intp) for cam in cams]
        for name in names:
            row = runs[0].rows[name]
            index = int(runs[0].results.truth.classes[row])
            truth = Truth(index, runs[0].model.labels.label(index), runs[0].true_boxes(row))
            try:
                image = runs[0].image(name)
                found = {run.label: run.prediction(name, image, cam) for run, cam in zip(runs, cams, strict=True)}
            except (ImageError, EngineError) as error:
                faults.append(error)
                continue
            every = [
                predict_every_class(cam, run.image(name, cam.model.channels), each)
                for run, cam, each in zip(runs, cams, matches, strict=True)
                if searched is not NO_LABELS
            ]
            shown.append(name)
            rescored: list[Rescored | None] = []
            for run, prediction in zip(runs, found.values(), strict=True):
                each = rescore(prediction, truth, run.is_center_right(name), thresholds)
                hits[run.label][run.rows[name]] = each.hits
                rescored.append(each if has_threshold(prediction.protocol.box_rule) else None)
            yield Entry(name, image, found, truth, _outcomes(runs, name), rescored, every=every)
    notes += noted(faults, len(names))
    counted = [name for name in shown if runs[0].true_boxes(runs[0].rows[name])]
    if has_curve and counted:
        curves = {}
        for run in runs:
            rows = [run.rows[name] for name in counted]
            curves[run.label] = (np.array(thresholds), hits[run.label][rows].mean(axis=0))
        note = (
            f"The box of the ground-truth class, {len(counted)} images. Dotted: the paper's threshold. The paper's "
            "rule stands in for a box rule without a threshold."
        )
        sections.insert(len(runs), summary.threshold_curve(curves, note, mark=PAPER_THRESHOLD))
    _make_live(runs, hits, len(shown), sections[0])


def _make_live(runs: Sequence[Run], hits: Mapping[str, Any], shown: int, errors: summary.Section) -> None:
    """Add to the table of errors what it says at each threshold, for the runs of which all images are shown."""
    at = {
        run.label: errors_at(run.results, hits[run.label])
        for run in runs
        if shown == len(run.rows)
        and len(run.results.truth.counted)
        and run.results.truth.has_boxes
        and has_threshold(run.plan.recipe.protocol.box_rule)
    }
    if not at:
        return
    tables = [
        errors_table(
            {run.label: _with_errors(run, at[run.label][i] if run.label in at else {}) for run in runs}
        ).section()
        for i in range(len(next(iter(at.values()))))
    ]
    errors["live"] = live_cells(errors["rows"], [table["rows"] for table in tables])


def _with_errors(run: Run, errors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a run with other errors."""
    intervals = {**run.report.get("intervals", {}), **errors.get("intervals", {})}
    return {**run.report, **errors, "intervals": intervals}


def _outcomes(runs: Sequence[Run], name: str) -> list[Outcome]:
    return [run.outcomes[run.rows[name]] for run in runs]


def _sections(runs: Sequence[Run], compared: Sequence[Table]) -> Iterator[summary.Section]:
    yield errors_table({run.label: run.report for run in runs}).section()
    for table in compared:
        yield table.section()
    curves = {
        run.label: (box_accuracy.THRESHOLDS[::10], run.results.box_accuracy.curves[0, ::10] / 100)
        for run in runs
        if run.results.box_accuracy is not None
    }
    if curves:
        yield summary.threshold_curve(curves, "The largest contour in the map of the ground-truth class (MaxBoxAcc).")
    scores = {run.label: run.results.records["scores"].astype(float) for run in runs}
    # Margins are no probabilities, which alone can be compared with accuracies.
    if all(((each >= 0) & (each <= 1)).all() for each in scores.values()):
        yield summary.calibration({run.label: (scores[run.label][:, 0], run.class_right) for run in runs})
    if len(runs) == 1:
        (run,) = runs
        right = np.array([outcome.right for outcome in run.outcomes])
        names = run.model.labels.names
        yield summary.errors_by_class(run.results.truth.classes, names, run.class_right, right).section()
    for table in error_tables([run.report for run in runs]) if runs[0].is_ilsvrc else ():
        if table.frame["top-5"].notna().any():
            yield ranking(table).section()


def _facts(run: Run) -> list[str]:
    report, identity = run.report, run.report["identity"]
    return [
        report["model"],
        f"protocol {report['protocol']}",
        f"view {identity['view']}",
        run.plan.recipe.protocol.boxes_by,
        report["engine"],
        f"{report['images']} images",
        f"weights {identity['weights'][:12]}",
    ]


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        prefix = f"{run.label}: " if run.label else ""
        skipped = [f"skipped: {each['image']}: {each['reason']}" for each in run.report["skipped"]]
        lines = [*run.report["notes"], *skipped]
        yield from (prefix + line for line in lines[:SHOWN_NOTES])
        if len(lines) > SHOWN_NOTES:
            yield f"{prefix}{len(lines) - SHOWN_NOTES} more notes are in report.json"
