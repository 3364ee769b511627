"""`pycam explain`: which units give how much of a class's score, and where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pycam.cli import options
from pycam.cli.heatmap import raise_failures
from pycam.console import Notes, print_json, print_line
from pycam.engines.threads import beside_an_engine
from pycam.errors import PycamError, UsageError
from pycam.formats.files import atomic_write
from pycam.formats.names import distinct_names
from pycam.predict import best_streams
from pycam.report.explanation import explanation_page
from pycam.units.activations import unit_cam
from pycam.units.explanation import explain as explain_image, how_it_adds_up, image_record


@options.grouped
def explain(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
    source: options.ModelOptions,
    protocol: options.ProtocolOptions,
    engine: options.EngineOptions,
    top: Annotated[int, typer.Option(min=1, help="Number of classes, best first.")] = 1,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help='Class in place of the best one: index, WordNet ID or label ("red fox").'),
    ] = None,
    top_units: Annotated[int, typer.Option(min=1, help="Number of units to list, the largest first.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a page (.html) and the JSON of each image. Default: none.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show which units of a net give how much of a class's score, and where.

    A unit is a channel of the features. Its contribution is its class weight times its mean over the image. All
    contributions and the bias add up to the logit, the score before the last activation.
    """
    if classes is not None:
        options.refuse(context, "the classes are given", "top")
    row = protocol.row
    model = source.load(quiet)
    streams = min(len(images), best_streams(engine.engine, row, engine.options))
    notes = Notes(quiet)
    failures: list[PycamError] = []
    shown: list[dict[str, Any]] = []
    with (
        unit_cam(model, engine=engine.engine, protocol=row, options=replace(engine.options, streams=streams)) as units,
        beside_an_engine(),
    ):
        wanted = None if classes is None else [model.labels.find(name) for name in classes]
        if top > model.class_count:
            raise UsageError(f"--top {top}: the net has {model.class_count} classes")
        names = distinct_names(path.stem for path in images)
        for name, (path, found) in zip(names, units.stream(images), strict=True):
            if isinstance(found, PycamError):
                failures.append(found)
                continue
            explained = explain_image(found, wanted, top, top_units)
            record = image_record(found, explained)
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                atomic_write(out / f"{name}.html", explanation_page(found, explained))
                atomic_write(out / f"{name}.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
            shown.append(record)
            if as_json or quiet:
                continue
            if len(shown) == 1:
                notes.say(how_it_adds_up(found))
            print_line(path)
            for each in explained:
                each.table().show()
    if as_json:
        print_json(shown)
    if out is not None and shown:
        notes.say(f"wrote the explanations of {len(shown)} image{'' if len(shown) == 1 else 's'} to {out}")
    raise_failures(failures, len(images))
