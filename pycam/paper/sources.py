"""What the paper's tables and figures are made from: finished runs, and what the paper's commands wrote."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycam.errors import RunError
from pycam.evaluation.plan import PLAN, PlanNote
from pycam.evaluation.results import MOST_IMAGES, REPORT, read_report
from pycam.formats.files import is_file, is_folder
from pycam.ilsvrc.synsets import CLASSES
from pycam.paper.outputs import CELLS, FIGURE, CellsFile, FigureFile, read_outputs
from pycam.paper.published import published


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run of `pycam evaluate`.

    Attributes
    ----------
    report : mapping
        Its `report.json`.
    place : Path, optional
        Its folder.
    command : str
        The command that makes it; empty if the run does not say.
    class_count : int
        The number of classes of its net; that of ILSVRC if the run does not say.
    """

    report: Mapping[str, Any]
    place: Path | None = None
    command: str = ""
    class_count: int = CLASSES

    @property
    def is_ilsvrc(self) -> bool:
        """Whether it may be of ILSVRC, as the paper's Tables 1 to 3 are: its net has as many classes."""
        return self.class_count == CLASSES


@dataclass(frozen=True, eq=False)
class Sources:
    """Runs, cells and figures.

    Attributes
    ----------
    runs : tuple of Run
        By their folders.
    cells, figures : mapping
        The file of each -> its content.
    unfinished : tuple of Path
        Folders of runs that were interrupted, and so count nowhere.
    """

    runs: tuple[Run, ...] = ()
    cells: Mapping[Path, CellsFile] = field(default_factory=dict)
    figures: Mapping[Path, FigureFile] = field(default_factory=dict)
    unfinished: tuple[Path, ...] = ()

    def left_out(self) -> list[str]:
        """Return a sentence about each run that is not finished."""
        resume = "the command that began it, given again, resumes it"
        return [f"{place}: left out, the run is not finished: {resume}" for place in self.unfinished]

    @classmethod
    def read(cls, folders: Iterable[Path]) -> Sources:
        """Read everything in and below folders. Runs inside of a run, such as those of its ablation, do not count.

        Raises
        ------
        RunError
            A folder has nothing, or a file in it is damaged.
        """
        given = list(dict.fromkeys(folders))
        begun = dict.fromkeys(place for folder in given for place in _runs(folder))
        places = [place for place in begun if is_file(place / REPORT)]
        cells, figures = read_outputs(given)
        for folder in given:
            if not any(path.is_relative_to(folder) for path in (*places, *cells, *figures)):
                raise RunError(
                    f"{folder}: not the folder of a finished run, and none lies below it ({REPORT}, {CELLS}, {FIGURE}: "
                    "no such file): give folders of `pycam evaluate` or of the commands of `pycam paper`"
                )
        for path, file in cells.items():
            _check_cells(path, file)
        for path, figure in figures.items():
            _check_figure(path, figure)
        unfinished = tuple(place for place in begun if place not in places)
        return cls(tuple(map(_run, places)), cells, figures, unfinished)


def _runs(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs, finished or not."""
    if is_file(folder / REPORT) or is_file(folder / PLAN):
        yield folder
    elif is_folder(folder):
        for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
            yield from _runs(below)


def _run(place: Path) -> Run:
    report = read_report(place)
    if not is_file(place / PLAN):
        return Run(report, place)
    note = PlanNote.read(place)
    return Run(report, place, note.command(Path(place.name)), note.class_count)


def _check_cells(path: Path, file: CellsFile) -> None:
    tables = {table.number: table for table in published().tables if not table.of_runs}
    if file.table not in tables:
        numbers = " and ".join(map(str, tables))
        raise RunError(f"{path}: it has cells of Table {file.table}; only Tables {numbers} are made of such files")
    for cell in file.cells:
        bounds = (cell.low, cell.value, cell.high)
        if not (
            all(map(math.isfinite, bounds))
            and cell.low <= cell.value <= cell.high
            and 0 <= cell.value <= 100
            and 0 < cell.images <= MOST_IMAGES
        ):
            raise RunError(
                f"{path}: {cell.row}, {cell.column}: {cell.value} ({cell.low} to {cell.high}) of {cell.images} images; "
                "a percentage inside of its interval was expected: make the file again"
            )


def _check_figure(path: Path, figure: FigureFile) -> None:
    if figure.figure not in (each.number for each in published().figures):
        raise RunError(f"{path}: the paper has no Figure {figure.figure}: remove the file, or make it again")
    for name in figure.images:
        if Path(name).name != name or not is_file(path.parent / name):
            raise RunError(f"{path}: its image {name!r} is not beside it: make the figure again")
