"""`pycam explain`: which units give how much of a class's score, and where."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from pycam.cli import options
from pycam.cli.heatmap import raise_failures
from pycam.cli.images import GivenImages, Images
from pycam.console import JsonList, Notes, print_line
from pycam.engines import best_streams
from pycam.engines.threads import beside_an_engine
from pycam.errors import PycamError, UsageError
from pycam.formats.files import atomic_write
from pycam.formats.output_folder import OutputFolder
from pycam.report.explanation import explanation_page
from pycam.units.activations import unit_cam
from pycam.units.explanation import explain as explain_image, how_it_adds_up, image_record


@options.grouped
def explain(
    context: typer.Context,
    images: Images,
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
        Path | None,
        typer.Option(help="Folder for a page and the JSON of each image; those of other images stay. Default: none."),
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
    notes = Notes(quiet)
    given = GivenImages(images, notes)
    place = None if out is None else OutputFolder(out, (".html", ".json"))
    model = source.load(quiet)
    streams = given.at_most(best_streams(engine.engine, engine.options))
    failures: list[PycamError] = []
    done = 0
    with (
        unit_cam(model, engine=engine.engine, protocol=row, options=replace(engine.options, streams=streams)) as units,
        beside_an_engine(),
        JsonList() if as_json else nullcontext() as printed,
        notes.progress() as shown,
    ):
        wanted = None if classes is None else [model.labels.find(name) for name in classes]
        if top > model.class_count:
            raise UsageError(f"--top {top}: the net has {model.class_count} classes")
        bar = shown.add_task("explanations", total=given.count)
        for path, found in units.stream(given):
            shown.advance(bar)
            if isinstance(found, PycamError):
                failures.append(found.alone())
                continue
            explained = explain_image(found, wanted, top, top_units)
            record = image_record(found, explained)
            if place is not None:
                start = place.path / place.name(cast("Path", path))
                atomic_write(start.with_name(f"{start.name}.html"), explanation_page(found, explained))
                text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
                atomic_write(start.with_name(f"{start.name}.json"), text)
            done += 1
            if printed is not None:
                printed.add(record)
            if as_json or quiet:
                continue
            if done == 1:
                notes.say(how_it_adds_up(found))
            print_line(path)
            for each in explained:
                each.table().show()
    if out is not None and done:
        notes.say(f"wrote the explanations of {done} image{'' if done == 1 else 's'} to {out}")
    raise_failures(failures, done + len(failures))
