"""Tables: a pandas DataFrame with a title, and every form that a table is written in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pycam.errors import UsageError
from pycam.formats.files import atomic_write

if TYPE_CHECKING:
    from pandas import DataFrame

PERCENT = "{:.2f}%".format

# Wide enough for any table, so that a row stays on one line when the output is piped.
UNBOUNDED = 100_000

_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


def percent(share: float) -> float:
    """Return a fraction in percent, without the noise of the multiplication."""
    return round(100.0 * share, 8)


def csv_text(frame: DataFrame, header: bool = True) -> str:
    """Return a frame as CSV, with the same line ends on every system."""
    return str(frame.to_csv(index=False, header=header, lineterminator="\n"))


class _Column(NamedTuple):
    heading: str
    cells: list[str]
    is_number: bool


@dataclass(frozen=True, eq=False)
class Table:
    """A table: values for programs, and how people read them.

    Where people read it, the three columns `x`, `x low` and `x high` are one, with its 95 % interval.

    Attributes
    ----------
    title : str
        Stands above the table.
    frame : DataFrame
        The values, with a column of text or numbers for each fact; missing values are shown as nothing.
    note : str
        Paragraphs, one on each line, that stand below the table.
    formats : mapping
        Column -> function that gives a value's text; `str` for columns that are not in it.
    """

    title: str
    frame: DataFrame
    note: str = ""
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Return the values by column, as JSON can hold them: None for what is missing or not finite."""
        from pandas import isna

        def plain(value: Any) -> Any:
            return None if isna(value) or (isinstance(value, float) and math.isinf(value)) else value

        return [
            {column: plain(value) for column, value in row.items()}
            for row in self.frame.astype(object).to_dict("records")
        ]

    def section(self) -> dict[str, Any]:
        """Return the table as the HTML report takes it: title, columns, rows of text, and note."""
        columns = self._columns()
        return {
            "title": self.title,
            "columns": [column.heading for column in columns],
            "rows": [list(row) for row in zip(*(column.cells for column in columns), strict=True)],
            "note": self.note,
        }

    def markdown(self) -> str:
        """Return the table as a section of Markdown."""

        def line(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

        section = self.section()
        columns, rows = section["columns"], section["rows"]
        note = "".join(f"\n{paragraph}\n" for paragraph in self.note.splitlines())
        return f"## {self.title}\n\n{line(columns)}{line(['---'] * len(columns))}{''.join(map(line, rows))}{note}"

    def latex(self) -> str:
        """Return the table as a float of LaTeX, which needs no package; special characters are escaped."""

        def line(cells: Sequence[str]) -> str:
            return f"{' & '.join(cell.translate(_LATEX) for cell in cells)} \\\\\n"

        section = self.section()
        aligned = "".join("r" if column.is_number else "l" for column in self._columns())
        note = "".join(f"\n{paragraph.translate(_LATEX)}\n" for paragraph in self.note.splitlines())
        return (
            f"\\begin{{table}}\n\\caption{{{self.title.translate(_LATEX)}}}\n\\begin{{tabular}}{{{aligned}}}\n\\hline\n"
            f"{line(section['columns'])}\\hline\n{''.join(map(line, section['rows']))}\\hline\n\\end{{tabular}}\n"
            f"{note}\\end{{table}}\n"
        )

    def show(self, emphasis: Sequence[bool] = ()) -> None:
        """Print the table: with rules on a terminal, as plain columns elsewhere.

        Parameters
        ----------
        emphasis : sequence of bool
            For each row, whether it stands out.
        """
        from rich import box
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = UNBOUNDED
        if self.title:
            console.print(Text(self.title, "bold"), soft_wrap=True)
        columns = self._columns()
        grid = Grid(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
        for number, column in enumerate(columns):
            grid.add_column(
                Text(column.heading),
                justify="right" if column.is_number else "left",
                overflow="fold",
                no_wrap=number == 0 or column.is_number,
            )
        for number, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
            grid.add_row(*map(Text, row), style="bold red" if number < len(emphasis) and emphasis[number] else None)
        console.print(grid)
        if self.note:
            console.print(Text(self.note), soft_wrap=True)

    def _columns(self) -> list[_Column]:
        from pandas.api.types import is_numeric_dtype

        bounds = {f"{column} {end}" for column in self.frame for end in ("low", "high")}
        found = []
        for column in self.frame.columns:
            if column in bounds:
                continue
            heading, cells = column, self._cells(column, column)
            if f"{column} low" in self.frame:
                heading = f"{column} (95 %)".lstrip()
                intervals = zip(
                    self._cells(f"{column} low", column), self._cells(f"{column} high", column), strict=True
                )
                cells = [
                    f"{cell} ({low} to {high})" if low else cell
                    for cell, (low, high) in zip(cells, intervals, strict=True)
                ]
            found.append(_Column(heading, cells, is_numeric_dtype(self.frame[column])))
        return found

    def _cells(self, column: str, formatted_as: str) -> list[str]:
        from pandas import isna

        text = self.formats.get(formatted_as, str)
        return ["" if isna(value) else text(value) for value in self.frame[column]]


def _csv(tables: Sequence[Table]) -> str:
    """Write one row for each row of each table, the table's title first."""
    from pandas import DataFrame

    rows = [{"table": table.title, **row} for table in tables for row in table.rows()]
    # As objects, whole numbers stay whole beside missing ones.
    return csv_text(DataFrame(rows, dtype=object))


def _json(tables: Sequence[Table]) -> str:
    values = [{"title": table.title, "rows": table.rows(), "note": table.note} for table in tables]
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


FORMS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    ".md": lambda tables: "\n".join(table.markdown() for table in tables),
    ".csv": _csv,
    ".tex": lambda tables: "\n".join(table.latex() for table in tables),
    ".json": _json,
}


def text(tables: Sequence[Table], form: str) -> str:
    """Return tables as one text.

    Parameters
    ----------
    tables : sequence of Table
        In the order in which they are written.
    form : str
        One of `FORMS`: Markdown, CSV, LaTeX or JSON.
    """
    return FORMS[form](tables)


def check_form(out: Path) -> Path:
    """Return the file's name if it says in which form tables are written.

    Raises
    ------
    UsageError
        It ends in none of `FORMS`.
    """
    if out.suffix not in FORMS:
        raise UsageError(f"{out}: tables are written as {', '.join(FORMS)}: choose a name with one of these endings")
    return out


def write(tables: Sequence[Table], out: Path) -> None:
    """Write tables to one file, in the form that its name's ending says.

    Raises
    ------
    UsageError
        The name ends in none of `FORMS`.
    """
    atomic_write(out, text(tables, check_form(out).suffix))
