"""The paper's tables: each published figure beside those of runs of ours."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycam import zoo
from pycam.evaluation.results import Figure, figures
from pycam.report import summary

PAPER = Path(__file__).with_name("paper.json")
COLUMNS = ("top1", "top5")


@dataclass(frozen=True)
class Line:
    """A row of a table.

    Attributes
    ----------
    network
        As the paper calls it; a model that is not in the paper by its own name.
    published
        The paper's errors in percent, of `COLUMNS`, where it gives them.
    ours
        Ours, as fractions, where there is a run.
    pictures, protocol, weights
        How many were evaluated, how, and the SHA-256 of the weights.
    note, remedy
        Why there is no run, and what to do about it.
    """

    network: str
    published: Mapping[str, float]
    ours: Mapping[str, Figure]
    pictures: int = 0
    protocol: str = ""
    weights: str = ""
    note: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the paper, with our lines in it."""

    title: str
    lines: tuple[Line, ...]


def paper_tables(reports: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Put runs into the paper's tables.

    Parameters
    ----------
    reports
        What the `report.json` of each run says. One of a model that the paper does not have gets a line of its own.

    Returns
    -------
    list of Table
        Tables 1 and 2, and the row of Table 3 that the release can give.
    """
    tables = []
    for table in json.loads(PAPER.read_text("utf-8"))["tables"]:
        runs = [run for report in reports for run in _runs(report, table)]
        lines: list[Line] = []
        for row in table["rows"]:
            published = {column: row[column] for column in COLUMNS if column in row}
            own = [run for run in runs if _is_of(run, row)]
            lines += [_line(row["network"], published, run, table["error"]) for run in own]
            if not own:
                note, remedy = _missing(row.get("model"))
                lines.append(Line(row["network"], published, {}, note=note, remedy=remedy))
            runs = [run for run in runs if run not in own]
        lines += [_line(run["model"], {}, run, table["error"]) for run in runs]
        tables.append(Table(table["title"], tuple(lines)))
    return tables


def notes(tables: Sequence[Table]) -> list[str]:
    """Say what somebody who compares figures with the paper's must know, and how to get those that are missing."""
    remedies = {line.remedy: None for table in tables for line in table.lines if line.remedy}
    return [json.loads(PAPER.read_text("utf-8"))["note"], *remedies]


def section(table: Table) -> summary.Section:
    """Lay a table out as texts."""

    def cell(line: Line, column: str) -> str:
        figure = line.ours.get(column)
        return "" if figure is None else f"{figure.error:.2%} ({figure.low:.2%} to {figure.high:.2%})"

    return summary.table(
        table.title,
        ["network", "published", "top-1 (95 %)", "top-5 (95 %)", "pictures", "protocol", "weights"],
        [
            [
                line.network,
                " / ".join(f"{error:.2f}" for error in line.published.values()),
                line.note or cell(line, "top1"),
                cell(line, "top5"),
                str(line.pictures or ""),
                line.protocol,
                line.weights[:12],
            ]
            for line in table.lines
        ],
    )


def csv_text(tables: Sequence[Table]) -> str:
    """Write tables as CSV: a row each line and column that has a figure, published or ours; errors in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["table", "network", "column", "published", "error", "low", "high", "pictures", "protocol", "weights", "note"]
    )
    for table in tables:
        for line in table.lines:
            for column in COLUMNS:
                if column not in line.published and column not in line.ours:
                    continue
                figure = line.ours.get(column)
                ours = ["", "", ""] if figure is None else [figure.error, figure.low, figure.high]
                percents = [share if share == "" else f"{100 * float(share):.4f}" for share in ours]
                about = [line.pictures or "", line.protocol, line.weights, line.remedy or line.note]
                writer.writerow([table.title, line.network, column, line.published.get(column, ""), *percents, *about])
    return text.getvalue()


def _runs(report: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what a run has for a table: nothing, or its errors and what they are of."""
    submissions = report.get("submissions")
    wanted = table.get("submission", "bbox1" if submissions else None)
    if wanted is not None and not submissions:
        return
    overrides = [f"{name} {value}" for name, value in report["overrides"].items()]
    yield {
        "model": report["model"],
        "method": report["identity"].get("method", "cam"),
        "errors": submissions[wanted] if submissions else report,
        "pictures": report["pictures"],
        "protocol": ", ".join([report["protocol"], *overrides, *([wanted] if wanted else [])]),
        "weights": report["identity"]["weights"],
    }


def _is_of(run: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return "model" in row and run["model"] == row["model"] and row.get("method", run["method"]) == run["method"]


def _line(network: str, published: Mapping[str, float], run: Mapping[str, Any], error: str) -> Line:
    wanted = {f"{error}, {column.replace('top', 'top-')}": column for column in COLUMNS}
    ours = {wanted[figure.name]: figure for figure in figures(run["errors"]) if figure.name in wanted}
    return Line(network, published, ours, run["pictures"], run["protocol"], run["weights"])


def _missing(model: str | None) -> tuple[str, str]:
    """Say why a row has no run, and what to do about it."""
    if model is None:
        return "weights never published", ""
    card = zoo.card(model)
    if zoo.find_weights(card) is not None:
        return "not run yet", f"{model}: pycam evaluate --model {model}"
    where = f", or get {card.weights.mirrors[0]}" if card.weights.mirrors else ""
    return "weights not here", f"{model}: pycam models download {model}{where}"
