"""Progress bars."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress(console: Console, *columns: ProgressColumn) -> Progress:
    """Make a progress bar that vanishes when it is done, and that only a terminal shows.

    Parameters
    ----------
    console : Console
        Where it is drawn; a quiet one shows nothing.
    *columns : ProgressColumn
        What stands between the bar and the remaining time; how many of how many if not given.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *(columns or (MofNCompleteColumn(),)),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    )
