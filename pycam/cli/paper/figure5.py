"""`pycam paper figure5`: class activation maps of several nets beside backpropagation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.figure import Column, Dpi, Width, panels
from pycam.cli.images import Images, all_images
from pycam.cli.paper.heads import Out, save_figure
from pycam.console import Notes
from pycam.drawing.print_figure import PAPER, Grid, check_matplotlib


@options.grouped
def figure5(
    context: typer.Context,
    images: Images,
    source: options.ModelOptions,
    engine: options.EngineOptions,
    maps: options.BoxOptions = options.BoxOptions(exif="ignore"),
    models: Annotated[
        str | None, typer.Option(help="Models for class activation maps, in place of --model: A,B.")
    ] = None,
    backprop: Annotated[
        str | None,
        typer.Option(help="Models for backpropagation: A,B. Default: the first of the others; none for none."),
    ] = None,
    chosen: Annotated[
        str | None,
        typer.Option("--class", help="Class to show in place of each model's best one: index, WordNet ID or label."),
    ] = None,
    out: Out = Path("figure5"),
    width: Width = PAPER["columns"],
    dpi: Dpi = 300,
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 5: the class activation maps of several nets beside backpropagation, on one page.

    Backpropagation is the gradient of the class's score at the input (saliency); it needs PyTorch.
    """
    check_matplotlib()
    sources = {name: replace(source, model=name) for name in options.names_in("--models", models)} if models else {}
    sources = sources or {source.model or Path(source.prototxt or "net").stem: source}
    deep = next(iter(sources)) if backprop is None else backprop
    columns = [Column(each, maps.row.with_choices(method="cam"), name) for name, each in sources.items()]
    saliency = maps.row.with_choices(method="saliency")
    for name in options.names_in("--backprop", deep) if deep != "none" else []:
        each = sources.get(name) or replace(source, model=name)
        columns.append(Column(each, saliency, f"{name}, backpropagation"))
    grid = Grid(1 + len(columns), width, dpi)
    notes = Notes(quiet)
    top, classes = (None, [chosen]) if chosen else (1, None)
    found = panels(grid, columns, all_images(images, notes), engine, notes, top=top, classes=classes)
    caption = "Each row shows an image, its class activation maps by several nets, and maps by backpropagation. "
    caption += f"The class is {chosen}." if chosen else "The class is the best one of each net."
    settings = {
        "columns": [column.heading for column in columns],
        "engine": engine.engine,
        "view": maps.row.view,
    }
    headings = ["image", *(column.heading for column in columns)]
    save_figure(context, 5, out, grid, found, headings, caption, settings, notes)
