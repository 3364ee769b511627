"""`pycam report`: the paper's tables, the ablation of the released protocol, and the HTML report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pycam.cli import options
from pycam.engines import Options
from pycam.errors import UsageError
from pycam.evaluation.ablation import make_ablation
from pycam.evaluation.results import read_report
from pycam.formats.files import is_folder
from pycam.paper.tables import paper_tables
from pycam.predict import load
from pycam.progress import progress
from pycam.protocols import protocol as get_protocol
from pycam.report.html import write_html
from pycam.report.images import image_page
from pycam.report.runs import Run, run_page
from pycam.tables import FORMS, Table, check_form, text, write

app = typer.Typer(help="Report on finished runs and on images.", no_args_is_help=True)

TablesFile = Annotated[
    Path | None,
    typer.Option(
        help=f"Write the tables to this file: {', '.join(FORMS)}.", callback=lambda out: out and check_form(out)
    ),
]


@app.command()
def tables(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs (`pycam evaluate`).")],
    out: TablesFile = None,
    as_json: options.Json = False,
) -> None:
    """Put runs into the paper's tables, beside the published figures."""
    _tell(paper_tables([read_report(folder) for folder in runs]), out, as_json)


@app.command()
def ablation(
    run: Annotated[Path, typer.Argument(help="Folder of a run of protocol `released`.")],
    out: TablesFile = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work at the same time.")] = 1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate how much each deviation of the released protocol changes the errors of a run.

    Each change is a run in RUN/ablation. The same command resumes an interrupted ablation.
    """
    with progress(Console(stderr=True, quiet=quiet)) as shown:

        def task(name: str) -> Callable[[int], None]:
            bar = shown.add_task(name, total=None)
            return lambda done: shown.update(bar, completed=done)

        found = make_ablation(run, workers=workers, progress=task)
    _tell(found, out, as_json)


@app.command()
def html(
    context: typer.Context,
    items: Annotated[
        list[Path], typer.Argument(help="One run or two (folders of `pycam evaluate`), or images.", metavar="ITEMS…")
    ],
    out: Annotated[Path, typer.Option(help="Write the page here: one file (.html), or a folder.", show_default=False)],
    worst: Annotated[int | None, typer.Option(min=1, help="Show only so many images of runs, the worst.")] = None,
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    labels: options.LabelsFile = None,
    mean: options.MeanFile = None,
    protocol: options.ProtocolName = "default",
    view: options.View = None,
    methods: options.Methods = ["cam"],  # noqa: B006 - typer copies it
    layer: options.Layer = None,
    target: options.Target = None,
    engine: options.EngineName = options.DEFAULT,
    device: options.Device = None,
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Show one run, two runs side by side, or images on a page.

    --worst is for runs; --model and what follows it are for images, because a run knows its own.
    """
    of_runs = is_folder(items[0])
    _refuse_options_without_effect(context, of_runs)
    if of_runs:
        _page_of_runs(out, items, worst)
    else:
        rows = get_protocol(protocol).with_choices(view=view).with_methods(methods, layer=layer, target=target)
        with ExitStack() as stack:
            cams = [
                stack.enter_context(
                    load(
                        model,
                        engine=engine,
                        protocol=row,
                        prototxt=prototxt,
                        weights=weights,
                        labels=labels,
                        mean=mean,
                        options=Options(device, threads),
                    )
                )
                for row in rows
            ]
            heading, entries = image_page(cams, items)
            write_html(out, entries, heading)
    Console(stderr=True, quiet=quiet).print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)


def _refuse_options_without_effect(context: typer.Context, of_runs: bool) -> None:
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        given = source is not None and source.name == "COMMANDLINE"  # a variable is meant for other commands too
        if given and parameter.name not in ("items", "out", "quiet") and (parameter.name == "worst") != of_runs:
            kind, other = ("runs", "images") if of_runs else ("images", "runs")
            raise UsageError(f"{parameter.opts[0]} has no effect on a page of {kind}, only of {other}: leave it out")


def _page_of_runs(place: Path, folders: Sequence[Path], worst: int | None) -> None:
    if len(folders) > 2:
        raise UsageError(f"{len(folders)} runs: a page shows one, or two side by side")
    # Runs are called by their folders, and by all of the way to them where these have one name.
    names = [folder.name for folder in folders]
    labels = [""] if len(folders) == 1 else names if len(set(names)) == 2 else [str(folder) for folder in folders]
    with ExitStack() as stack:
        runs = [stack.enter_context(Run.open(folder, label)) for folder, label in zip(folders, labels, strict=True)]
        heading, entries = run_page(runs, worst)
        write_html(place, entries, heading)


def _tell(found: Sequence[Table], out: Path | None, as_json: bool) -> None:
    if out is not None:
        write(found, out)
    if as_json:
        print(text(found, ".json"), end="")
    elif out is None:
        for number, table in enumerate(found):
            if number:
                print()
            table.show()
