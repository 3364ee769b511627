"""Tables as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def markdown(section: dict[str, Any]) -> str:
    """Give a section with a table as Markdown."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    rows = "".join(line(row) for row in section["rows"])
    rule = line(["---"] * len(section["columns"]))
    note = "".join(f"\n{paragraph}\n" for paragraph in section["note"].splitlines())
    return f"## {section['title']}\n\n{line(section['columns'])}{rule}{rows}{note}"


def show(section: dict[str, Any], console: Console) -> None:
    """Print a section with a table."""
    table = Table(box=box.SIMPLE, title=section["title"], title_justify="left")
    for number, column in enumerate(section["columns"]):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in section["rows"]:
        table.add_row(*row)
    console.print(table, markup=False, highlight=False)
    console.print(section["note"], markup=False, highlight=False, soft_wrap=True)
