"""`pycam paper table4`: birds recognised by the whole image, by the box of its map, and by the bounding box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.paper.classifier import ClassifierOptions
from pycam.console import Notes, print_line
from pycam.engines import best_streams
from pycam.engines.threads import beside_an_engine
from pycam.errors import UsageError
from pycam.ilsvrc.cub import read_cub_images
from pycam.paper.outputs import CellsFile, write_output
from pycam.paper.table4 import CLASSES, PAPER_MODEL, accuracy_table, bird_results, box_table, write_boxes
from pycam.tables import write


@options.grouped
def table4(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder of CUB-200-2011: CUB_200_2011.", show_default=False)],
    source: options.HeadOptions,
    classifier: ClassifierOptions,
    engine: options.EngineOptions,
    protocol: options.BoxOptions = options.BoxOptions(view="full", exif="ignore"),
    map_class: Annotated[str, options.one_of(CLASSES, "Class whose map gives the box", "--class")] = CLASSES[0],
    out: Annotated[Path, typer.Option(help="Output folder. Features in it are used again.")] = Path("table4"),
    batch: options.Batch = 8,
    quiet: options.Quiet = False,
) -> None:
    """Make Table 4: linear classifiers of birds, of the whole image, of the box of its map, and of the bounding box.

    Without --model, the model is the paper's, googlenet-cam. The same command resumes an interrupted run.
    """
    if map_class not in CLASSES:
        raise UsageError(f"--class {map_class}: expected one of {', '.join(CLASSES)}")
    fit = classifier.arguments
    birds = read_cub_images(data)
    if source.model is None and not source.from_files:
        source = replace(source, model=PAPER_MODEL)
    row = protocol.row.with_choices(box_rule=protocol.box_rule, threshold=protocol.threshold)
    if row.method != "cam":
        raise UsageError(f"--protocol {row.name} makes maps by {row.method}: Table 4 needs class activation maps")
    model = source.load(quiet, needs_maps=True)
    row = row.for_view(model.view)
    notes = Notes(quiet)
    notes.say(f"{len(birds)} images, {int(birds.is_training.sum())} for training; {model.name}, view {row.view}")
    with beside_an_engine(), notes.progress() as shown:
        bar = shown.add_task("features", total=len(birds))

        def show(step: str, done: int, count: int) -> None:
            shown.update(bar, description=step, completed=done, total=count)

        results = bird_results(
            birds,
            model,
            out / "features",
            protocol=row,
            engine=engine.engine,
            options=replace(engine.options, streams=best_streams(engine.engine, engine.options)),
            map_class=map_class,
            batch=batch,
            progress=show,
            **fit,
        )
    if classifier.bias or classifier.scale == "standard":
        notes.say("the classifier has a bias, which maps leave out: boxes are larger than without it")
    tables = [accuracy_table(results), box_table(results)]
    for table in tables:
        table.show()
        print_line()
    out.mkdir(parents=True, exist_ok=True)
    for suffix in (".md", ".csv"):
        write(tables, out / f"table{suffix}")
    write_boxes(results, out / "boxes.csv")
    written = write_output(out, CellsFile(4, options.command_line(context), results.cells(), results.settings))
    notes.say(f"wrote {written}, table.md, table.csv and boxes.csv to {out}")
