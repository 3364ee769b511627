"""`pycam report`: the paper's tables, the ledger, and the pages to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pycam.cli import options
from pycam.errors import UsageError
from pycam.evaluation.ledger import Ledger, make_ledger
from pycam.evaluation.results import read_report
from pycam.files import is_folder, write_whole
from pycam.predict import load
from pycam.progress import progress
from pycam.protocols import protocol as get_protocol
from pycam.report import ledger as ledger_table
from pycam.report import tables
from pycam.report.html import write_html
from pycam.report.pictures import picture_page
from pycam.report.runs import Run, run_page
from pycam.report.text import markdown, show


def report(
    items: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of finished runs (`pycam evaluate`); or pictures, for --html.", show_default=False
        ),
    ],
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Tell what each quirk of a run of protocol `released` is worth.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page of one run, two, or pictures: a file (.html), or a folder.")
    ] = None,
    worst: Annotated[int | None, typer.Option(min=1, help="Show only so many pictures of runs, the worst.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables here: .md, .csv or .json.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work on the ledger.")] = 1,
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
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Put runs into the paper's tables, take one apart (--ledger), or show runs or pictures on a page (--html).

    The model and what follows it are for pictures; runs know their own.
    """
    console = Console(stderr=True, quiet=quiet)
    if html is not None:
        if is_folder(items[0]):
            _page_of_runs(html, items, worst)
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
                            device=device,
                            threads=threads,
                        )
                    )
                    for row in rows
                ]
                heading, entries = picture_page(cams, items)
                write_html(html, entries, heading)
        console.print(f"wrote {html}", markup=False, highlight=False, soft_wrap=True)
    elif ledger:
        if len(items) != 1:
            raise UsageError(f"{len(items)} runs for a ledger: name one")
        found = _ledger(items[0], workers, console)
        _tell([ledger_table.section(found)], ledger_table.csv_text(found), asdict(found), out, as_json)
    else:
        filled = tables.paper_tables([read_report(folder) for folder in items])
        sections = [tables.section(table) for table in filled]
        sections[-1]["note"] = "\n".join(tables.notes(filled))
        _tell(sections, tables.csv_text(filled), [asdict(table) for table in filled], out, as_json)


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


def _ledger(folder: Path, workers: int, console: Console) -> Ledger:
    with progress(console) as shown:

        def task(name: str) -> Callable[[int], None]:
            bar = shown.add_task(name, total=None)
            return lambda done: shown.update(bar, completed=done)

        return make_ledger(folder, workers=workers, progress=task)


def _tell(sections: Sequence[dict[str, Any]], csv_text: str, value: Any, out: Path | None, as_json: bool) -> None:
    as_text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if out is not None:
        if out.suffix not in (".md", ".csv", ".json"):
            raise UsageError(f"{out}: tables are written as .md, .csv or .json")
        pages = "\n".join(map(markdown, sections))
        write_whole(out, {".md": pages, ".csv": csv_text, ".json": as_text}[out.suffix])
    if as_json:
        print(as_text, end="")
    elif out is None:
        console = Console(width=None if Console().is_terminal else 200)
        for section in sections:
            show(section, console)
