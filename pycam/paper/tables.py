"""The paper's tables: each published figure beside those of our runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycam import zoo
from pycam.evaluation.figures import figures
from pycam.tables import PERCENT, Table

PUBLISHED = Path(__file__).with_name("published.json")
ERRORS = ("top-1", "top-5")

_PUBLISHED_ERRORS = tuple(f"published {error}" for error in ERRORS)
_OWN_ERRORS = tuple(f"{error}{bound}" for error in ERRORS for bound in ("", " low", " high"))
_FORMATS = dict.fromkeys(_PUBLISHED_ERRORS, "{:.2f}".format) | dict.fromkeys(ERRORS, PERCENT)


def paper_tables(reports: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return the paper's tables with our runs in them.

    Parameters
    ----------
    reports : sequence of mapping
        The `report.json` of each run. A run of a model that is not in the paper gets a row of its own.

    Returns
    -------
    list of Table
        Tables 1 and 2, and the row of Table 3 that the release can compute; errors in percent. The note of the last
        table tells how figures compare with the paper's, and how to compute the missing ones.
    """
    from pandas import DataFrame

    paper = json.loads(PUBLISHED.read_text("utf-8"))
    tables: list[Table] = []
    remedies: dict[str, None] = {}
    for table in paper["tables"]:
        runs = [run for report in reports if (run := _run(report, table)) is not None]
        rows: list[dict[str, Any]] = []
        for row in table["rows"]:
            published = {f"published {error}": row.get(error) for error in ERRORS}
            about = {"network": row["network"], **published}
            own = [
                run
                for run in runs
                if run["model"] == row.get("model") and row.get("method", run["method"]) == run["method"]
            ]
            rows += [about | run for run in own]
            if not own:
                about["note"], remedy = _missing(row.get("model"))
                rows.append(about)
                remedies[remedy] = None
            runs = [run for run in runs if run not in own]
        rows += [{"network": run["model"]} | run for run in runs]
        columns = ["network", *_PUBLISHED_ERRORS, *_OWN_ERRORS, "images", "protocol", "weights", "note"]
        kinds = dict.fromkeys([*_PUBLISHED_ERRORS, *_OWN_ERRORS], "float64") | {"images": "Int64"}
        frame = DataFrame(rows, columns=columns).astype(kinds)
        tables.append(Table(table["title"], frame, formats=_FORMATS | {"weights": "{:.12}".format}))
    tables[-1] = replace(tables[-1], note="\n".join([paper["note"], *filter(None, remedies)]))
    return tables


def ranking(table: Table) -> Table:
    """Sort the networks of one of the paper's tables, published and run here, by their errors."""
    from pandas import concat

    frame, errors = table.frame, list(ERRORS)
    published = frame[["network", *_PUBLISHED_ERRORS]].drop_duplicates().set_axis(["network", *errors], axis=1)
    name = frame["network"] + ", " + frame["protocol"] + ": here, " + frame["images"].astype(str) + " images"
    here = frame[["network", *errors]].assign(network=name)
    both = concat([published, here], ignore_index=True).dropna(how="all", subset=errors)
    order = both["top-1"].fillna(both["top-5"]).sort_values(kind="stable").index
    return Table(table.title, both.loc[order], formats=dict.fromkeys(errors, PERCENT))


def _run(report: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a run's values by column of a table, with its model and method; None if the run has no such errors."""
    submissions = report.get("submissions")
    wanted = table.get("submission", "bbox1" if submissions else None)
    if wanted is not None and not submissions:
        return None
    overrides = [f"{name} {value}" for name, value in report["overrides"].items()]
    values = {
        "model": report["model"],
        "method": report["identity"].get("method", "cam"),
        "images": report["images"],
        "protocol": ", ".join([report["protocol"], *overrides, *([wanted] if wanted else [])]),
        "weights": report["identity"]["weights"],
    }
    columns = {f"{table['error']}, {error}{f', {wanted}' if wanted else ''}": error for error in ERRORS}
    for name, *figure in figures(report):
        if error := columns.get(name):
            values |= zip((error, f"{error} low", f"{error} high"), figure, strict=True)
    return values


def _missing(model: str | None) -> tuple[str, str]:
    """Return why a row has no run, and how to get one."""
    if model is None:
        return "weights never published", ""
    card = zoo.card(model)
    if zoo.find_weights(card) is not None:
        return "not run yet", f"{model}: pycam evaluate --model {model}"
    where = f", or get {card.weights.mirrors[0]}" if card.weights.mirrors else ""
    return "weights not here", f"{model}: pycam models download {model}{where}"
