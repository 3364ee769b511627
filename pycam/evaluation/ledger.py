"""The ledger: what each quirk of the released protocol is worth, one changed at a time.

Every change is a run of its own, kept in the folder `ledger/` of the released run: where the net would see the same
input, boxes are found anew in the maps that the released run has kept; else the net runs once for the change. So a
ledger that is stopped goes on like any run, and each of its rows can be looked into.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.evaluation.bench import find_again
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import Batch
from pycam.evaluation.results import Results, read_results
from pycam.evaluation.run import STORE, Progress, carry_out, evaluate
from pycam.evaluation.store import Store
from pycam.evaluation.workers import Done, in_processes
from pycam.files import write_whole
from pycam.ilsvrc.bootstrap import interval, resampled_means
from pycam.ilsvrc.metrics import score_guesses
from pycam.placement import Placement
from pycam.views import view_of

LEDGER = "ledger"

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
    Change("mean", "the mean picture is subtracted", "the mean pixel", {"mean": "pixel"}),
    Change("view-center", "ten crops", "the crop in the middle", {"view": "center"}),
    Change("view-full", "ten crops", "the whole picture, squeezed", {"view": "full"}),
)


@dataclass(frozen=True)
class Effect:
    """An error under a change, and how far it is from the released protocol's, both as fractions.

    Attributes
    ----------
    error, difference
        The error, and the error less that of the released protocol.
    low, high
        95 % bootstrap interval of the difference, over pictures drawn alike for both.
    """

    error: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A change with its effect on each of `COLUMNS` that the ground truth allows."""

    name: str
    released: str
    instead: str
    effects: Mapping[str, Effect]


@dataclass(frozen=True)
class Ledger:
    """What the released protocol's errors are, and what each change does to them.

    Attributes
    ----------
    pictures
        How many were evaluated.
    model, weights
        The model's name, and the SHA-256 of its weights.
    errors
        Of the released run, by `COLUMNS`.
    rows
        In the order of `CHANGES`.
    """

    pictures: int
    model: str
    weights: str
    errors: Mapping[str, float]
    rows: tuple[Row, ...]


def make_ledger(
    folder: Path, *, workers: int = 1, progress: Callable[[str], Progress] = lambda name: lambda done: None
) -> Ledger:
    """Take the released protocol apart.

    Parameters
    ----------
    folder
        Of a run of a protocol with ten crops, merged as released, and the boxes of the released generator, submitted as
        released; an unfinished one is finished.
    workers
        Processes.
    progress
        Takes a run's name, and gives what to tell of its progress.

    Returns
    -------
    Ledger
        Also written to the folder, as `ledger.json`.

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
        raise UsageError(f"{folder}: a run of protocol {row.name!r}: the ledger takes one of protocol 'released' apart")
    report = evaluate(plan, folder, workers=workers, skip=True, progress=progress(row.name))
    identity: Identity = tuple(report["identity"].items())
    with Store(folder / STORE, identity) as store:
        base = read_results(plan, store)
        # Without the pictures that could not be evaluated.
        same = plan.only(base.positions.tolist())
        rows = []
        for change in CHANGES:
            changed = replace(same, recipe=replace(plan.recipe, protocol=row.with_choices(**change.choices)))
            place = folder / LEDGER / change.name
            tell = progress(change.name)
            if change.seen_by_net:
                report_there = evaluate(changed, place, workers=workers, progress=tell)
            else:
                kept = partial(_with_kept, store=store, positions=base.positions.tolist())
                report_there = _find_again(changed, identity, place, kept, workers, tell)
            with Store(place / STORE, tuple(report_there["identity"].items())) as there:
                effects = _effects(base, read_results(changed, there))
            rows.append(Row(change.name, change.released, change.instead, effects))
    ledger = Ledger(
        len(same),
        report["model"],
        dict(identity)["weights"],
        {name: float(np.mean(~right)) for name, right in _right(base).items()},
        tuple(rows),
    )
    write_whole(folder / f"{LEDGER}.json", json.dumps(asdict(ledger), indent=2) + "\n")
    return ledger


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

    def crew(batches: Iterator[Batch]) -> Done:
        if workers > 1:
            return in_processes(work, with_kept(batches), workers)
        return (work(batch) for batch in with_kept(batches))

    return carry_out(plan, tuple(identity.items()), folder, crew, progress=progress)


def _with_kept(batches: Iterator[Batch], store: Store, positions: Sequence[int]) -> Iterator[Batch]:
    """Give each task what is kept of its picture; `positions` tells where that stands in the released run."""
    for batch in batches:
        kept = store.outcomes(positions[batch[0].position], positions[batch[-1].position] + 1)
        yield tuple(replace(task, kept=each) for task, each in zip(batch, kept, strict=True))


def _right(results: Results) -> dict[str, NDArray[np.bool_]]:
    """Give what is right of each picture, for each of `COLUMNS` that the ground truth allows."""
    scores = score_guesses(results.predictions("bbox1"), results.truth)
    right = [scores.classified[:, 0], scores.classified[:, 4]]
    if scores.localized is not None and len(scores.localized):
        right += [scores.localized[:, 0], scores.localized[:, 4], results.known_class_hits[:, 0]]
    return dict(zip(COLUMNS, right, strict=False))


def _effects(base: Results, changed: Results) -> dict[str, Effect]:
    effects = {}
    for (name, before), after in zip(_right(base).items(), _right(changed).values(), strict=True):
        means = resampled_means(np.stack([before, after], axis=1))
        low, high = interval(means[:, 0] - means[:, 1]).tolist()
        error = float(np.mean(~after))
        effects[name] = Effect(error, error - float(np.mean(~before)), low, high)
    return effects
