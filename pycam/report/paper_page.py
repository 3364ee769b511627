"""The page of the living paper: one file of HTML and CSS, without scripts and without requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import pycam
from pycam.errors import RunError
from pycam.paper.living import EMPTY, LivingCell, LivingFigure, LivingPaper, LivingTable, shown
from pycam.paper.outputs import FigureFile
from pycam.paper.published import PublishedCell, Row, published
from pycam.paper.tables import Line, Measured
from pycam.paper.verdicts import ALPHA, NOT_REPRODUCED, REPRODUCED, UNDECIDED
from pycam.report.page import static_page

TONES = {REPRODUCED: "good", NOT_REPRODUCED: "bad", UNDECIDED: "near", "ours": "quiet", EMPTY: "quiet"}
"""The colour of each state of a cell."""

_PNG = b"\x89PNG\r\n\x1a\n"
_COMMAND = re.compile("`([^`]*)`")


def paper_page(paper: LivingPaper, root: Path | None = None) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    paper : LivingPaper
        Everything on the page.
    root : Path, optional
        Paths on the page are relative to it. Default: as they were given.

    Raises
    ------
    RunError
        An image of a figure cannot be read, or is not a PNG file.
    """
    citation = published().paper
    body = (
        f'<header class="title"><h1>{escape(citation.title)}</h1>'
        f"<p>{escape(', '.join(citation.authors))}; {escape(citation.where)}; {escape(citation.reference)}</p>"
        f"<p>Its tables and figures, published and made again with pycam {escape(pycam.__version__)}.</p>"
        f"{_counts(paper)}{_contents(paper)}</header>\n<main>\n"
        + "".join(_table(table, root) for table in paper.tables)
        + '<section id="figures"><h2>Figures</h2>'
        + "".join(_figure(figure, root) for figure in paper.figures)
        + f"</section>\n{_reading(paper.margins)}</main>\n"
    )
    return static_page(f"Living paper: {citation.title}", "paper.css", body)


def _counts(paper: LivingPaper) -> str:
    counts = paper.counts()
    items = "".join(
        f"<li>{_badge(state, state if state != 'ours' else 'ours alone')} {counts[state]}</li>"
        for state in TONES
        if counts[state] or state != "ours"
    )
    return f'<ul class="counts" aria-label="Cells of Tables 1 to 5">{items}</ul>'


def _contents(paper: LivingPaper) -> str:
    links = [(_anchor(table), table.table.title.partition(":")[0]) for table in paper.tables]
    links += [("figures", "Figures"), ("reading", "How to read this page")]
    items = "".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _anchor(table: LivingTable) -> str:
    return f"table-{table.table.number}" if table.table.number else "log"


class _Notes:
    """The numbered notes of a table: each text once."""

    def __init__(self, anchor: str) -> None:
        self._anchor = anchor
        self._numbers: dict[str, int] = {}

    def link(self, text: str) -> str:
        """Return a link to the note with this HTML."""
        number = self._numbers.setdefault(text, len(self._numbers) + 1)
        return f'<a class="ref" href="#{self._anchor}-note-{number}" aria-label="note {number}">{number}</a>'

    def html(self) -> str:
        """Return the list of all notes."""
        items = "".join(f'<li id="{self._anchor}-note-{number}">{text}</li>' for text, number in self._numbers.items())
        return f'<ol class="notes">{items}</ol>' if items else ""


def _table(living: LivingTable, root: Path | None) -> str:
    anchor, table = _anchor(living), living.table
    notes = _Notes(anchor)
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in living.columns)
    rows = "".join(_row(living, line, cells, notes, root) for line, cells in living.lines)
    about = f"<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f'<section id="{anchor}"><h2 id="{anchor}-title">{escape(table.title)}</h2>'
        f'{about}<div class="scroll" role="region" tabindex="0" aria-labelledby="{anchor}-title"><table>'
        f'<thead><tr><th scope="col">row of the paper</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"{notes.html()}</section>\n"
    )


def _row(living: LivingTable, line: Line, cells: Mapping[str, LivingCell], notes: _Notes, root: Path | None) -> str:
    made = _made(line, root)
    show = f"{{:.{living.table.decimals}f}}".format
    head = _head(line, notes)
    tds = "".join(f"<td>{_cell(cell, made, show, notes)}</td>" for cell in cells.values())
    return f'<tr><th scope="row">{head}</th>{tds}</tr>'


def _head(line: Line, notes: _Notes) -> str:
    row: Row = line.row
    facts = [row.model, row.blob and f"blob {row.blob}", {"saliency": "by backpropagation"}.get(row.method or "")]
    facts += [row.certainty and f"weights: {row.certainty}", row.annotation and f"annotation: {row.annotation}"]
    said = "; ".join(escape(fact) for fact in facts if fact)
    ref = notes.link(escape(f"{row.model}: {row.evidence}")) if row.evidence else ""
    run = f"<small>{escape(str(line.facts['protocol']))}</small>" if "protocol" in line.facts else ""
    return f"{escape(row.name)} {ref}<small>{said}</small>{run}"


