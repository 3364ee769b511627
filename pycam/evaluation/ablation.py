"""The ablation: the effect of each deviation of the released protocol, with one change at a time.

Each change is a run of its own, stored in the folder `ablation/` of the released run. If a change does not affect the
net's input, boxes are found again in the maps that the released run has stored; otherwise the net runs once for the
change. An interrupted ablation can be resumed like any run, and the run of each row can be inspected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.evaluation.evaluator import find_boxes_again
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import Batch
from pycam.evaluation.results import Results, read_results
from pycam.evaluation.run import STORE, Progress, carry_out, evaluate
from pycam.evaluation.store import Store
from pycam.evaluation.workers import Done, in_processes
from pycam.ilsvrc.scores import score_predictions
from pycam.images.views import Size, view_of
from pycam.maps.placement import Placement
from pycam.metrics.intervals import interval, resampled_means
from pycam.tables import PERCENT, Table, percent, write

ABLATION = "ablation"

COLUMNS = (
    "classification, top-1",
    "classification, top-5",
    "localization, top-1",
    "localization, top-5",
    "class known",
)
"""The errors in a row, for the first box of each class (`bbox1`)."""


@dataclass(frozen=True)
class Change:
    """A choice of the release, and its replacement.

    Attributes
    ----------
    name : str
        Name of the row, and of its folder.
    released, instead : str
        Descriptions of the release's choice and of its replacement.
    choices : mapping
        Choices that replace those of the protocol.
    """

    name: str
    released: str
    instead: str
    choices: Mapping[str, str]

    @property
    def affects_input(self) -> bool:
        """True if the net's input changes."""
        return bool(self.choices.keys() & {"view", "mean"})


CHANGES = (
    Change("thresholds", "20, 100, 110", "30, 90, 150, the generator's own", {"box_rule": "released_30_90_150"}),
    Change("coverage", "crops are summed", "mean of the crops at each pixel", {"merge": "absolute_mean"}),
    Change("absolute-values", "absolute values are merged", "signed values are merged", {"merge": "sum"}),
    Change("jpeg", "the heat map is saved as a JPEG file", "it is not", {"box_rule": "released_no_jpeg"}),
    Change("box-rule", "the released box generator", "the paper's rule", {"box_rule": "paper"}),
    Change("mean", "the mean image is subtracted", "the mean value", {"mean": "value"}),
    Change("view-center", "ten crops", "the center crop", {"view": "center"}),
    Change("view-full", "ten crops", "the whole image, resized to a square", {"view": "full"}),
)


def make_ablation(
    folder: Path, *, workers: int = 1, progress: Callable[[str], Progress] = lambda name: lambda done: None
) -> tuple[Table, Table]:
    """Evaluate the released protocol with each of its deviations changed in turn.

    Parameters
    ----------
    folder : Path
        Folder of a run whose protocol has ten crops, merged as released, and the boxes of the released generator,
        submitted as released. An unfinished run is resumed first.
    workers : int
        Number of processes.
    progress : callable
        Takes the name of a run, and returns a function for the progress of this run.

    Returns
    -------
    errors : Table
        One row for each of `COLUMNS` that the ground truth allows: the error of the released run, in percent.
    effects : Table
        One row for each of `CHANGES`: the points that it adds to each error, with the 95 % bootstrap interval over
        images; both runs use the same samples. Both tables are also written to `ablation.json` in the folder.

    Raises
    ------
    UsageError
        The run has another protocol.
    RunError
        An input of the run has changed, or the run had to stop.
    """
    plan = Plan.restore(folder)
    row = plan.recipe.protocol
    if (row.merge, row.box_rule, row.submission, row.method) != ("absolute_sum", "released", "as_released", "cam"):
        raise UsageError(f"{folder}: a run of protocol {row.name!r}: an ablation needs a run of protocol 'released'")
    model = plan.recipe.load()
    report = evaluate(plan, folder, workers=workers, model=model, skip=True, progress=progress(row.name))
    identity: Identity = tuple(report["identity"].items())
    with Store(folder / STORE, identity) as store:
        base = read_results(plan, store)
        # Without the images that could not be evaluated.
        positions = base.positions.tolist()
        same = plan.only(positions)
        errors = _correct(base)
        rows = []
        for change in CHANGES:
            changed = replace(same, recipe=replace(plan.recipe, protocol=row.with_choices(**change.choices)))
            place = folder / ABLATION / change.name
            shown = progress(change.name)
            if change.affects_input:
                other = evaluate(changed, place, workers=workers, model=model, progress=shown)
            else:
                stored = partial(_with_stored, store=store, positions=positions)
                other = _find_boxes_again(changed, model.input_size, identity, place, stored, workers, shown)
            with Store(place / STORE, tuple(other["identity"].items())) as changed_store:
                effects = _effects(errors, _correct(read_results(changed, changed_store)))
            rows.append({"change": change.name, "released": change.released, "instead": change.instead} | effects)
    ablation = _tables(f"{report['model']}, {len(same)} images", errors, rows)
    write(ablation, folder / f"{ABLATION}.json")
    return ablation


