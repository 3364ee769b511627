"""The box rules side by side: the errors of a run if each rule finds boxes in its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.engines import cores
from pycam.engines.threads import beside_an_engine
from pycam.errors import GroundTruthError, UsageError
from pycam.evaluation.figures import figures
from pycam.evaluation.record import BOXES, TOP, TRUE
from pycam.evaluation.results import Results, errors_of, submitted
from pycam.maps.rules import PYTHON_ONLY, box_rules
from pycam.prediction import Prediction
from pycam.prefetch import prefetch
from pycam.protocols import CHOICES, Protocol
from pycam.report.runs import Run
from pycam.tables import PERCENT, Table, write

FILE = "rules.json"

COLUMNS = ("localization, top-1", "localization, top-5", "localization, class known")
"""The errors in a row, by their names in `pycam.evaluation.figures`."""

Found = NDArray[np.int32]
"""The first boxes of classes under each of r rules, after their number: (r, T, 1 + 2 * 4)."""


def compare_rules(
    folder: Path,
    names: Sequence[str] = (),
    threshold: float | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Table:
    """Find the boxes of a finished run again with other rules.

    Parameters
    ----------
    folder : Path
        Folder of the run. Maps that it did not keep are computed again from its images.
    names : sequence of str
        The rules. Without any, all of them that need nothing but a map.
    threshold : float, optional
        The threshold of all rules that take one. Without it, that of the run if it was chosen, or else each rule's own.
    progress : callable
        Takes the number of images that are done, and that of all images.

    Returns
    -------
    Table
        The run's own rule first, as its report has it; then one row for each rule: the localization errors in percent,
        with 95 % bootstrap intervals. It is also written to `rules.json` in the folder.

    Raises
    ------
    RunError, ImageError
        The folder is not that of a finished run, or an image has changed since.
    GroundTruthError
        The run's ground truth has no boxes.
    UsageError
        A rule is unknown or needs more than images, or no rule takes the threshold.
    """
    with Run.open(folder) as run:
        truth = run.results.truth
        if not (truth.has_boxes and len(truth.counted)):
            lacks = "has no boxes" if not truth.has_boxes else "counts no image, all are on the blacklist"
            raise GroundTruthError(f"{folder}: the ground truth of the run {lacks}: rules are compared by their boxes")
        own = run.plan.recipe.protocol
        rows = _protocols(own, names, threshold)
        found = np.zeros((len(truth), len(rows), TOP + 1, 1 + BOXES * 4), np.int32)
        for row, each in enumerate(_boxes(run, rows)):
            found[row] = each
            progress(row + 1, len(truth))
        results = [_with_boxes(run.results, found[:, i], row) for i, row in enumerate(rows)]
        title = f"Box rules: {run.report['model']}, {len(truth)} images, the same maps under each rule"
    left_out = [name for name in CHOICES["box_rule"] if not names and box_rules[name].needs_image]
    note = "Errors with their 95 % bootstrap intervals; the first row is the run as it was evaluated."
    for name in left_out:
        note += f"\nLeft out: {name}, which needs the image itself and much time; --box-rule {name} includes it."
    if not names:
        note += "".join(f"\nLeft out: {reason}." for reason in PYTHON_ONLY.values())
    table = _table(title, [(own, run.results), *zip(rows, results, strict=True)], note)
    write([table], folder / FILE)
    return table


def _protocols(own: Protocol, names: Sequence[str], threshold: float | None) -> list[Protocol]:
    """Return the protocol of a run with each of the rules."""
    if unknown := [name for name in names if name not in box_rules]:
        box_rules[unknown[0]]  # raises, and suggests a name
    chosen = list(dict.fromkeys(names)) or [name for name in CHOICES["box_rule"] if not box_rules[name].needs_image]
    takers = [name for name in chosen if box_rules[name].threshold is not None]
    if threshold is not None and not takers:
        raise UsageError(f"--threshold {threshold} has no effect: {', '.join(chosen)} has no threshold; leave it out")
    common = own.threshold if threshold is None else threshold
    return [own.with_choices(box_rule=name, threshold=common if name in takers else None) for name in chosen]


def _boxes(run: Run, rows: Sequence[Protocol]) -> Iterator[Found]:
    """Yield the boxes of each image of a run in order: of the best classes, and of the ground-truth class."""
    with (
        run.plan.recipe.make(run.plan.recipe.load()) as cam,
        beside_an_engine(),
        ThreadPoolExecutor(cores(), "pycam-boxes") as pool,
    ):
        predictions = (run.prediction(name, run.image(name), cam) for name in run.rows)
        indices = run.results.truth.classes.tolist()
        given = zip(predictions, indices, strict=True)
        yield from prefetch(lambda each: pool.submit(_of_image, *each, rows), given, 2 * cores())


def _of_image(prediction: Prediction, index: int, rows: Sequence[Protocol]) -> Found:
    found = np.zeros((len(rows), TOP + 1, 1 + BOXES * 4), np.int32)
    true = prediction.classes.tolist().index(index)
    for rank, item in enumerate(prediction.top):
        map_ = item.image_map
        for i, row in enumerate(rows):
            rule = box_rules[row.box_rule]
            pixels = prediction.image.pixels if rule.needs_image and prediction.image is not None else None
            boxes = rule.image_boxes(map_, row.threshold, pixels)[:BOXES]
            found[i, rank, 0] = len(boxes)
            found[i, rank, 1 : 1 + boxes.size] = boxes.ravel()
    found[:, TRUE] = found[:, true]
    return found


def _with_boxes(results: Results, found: Found, row: Protocol) -> Results:
    """Return the results of a run with other boxes, (n, 6, 9)."""
    records = results.records.copy()
    records["found"] = found[..., 0]
    records["boxes"] = found[..., 1:].reshape(records["boxes"].shape)
    return replace(results, records=records, boxes=submitted(records["boxes"].astype(np.int64), row))


def _table(title: str, rows: Sequence[tuple[Protocol, Results]], note: str) -> Table:
    from pandas import DataFrame

    cells = []
    for number, (row, results) in enumerate(rows):
        threshold = row.box_threshold
        cell: dict[str, object] = {
            "rule": f"{row.box_rule} (the run)" if number == 0 else row.box_rule,
            "threshold": "" if threshold is None else f"{threshold:g}",
        }
        for name, value, low, high in figures(errors_of(results, "bbox1")):
            if name in COLUMNS:
                cell |= {name: value, f"{name} low": low, f"{name} high": high}
        cells.append(cell)
    return Table(title, DataFrame(cells), note, dict.fromkeys(COLUMNS, PERCENT))
