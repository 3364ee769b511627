"""What a command prints: the one place of pycam that writes to standard output and standard error.

Names and labels come from other people's files. Every text is printed as one line, with control characters as escapes,
so that no name moves the cursor, adds a line or a colour, or turns the direction of the text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from pycam.errors import escaped

# Rich takes longer to import than most commands take to refuse an option: it is imported where it is used.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID


def print_line(*texts: object, sep: str = " ") -> None:
    """Print texts as one line on standard output.

    Parameters
    ----------
    *texts : object
        What `str` makes of them is printed, with control characters as escapes.
    sep : str
        Stands between the texts.
    """
    print(sep.join(escaped(str(text)) for text in texts))


def print_error(text: str) -> None:
    """Print a text as one line on standard error. If that cannot be written, the work goes on without."""
    with suppress(OSError):
        print(escaped(text), file=sys.stderr)


def print_lines(text: str) -> None:
    """Print a text whose line breaks are its own, such as Markdown."""
    for line in text.removesuffix("\n").split("\n"):
        print_line(line)


def print_json(value: Any) -> None:
    """Print a value as JSON. Paths are printed as text, and characters that cannot be printed as JSON's escapes."""
    for line in _json_lines(value):
        print(line)


class JsonList:
    """A list that is printed as JSON while it is made, as `print_json` prints it as a whole."""

    def __enter__(self) -> JsonList:
        self._start = "["
        return self

    def add(self, value: Any) -> None:
        """Print the next item."""
        print(self._start)
        text = "\n".join(_json_lines(value))
        print("  " + text.replace("\n", "\n  "), end="")
        self._start = ","

    def __exit__(self, *_: object) -> None:
        print("[]" if self._start == "[" else "\n]")


def _json_lines(value: Any) -> Iterator[str]:
    for line in json.dumps(value, indent=2, ensure_ascii=False, default=os.fspath).split("\n"):
        yield "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def print_styled(*pieces: tuple[str, str]) -> None:
    """Print texts, each with one of Rich's styles, as one line; only a terminal shows the styles."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(*((escaped(text), style) for text, style in pieces))
    Console(highlight=False).print(line, soft_wrap=True)


class Notes:
    """What a command says on standard error while it works.

    Parameters
    ----------
    quiet : bool
        Say nothing, and show no progress.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console: Console | None = None
        if sys.stderr.isatty() and not quiet:
            from rich.console import Console

            self._console = Console(stderr=True)

    def say(self, text: str) -> None:
        """Print a text as one line; a progress bar stays below it."""
        if self._quiet:
            return
        if self._console is None:
            print_error(text)
            return
        from rich.text import Text

        self._console.print(Text(escaped(text)), soft_wrap=True)

    def progress(self, *columns: ProgressColumn) -> Progress | HiddenProgress:
        """Return a progress bar that disappears at its end, and that is shown only on a terminal.

        Parameters
        ----------
        *columns : ProgressColumn
            Columns between the bar and the remaining time; by default, the number of finished and of all steps.

        Returns
        -------
        Progress or HiddenProgress
        """
        if self._console is None:
            return HiddenProgress()
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *(columns or (MofNCompleteColumn(),)),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )


def resumed(notes: Notes, shown: Progress | HiddenProgress, bar: TaskID, total: int) -> Callable[[int], None]:
    """Return a function that shows how many images are done; its first call has the number of an earlier run."""
    earlier: list[int] = []

    def show(done: int) -> None:
        if not earlier:
            earlier.append(done)
            shown.reset(bar, completed=done)
            if done:
                notes.say(f"resuming: {done} of {total} images are done")
        shown.update(bar, completed=done)

    return show


class HiddenProgress:
    """What is used as Rich's `Progress` where nobody would see it."""

    def __enter__(self) -> HiddenProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, *_: Any, **__: Any) -> TaskID:
        """Return a number; nothing is shown."""
        return cast("TaskID", 0)

    def update(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    advance = remove_task = reset = update