def _made(line: Line, root: Path | None) -> str:
    """Return the note about how the values of a line were made."""
    facts = [f"{name} {value:.12}" if name == "weights" else f"{name} {value}" for name, value in line.facts.items()]
    parts = [_code(line.command)] if line.command else ["The run does not say with which command it was made."]
    where = ", ".join(filter(None, [shown(line.place, root), *facts]))
    return f"{' '.join(parts)} {escape(where)}".strip()


def _cell(cell: LivingCell, made: str, show: Callable[[float], str], notes: _Notes) -> str:
    parts = [_published(cell.published, show, notes)]
    if cell.measured is not None:
        parts.append(_ours(cell.measured, notes.link(made)))
    if cell.verdict is not None:
        bounds = f"bounds {cell.verdict.low:.2f} to {cell.verdict.high:.2f}, margin {cell.verdict.margin:g}"
        parts.append(f"{_badge(cell.verdict.answer, str(cell.verdict))}<small>{bounds}</small>")
    if cell.missing is not None:
        ref = notes.link(f"{escape(cell.missing.reason)}: {_fix(cell.missing.fix)}")
        parts.append(f"{_badge(EMPTY, f'empty: {cell.missing.reason}')} {ref}")
    return "".join(f"<div>{part}</div>" for part in parts if part)


def _published(cell: PublishedCell | None, show: Callable[[float], str], notes: _Notes) -> str:
    if cell is None:
        return '<span class="quiet">not in the paper</span>'
    ref = notes.link(escape(cell.note)) if cell.note else ""
    return f'published <b class="value">{show(cell.value)}</b> {ref}<small>{escape(cell.confidence)}</small>'


def _ours(measured: Measured, ref: str) -> str:
    return (
        f'ours <b class="value">{measured.value:.2f}</b> {ref}'
        f"<small>{measured.low:.2f} to {measured.high:.2f}; {measured.images:,} images</small>"
    )


def _badge(state: str, text: str) -> str:
    return f'<span class="badge" data-tone="{TONES[state]}">{escape(text)}</span>'


def _fix(text: str) -> str:
    """Return advice as HTML, with its commands as code."""
    return _COMMAND.sub(r"<code>\1</code>", escape(text))


def _code(command: str) -> str:
    return f"<code>{escape(command)}</code>"


def _figure(living: LivingFigure, root: Path | None) -> str:
    figure = living.figure
    command = f"<p>{_code(figure.command)}</p>" if figure.command else ""
    needs = f"<p>It needs {escape(figure.data)}.</p>" if figure.command else f"<p>Not made: {escape(figure.data)}.</p>"
    images = "".join(_images(path, file, root) for path, file in living.made.items())
    if not images and figure.command:
        images = f"<p>{_badge(EMPTY, 'empty: not made yet')}</p>"
    return (
        f'<article id="figure-{figure.number}"><h3>Figure {figure.number}</h3><p>{escape(figure.shows)}.</p>'
        f"{command}{needs}{images}</article>"
    )


def _images(path: Path, file: FigureFile, root: Path | None) -> str:
    images = "".join(
        f'<img src="data:image/png;base64,{_png(path.parent / name)}" '
        f'alt="{escape(f"Figure {file.figure}, {name}: {file.caption}")}">'
        for name in file.images
    )
    return (
        f"<figure>{images}<figcaption>{escape(file.caption)} {_code(file.command)} {escape(shown(path, root))}"
        "</figcaption></figure>"
    )


def _png(path: Path) -> str:
    data = path.read_bytes()
    if not data.startswith(_PNG):
        raise RunError(f"{path}: not a PNG file: make the figure again")
    return base64.b64encode(data).decode()


def _reading(margins: Mapping[str, float]) -> str:
    def terms(items: Mapping[str, str]) -> str:
        return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items.items())

    points = ", ".join(f"{margin:g} for {quantity}" for quantity, margin in margins.items())
    verdicts = {
        REPRODUCED: "our value on all images lies within the margin around the published one",
        NOT_REPRODUCED: "it lies outside of the margin",
        UNDECIDED: "there are too few images to tell; the number of images that would decide holds if our value stays",
        EMPTY: "we have no value; the note tells why, and what would fill the cell",
    }
    return (
        '<section id="reading"><h2>How to read this page</h2>'
        "<p>Each cell has the published value with how sure it is, and ours with its 95 % interval. A verdict is an "
        f"equivalence test with a margin in points ({escape(points)}). Its bounds are those of two one-sided tests; a "
        f"wrong answer has a probability of at most {100 * ALPHA:g} %. The published value is taken as a fixed number. "
        "Our images are taken as a random part of the published set where that is the same set. Protocol, view and "
        "engine of a run stand in its note.</p>"
        f"<h3>Verdicts</h3><dl>{terms(verdicts)}</dl>"
        f"<h3>How sure a published value is</h3><dl>{terms(published().confidence)}</dl>"
        f"<h3>Sources of published values</h3><dl>{terms(published().sources)}</dl></section>\n"
    )
