"""`pycam figure`: maps of images as a figure for print."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.images import Images, all_images
from pycam.console import Notes
from pycam.drawing.print_figure import FORMS, PAPER, Grid, Panel, check_matplotlib, form_of, without_glyph
from pycam.errors import PycamError, UsageError
from pycam.formats.files import atomic_write
from pycam.formats.names import stem_of
from pycam.maps.methods import METHODS
from pycam.predict import best_streams, make_cam
from pycam.prediction import ClassPrediction
from pycam.protocols import CHOICES, NEEDS, Protocol

Width = Annotated[
    float, typer.Option(help=f"Width in cm: {PAPER['columns']:g} for a page, {PAPER['column']:g} for a column.")
]
Dpi = Annotated[float, typer.Option(help="Pixels per inch of the images, and of a PNG.")]
FigureFile = Annotated[
    Path, typer.Option(help=f"File of the figure; its ending is the form: {', '.join(FORMS)}.", show_default=False)
]


@options.grouped
def figure(
    context: typer.Context,
    images: Images,
    out: FigureFile,
    source: options.ModelOptions,
    maps: options.BoxOptions,
    engine: options.EngineOptions,
    models: Annotated[
        str | None, typer.Option(help="Several models, in place of --model, as in googlenet-cam,vgg16-cam.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help=f"Methods, of {', '.join(CHOICES['method'])}.")] = None,
    layers: Annotated[str | None, typer.Option(help="Blobs that maps are made at, as in conv3,conv5.")] = None,
    target: Annotated[str | None, options.one_of(CHOICES["target"], "Score that maps explain")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of classes, best first: one column each.")] = 1,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Class to show in place of the best ones, one or more: index, WordNet ID or label."
        ),
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Draw the box of each class.")] = False,
    columns: Annotated[
        int | None, typer.Option(min=2, help="Panels side by side: several images, if they have room.")
    ] = None,
    headings: Annotated[
        str | None, typer.Option(help="Headings in place of the names, as in image,AlexNet,GoogLeNet; blank for none.")
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions/--no-captions", help="Names, classes and scores below the panels.")
    ] = True,
    width: Width = PAPER["columns"],
    dpi: Dpi = 300,
    batch: options.Batch = 1,
    quiet: options.Quiet = False,
) -> None:
    """Write maps as a figure for print: one row per image, one column per model, method or layer.

    The image comes first. Each map shows the best class of its model, or the classes of --class.
    """
    form_of(out)
    check_matplotlib()
    if not boxes:
        options.refuse(
            context, "boxes are found with --boxes only", "box_rule", "threshold", fix="add --boxes, or leave it out"
        )
    if classes:
        options.refuse(context, "--class chooses the classes", "top")
    if models is not None:
        options.refuse(context, "--models names the models", options.ModelOptions)
    sources = [replace(source, model=name) for name in options.names_in("--models", models)] if models else [source]
    rows = _rows(maps, methods, layers, target)
    shown = len(classes or range(top))
    chosen = [Column(each, row, _heading(each, row, sources, rows)) for each in sources for row in rows]
    per_image = 1 + shown * len(chosen)
    side = _side(columns, per_image)
    names = ["image", *(column.heading for column in chosen for _ in range(shown))]
    if headings is not None:
        names = headings.split(",") if headings.strip() else []
        if names and len(names) != per_image:
            raise UsageError(
                f"--headings {headings}: {len(names)} headings for {per_image} columns, the image first; "
                "give one per column"
            )
    grid = Grid(side * per_image, width, dpi)
    notes = Notes(quiet)
    found = panels(
        grid, chosen, all_images(images, notes), engine, notes, top=None if classes else top, classes=classes,
        boxes=boxes, captions=captions, batch=batch,
    )  # fmt: skip
    write_figure(grid, side_by_side(found, side), names * side, [out], notes)


@dataclass(frozen=True)
class Column:
    """A column of a figure: a model, a row of the protocol table, and the heading."""

    source: options.ModelOptions
    row: Protocol
    heading: str


def panels(
    grid: Grid,
    columns: Sequence[Column],
    images: Sequence[Path],
    engine: options.EngineOptions,
    notes: Notes,
    *,
    top: int | None = 1,
    classes: Sequence[str] | None = None,
    boxes: bool = False,
    captions: bool = True,
    batch: int = 1,
) -> list[list[Panel]]:
    """Return the row of panels of each image: the image, and its maps column by column.

    Raises
    ------
    PycamError
        A model, a method or a layer is not possible, or an image cannot be read: the first one ends the figure.
    """
    rows: list[list[Panel]] = [[] for _ in images]
    model, of = None, None
    with notes.progress() as shown:
        bar = shown.add_task("maps", total=len(images) * len(columns))
        for column in columns:
            if model is None or column.source is not of:
                model, of = column.source.load(needs_maps=column.row.method == "cam"), column.source
            streams = best_streams(engine.engine, column.row, engine.options, len(images))
            settings = replace(engine.options, streams=streams)
            with make_cam(model, engine=engine.engine, protocol=column.row, options=settings) as cam:
                stream = cam.stream(images, top=top, classes=classes, batch=batch)
                for row, (path, found) in zip(rows, stream, strict=True):
                    if isinstance(found, PycamError):
                        raise found
                    if not row:
                        row.append(found.panel(grid, None, captions=[stem_of(str(path))] if captions else []))
                    row += [
                        found.panel(grid, item.rank, captions=caption(item) if captions else [], box=boxes)
                        for item in found.top
                    ]
                    shown.advance(bar)
    return rows


def caption(item: ClassPrediction) -> list[str]:
    """Return the caption of a map: the label of its class, and the score."""
    return [item.label or f"class {item.index}", f"{item.score:.3f}"]


def side_by_side(rows: Sequence[Sequence[Panel | None]], count: int) -> list[list[Panel | None]]:
    """Put the rows of several images beside each other."""
    starts = range(0, len(rows), count)
    return [list(itertools.chain.from_iterable(rows[start : start + count])) for start in starts]


def write_figure(
    grid: Grid,
    rows: Sequence[Sequence[Panel | None]],
    headings: Sequence[str],
    outs: Sequence[Path],
    notes: Notes,
    titles: Sequence[Sequence[str]] = (),
) -> None:
    """Draw a figure, write it in the form of each file, and tell which characters no font has."""
    texts = [*headings, *(text for lines in titles for text in lines)]
    texts += [text for row in rows for panel in row if panel for text in panel.captions]
    if missing := without_glyph(texts):
        notes.say(f"no font on this machine has {missing}: install one, such as Noto, and run it again")
    for out in outs:
        data = grid.draw(rows, headings, form_of(out), titles)
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out, data)
        notes.say(f"wrote {out}")


def _rows(maps: options.BoxOptions, methods: str | None, layers: str | None, target: str | None) -> list[Protocol]:
    """Return the protocol once per method, and once per layer if the method takes one."""
    return maps.row.with_methods(
        options.names_in("--methods", methods) if methods is not None else [],
        options.names_in("--layers", layers) if layers is not None else [],
        target=target,
        box_rule=maps.box_rule,
        threshold=maps.threshold,
    )


def _heading(
    source: options.ModelOptions, row: Protocol, sources: Sequence[options.ModelOptions], rows: Sequence[Protocol]
) -> str:
    """Return the heading of a column: what distinguishes it from the others."""
    several = len({each.method for each in rows}) > 1
    layers = len({each.layer for each in rows if each.method in NEEDS["layer"][1]}) > 1
    parts = [Path(source.model or source.prototxt or "").stem] if len(sources) > 1 or not (several or layers) else []
    parts += [METHODS[row.method].title] if several or (not parts and not layers) else []
    parts += [row.layer] if layers and row.layer else []
    return " ".join(parts)


def _side(columns: int | None, per_image: int) -> int:
    """Return how many images stand side by side."""
    if columns is None:
        return 1
    if columns < per_image:
        raise UsageError(
            f"--columns {columns}: one image takes {per_image} columns, itself and its maps; give {per_image} or more, "
            "or fewer models, methods, layers or classes"
        )
    return columns // per_image
