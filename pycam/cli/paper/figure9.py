"""`pycam paper figure9`: objects in scenes, by how often they occur and by how often they lie under the map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pycam.cli import options
from pycam.cli.figure import Dpi, Width
from pycam.cli.paper.heads import FULL, FitOptions, Heads, Out, Seed, save_figure
from pycam.console import Notes
from pycam.drawing.print_figure import PAPER, Grid, Panel
from pycam.errors import UsageError, suggest
from pycam.paper.labelme import read_labelme
from pycam.paper.scene_objects import count_objects, high_region, object_table, overlapping, ranked
from pycam.paper.scenes import by_category, find_scenes, halves

OBJECTS = 6
"""The length of the paper's lists."""


@options.grouped
def figure9(
    context: typer.Context,
    images: Annotated[
        Path, typer.Option(help="Folder of the images, with one folder per category.", show_default=False)
    ],
    annotations: Annotated[
        Path, typer.Option(help="Folder of LabelMe's XML files, in the same folders.", show_default=False)
    ],
    source: options.ModelOptions,
    maps: options.BoxOptions = FULL,
    fit: FitOptions = FitOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    categories: Annotated[
        list[str] | None, typer.Option("--category", help="Category that has a classifier, two or more. Default: all.")
    ] = None,
    shown: Annotated[
        list[str] | None, typer.Option("--show", help="Category to show, one or more. Default: the first two.")
    ] = None,
    high: Annotated[float, typer.Option(min=0, max=1, help="The map is high from this share of its maximum on.")] = 0.2,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="An object lies under the map if more than this share of its area does.")
    ] = 0.5,
    least: Annotated[int, typer.Option(min=1, help="Objects in fewer images are left out.")] = 5,
    examples: Annotated[int, typer.Option(min=1, help="Images to show per category.")] = 4,
    seed: Seed = 0,
    out: Out = Path("figure9"),
    width: Width = PAPER["columns"],
    dpi: Dpi = 300,
    batch: options.Batch = 8,
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 9: for categories of scenes, the objects that occur most often, and those most often under the map.

    Half of each category's images, chosen by --seed, trains one-vs-rest classifiers. The other half is looked at, with
    the map of its own category.
    """
    found = by_category(find_scenes(images, annotations), categories or ())
    for name in shown or ():
        if name not in found:
            hint = suggest(name, found, f"expected one of {', '.join(list(found)[:12])}")
            raise UsageError(f"--show {name}: no such category; {hint}")
    chosen = list(dict.fromkeys(shown)) if shown else list(found)[:2]
    # Annotations are read before the net runs, so that a damaged one costs no time.
    scenes = {each.annotation: read_labelme(each.annotation) for name in chosen for each in found[name]}
    generator = np.random.default_rng(seed)
    parts = {name: halves(len(own), generator) for name, own in found.items()}
    heads = Heads(source, maps, engine, fit, Notes(quiet))
    training = [(found[name][row].image, label) for label, name in enumerate(found) for row in parts[name][0]]
    labels = np.array([label for _, label in training], np.int64)
    classifier = heads.fit(heads.features([path for path, _ in training], batch), labels)

    grid = Grid(examples, width, dpi)
    rows: list[list[Panel | None]] = []
    titles: list[list[str]] = []
    tables = []
    note = (
        f"High: {high:.0%} of the map's maximum or more. Under the map: more than {share:.0%} of an object's area. "
        f"Objects in fewer than {least} images are left out. Shares are of the images that were not for training."
    )
    with heads.cam(classifier, list(found)) as cam:
        for name in chosen:
            own = [found[name][row] for row in parts[name][1]]
            occurrences = []
            best: list[tuple[float, Panel]] = []
            predictions = heads.maps(cam, [each.image for each in own], list(found).index(name), batch)
            for scene, item in zip(own, predictions, strict=True):
                prediction = item.prediction
                masks = scenes[scene.annotation].masks(*prediction.size)
                occurrences.append((masks, overlapping(masks, high_region(item.image_map, high), share)))
                panel = prediction.panel(grid, 0, captions=[f"margin {item.score:.2f}"])
                best = sorted([*best, (item.score, panel)], key=lambda each: -each[0])[:examples]
            counts = count_objects(occurrences, least)
            tables.append(object_table(name, counts, len(own), OBJECTS, note))
            lists = (
                (by, ", ".join(each.name for each in ranked(counts, by, OBJECTS))) for by in ("occurs", "overlaps")
            )
            kinds = {"occurs": "most frequent", "overlaps": "most often under the map"}
            titles.append([name, *(f"{kinds[by]}: {names or 'none'}" for by, names in lists)])
            rows.append([panel for _, panel in best])
    caption = (
        f"Maps of scenes by linear support vector machines on {heads.blob} of {heads.model.name}: the images with the "
        f"highest margins of {' and '.join(chosen)}. {note}"
    )
    settings = heads.settings(classifier, categories=list(found), high=high, share=share, least=least, seed=seed)
    save_figure(context, 9, out, grid, rows, [], caption, settings, heads.notes, tables, titles)
    for table in tables:
        table.show()
