"""The ledger as a table: what each quirk of the released protocol is worth."""

from __future__ import annotations

import csv
import io

from pycam.evaluation.ledger import Effect, Ledger
from pycam.report import summary


def section(ledger: Ledger) -> summary.Section:
    """Lay a ledger out as texts: the released protocol's errors, then how many points each change adds to them."""

    def cell(effect: Effect) -> str:
        low, difference, high = (100 * share for share in (effect.low, effect.difference, effect.high))
        return f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"

    return summary.table(
        f"What the released protocol's quirks are worth: {ledger.model}, {ledger.pictures} pictures",
        ["released", "instead", *ledger.errors],
        [
            ["as released", "", *(f"{error:.2%}" for error in ledger.errors.values())],
            *([row.released, row.instead, *map(cell, row.effects.values())] for row in ledger.rows),
        ],
        "Errors of the first box of each class (bbox1); below, the points that a change adds, and their 95 % interval.",
    )


def csv_text(ledger: Ledger) -> str:
    """Write a ledger as CSV: a row each change and error, in percent and points."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["change", "released", "instead", "error of", "error", "difference", "low", "high"])
    for name, error in ledger.errors.items():
        writer.writerow(["as released", "", "", name, f"{100 * error:.4f}", "", "", ""])
    for row in ledger.rows:
        for name, effect in row.effects.items():
            shares = (effect.error, effect.difference, effect.low, effect.high)
            writer.writerow([row.name, row.released, row.instead, name, *(f"{100 * share:.4f}" for share in shares)])
    return text.getvalue()
