"""The ablation: what each deviation of the released protocol is worth, one changed at a time.

Every change is a run of its own, kept in the folder `ablation/` of the released run: where the net would see the same
input, boxes are found anew in the maps that the released run has kept; else the net runs once for the change. So an
ablation that is interrupted resumes like any run, and the run behind each of its rows can be inspected.
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
from pycam.evaluation.evaluator import find_again
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import Batch
from pycam.evaluation.results import Results, read_results
from pycam.evaluation.run import STORE, Progress, carry_out, evaluate
from pycam.evaluation.store import Store
from pycam.evaluation.workers import Done, in_processes
from pycam.ilsvrc.bootstrap import interval, resampled_means
from pycam.ilsvrc.metrics import score_predictions
from pycam.images.views import view_of
from pycam.maps.placement import Placement
from pycam.tables import PERCENT, Table, percent, write

ABLATION = "ablation"

COLUMNS = (
    "classification, top-1",
    "classification, top-5",
    "localization, top-1",
    "localization, top-5",
    "class known",
)
"""The errors that a row gives, of the first box of each class (`bbox1`)."""


@dataclass(frozen=True)
class Change:
    """Something that the release does, and what is done in its place.

    Attributes
    ----------
    name
        Names the row, and its folder.
    released, instead
        In words.
    choices
        What to choose otherwise in the protocol.
    """

    name: str
    released: str
    instead: str
    choices: Mapping[str, str]

    @property
    def seen_by_net(self) -> bool:
        """Whether the net sees another input."""
        return bool(self.choices.keys() & {"view", "mean"})


CHANGES = (
    Change("thresholds", "20, 100, 110", "30, 90, 150, the generator's own", {"box_rule": "released_30_90_150"}),
    Change("coverage", "crops are summed", "a pixel gets the mean of the crops on it", {"merge": "absolute_mean"}),
    Change("absolute-values", "absolute values are merged", "the values themselves", {"merge": "sum"}),
    Change("jpeg", "the heat map goes through a JPEG file", "it does not", {"box_rule": "released_no_jpeg"}),
    Change("box-rule", "the released box generator", "the paper's rule", {"box_rule": "paper"}),
    Change("mean", "the mean image is subtracted", "the mean value", {"mean": "value"}),
    Change("view-center", "ten crops", "the crop in the middle", {"view": "center"}),
    Change("view-full", "ten crops", "the whole image, squeezed", {"view": "full"}),
)


def make_ablation(
    folder: Path, *, workers: int = 1, progress: Callable[[str], Progress] = lambda name: lambda done: None
) -> tuple[Table, Table]:
    """Evaluate the released protocol with each of its deviations changed in turn.

    Parameters
    ----------
    folder : Path
        Of a run of a protocol with ten crops, merged as released, and the boxes of the released generator, submitted as
        released; an unfinished one is finished.
    workers : int
        Number of processes.
    progress : callable
        Takes a run's name, and returns what to call with the progress of this run.

    Returns
    -------
    errors : Table
        One row for each of `COLUMNS` that the ground truth allows: the error of the released run, in percent.
    effects : Table
        One row for each of `CHANGES`: how many points it adds to each error, with the 95 % bootstrap interval over
        images drawn alike for both runs. Both tables are also written to the folder, as `ablation.json`.

    Raises
    ------
    UsageError
        The run is none of such a protocol.
    RunError
        The run is not as it was, or had to stop.
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
        same = plan.only(base.positions.tolist())
        rows = []
        for change in CHANGES:
            changed = replace(same, recipe=replace(plan.recipe, protocol=row.with_choices(**change.choices)))
            place = folder / ABLATION / change.name
            tell = progress(change.name)
            if change.seen_by_net:
                report_there = evaluate(changed, place, workers=workers, model=model, progress=tell)
            else:
                kept = partial(_with_kept, store=store, positions=base.positions.tolist())
                report_there = _find_again(changed, identity, place, kept, workers, tell)
            with Store(place / STORE, tuple(report_there["identity"].items())) as there:
                effects = _effects(base, read_results(changed, there))
            rows.append({"change": change.name, "released": change.released, "instead": change.instead} | effects)
    ablation = _tables(f"{report['model']}, {len(same)} images", base, rows)
    write(ablation, folder / f"{ABLATION}.json")
    return ablation


def _tables(run: str, base: Results, effects: Sequence[Mapping[str, Any]]) -> tuple[Table, Table]:
    from pandas import DataFrame

    errors = {name: percent(float(np.mean(~right))) for name, right in _right(base).items()}
    return (
        Table(
            f"Errors of the released protocol: {run}",
            DataFrame({"error of": list(errors), "released": list(errors.values())}),
            formats={"released": PERCENT},
        ),
        Table(
            f"What each deviation of the released protocol is worth: {run}",
            DataFrame(effects),
            "Errors of the first box of each class (bbox1): the points that a change adds, and their 95 % interval.",
            dict.fromkeys(errors, "{:+.2f}".format),
        ),
    )


def _find_again(
    plan: Plan,
    base: Identity,
    folder: Path,
    with_kept: Callable[[Iterator[Batch]], Iterator[Batch]],
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Carry out a change that the net does not see."""
    row = plan.recipe.protocol
    was = dict(base)
    choices = {name: value for name, value in row.choices().items() if name in was}
    identity = {**was, **choices, **dict(plan.identity(())), "maps": "those of the released run"}
    placement = Placement(view_of(row.view, int(was["input"])), row.map_resizer, row.merge, row.placement)
    work = partial(find_again, placement, row)

    def executor(batches: Iterator[Batch]) -> Done:
        if workers > 1:
            return in_processes(work, with_kept(batches), workers)
        return (work(batch) for batch in with_kept(batches))

    return carry_out(plan, tuple(identity.items()), folder, executor, progress=progress)


def _with_kept(batches: Iterator[Batch], store: Store, positions: Sequence[int]) -> Iterator[Batch]:
    """Give each task what is kept of its image; `positions` tells where that stands in the released run."""
    for batch in batches:
        kept = store.results(positions[batch[0].position], positions[batch[-1].position] + 1)
        yield tuple(replace(task, kept=each) for task, each in zip(batch, kept, strict=True))


def _right(results: Results) -> dict[str, NDArray[np.bool_]]:
    """Give what is right of each image, for each of `COLUMNS` that the ground truth allows."""
    scores = score_predictions(results.predictions("bbox1"), results.truth)
    right = [scores.classified[:, 0], scores.classified[:, 4]]
    if scores.localized is not None and len(scores.localized):
        right += [scores.localized[:, 0], scores.localized[:, 4], results.known_class_hits[:, 0]]
    return dict(zip(COLUMNS, right, strict=False))


def _effects(base: Results, changed: Results) -> dict[str, float]:
    """Give the points that a change adds to each error, with their interval, by column."""
    effects: dict[str, float] = {}
    for (name, before), after in zip(_right(base).items(), _right(changed).values(), strict=True):
        means = resampled_means(np.stack([before, after], axis=1))
        low, high = interval(means[:, 0] - means[:, 1]).tolist()
        effects |= {name: float(np.mean(~after)) - float(np.mean(~before)), f"{name} low": low, f"{name} high": high}
    return {column: percent(share) for column, share in effects.items()}
