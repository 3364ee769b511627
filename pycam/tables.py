"""Tables: a pandas DataFrame with a title, and the forms in which tables are written."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycam.console import print_lines, print_styled
from pycam.errors import UsageError, escaped
from pycam.formats.files import atomic_write

if TYPE_CHECKING:
    from pandas import DataFrame

PERCENT = "{:.2f}%".format
"""The usual format of a percentage."""

_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


_GAP = 3
"""The cells between two columns of a terminal."""


def percent(share: float) -> float:
    """Convert a fraction to percent, without the rounding error of the multiplication."""
    return round(100.0 * share, 8)


def csv_text(frame: DataFrame, header: bool = True) -> str:
    """Return a frame as CSV, with the same line ends on every system."""
    return str(frame.to_csv(index=False, header=header, lineterminator="\n"))


@dataclass(frozen=True, eq=False)
class Table:
    """A table, for programs and for readers.

    Readers see the three columns `x`, `x low` and `x high` as one column, a value with its 95 % interval.

    Attributes
    ----------
    title : str
        The title above the table.
    frame : DataFrame
        The values; each column has text or numbers. Readers see missing values as empty cells.
    note : str
        Paragraphs below the table, one per line.
    formats : mapping
        Column -> function that converts a value to text; `str` is the default.
    """

    title: str
    frame: DataFrame
    note: str = ""
    formats: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary per row, ready for JSON: None for missing values and values that are not finite."""
        from pandas import isna

        return [
            {column: None if isna(value) or value in (math.inf, -math.inf) else value for column, value in row.items()}
            for row in self.frame.astype(object).to_dict("records")
        ]

    def section(self) -> dict[str, Any]:
        """Return the table for the HTML report: title, columns, rows of text, and note."""
        columns = self._columns()
        return {
            "title": self.title,
            "columns": [f"{column} (95 %)".lstrip() if f"{column} low" in self.frame else column for column in columns],
            "rows": [list(row) for row in zip(*map(self._cells, columns), strict=True)],
            "note": self.note,
        }

    def first(self, most: int | None) -> Table:
        """Return the table with at most so many rows, and a note about the others; None for all."""
        if most is None or len(self.frame) <= most:
            return self
        more = f"{len(self.frame) - most} more rows: --out FILE writes all of them"
        return replace(self, frame=self.frame.head(most), note=f"{self.note}\n{more}".strip())

    def markdown(self) -> str:
        """Return the table as a Markdown section."""

        def line(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

        section = self.section()
        columns, rows = section["columns"], section["rows"]
        note = "".join(f"\n{paragraph}\n" for paragraph in self.note.splitlines())
        return f"## {self.title}\n\n{line(columns)}{line(['---'] * len(columns))}{''.join(map(line, rows))}{note}"

    def latex(self) -> str:
        """Return the table as a LaTeX float. It needs no package; special characters are escaped."""

        def line(cells: Sequence[str]) -> str:
            return f"{' & '.join(cell.translate(_LATEX) for cell in cells)} \\\\\n"

        section = self.section()
        aligned = "".join("r" if number else "l" for number in self._are_numbers())
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
            For each row, whether to highlight it.
        """
        from rich import box
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 100_000  # keeps each row on one line
        if self.title:
            print_styled((self.title, "bold"))
        section = self.section()
        grid = Grid(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
        columns = []
        for index, (heading, number) in enumerate(zip(section["columns"], self._are_numbers(), strict=True)):
            # A narrow terminal wraps headings and texts at blanks, but neither names nor numbers.
            cells = [escaped(row[index]) for row in section["rows"]]
            is_kept = index == 0 or number
            pieces = [*heading.split(), *(cells if is_kept else " ".join(cells).split())]
            least = max(map(cell_len, pieces), default=0)
            most = least if is_kept else max(map(cell_len, [heading, *cells]))
            columns.append((heading, number, least, most))
        # Rich would make columns narrower than their words, and cut off what does not fit; a terminal continues a long
        # line on the next one.
        needed = sum(least + _GAP for _, _, least, _ in columns)
        console.width = max(console.width, needed)
        spare = console.width - needed
        for heading, number, least, most in columns:
            more = min(most - least, spare)
            spare -= more
            width = least + more if console.is_terminal else None
            grid.add_column(Text(heading), justify="right" if number else "left", width=width, overflow="fold")
        for row, emphasized in itertools.zip_longest(section["rows"], emphasis[: len(section["rows"])]):
            grid.add_row(*(Text(escaped(cell)) for cell in row), style="bold red" if emphasized else None)
        console.print(grid)
        if self.note:
            print_lines(self.note)

    def _columns(self) -> list[str]:
        """Return the columns that readers see: all but the bounds of intervals."""
        bounds = {f"{column} {end}" for column in self.frame for end in ("low", "high")}
        return [column for column in self.frame.columns if column not in bounds]

    def _are_numbers(self) -> list[bool]:
        from pandas.api.types import is_numeric_dtype

        return [is_numeric_dtype(self.frame[column]) for column in self._columns()]

    def _cells(self, column: str) -> list[str]:
        """Return the text of a column, with its intervals."""
        from pandas import isna

        text = self.formats.get(column, str)
        parts = [part for part in (column, f"{column} low", f"{column} high") if part in self.frame]
        rows = zip(*(self.frame[part] for part in parts), strict=True)
        texts = [["" if isna(value) else text(value) for value in row] for row in rows]
        return [f"{cell} ({' to '.join(interval)})" if any(interval) else cell for cell, *interval in texts]


def _csv(tables: Sequence[Table]) -> str:
    """Return the rows of all tables as CSV; the first column is the title of the table."""
    from pandas import DataFrame

    rows = [{"table": table.title, **row} for table in tables for row in table.rows()]
    # As objects, integers stay integers in a column with missing values.
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
"""The forms of tables, by the suffix of the file: each converts tables to text."""


def text(tables: Sequence[Table], form: str) -> str:
    """Return tables as one text.

    Parameters
    ----------
    tables : sequence of Table
        The tables, in their order.
    form : str
        A name in `FORMS`: Markdown, CSV, LaTeX or JSON.
    """
    return FORMS[form](tables)


def check_form(out: Path) -> Path:
    """Return the path if its suffix is the name of a form.

    Raises
    ------
    UsageError
        The suffix is not in `FORMS`.
    """
    if out.suffix not in FORMS:
        raise UsageError(f"{out}: expected a file name that ends in one of {', '.join(FORMS)}")
    return out


def write(tables: Sequence[Table], out: Path) -> None:
    """Write tables to one file; the suffix of its name is the form.

    Raises
    ------
    UsageError
        The suffix is not in `FORMS`.
    """
    atomic_write(out, text(tables, check_form(out).suffix))
