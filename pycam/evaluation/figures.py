"""The figures in a report: errors with their intervals, baselines, and accuracies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pycam.tables import PERCENT, Table, percent

MIDDLE = ("top-2", "top-3", "top-4")
BASELINES = {"whole_image": "whole image", "center_gaussian": "center Gaussian"}
ACCURACIES = {
    "max_box_acc": "MaxBoxAcc (accuracy)",
    "max_box_acc_v2": "MaxBoxAccV2 (accuracy)",
    "pxap": "PxAP (precision)",
}


class Figure(NamedTuple):
    """An error or accuracy in percent.

    Attributes
    ----------
    name : str
        Its name in tables.
    value : float
        In percent.
    low, high : float
        Bounds of the 95 % interval, in percent; NaN if there is none.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan


def figures(report: Mapping[str, Any]) -> Iterator[Figure]:
    """Yield the errors, baselines and accuracies in a `report.json`, or in the result of `pycam score`."""
    for submission, errors in report.get("submissions", {"": report}).items():
        suffix = f", {submission}" if submission else ""
        for kind in ("classification", "localization"):
            for k, share in (errors.get(f"{kind}_error") or {}).items():
                name = f"{kind}, {k.replace('top', 'top-')}{suffix}"
                yield _error(name, share, errors["intervals"][f"{kind}_error"][k])
        if (share := errors.get("gt_known_error")) is not None:
            yield _error(f"localization, class known{suffix}", share, errors["intervals"]["gt_known_error"])
    for key, baseline in BASELINES.items():
        if (share := report.get(f"{key}_gt_known_error")) is not None:
            yield Figure(f"class known, {baseline}", percent(share))
    for key, accuracy in ACCURACIES.items():
        if key in report:
            low, high = _whole(report["intervals"][key])
            yield Figure(accuracy, _whole(report[key]), low, high)
            for other, baseline in BASELINES.items():
                if key in report.get(other, {}):
                    yield Figure(f"{accuracy}, {baseline}", _whole(report[other][key]))
    if at := report.get("at_thresholds"):
        for key, accuracy in ACCURACIES.items():
            if (share := at.get(key.removeprefix("max_"))) is not None:
                yield Figure(f"{accuracy.removeprefix('Max')}, thresholds of another set", _whole(share))


def _whole(accuracy: Any) -> Any:
    """Return the mean of MaxBoxAccV2, or of its interval; other accuracies stay as they are."""
    return accuracy["mean"] if isinstance(accuracy, Mapping) else accuracy


def errors_table(reports: Mapping[str, Mapping[str, Any]], every_k: bool = False) -> Table:
    """Return a table with the figures of reports side by side.

    Parameters
    ----------
    reports : mapping
        Name of each run, `""` for a single one -> its report.
    every_k : bool
        Include the errors at k = 1…5, instead of only 1 and 5.
    """
    from pandas import DataFrame

    rows: dict[str, dict[str, object]] = {}
    columns = {label: label or "value" for label in reports}
    for label, report in reports.items():
        for name, value, low, high in figures(report):
            if every_k or not any(k in name for k in MIDDLE):
                column = columns[label]
                values = {column: value, f"{column} low": low, f"{column} high": high}
                rows.setdefault(name, {"": name}).update(values)
    return Table("Errors", DataFrame(list(rows.values())), formats=dict.fromkeys(columns.values(), PERCENT))


def _error(name: str, share: float, interval: Sequence[float]) -> Figure:
    return Figure(name, percent(share), *map(percent, interval))
