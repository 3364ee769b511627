"""`pycam report`: tables, comparisons, the ablation of the released protocol, box rules, and HTML pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.images import all_images
from pycam.cli.variants import load_variants
from pycam.console import Notes, print_error, print_line, print_lines
from pycam.errors import UsageError
from pycam.evaluation.ablation import make_ablation
from pycam.evaluation.comparison import COLUMNS, SHOWN, Judged, compare as compare_all
from pycam.evaluation.plan import PLAN, find_images
from pycam.formats.files import exists, is_folder
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.predictions import read_predictions
from pycam.images.files import image_files
from pycam.paper.sources import Sources
from pycam.paper.tables import missing_weights, paper_tables
from pycam.protocols import CHOICES
from pycam.report.box_rules import compare_rules
from pycam.report.ground_truth import truth_page
from pycam.report.html import write_html
from pycam.report.images import bytes_of_every_class, image_page
from pycam.report.runs import Run, run_page
from pycam.tables import FORMS, Table, check_form, text, write

app = typer.Typer(help="Make reports of finished runs and of images.")

TablesFile = Annotated[
    Path | None,
    typer.Option(help=f"File for the tables: {', '.join(FORMS)}.", callback=lambda out: out and check_form(out)),
]


EVERY_CLASS_MB = 50
"""The largest size of the maps of every class that a page has without being asked for them."""

OTHER_FILES = {".txt", ".md", ".csv", ".json", ".tex", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".zip"}
"""Endings of files that are no page, and that nobody gives to a folder."""

OF_IMAGES = ("model", "top", "chosen")
"""Options for pages of images alone."""


@app.command()
def tables(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders with finished runs (`pycam evaluate`) or cells (`pycam paper`).")
    ],
    out: TablesFile = None,
    as_json: options.Json = False,
) -> None:
    """Put runs into the paper's tables, next to the published values."""
    sources = Sources.read(runs)
    for sentence in sources.left_out():
        print_error(sentence)
    _present(paper_tables(sources, missing_weights()), out, as_json)


@app.command()
@options.grouped
def compare(
    context: typer.Context,
    items: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more: folders of finished runs (`pycam evaluate`), submission files, or both.",
            metavar="ITEMS…",
        ),
    ],
    source: options.TruthOptions = options.NO_TRUTH,
    out: TablesFile = None,
    as_json: options.Json = False,
) -> None:
    """Compare each run or submission with the first, on the same images.

    For each error: the difference with its paired 95 % bootstrap interval, McNemar's test, and what was fixed and what
    regressed. Submissions are those that `pycam score --predictions` reads; their ground truth is that of the first run
    unless --ground-truth gives it.
    """
    if len(items) < 2:
        raise UsageError(f"{items[0]}: one run or submission; give two or more, which are compared with the first")
    files = [item for item in items if not is_folder(item)]
    if not files:
        options.refuse(context, "runs have ground truth of their own", options.TruthOptions)
    if source.ground_truth is None:
        if len(files) == len(items):
            raise UsageError(f"{items[0]}: a submission file needs --ground-truth, as for `pycam score`")
        reason, fix = "no --ground-truth is given", "give --ground-truth too, or leave it out"
        options.refuse(context, reason, options.TruthOptions, fix=fix)
    with ExitStack() as stack:
        named = dict(zip(items, distinct_labels(items), strict=True))
        runs = {item: stack.enter_context(Run.open(item, named[item])) for item in items if item not in files}
        own = source.ground_truth is None
        truth = next(iter(runs.values())).plan.truth if own else source.read()
        judged = [
            Judged.of_results(label, runs[item].results)
            if item in runs
            else Judged.of_predictions(label, read_predictions(item, truth.class_names), truth)
            for item, label in named.items()
        ]
    found = compare_all(judged)
    _present(found, out, as_json, most=SHOWN)


