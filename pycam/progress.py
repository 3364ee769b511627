"""Progress bars."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def progress(console: Console, *columns: ProgressColumn) -> Progress:
    """Return a progress bar that disappears at its end, and that is shown only on a terminal.

    Parameters
    ----------
    console : Console
        The console of the bar; a quiet console shows nothing.
    *columns : ProgressColumn
        Columns between the bar and the remaining time; by default, the number of finished and of all steps.

    Returns
    -------
    Progress
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
