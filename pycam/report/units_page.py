"""The page of class-specific units: for each class its units, and the images that excite them most."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from pycam.drawing import encode_png
from pycam.paper.figure13 import ClassSheet, UnitRow
from pycam.report.page import static_page


def units_page(sheets: Sequence[ClassSheet], caption: str, facts: Sequence[str]) -> str:
    """Return a page with the sheets of classes.

    Parameters
    ----------
    sheets : sequence of ClassSheet
        The classes, one section each.
    caption : str
        What the images show.
    facts : sequence of str
        How they were made.
    """
    sections = "".join(_section(sheet, f"class-{number}") for number, sheet in enumerate(sheets))
    body = (
        f'<header class="title"><h1>Class-specific units</h1><p>{escape(caption)}</p>'
        f"<p>{escape('; '.join(facts))}</p></header>\n<main>{sections}</main>\n"
    )
    return static_page("Class-specific units", "units.css", body)


def _section(sheet: ClassSheet, key: str) -> str:
    data = base64.b64encode(encode_png(sheet.pixels)).decode()
    height, width = sheet.pixels.shape[:2]
    listed = ", ".join(f"unit {row.unit}" for row in sheet.rows)
    name = f"{sheet.label}: the images of {listed}"
    head = "".join(
        f'<th scope="col"{" class=number" if number else ""}>{text}</th>'
        for number, text in enumerate(("unit", "weight", "share of the logit", "images", "largest"))
    )
    predicted = f"{sheet.predicted:,} image{'' if sheet.predicted == 1 else 's'} predicted as this class"
    return (
        f'<section aria-labelledby="{key}"><h2 id="{key}">{escape(sheet.label)}</h2>'
        f'<p class="note">class {sheet.index}; {predicted}</p>'
        f'<div class="sheet" role="region" aria-label="{escape(name)}" tabindex="0">'
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{escape(name)}"></div>'
        f'<div class="table" role="region" aria-label="{escape(sheet.label)}: units in numbers" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_numbers, sheet.rows))}</tbody></table></div>"
        "</section>\n"
    )


def _numbers(row: UnitRow) -> str:
    cells = (
        f"{row.weight:.4f}",
        "" if row.share is None else f"{row.share:.1%}",
        str(len(row.images)),
        f"{row.images[0].place.activation:.4f}" if row.images else "",
    )
    return f'<tr><th scope="row">{row.unit}</th>{"".join(f"<td class=number>{cell}</td>" for cell in cells)}</tr>'
