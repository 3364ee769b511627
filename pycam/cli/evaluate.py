"""`pycam evaluate`: ILSVRC's errors of a model, by a run that survives being stopped."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, ProgressColumn, Task
from rich.text import Text

from pycam.cli import options
from pycam.engines import Options, cores
from pycam.errors import UsageError
from pycam.evaluation.figures import errors_table
from pycam.evaluation.plan import Plan, Recipe, Sources
from pycam.evaluation.run import evaluate as run
from pycam.model import FIXED_MEANS
from pycam.progress import progress
from pycam.protocols import DRAWING, Protocol
from pycam.protocols import protocol as get_protocol


class OnError(str, Enum):
    """What an image that cannot be read does."""

    FAIL = "fail"
    SKIP = "skip"


def evaluate(
    context: typer.Context,
    images: Annotated[Path, typer.Option(help="Folder of the images.", show_default=False)],
    ground_truth: Annotated[
        Path,
        typer.Option(
            help="XML folder, devkit cache (.mat), WSOL metadata folder, or list of labels.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the run; one that was stopped is gone on with.", show_default=False)
    ],
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    mean: options.MeanFile = None,
    labels: options.TrueLabels = None,
    blacklist: options.Blacklist = None,
    meta: options.Meta = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only so many images, the first.")] = None,
    protocol: options.ProtocolName = "paper",
    view: options.View = None,
    choices: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="CHOICE=VALUE", help="Another choice in place of the protocol's: mean=image."),
    ] = None,
    engine: options.EngineName = options.DEFAULT,
    device: options.Device = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each worker's engine; its share of the cores if not given.")
    ] = None,
    precision: options.Precision = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work at the same time.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images that go through the net together.")] = 8,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler whose workers do the work: tcp://host:8786, or local:N.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="What an image that cannot be read does: fail the run, or be skipped and listed.")
    ] = OnError.FAIL,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute ILSVRC's errors. A run that is stopped, in whatever way, goes on by the same command.

    OUT gets predictions.txt (ILSVRC's form), predictions.csv (every box), report.json and report.md.
    """
    if scheduler is not None:
        options.refuse(context, "the scheduler has workers of its own", "workers")
    sources = Sources(
        images=str(images.absolute()),
        ground_truth=str(ground_truth.absolute()),
        labels=_absolute(labels),
        blacklist=_absolute(blacklist),
        meta=_absolute(meta),
        limit=limit,
    )
    recipe = Recipe(
        protocol=_protocol(protocol, view, choices or [], mean),
        model=_absolute(model) if model and model.endswith((".yaml", ".yml")) else model,
        engine=engine,
        prototxt=_absolute(prototxt),
        weights=_absolute(weights),
        mean=str(mean) if mean is not None and "," in str(mean) else _absolute(mean),
        options=Options(device, threads, precision=precision),
    )
    if threads is None:
        share = _share_of_cores(recipe, workers, scheduler)
        recipe = replace(recipe, options=replace(recipe.options, threads=share))
    plan = Plan.read(recipe, sources, batch)
    console = Console(stderr=True, quiet=quiet)
    with progress(console, MofNCompleteColumn(), _Rate()) as shown:
        bar = shown.add_task("images", total=len(plan))
        earlier: list[int] = []

        def show(done: int) -> None:
            if not earlier:
                earlier.append(done)
                shown.reset(bar, completed=done)
                if done:
                    console.print(f"going on: {done} of {len(plan)} images are done", highlight=False)
            shown.update(bar, completed=done)

        report = run(plan, out, workers=workers, scheduler=scheduler, skip=on_error is OnError.SKIP, progress=show)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _tell(report)
    console.print(f"wrote predictions and report to {out}{os.sep}", highlight=False, markup=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def _protocol(name: str, view: str | None, choices: list[str], mean: Path | None) -> Protocol:
    row = get_protocol(name)
    given: dict[str, str | None] = {} if view is None else {"view": view}
    for choice, _, value in (each.partition("=") for each in choices):
        if choice not in row.choices():
            raise UsageError(f"--set {choice}: there are {', '.join(row.choices())}, each as in mean=image")
        if choice in DRAWING:
            raise UsageError(f"--set {choice}: an evaluation draws nothing: leave it out")
        if choice in given:
            raise UsageError(f"--set {choice}={value}: the {choice} is chosen already, as {given[choice]}")
        given[choice] = value
    if mean is not None and (("," in str(mean) and "mean" in given) or given.get("mean") in FIXED_MEANS):
        raise UsageError(
            f"--set mean={given['mean']} has no effect here: --mean gives the mean; leave one of the two out"
        )
    return row.with_choices(**given)


def _share_of_cores(recipe: Recipe, workers: int, scheduler: str | None) -> int:
    """How many threads a worker's engine may have without changing the result."""
    if scheduler is not None or not recipe.batch_invariant:
        return 1
    return max(1, cores() // workers)


def _absolute(path: Path | str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _tell(report: dict[str, Any]) -> None:
    print(f"{report['images']} images, {report['blacklisted']} of them on the blacklist")
    errors_table({"": report}).show()
    for each in report["skipped"]:
        print(f"left out: {each['image']}: {each['reason']}")
    for note in report["notes"]:
        print(f"note: {note}")
