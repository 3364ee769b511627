"""What the paper's commands write into a folder: cells of tables, and figures with their images.

`pycam paper` collects these files, wherever they lie below the folders that it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pycam.errors import RunError
from pycam.evaluation.notes import from_note, read_note
from pycam.formats.files import atomic_write

CELLS = "paper-table.json"
FIGURE = "paper-figure.json"


@dataclass(frozen=True)
class Cell:
    """A value for a cell of one of the paper's tables.

    Attributes
    ----------
    row, column : str
        The names of the cell in `published.json`.
    value : float
        In the unit of the table; percent in all of them.
    low, high : float
        The bounds of the 95 % interval.
    images : int
        The number of test images.
    """

    row: str
    column: str
    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class CellsFile:
    """Values for cells of one table, and how they were computed.

    Attributes
    ----------
    table : int
        The number of the table.
    command : str
        The command that writes this file.
    cells : tuple of Cell
        One per cell.
    settings : mapping
        Everything that the values depend on: model, hashes, versions, choices.
    """

    table: int
    command: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureFile:
    """A figure of the paper, made from images of the user.

    Attributes
    ----------
    figure : int
        The number of the figure.
    command : str
        The command that writes this file.
    images : tuple of str
        Names of the files of the figure, next to this file: PNG, best first.
    caption : str
        What the images show, in sentences.
    settings : mapping
        Everything that the images depend on.
    """

    figure: int
    command: str
    images: tuple[str, ...]
    caption: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def write_output(folder: Path, output: CellsFile | FigureFile) -> Path:
    """Write a table's cells or a figure into a folder, and return the path of the file."""
    path = folder / (CELLS if isinstance(output, CellsFile) else FIGURE)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(asdict(output), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_outputs(folders: Iterable[Path]) -> tuple[dict[Path, CellsFile], dict[Path, FigureFile]]:
    """Read all cells and figures in and below folders, in the order of their paths.

    Returns
    -------
    (dict of Path -> CellsFile, dict of Path -> FigureFile)

    Raises
    ------
    RunError
        A file is not one that pycam writes.
    """
    given: Sequence[Path] = list(folders)
    return _read(given, CELLS, CellsFile), _read(given, FIGURE, FigureFile)


def _read(folders: Sequence[Path], name: str, kind: Any) -> dict[Path, Any]:
    found = {}
    for path in (path for folder in folders for path in sorted(folder.rglob(name))):
        try:
            found[path] = from_note(kind, read_note(path))
        except ValueError as error:
            raise RunError(f"{path}: not a file of `pycam paper`: {error}; remove it, or make it again") from None
    return found
