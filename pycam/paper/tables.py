"""The paper's tables: each published value beside those of our runs, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pycam import zoo
from pycam.evaluation.figures import figures
from pycam.paper.outputs import CellsFile
from pycam.paper.published import PaperTable, Row, published
from pycam.paper.sources import Run, Sources
from pycam.tables import PERCENT, Table

_VAL = (
    "--images ILSVRC2012_img_val --ground-truth ILSVRC2012_bbox_val/val "
    "--ground-truth-classes devkit/data/ILSVRC2014_clsloc_validation_ground_truth.txt "
    "--blacklist devkit/data/ILSVRC2014_clsloc_validation_blacklist.txt --meta devkit/data/meta_clsloc.mat"
)
"""The files of ILSVRC val, as in docs/reproduce.md."""

_HOW_TO_FILL = "How to fill an empty row: `pycam paper --run RUNS --out paper.html` has the commands for each cell."


@dataclass(frozen=True)
class Missing:
    """Why something is missing, in a few words, and what would provide it; commands stand between backquotes."""

    reason: str
    fix: str


@dataclass(frozen=True)
class Measured:
    """One of our values, in percent, with its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        In percent.
    images : int
        The number of images that count.
    count : int, optional
        How many of them the value is; None if it is not a share of images.
    population : int, optional
        The number of images of the whole set, if ours are a part of it.
    """

    value: float
    low: float
    high: float
    images: int
    count: int | None = None
    population: int | None = None


@dataclass(frozen=True, eq=False)
class Line:
    """A row of a table with the values of one run, or with none.

    Attributes
    ----------
    row : Row
        The row of the paper; one without published cells if the paper has no such row.
    cells : mapping
        Column -> our value.
    place : Path, optional
        The run's folder, or the file with the cells.
    command : str
        The command that makes the values.
    facts : mapping
        What the values depend on: images, protocol, weights.
    """

    row: Row
    cells: Mapping[str, Measured] = field(default_factory=dict)
    place: Path | None = None
    command: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def missing_weights() -> dict[str, Missing]:
    """Return the models of the paper whose weights are not on this machine: why, and how to get them."""
    names = {row.model for table in published().tables for row in table.rows if row.model}
    found = {}
    for card in map(zoo.card, sorted(names)):
        if zoo.find_weights(card) is not None:
            continue
        if command := zoo.training_command(card):
            found[card.name] = Missing("weights never published", f"train with `{command}`")
        else:
            where = f", or get {card.weights.mirrors[0]}" if card.weights.mirrors else ""
            found[card.name] = Missing("weights not here", f"`pycam models download {card.name}`{where}")
    return found


def missing_cell(table: PaperTable, row: Row, column: str, weights: Mapping[str, Missing]) -> Missing:
    """Return why a cell has no value of ours.

    Parameters
    ----------
    table, row, column
        The cell.
    weights : mapping
        As `missing_weights` returns them.
    """
    if row.model is None:
        return Missing("not ours", row.others)
    if table.of_runs:
        method = f" --set method={row.method}" if row.method not in (None, "cam") else ""
        protocol = " --protocol released" if row.submission else ""
        fix = f"`pycam evaluate --model {row.model}{protocol}{method} {_VAL} --out runs/{row.model}`"
    else:
        fix = f"get {table.data[column]}, then `{table.command}`"
    if absent := weights.get(row.model):
        return Missing(absent.reason, f"{absent.fix}; then {fix}")
    return Missing("not run yet", fix)


def lines(table: PaperTable, sources: Sources) -> list[Line]:
    """Return the rows of a table with our values: one for each run of a row, or one without values.

    A run of a model that is not in the table gets a row of its own, unless it is of other classes than ILSVRC's.
    """
    made = list(_of_runs(table, sources.runs) if table.of_runs else _of_files(table, sources.cells))
    found: list[Line] = []
    for row in table.rows:
        found += [line for line in made if line.row is row] or [Line(row)]
    return found + [line for line in made if not any(line.row is row for row in table.rows)]


def columns_of(table: PaperTable, found: Iterable[Line]) -> list[str]:
    """Return the columns of a table with those that only our values have."""
    return list(dict.fromkeys([*table.columns, *(column for line in found for column in line.cells)]))


def paper_tables(sources: Sources, weights: Mapping[str, Missing]) -> list[Table]:
    """Return the paper's tables and the authors' log, with our values in them.

    Parameters
    ----------
    sources : Sources
        Our runs and cells.
    weights : mapping
        As `missing_weights` returns them.

    Returns
    -------
    list of Table
        In percent. The note of a table tells which weights its rows are; that of the last one also tells which runs
        are left out, and what tells how to fill the empty rows.
    """
    said: dict[str, None] = {}
    tables = []
    for table in published().tables:
        made = _frame(table, lines(table, sources), weights)
        evidence = [f"{row.name}: {row.model}, {row.certainty}. {row.evidence}" for row in table.rows if row.evidence]
        new = [line for line in evidence if line.partition(": ")[2] not in said]
        said |= dict.fromkeys(line.partition(": ")[2] for line in evidence)
        tables.append(replace(made, note="\n".join([*filter(None, [table.note]), *new])))
    others = [
        f"Left out: {run.place}, a run of {run.class_count} classes: ILSVRC has 1,000."
        for run in sources.runs
        if not run.is_ilsvrc
    ]
    return [*tables[:-1], replace(tables[-1], note="\n".join([tables[-1].note, *others, _HOW_TO_FILL]))]


def error_tables(reports: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return Tables 1 to 3 with runs in them, from their `report.json`, for `ranking`."""
    sources = Sources(tuple(map(Run, reports)))
    tables = [table for table in published().tables if table.of_runs and table.judged]
    return [_frame(table, lines(table, sources), {}) for table in tables]


