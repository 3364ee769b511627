"""`pycam evaluate`: ILSVRC's errors of a model, computed by a run that can be interrupted and resumed."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import MofNCompleteColumn, ProgressColumn, Task
from rich.text import Text

from pycam.cli import options
from pycam.cli.score import print_errors
from pycam.console import Notes, print_json, resumed
from pycam.engines import cores
from pycam.errors import UsageError
from pycam.evaluation.plan import Plan, Recipe, Sources
from pycam.evaluation.run import evaluate as run
from pycam.evaluation.timing import line
from pycam.ilsvrc.manifest import SIZES
from pycam.model import FIXED_MEANS, ONNX, numbers
from pycam.protocols import DRAWING, Protocol, protocol as get_protocol

MAP_TYPES = ("float32", "float16")


class OnError(str, Enum):
    """What to do about an image that cannot be read."""

    FAIL = "fail"
    SKIP = "skip"


@options.grouped
def evaluate(
    context: typer.Context,
    images: Annotated[Path, typer.Option(help="Folder of the images.", show_default=False)],
    truth: options.TruthOptions,
    out: Annotated[
        Path, typer.Option(help="Folder of the run. An interrupted run in it is resumed.", show_default=False)
    ],
    source: options.HeadOptions,
    engine: options.EngineOptions,
    protocol: options.BoxOptions = options.BoxOptions("paper"),
    choices: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="CHOICE=VALUE", help="Replace a choice of the protocol, as in mean=image."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first images, this many.")] = None,
    workers: options.Workers = 1,
    batch: options.Batch = 8,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler whose workers run the evaluation: tcp://host:8786, or local:N.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="If an image cannot be read: fail, or skip the image and list it.")
    ] = OnError.FAIL,
    save_maps: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the maps of the ground-truth classes, for `pycam score --maps` and other programs."
        ),
    ] = None,
    map_size: Annotated[str, options.one_of(SIZES, "Size of the saved maps")] = "features",
    map_type: Annotated[str, options.one_of(MAP_TYPES, "Type of the saved maps")] = "float32",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute ILSVRC's errors. The same command resumes an interrupted run.

    Writes predictions.txt (ILSVRC's format), predictions.csv (every box), report.json and report.md to OUT. Without
    --protocol, the protocol is `paper` with the view of the model's card.
    """
    if scheduler is not None:
        options.refuse(context, "the scheduler has its own workers", "workers")
    if save_maps is None:
        options.refuse(context, "no maps are saved without --save-maps", "map_size", "map_type")
    for option, value, allowed in (("--map-size", map_size, tuple(SIZES)), ("--map-type", map_type, MAP_TYPES)):
        if value not in allowed:
            raise UsageError(f"{option} {value}: expected one of {', '.join(allowed)}")
    sources = Sources(_absolute(images), **{name: _absolute(path) for name, path in vars(truth).items()}, limit=limit)
    files = {name: _absolute(getattr(source, name)) for name in ("model", "prototxt", "weights", "onnx", "mean")}
    # Workers may have another working directory; a model's name and mean values are not paths.
    if source.model is not None and not source.model.endswith((".yaml", ".yml", ONNX)):
        files["model"] = source.model
    if numbers(str(source.mean)) is not None:
        files["mean"] = str(source.mean)
    row = _protocol(protocol, choices or [], source.mean)
    recipe = Recipe(
        row,
        engine=engine.engine,
        preprocess=source.preprocess,
        input_size=source.input_size,
        std=source.std,
        head=source.head,
        phase=source.phase,
        stages=tuple(source.stages or ()),
        level=source.level,
        options=engine.options,
        **files,
    )
    if engine.threads is None:
        # Any number of threads gives the same result only with a batch-invariant engine.
        share = max(1, cores() // workers) if scheduler is None and recipe.batch_invariant else 1
        recipe = replace(recipe, options=replace(recipe.options, threads=share))
    plan = Plan.read(recipe, sources, batch)
    model = recipe.load()
    if not _chooses_view(context, choices or []):
        plan = replace(plan, recipe=replace(recipe, protocol=row.with_choices(view=model.view)))
    options.print_notes(model.net.notes, quiet)
    notes = Notes(quiet)
    for note in model.notes(maps=row.method == "cam", boxes=True):
        notes.say(note)
    with notes.progress(MofNCompleteColumn(), _Rate()) as shown:
        bar = shown.add_task("images", total=len(plan))
        report = run(
            plan,
            out,
            workers=workers,
            scheduler=scheduler,
            skip=on_error is OnError.SKIP,
            progress=resumed(notes, shown, bar, len(plan)),
            model=model,
            save_maps=None if save_maps is None else (save_maps, map_size, map_type),
        )
    if as_json:
        print_json(report)
    else:
        print_errors(report)
    if report["timing"]:
        notes.say(line(report["timing"]))
    notes.say(f"wrote predictions and report to {out}{os.sep}")


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def _protocol(named: options.BoxOptions, choices: list[str], mean: Path | None) -> Protocol:
    row = get_protocol(named.protocol)
    given = {name: value for name, value in vars(named).items() if name != "protocol" and value is not None}
    for choice, equals, value in (each.partition("=") for each in choices):
        if choice not in row.choices():
            raise UsageError(
                f"--set {choice}: no such choice; the choices are {', '.join(row.choices())}, as in mean=image"
            )
        if choice in DRAWING:
            raise UsageError(f"--set {choice}: an evaluation draws nothing; leave it out")
        if choice in given:
            raise UsageError(f"--set {choice}={value}: the {choice} is already chosen: {given[choice]}")
        if not equals:
            raise UsageError(f"--set {choice}: expected a choice and its value, as in mean=image")
        given[choice] = value
    if mean is not None and ((numbers(str(mean)) is not None and "mean" in given) or given.get("mean") in FIXED_MEANS):
        raise UsageError(
            f"--set mean={given['mean']} has no effect here: --mean gives the mean; leave one of the two out"
        )
    # Ground-truth boxes count in the pixels of the file.
    given.setdefault("exif", "ignore")
    return row.with_choices(**given)


def _chooses_view(context: typer.Context, choices: list[str]) -> bool:
    """Return whether the command line has a protocol, a view, or a placement, which belongs to a view."""
    chosen = {choice.partition("=")[0] for choice in choices}
    return any(options.is_given(context, name) for name in ("protocol", "view")) or bool({"view", "placement"} & chosen)


def _absolute(path: Path | str | None) -> Any:
    return None if path is None else str(Path(path).absolute())
