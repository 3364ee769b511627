"""`pycam train`: train a net from Caffe's own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn, TextColumn

from pycam.cli import options
from pycam.console import Notes
from pycam.errors import EngineError

if TYPE_CHECKING:
    from pycam.training.log import Row

LISTED = "a list (one path and label per line), or a folder with one folder per class"


@options.grouped
def train(
    solver: Annotated[Path, typer.Option(help="Caffe's solver prototxt, which names the net.")],
    engine: options.RunOptions,
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="Caffemodel to start from. Fillers initialise the layers that it lacks."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Solverstate to resume from.")] = None,
    data: Annotated[Path | None, typer.Option(help=f"Images that replace the training net's: {LISTED}.")] = None,
    test_data: Annotated[Path | None, typer.Option(help="Images that replace the test net's.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a net from Caffe's own files, without Caffe.

    Writes caffemodels and solverstates like Caffe, and next to them a log (CSV) and the learning curves.
    """
    try:
        from pycam.training.loop import train as train_net
    except ImportError as error:
        raise EngineError(f"training needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    from pycam.training.solver import read_solver

    plan = read_solver(solver)
    notes = Notes(quiet)
    with notes.progress(MofNCompleteColumn(), TextColumn("{task.fields[loss]}")) as shown:
        bar = shown.add_task("training", total=max(plan.max_iter, 0), loss="")

        def report(row: Row) -> None:
            loss = "" if row.loss is None else f"loss {row.loss:.3f}"
            shown.update(bar, completed=min(row.iteration + 1, max(plan.max_iter, 0)), loss=loss)
            if row.tests or plan.tells_at(row.iteration):
                notes.say(str(row))

        last = train_net(
            plan,
            weights=weights or (),
            resume=resume,
            data=data,
            test_data=test_data,
            options=engine.options,
            tell=report,
            note=lambda line: options.print_notes([line], quiet),
        )
    if last is not None:
        notes.say(f"wrote {last}")
