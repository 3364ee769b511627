"""`pycam paper figure13`: the units of classes, and the images that excite them most."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pycam.cli import options
from pycam.cli.images import Images, all_images
from pycam.console import Notes, print_error, print_json, print_line
from pycam.drawing import encode_png
from pycam.engines.threads import beside_an_engine
from pycam.errors import UsageError
from pycam.formats.files import atomic_write
from pycam.formats.names import distinct_names
from pycam.paper.figure13 import Choices, caption_of, disk_size, find_units, make_sheets, settings_of
from pycam.paper.outputs import FigureFile, write_output
from pycam.predict import best_streams
from pycam.report.units_page import units_page
from pycam.units.activations import UnitCam, unit_cam
from pycam.units.measured import patch_count
from pycam.units.segmentation import SEGMENTATIONS


@options.grouped
def figure13(
    context: typer.Context,
    images: Images,
    classes: Annotated[
        list[str],
        typer.Option("--class", help='Class: index, WordNet ID or label ("red fox"); one or more.', show_default=False),
    ],
    source: options.ModelOptions,
    engine: options.EngineOptions,
    protocol: options.ProtocolOptions = options.ProtocolOptions(exif="ignore"),
    units: Annotated[int, typer.Option(min=1, help="Number of units for each class.")] = 3,
    images_per_unit: Annotated[int, typer.Option(min=1, help="Number of images for each unit.")] = 12,
    segmentation: Annotated[str, options.one_of(SEGMENTATIONS, "How a unit's map segments an image")] = "bilinear",
    field_size: Annotated[
        float | None,
        typer.Option(help="For disk: diameter in pixels of the input. Default: 65/163 of the receptive field."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For measured: seed of the random patches.")] = 0,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("figure13"),
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show the units of classes, and the images that excite them most: the paper's Figure 13.

    For each class: the units with the largest class weights, and for each unit the images in which it is largest,
    segmented by the unit's own map. The view is full unless --view gives another.
    """
    if segmentation != "measured":
        options.refuse(context, "only segmentation measured has random patches", "seed")
    row = protocol.row if protocol.view else protocol.row.with_choices(view="full")
    choices = Choices(units, images_per_unit, segmentation, field_size, seed)
    model = source.load(quiet)
    # The patches of a measured field are run in batches, with all threads.
    streams = 1 if segmentation == "measured" else best_streams(engine.engine, row, engine.options)
    notes = Notes(quiet)
    with (
        unit_cam(model, engine=engine.engine, protocol=row, options=replace(engine.options, streams=streams)) as made,
        beside_an_engine(),
    ):
        indices = [model.labels.find(name) for name in classes]
        choices.check(made, indices)
        paths = all_images(images, notes)
        with notes.progress() as shown:
            bar = shown.add_task("images", total=len(paths))
            found = find_units(made, paths, indices, choices, lambda: shown.advance(bar))
        for failure in found.failures:
            print_error(f"pycam: skipped: {failure}")
        if found.failed > len(found.failures):
            print_error(f"pycam: skipped: {found.failed - len(found.failures)} more images")
        if not found.images:
            raise type(found.failures[0])(f"no image could be shown; {found.failures[0]}")
        if all(not best for best in found.best.values()):
            raise UsageError(f"no unit of these classes is above 0 in any of {found.images} images: give more images")
        if segmentation == "measured":
            notes.say(_duration(made, max(len(best) for best in found.best.values())))
        if segmentation == "disk" and field_size is None:
            notes.say(f"a disk of {disk_size(made):g} pixels, 65/163 of the receptive field: --field-size changes it")
        with notes.progress() as shown:
            bar = shown.add_task("images with a patch", total=patch_count(made) * images_per_unit)
            sheets = make_sheets(made, found, indices, choices, lambda done: shown.update(bar, completed=done))
        settings, text = settings_of(made, found, choices), caption_of(sheets, found, made, choices)
    out.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.png" for name in distinct_names(f"{sheet.index}-{sheet.label}" for sheet in sheets)]
    for name, sheet in zip(names, sheets, strict=True):
        atomic_write(out / name, encode_png(sheet.pixels))
    record = {"settings": dict(settings), "classes": [sheet.as_dict() for sheet in sheets]}
    atomic_write(out / "units.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    facts = [str(settings["engine"]), f"view {settings['view']}", f"receptive field {made.field}"]
    atomic_write(out / "index.html", units_page(sheets, text, facts))
    write_output(out, FigureFile(13, options.command_line(context), tuple(names), text, settings))
    if as_json:
        print_json(record)
        return
    for sheet in () if quiet else sheets:
        print_line(f"{sheet.label} ({sheet.index}), {sheet.predicted} images predicted as this class")
        for each in sheet.rows:
            share = "" if each.share is None else f", {each.share:.1%} of the logit"
            best = each.images[0].path.name if each.images else "none"
            print_line(f"  unit {each.unit}: weight {each.weight:.4f}{share}; {len(each.images)} images, best {best}")
    notes.say(f"wrote {len(sheets)} sheet{'' if len(sheets) == 1 else 's'} to {out}{os.sep}")


def _duration(units: UnitCam, images: int) -> str:
    """Return how long a measurement will take, after trying one batch."""
    model, batch = units.cam.model, 16
    sample = np.zeros((batch, *model.net.shapes[model.image_input][1:]), np.float32)
    start = time.perf_counter()
    units.cam.engine.forward({model.image_input: sample})
    runs = images * patch_count(units)
    minutes = (time.perf_counter() - start) * runs / batch / 60
    return f"{images} images with {patch_count(units):,} patches each: about {max(1, round(minutes))} minutes"
