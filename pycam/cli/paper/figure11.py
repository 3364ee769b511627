"""`pycam paper figure11`: a detector of text, from images with text and images without."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pycam.cli import options
from pycam.cli.figure import Dpi, Width, side_by_side
from pycam.cli.paper.heads import FULL, FitOptions, Heads, Out, Seed, save_figure
from pycam.console import Notes
from pycam.drawing.print_figure import PAPER, Grid, Panel
from pycam.errors import GroundTruthError
from pycam.formats.files import is_folder
from pycam.ilsvrc.names import image_name, normal
from pycam.images.files import image_files
from pycam.paper.concepts import positive_row
from pycam.paper.scenes import halves
from pycam.paper.text_regions import TaggedImage, read_tagged_images, share_of_mass
from pycam.tables import PERCENT, Table, percent


@options.grouped
def figure11(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(help="Folder with positive/ (images with text) and negative/.", show_default=False)
    ],
    source: options.ModelOptions,
    maps: options.BoxOptions = FULL,
    fit: FitOptions = FitOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    rectangles: Annotated[
        list[Path] | None,
        typer.Option(help="Street View Text's train.xml or test.xml, one or more: the maps are judged by them."),
    ] = None,
    shown: Annotated[int, typer.Option("--show", min=1, help="Images to show.")] = 8,
    side: Annotated[int, typer.Option("--columns", min=1, help="Images side by side.")] = 4,
    seed: Seed = 0,
    out: Out = Path("figure11"),
    width: Width = PAPER["columns"],
    dpi: Dpi = 300,
    batch: options.Batch = 8,
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 11: maps of a detector of text.

    As many negatives as positives are chosen by --seed; half of each trains one support vector machine. The maps are of
    the other positives. The rectangles of the words are not used for training.
    """
    generator = np.random.default_rng(seed)
    folders = [_images(data / part) for part in ("positive", "negative")]
    count = min(map(len, folders))
    if count < 2:
        raise GroundTruthError(
            f"{data}: {count} images of one kind; two or more of each are needed: half is for training"
        )
    halved = []
    for paths in folders:
        paths = [paths[row] for row in sorted(generator.permutation(len(paths))[:count].tolist())]
        parts = halves(count, generator)
        halved.append([[paths[row] for row in part] for part in parts])
    tagged: dict[str, TaggedImage] = {}
    for path in rectangles or ():
        tagged |= read_tagged_images(path)
    (positive, looked_at), (negative, others) = halved
    if tagged and not any(_name(path) in tagged for path in looked_at):
        lists = ", ".join(map(str, rectangles or ()))
        raise GroundTruthError(f"{lists}: no image of {data / 'positive'} that is shown has rectangles there")
    heads = Heads(source, maps, engine, fit, Notes(quiet))
    labels = np.repeat(np.array([1, 0], np.int64), [len(positive), len(negative)])
    classifier = positive_row(heads.fit(heads.features([*positive, *negative], batch), labels))
    margins = classifier.decisions(heads.features([*looked_at, *others], batch))[:, 0]
    right = np.count_nonzero((margins > 0) == (np.arange(len(margins)) < len(looked_at)))

    grid = Grid(side, width, dpi)
    best: list[tuple[float, Panel | None]] = []
    rows = []
    with heads.cam(classifier, ["text"]) as cam:
        for path, item in zip(looked_at, heads.maps(cam, looked_at, 0, batch), strict=True):
            wide, tall = item.prediction.size
            row: dict[str, Any] = {"image": path.name, "margin": item.score}
            boxes: list[list[float]] = []
            if words := tagged.get(_name(path)):
                mask = words.mask(wide, tall)
                boxes = words.boxes_in(wide, tall).tolist()
                row |= {
                    "words": len(words.words),
                    "map in rectangles": percent(share_of_mass(item.image_map, mask)),
                    "area of rectangles": percent(float(mask.mean())),
                }
            rows.append(row)
            panel = item.prediction.panel(grid, 0, captions=[f"margin {item.score:.2f}"], truth=boxes)
            best = sorted([*best, (item.score, panel)], key=lambda each: -each[0])[:shown]
    table = _table(rows, f"{right} of {len(margins)} images that were not for training are classified correctly.")
    caption = (
        f"Maps of a detector of text, a linear support vector machine on {heads.blob} of {heads.model.name}: the "
        f"images with the highest margins{', with the rectangles of words in green' if tagged else ''}. {table.note}"
    )
    settings = heads.settings(classifier, positives=len(positive), negatives=len(negative), seed=seed)
    lines = side_by_side([[panel] for _, panel in best], side)
    save_figure(context, 11, out, grid, lines, [], caption, settings, heads.notes, [table])
    table.first(10).show()


def _table(rows: list[dict[str, Any]], note: str) -> Table:
    from pandas import DataFrame

    frame = DataFrame(rows).sort_values("margin", ascending=False, kind="stable")
    shares = ["map in rectangles", "area of rectangles"]
    if shares[0] in frame:
        frame["words"] = frame["words"].astype("Int64")
        judged = frame[shares].dropna()
        mass, area = (float(judged[share].mean()) for share in shares)
        if not math.isnan(mass):
            note += (
                f"\nOver {len(judged)} images, {mass:.2f}% of the map's positive mass lies in rectangles, which cover "
                f"{area:.2f}% of the area."
            )
    formats = {"margin": "{:.3f}".format, **dict.fromkeys(shares, PERCENT)}
    return Table("Text", frame, note, formats)


def _images(folder: Path) -> list[Path]:
    if not is_folder(folder):
        raise GroundTruthError(f"{folder}: no such folder; images were expected in it")
    found = image_files(folder)
    if not found:
        raise GroundTruthError(f"{folder}: no image in it")
    return found


def _name(path: Path) -> str:
    return normal(image_name(path.name))