@app.command()
def ablation(
    run: Annotated[Path, typer.Argument(help="Folder of a run of protocol `released`.")],
    out: TablesFile = None,
    workers: options.Workers = 1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute how much each deviation of the released protocol changes the errors of a run.

    Each change is evaluated by a run in RUN/ablation. The same command resumes an interrupted ablation.
    """
    with Notes(quiet).progress() as shown:

        def task(name: str) -> Callable[[int], None]:
            bar = shown.add_task(name, total=None)
            return lambda done: shown.update(bar, completed=done)

        found = make_ablation(run, workers=workers, progress=task)
    _present(found, out, as_json)


@app.command()
def rules(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run (`pycam evaluate`).")],
    names: Annotated[
        list[str] | None,
        options.one_of(
            CHOICES["box_rule"], "Box rule, one or more, in place of all that need only a map", "--box-rule"
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold of all rules that take one. Default: the run's, or each rule's own.")
    ] = None,
    out: TablesFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute the errors of a run under every box rule, from the same maps.

    Maps that the run did not keep are computed again from its images.
    """
    with Notes(quiet).counted("box rules") as progress:
        found = compare_rules(run, names or (), threshold, progress=progress)
    _present([found], out, as_json)


@app.command()
@options.grouped
def html(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Output: one file (.html), or a folder.", show_default=False)],
    source: options.ModelOptions,
    maps: options.MapOptions,
    engine: options.EngineOptions,
    model: options.SeveralModels = None,
    items: Annotated[
        list[Path] | None,
        typer.Argument(
            help="One or more runs (folders of `pycam evaluate`), or images and folders of images.", metavar="ITEMS…"
        ),
    ] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="Ground truth to show without a run, as for `pycam evaluate`; needs --images.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images of --ground-truth.")] = None,
    ground_truth_classes: options.GroundTruthClasses = None,
    top: Annotated[int | None, typer.Option(help="Number of classes of images. Default: the protocol's.")] = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--class", help="Class of images to show in place of the best ones: index, WordNet ID or label."),
    ] = None,
    every_class: Annotated[
        bool | None,
        typer.Option(
            "--every-class/--best-classes",
            help="Whether the page can show every class, or the best ones only. Default: every class of images, if it "
            f"takes at most {EVERY_CLASS_MB} MB; the best ones of runs.",
        ),
    ] = None,
    worst: Annotated[int | None, typer.Option(min=1, help="Show only the worst images of runs, this many.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Show one run, several runs side by side, images, or ground truth on a page.

    --worst is for runs. The options of model, protocol and engine are for images: a run has its own.
    """
    if out.suffix.lower() in OTHER_FILES:
        raise UsageError(f"--out {out}: expected a file name that ends in .html, or the name of a folder")
    if ground_truth is None:
        options.refuse(context, "they are for --ground-truth", "images", "ground_truth_classes")
    groups = options.ModelOptions, options.MapOptions, options.EngineOptions
    notes = Notes(quiet)
    with ExitStack() as stack:
        if ground_truth is not None:
            if items:
                raise UsageError(f"{items[0]} has no effect with --ground-truth, which shows no runs: leave it out")
            if images is None:
                raise UsageError(f"{ground_truth}: give the folder of its images with --images")
            names = {field.name for group in groups for field in fields(group)} - {"labels"}
            options.refuse(context, "a page of ground truth shows no model", *names, *OF_IMAGES, "every_class", "worst")
            truth = read_ground_truth(ground_truth, labels=source.labels, ground_truth_classes=ground_truth_classes)
            heading, entries = truth_page(truth, find_images(images, truth.names), ground_truth.name)
        elif not items:
            raise UsageError("give runs (folders of `pycam evaluate`), images, or --ground-truth with --images")
        elif _is_run(items[0]):
            options.refuse(
                context, "a page of runs uses the model, protocol and engine of the runs", *groups, *OF_IMAGES
            )
            runs = [stack.enter_context(run) for run in _runs(items)]
            heading, entries = run_page(runs, worst, bool(every_class))
        else:
            options.refuse(context, "a page of images shows all images", "worst")
            variants = stack.enter_context(load_variants(source, model, maps, engine, quiet=quiet))
            paths = all_images(items, notes)
            for variant in variants.variants:
                for note in variant.cam.model.notes(maps=variant.cam.protocol.method == "cam", boxes=True):
                    notes.say(f"{variant.name}: {note}" if variant.name else note)
            size = bytes_of_every_class(variants, len(paths)) / 10**6
            if every_class and not size:
                raise UsageError(
                    "--every-class has no effect here: only method cam gives the maps of all classes at once"
                )
            if every_class is None and size > EVERY_CLASS_MB:
                notes.say(f"the page has the best classes only; --every-class adds the others, up to {size:,.0f} MB")
            shows_all = 0 < size <= EVERY_CLASS_MB if every_class is None else every_class
            heading, entries = image_page(variants, paths, top, chosen, shows_all)
        before = len(heading.notes)
        write_html(out, notes.each("images", entries), heading)
    for note in heading.notes[before:]:
        print_error(f"pycam: {note}")
    notes.say(f"wrote {out}")


def _is_run(item: Path) -> bool:
    """Return whether a folder is that of a run, or at least has no images."""
    return is_folder(item) and (exists(item / PLAN) or not image_files(item))


def _runs(folders: Sequence[Path]) -> list[AbstractContextManager[Run]]:
    labels = [""] if len(folders) == 1 else distinct_labels(folders)
    return [Run.open(folder, label) for folder, label in zip(folders, labels, strict=True)]


def distinct_labels(paths: Sequence[Path]) -> list[str]:
    """Return a label for each path: its last name, or the whole path if it is not the only such column.

    Raises
    ------
    UsageError
        A path is given twice.
    """
    places = [path.resolve() for path in paths]
    if twice := next((path for path, place in zip(paths, places, strict=True) if places.count(place) > 1), None):
        raise UsageError(f"{twice}: given twice; give each run or submission once")
    names = [place.name for place in places]
    # Labels are columns beside others, such as "difference".
    return names if len({*names, *COLUMNS}) == len(names) + len(COLUMNS) else [str(place) for place in places]


def _present(found: Sequence[Table], out: Path | None, as_json: bool, most: int | None = None) -> None:
    """Write tables to a file, print them as JSON, or show them, at most so many rows of each."""
    if out is not None:
        write(found, out)
    if as_json:
        print_lines(text(found, ".json"))
    elif out is None:
        for number, table in enumerate(found):
            if number:
                print_line()
            table.first(most).show()
