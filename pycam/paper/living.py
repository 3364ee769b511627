"""The living paper: every cell of every table and every figure, with ours, a verdict, or the reason why it is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pycam.paper import verdicts
from pycam.paper.outputs import FigureFile
from pycam.paper.published import Figure, PaperTable, PublishedCell, published
from pycam.paper.sources import Sources
from pycam.paper.tables import Line, Measured, Missing, columns_of, lines, missing_cell
from pycam.paper.verdicts import Verdict
from pycam.tables import Table

EMPTY = "empty"


@dataclass(frozen=True, eq=False)
class LivingCell:
    """A cell.

    Attributes
    ----------
    published : PublishedCell, optional
        The paper's value.
    measured : Measured, optional
        Ours.
    verdict : Verdict, optional
        Whether they are equal, if both are there and the published one is a target.
    missing : Missing, optional
        Why there is no value of ours; None if there is one.
    """

    published: PublishedCell | None
    measured: Measured | None
    verdict: Verdict | None
    missing: Missing | None

    @property
    def state(self) -> str:
        """The verdict's answer, `EMPTY`, or "ours" for a value without a verdict."""
        return EMPTY if self.measured is None else self.verdict.answer if self.verdict else "ours"


@dataclass(frozen=True, eq=False)
class LivingTable:
    """A table: its columns, and its lines with their cells by column."""

    table: PaperTable
    columns: Sequence[str]
    lines: Sequence[tuple[Line, Mapping[str, LivingCell]]]


@dataclass(frozen=True, eq=False)
class LivingFigure:
    """A figure, and the files of it that were made."""

    figure: Figure
    made: Mapping[Path, FigureFile]


@dataclass(frozen=True, eq=False)
class LivingPaper:
    """All tables and figures.

    Attributes
    ----------
    tables, figures
        In the order of the paper; the authors' log comes last.
    margins : mapping
        Quantity -> the margin of its verdicts, in points.
    """

    tables: Sequence[LivingTable]
    figures: Sequence[LivingFigure]
    margins: Mapping[str, float]

    def counts(self) -> Counter[str]:
        """Count the states of all cells of judged tables."""
        judged = (table for table in self.tables if table.table.judged)
        return Counter(cell.state for table in judged for _, cells in table.lines for cell in cells.values())

    def as_table(self, root: Path | None = None) -> Table:
        """Return one row per cell; paths of runs are relative to `root`, if it is given."""
        from pandas import DataFrame

        rows = []
        for each in self.tables:
            for line, cells in each.lines:
                for column, cell in cells.items():
                    measured, verdict, missing = cell.measured, cell.verdict, cell.missing
                    rows.append(
                        {
                            "table": each.table.title,
                            "row": line.row.name,
                            "column": column,
                            "published": cell.published and f"{cell.published.value:.{each.table.decimals}f}",
                            "confidence": cell.published and cell.published.confidence,
                            "ours": measured and f"{measured.value:.4f}",
                            "low": measured and f"{measured.low:.4f}",
                            "high": measured and f"{measured.high:.4f}",
                            "images": measured and str(measured.images),
                            "verdict": verdict and str(verdict),
                            "margin": verdict and f"{verdict.margin:g}",
                            "made by": line.command or None,
                            "place": shown(line.place, root) or None,
                            "empty because": missing and missing.reason,
                            "to fill it": missing and missing.fix,
                        }
                    )
        return Table("Cells", DataFrame(rows, dtype=object))


def shown(path: Path | None, root: Path | None) -> str:
    """Return a path for readers: relative to `root`, if it is given."""
    return "" if path is None else str(path) if root is None else path.relative_to(root).as_posix()


def living_paper(sources: Sources, weights: Mapping[str, Missing], margin: float | None = None) -> LivingPaper:
    """Put our values into all cells, and judge them.

    Parameters
    ----------
    sources : Sources
        Our runs, cells and figures.
    weights : mapping
        As `pycam.paper.tables.missing_weights` returns them.
    margin : float, optional
        Margin of all verdicts, in points. Default: `verdicts.MARGINS`.

    Raises
    ------
    UsageError
        The margin is not a positive number.
    """
    margins = dict(verdicts.MARGINS) if margin is None else dict.fromkeys(verdicts.MARGINS, margin)
    verdicts.check_margin(min(margins.values()))
    tables = [_table(table, sources, weights, margins) for table in published().tables]
    made = [
        LivingFigure(figure, {path: file for path, file in sources.figures.items() if file.figure == figure.number})
        for figure in published().figures
    ]
    return LivingPaper(tables, made, margins)


def _table(
    table: PaperTable, sources: Sources, weights: Mapping[str, Missing], margins: Mapping[str, float]
) -> LivingTable:
    found = lines(table, sources)
    columns = columns_of(table, found)
    return LivingTable(
        table,
        columns,
        [(line, {each: _cell(table, line, each, weights, margins) for each in columns}) for line in found],
    )


def _cell(
    table: PaperTable, line: Line, column: str, weights: Mapping[str, Missing], margins: Mapping[str, float]
) -> LivingCell:
    theirs, ours = line.row.cells.get(column), line.cells.get(column)
    if ours is None:
        return LivingCell(theirs, None, None, _missing(table, line, column, weights))
    if theirs is None or not (table.judged and theirs.judged):
        return LivingCell(theirs, ours, None, None)
    margin = margins[line.row.quantity or table.quantity]
    if ours.count is not None:
        verdict = verdicts.of_share(theirs.value, ours.count, ours.images, margin, ours.population)
    else:
        verdict = verdicts.of_interval(theirs.value, ours.value, ours.low, ours.high, ours.images, margin)
    return LivingCell(theirs, ours, verdict, None)


def _missing(table: PaperTable, line: Line, column: str, weights: Mapping[str, Missing]) -> Missing:
    if column not in table.columns or (line.place is not None and not line.row.cells):
        return Missing("no such cell", "neither the paper nor this run has this value")
    if table.of_runs and line.place is not None:
        return Missing(
            "no boxes", "the ground truth of the run has no boxes: run it again with --ground-truth that has them"
        )
    return missing_cell(table, line.row, column, {} if line.place is not None else weights)