def _tables(
    run: str, correct: Mapping[str, NDArray[np.bool_]], effects: Sequence[Mapping[str, Any]]
) -> tuple[Table, Table]:
    from pandas import DataFrame

    errors = {name: percent(float(np.mean(~values))) for name, values in correct.items()}
    return (
        Table(
            f"Errors of the released protocol: {run}",
            DataFrame({"error of": list(errors), "released": list(errors.values())}),
            formats={"released": PERCENT},
        ),
        Table(
            f"Effect of each deviation of the released protocol: {run}",
            DataFrame(effects),
            "Errors of the first box of each class (bbox1): the points that a change adds, and their 95 % interval.",
            dict.fromkeys(errors, "{:+.2f}".format),
        ),
    )


def _find_boxes_again(
    plan: Plan,
    size: Size,
    base: Identity,
    folder: Path,
    with_stored: Callable[[Iterator[Batch]], Iterator[Batch]],
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Carry out a change that does not affect the net's input, of so many rows and columns."""
    row = plan.recipe.protocol
    identity = dict(base)
    identity |= {name: value for name, value in row.choices().items() if name in identity}
    identity |= {**dict(plan.identity(())), "maps": "those of the released run"}
    placement = Placement(view_of(row.view, size), row.map_resizer, row.merge, row.placement)
    work = partial(find_boxes_again, placement, row)

    def executor(batches: Iterator[Batch]) -> Done:
        if workers > 1:
            return in_processes(work, with_stored(batches), workers)
        return (work(batch) for batch in with_stored(batches))

    return carry_out(plan, tuple(identity.items()), folder, executor, progress=progress)


def _with_stored(batches: Iterator[Batch], store: Store, positions: Sequence[int]) -> Iterator[Batch]:
    """Add the stored result of its image to each task; `positions` are the images' positions in the released run."""
    for batch in batches:
        stored = store.results(positions[batch[0].position], positions[batch[-1].position] + 1)
        yield tuple(replace(task, file=each.file, stored=each) for task, each in zip(batch, stored, strict=True))


def _correct(results: Results) -> dict[str, NDArray[np.bool_]]:
    """Return which images are correct, for each of `COLUMNS` that the ground truth allows."""
    scores = score_predictions(results.predictions("bbox1"), results.truth)
    correct = [scores.classified[:, 0], scores.classified[:, 4]]
    if scores.localized is not None and len(scores.localized):
        correct += [scores.localized[:, 0], scores.localized[:, 4], results.known_class_hits[:, 0]]
    return dict(zip(COLUMNS, correct, strict=False))


def _effects(base: Mapping[str, NDArray[np.bool_]], changed: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    """Return the points that a change adds to each error, with their interval, by column."""
    effects: dict[str, float] = {}
    for name, before in base.items():
        after = changed[name]
        means = resampled_means(np.stack([before, after], axis=1))
        low, high = interval(means[:, 0] - means[:, 1]).tolist()
        effects |= {name: float(np.mean(~after)) - float(np.mean(~before)), f"{name} low": low, f"{name} high": high}
    return {column: percent(share) for column, share in effects.items()}