def ranking(table: Table) -> Table:
    """Sort the networks of one of the `error_tables`, published and run here, by their errors."""
    from pandas import concat

    frame = table.frame
    errors = [column.removeprefix("published ") for column in map(str, frame) if column.startswith("published ")]
    names = {f"published {error}": error for error in errors}
    published_rows = frame[["network", *names]].drop_duplicates().rename(columns=names)
    name = frame["network"] + ", " + frame["protocol"] + ": here, " + frame["images"].astype(str) + " images"
    here = frame[["network", *errors]].assign(network=name)
    both = concat([published_rows, here], ignore_index=True).dropna(how="all", subset=errors)
    order = both[errors[0]].fillna(both[errors[-1]]).sort_values(kind="stable").index
    return Table(table.title, both.loc[order], formats=dict.fromkeys(errors, PERCENT))


def _frame(table: PaperTable, found: Sequence[Line], weights: Mapping[str, Missing]) -> Table:
    """Return a table without its note."""
    from pandas import DataFrame

    columns = columns_of(table, found)
    rows = []
    for line in found:
        published_cells = line.row.cells
        row: dict[str, Any] = {"network": line.row.name, **line.facts}
        row |= {f"published {column}": cell.value for column, cell in published_cells.items()}
        words = {column: cell.confidence for column, cell in published_cells.items()}
        differ = len({*words.values()}) > 1
        shown = [f"{column}: {word}" if differ else word for column, word in words.items()]
        row["confidence"] = "; ".join(dict.fromkeys(shown)) or None
        for column, cell in line.cells.items():
            row |= {column: cell.value, f"{column} low": cell.low, f"{column} high": cell.high}
        if not line.cells and line.place is None and not line.facts:
            absent = [missing_cell(table, line.row, column, weights) for column in table.columns]
            row["note"] = "; ".join(dict.fromkeys(each.reason for each in absent))
        rows.append(row)
    own = [f"{column}{bound}" for column in columns for bound in ("", " low", " high")]
    numbers = [*(f"published {column}" for column in table.columns), *own]
    about = ["images", "protocol", "weights"] if table.of_runs else ["images"]
    frame = DataFrame(rows, columns=["network", *numbers, *about, "confidence", "note"])
    formats = {f"published {column}": f"{{:.{table.decimals}f}}".format for column in table.columns}
    formats |= dict.fromkeys(columns, PERCENT) | {"weights": "{:.12}".format}
    return Table(table.title, frame.astype(dict.fromkeys(numbers, "float64") | {"images": "Int64"}), formats=formats)


def _of_runs(table: PaperTable, runs: Sequence[Run]) -> Iterator[Line]:
    for run in runs:
        if not run.is_ilsvrc:
            continue
        report = run.report
        method = report["identity"].get("method", "cam")
        rows = [row for row in table.rows if row.model == report["model"] and row.method in (None, method)]
        if not rows and table.judged:
            rows = [Row(report["model"], {}, report["model"], submission=table.rows[0].submission)]
        for row in rows:
            submissions = report.get("submissions")
            wanted = row.submission or ("bbox1" if submissions else None)
            if wanted is None or submissions:
                yield _line(table, row, run, wanted)


def _line(table: PaperTable, row: Row, run: Run, submission: str | None) -> Line:
    """Return the values of a run, or of one of its submissions, for a row."""
    report, quantity = run.report, row.quantity or table.quantity
    all_images = report["images"]
    counted = all_images - (report["blacklisted"] if quantity == "localization" else 0)
    # A part of the set, without those of its images that are blacklisted in the same share.
    population = table.images and round(table.images * counted / max(all_images, 1))
    cells = {}
    for name, value, low, high in figures(report):
        for column in table.columns:
            if name == f"{quantity}, {column}{f', {submission}' if submission else ''}" and counted:
                whole = population if population is not None and counted <= population else None
                cells[column] = Measured(value, low, high, counted, round(value / 100 * counted), whole)
    overrides = [f"{name} {value}" for name, value in report["overrides"].items()]
    facts = {
        "images": all_images,
        "protocol": ", ".join([report["protocol"], *overrides, *([submission] if submission else [])]),
        "weights": report["identity"]["weights"],
    }
    return Line(row, cells, run.place, run.command, facts)


def _of_files(table: PaperTable, files: Mapping[Path, CellsFile]) -> Iterator[Line]:
    known = {row.name: row for row in table.rows}
    for path, file in files.items():
        if file.table != table.number:
            continue
        for name in dict.fromkeys(cell.row for cell in file.cells):
            cells = {
                cell.column: Measured(
                    cell.value, cell.low, cell.high, cell.images, *_share(table, cell.value, cell.images)
                )
                for cell in file.cells
                if cell.row == name
            }
            counts = {cell.images for cell in cells.values()}
            facts = {"images": counts.pop()} if len(counts) == 1 else {}
            yield Line(known.get(name, Row(name, {})), cells, path, file.command, facts)


def _share(table: PaperTable, value: float, images: int) -> tuple[int | None, int | None]:
    """Return the count and the population of a value, if it is a share of images of a set of a known number."""
    count = round(value / 100 * images)
    is_share = table.images is not None and abs(100 * count / images - value) < 1e-6
    return (count, table.images if table.images and images <= table.images else None) if is_share else (None, None)
