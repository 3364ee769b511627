"""The report as a page that needs no server: one file that holds all of it, or a folder for thousands of images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycam.errors import UsageError
from pycam.formats.files import atomic_open, atomic_write
from pycam.images.read import Image
from pycam.report.outcomes import CHANGES, OUTCOMES, Outcome, change, difference
from pycam.report.page import json_block, json_text, page
from pycam.report.record import Methods, Truth, image_record, shown

CHUNK = 50
"""Images a file in the folder's `data/`: what the page loads at once."""


@dataclass(frozen=True, eq=False)
class Entry:
    """An image of the report.

    Attributes
    ----------
    name
        What it is called.
    image
        As read.
    runs
        What each run is called, or `""` where there is only one -> its predictions.
    truth
        What is true, where it is known.
    outcomes
        What became of it in each run, where that is known.
    """

    name: str
    image: Image
    runs: Mapping[str, Methods]
    truth: Truth | None = None
    outcomes: Sequence[Outcome] = ()


@dataclass(frozen=True, eq=False)
class Heading:
    """What stands above the images.

    Attributes
    ----------
    title
        Of the page.
    runs
        What each run is called -> facts about it, a few words each.
    notes
        Lines that somebody who reads the report should know.
    sections
        Tables and charts, from `pycam.report.summary`; read when the last image is written.
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
        images and maps from beside itself when they come into sight.
    entries
        The images, read one after the other; of one run, or of the same two runs each.
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
    with atomic_open(place) as file:
        file.write(begin.encode())
        for number, entry in enumerate(entries):
            file.write(json_block(f"image-{number}", _record(entry)).encode())
            cards.append(_card(entry))
        file.write((json_block("report", _contents(heading, cards, chunk=0)) + end).encode())


def _write_folder(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    for folder in ("images", "data"):
        (place / folder).mkdir(parents=True)
    cards = []
    numbered = enumerate(entries)
    for chunk in itertools.count():
        records = []
        for number, entry in itertools.islice(numbered, CHUNK):
            address = f"images/{number + 1:06}.jpg"
            atomic_write(place / address, shown(entry.image.pixels))
            records.append(_record(entry, address))
            cards.append(_card(entry))
        if not records:
            break
        atomic_write(place / f"data/{chunk}.js", f"arrive({chunk}, {json_text(records)});\n")
    # Only scripts that the page's own script asks for, and images from beside the page, wherever it lies.
    begin, end = page(heading.title, "report.js", scripts="'strict-dynamic'", images="'self' file: data:")
    atomic_write(place / "index.html", begin + json_block("report", _contents(heading, cards, chunk=CHUNK)) + end)


def _record(entry: Entry, src: str | None = None) -> dict[str, Any]:
    return image_record(entry.image, entry.runs, name=entry.name, truth=entry.truth, src=src)


def _card(entry: Entry) -> dict[str, Any]:
    """Give what the page needs of an image that is not open."""
    group, severity = _group(entry.outcomes)
    return {
        "name": entry.name,
        "size": entry.image.size,
        "truth": entry.truth and entry.truth.label,
        "group": group,
        "severity": severity,
        "runs": [
            {
                "label": run[0].top[0].label,
                "score": run[0].top[0].score,
                "outcome": outcome and outcome.name,
                "iou": outcome and outcome.overlap,
            }
            for run, outcome in itertools.zip_longest(entry.runs.values(), entry.outcomes)
        ],
    }


def _group(outcomes: Sequence[Outcome]) -> tuple[str, float]:
    """Give the group that an image is shown in, and how early; of two runs, by how much they differ."""
    if len(outcomes) == 2:
        return change(*outcomes), difference(*outcomes)
    return (outcomes[0].name, outcomes[0].severity) if outcomes else ("", 0.0)


def _contents(heading: Heading, cards: Sequence[Mapping[str, Any]], chunk: int) -> dict[str, Any]:
    return {
        "title": heading.title,
        "runs": [{"label": label, "facts": list(facts)} for label, facts in heading.runs.items()],
        "notes": list(heading.notes),
        "sections": list(heading.sections),
        "outcomes": _told(OUTCOMES),
        "groups": _told(OUTCOMES if len(heading.runs) == 1 else CHANGES),
        "judged": any(card["group"] for card in cards),
        "images": list(cards),
        "chunk": chunk,
    }


def _told(names: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "tone": tone, "text": text} for name, (tone, text) in names.items()]
