"""What a command prints: the one place of pycam that writes to standard output and standard error.

Names and labels come from other people's files. Every text is printed as one line, with control characters as escapes,
so that no name moves the cursor, adds a line or a colour, or turns the direction of the text.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pycam.errors import escaped

# Rich takes longer to import than most commands take to refuse an option: it is imported where it is used.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID

_T = TypeVar("_T")


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

    def progress(self, *columns: ProgressColumn) -> Progress | LineProgress:
        """Return a progress bar that disappears at its end; or off a terminal, what prints one line per minute.

        Parameters
        ----------
        *columns : ProgressColumn
            Columns between the bar and the remaining time; by default, the number of finished and of all steps.

        Returns
        -------
        Progress or LineProgress
        """
        if self._console is None:
            return LineProgress(lambda text: None if self._quiet else print_error(text))
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *(columns or (MofNCompleteColumn(),)),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )

    @contextmanager
    def counted(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """Show how many steps are done; the block gets a function of the number of finished and of all steps."""
        with self.progress() as shown:
            bar = shown.add_task(description, total=None)
            yield lambda done, count: shown.update(bar, completed=done, total=count)

    def each(self, description: str, items: Iterable[_T], total: int | None = None) -> Iterator[_T]:
        """Yield items, and show how many of them are done."""
        with self.progress() as shown:
            bar = shown.add_task(description, total=total)
            for item in items:
                yield item
                shown.advance(bar)


def resumed(notes: Notes, shown: Progress | LineProgress, bar: TaskID, total: int) -> Callable[[int], None]:
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


MINUTE = 60.0
"""Seconds between two lines of a long run."""


class LineProgress:
    """Rich's `Progress` where there is no terminal: prints one line per minute, with the rate and the time left.

    Parameters
    ----------
    say : callable
        Takes each line.
    clock : callable
        Returns the time in seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._tasks: list[_Task] = []
        self._next = clock() + MINUTE
        self._lock = threading.Lock()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, description: str, total: float | None = None, **_: Any) -> TaskID:
        """Add something to count, and return its number."""
        self._tasks.append(_Task(description, total, self._clock()))
        return cast("TaskID", len(self._tasks) - 1)

    def advance(self, task: TaskID, advance: float = 1) -> None:
        """Count a step of a task, or a part of one; any thread may call it."""
        with self._lock:
            self.update(task, completed=self._tasks[task].completed + advance)

    def update(
        self,
        task: TaskID,
        *,
        completed: float | None = None,
        total: float | None = None,
        description: str | None = None,
        **_: Any,
    ) -> None:
        """Change what is known of a task, and print a line if a minute has passed since the last one."""
        changed, now = self._tasks[task], self._clock()
        changed.total = changed.total if total is None else total
        if description is not None and description != changed.description:
            # Another step of the work begins, with a rate of its own.
            changed.description, changed.completed = description, completed or 0
            changed.start, changed.before = now, changed.completed
        changed.completed = changed.completed if completed is None else completed
        if now >= self._next:
            self._next = now + MINUTE
            self._say(changed.line(now))

    def reset(self, task: TaskID, *, total: float | None = None, completed: float = 0, **_: Any) -> None:
        """Begin a task again; steps that were completed before, by an earlier run, do not count for the rate."""
        changed = self._tasks[task]
        changed.total = changed.total if total is None else total
        changed.completed = changed.before = completed
        changed.start = self._clock()

    def remove_task(self, task: TaskID) -> None:
        """Do nothing: a task that is not changed prints nothing."""


@dataclass
class _Task:
    """What `LineProgress` knows of a task; `before` steps were completed at the `start`."""

    description: str
    total: float | None
    start: float
    completed: float = 0
    before: float = 0

    def line(self, now: float) -> str:
        """Return the task as a line: what is done of how much, the rate, and the time left."""
        of = "" if self.total is None else f" of {self.total:,.0f}"
        rate = (self.completed - self.before) / max(now - self.start, 1e-9)
        parts = [f"{self.description}: {self.completed:,.0f}{of}"]
        if rate > 0:
            parts.append(f"{rate:,.1f}/s" if rate >= 1 else f"{60 * rate:,.1f}/min")
            if self.total is not None:
                parts.append(f"{duration((self.total - self.completed) / rate)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `45 s`, `3 min`, `2 h 5 min`, `1 d 3 h`."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{max(seconds, 0):.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
