"""The report as a page that needs no server: one file that holds all of it, or a folder for thousands of pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycam.errors import UsageError
from pycam.formats.files import replacing, write_whole
from pycam.images.read import Picture
from pycam.report.outcomes import CHANGES, OUTCOMES, Verdict, change, difference
from pycam.report.page import json_block, json_text, page
from pycam.report.record import Methods, Truth, picture_record, shown

CHUNK = 50
"""Pictures a file in the folder's `data/`: what the page loads at once."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A picture of the report.

    Attributes
    ----------
    name
        What it is called.
    picture
        As read.
    runs
        What each run is called, or `""` where there is only one -> its predictions.
    truth
        What is true, where it is known.
    verdicts
        What became of it in each run, where that is known.
    """

    name: str
    picture: Picture
    runs: Mapping[str, Methods]
    truth: Truth | None = None
    verdicts: Sequence[Verdict] = ()


@dataclass(frozen=True, eq=False)
class Heading:
    """What stands above the pictures.

    Attributes
    ----------
    title
        Of the page.
    runs
        What each run is called -> facts about it, a few words each.
    notes
        Lines that somebody who reads the report should know.
    sections
        Tables and charts, from `pycam.report.summary`; read when the last picture is written.
    """

    title: str
    runs: Mapping[str, Sequence[str]]
    notes: Sequence[str] = ()
    sections: Sequence[Mapping[str, Any]] = ()


def write_html(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    """Write a report.

    Parameters
    ----------
    place
        A file that ends in `.html` gets all of it. Anything else is a folder, new or empty: its `index.html` loads
        pictures and maps from beside itself when they come into sight.
    entries
        The pictures, read one after the other; of one run, or of the same two runs each.
    heading
        What stands above them.

    Raises
    ------
    UsageError
        The folder holds something already.
    """
    if place.suffix.lower() in (".html", ".htm"):
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_file(place, entries, heading)
    else:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise UsageError(f"{place}: there is something already: name a new folder, or a file that ends in .html")
        _write_folder(place, entries, heading)


def _write_file(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    begin, end = page(heading.title, "report.js")
    cards = []
    with replacing(place) as file:
        file.write(begin.encode())
        for number, entry in enumerate(entries):
            file.write(json_block(f"picture-{number}", _record(entry)).encode())
            cards.append(_card(entry))
        file.write((json_block("report", _contents(heading, cards, chunk=0)) + end).encode())


def _write_folder(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    for folder in ("pictures", "data"):
        (place / folder).mkdir(parents=True)
    cards = []
    numbered = enumerate(entries)
    for chunk in itertools.count():
        records = []
        for number, entry in itertools.islice(numbered, CHUNK):
            address = f"pictures/{number + 1:06}.jpg"
            write_whole(place / address, shown(entry.picture.pixels))
            records.append(_record(entry, address))
            cards.append(_card(entry))
        if not records:
            break
        write_whole(place / f"data/{chunk}.js", f"arrive({chunk}, {json_text(records)});\n")
    # Only scripts that the page's own script asks for, and pictures from beside the page, wherever it lies.
    begin, end = page(heading.title, "report.js", scripts="'strict-dynamic'", images="'self' file: data:")
    write_whole(place / "index.html", begin + json_block("report", _contents(heading, cards, chunk=CHUNK)) + end)


def _record(entry: Entry, src: str | None = None) -> dict[str, Any]:
    return picture_record(entry.picture, entry.runs, name=entry.name, truth=entry.truth, src=src)


def _card(entry: Entry) -> dict[str, Any]:
    """Give what the page needs of a picture that is not open."""
    group, badness = _group(entry.verdicts)
    return {
        "name": entry.name,
        "size": entry.picture.size,
        "truth": entry.truth and entry.truth.words,
        "group": group,
        "badness": badness,
        "runs": [
            {
                "words": run[0].top[0].words,
                "score": run[0].top[0].score,
                "outcome": verdict and verdict.name,
                "iou": verdict and verdict.overlap,
            }
            for run, verdict in itertools.zip_longest(entry.runs.values(), entry.verdicts)
        ],
    }


def _group(verdicts: Sequence[Verdict]) -> tuple[str, float]:
    """Give the group that a picture is shown in, and how early; of two runs, by how much they differ."""
    if len(verdicts) == 2:
        return change(*verdicts), difference(*verdicts)
    return (verdicts[0].name, verdicts[0].badness) if verdicts else ("", 0.0)


def _contents(heading: Heading, cards: Sequence[Mapping[str, Any]], chunk: int) -> dict[str, Any]:
    return {
        "title": heading.title,
        "runs": [{"label": label, "facts": list(facts)} for label, facts in heading.runs.items()],
        "notes": list(heading.notes),
        "sections": list(heading.sections),
        "outcomes": _told(OUTCOMES),
        "groups": _told(OUTCOMES if len(heading.runs) == 1 else CHANGES),
        "judged": any(card["group"] for card in cards),
        "pictures": list(cards),
        "chunk": chunk,
    }


def _told(names: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "tone": tone, "text": text} for name, (tone, text) in names.items()]
