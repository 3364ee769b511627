"""The log of a training: one CSV row per measurement."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pycam.errors import TrainingError
from pycam.formats.files import NamedFile, atomic_write, exists


@dataclass(frozen=True)
class Row:
    """The measurements of one iteration.

    Attributes
    ----------
    iteration : int
        Number of finished iterations.
    lr : float
        The learning rate.
    loss : float or None
        The training loss, averaged as the solver says; None for the last test.
    tests : dict
        Outputs of the test net; empty where it was not tested.
    """

    iteration: int
    lr: float
    loss: float | None
    tests: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"iteration {self.iteration}", f"lr {self.lr:g}"]
        parts += [f"loss {self.loss:.4f}"] if self.loss is not None else []
        parts += [f"test {name} {value:.4f}" for name, value in self.tests.items()]
        return ", ".join(parts)


class Log:
    """The rows of a training, in a CSV file.

    Parameters
    ----------
    path : Path
        The CSV file: `iteration,lr,loss` and one column per test output.
    outputs : sequence of str
        Names of the test outputs.
    resumed : int, optional
        The iteration from which a training resumes; earlier rows are kept. None for a new training: the log of another
        one gets a number, as in `net_log-1.csv`.
    """

    def __init__(self, path: Path, outputs: Sequence[str], resumed: int | None = None) -> None:
        self._path = path
        self._outputs = list(outputs)
        if not resumed:
            _keep(path)
        kept = read_rows(path) if resumed and path.is_file() else []
        self.rows = [row for row in kept if row.iteration < (resumed or 0)]
        path.parent.mkdir(parents=True, exist_ok=True)
        head = ["iteration", "lr", "loss", *(f"test {name}" for name in self._outputs)]
        atomic_write(path, _csv([head, *map(self._cells, self.rows)]))

    def add(self, row: Row) -> None:
        """Append a row."""
        self.rows.append(row)
        with NamedFile(self._path, "a") as file:
            file.write(_csv([self._cells(row)]).encode())

    def _cells(self, row: Row) -> list[object]:
        tests = [row.tests.get(name) for name in self._outputs]
        return [row.iteration, f"{row.lr:.9g}", row.loss, *tests]


def _keep(path: Path) -> None:
    """Give the log of an earlier training, if it has rows, the first name with a number that is free."""
    if not path.is_file() or path.read_bytes().count(b"\n") < 2:
        return
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(1))
    path.rename(next(name for name in names if not exists(name)))


def read_rows(path: Path) -> list[Row]:
    """Read the CSV file of a log.

    Raises
    ------
    TrainingError
        The file is not a log.
    """
    rows = []
    try:
        # A killed training may leave a part of a row.
        with io.TextIOWrapper(io.BufferedReader(NamedFile(path, "r")), "utf-8", newline="") as file:
            for cells in csv.DictReader(line for line in file if line.endswith("\n")):
                found = [(name.partition("test "), value) for name, value in cells.items() if value]
                tests = {name: float(value) for (before, test, name), value in found if test and not before}
                loss = float(cells["loss"]) if cells["loss"] else None
                rows.append(Row(_iteration(cells["iteration"]), float(cells["lr"]), loss, tests))
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise TrainingError(f"{path}: not the log of a training ({error}): move the file away") from None
    return rows


def _iteration(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{text[:40]!r} is not an iteration")
    return int(text)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
