"""The report as a page without a server: one file, or a folder for thousands of images."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycam.errors import UsageError
from pycam.formats.files import atomic_open, atomic_write, exists, is_file, is_folder, utf8
from pycam.report.outcomes import CHANGES, OUTCOMES, group_of
from pycam.report.page import json_block, json_text, page
from pycam.report.viewer_data import Entry as Entry, classes_record, every_class_record, image_record, shown
from pycam.zoo.labels import Labels

CHUNK = 50
"""Number of images per file in `data/`, which the page loads at once."""

UNFINISHED = ".unfinished"
"""A file that marks the folder of a page until the page is complete."""

NO_LABELS = Labels(())

_PARTS = {
    "images": re.compile(r"\d{6,}\.jpg"),
    "data": re.compile(r"\d+\.js"),
    "classes": re.compile(r"\d{6,}\.js"),
}
"""The folders of a page, and the names of the files in them."""


@dataclass(frozen=True, eq=False)
class Heading:
    """The part of a report above the images.

    Attributes
    ----------
    title : str
        Title of the page.
    runs : mapping
        Label of each run, `""` for a single one -> short facts about it; empty for a page of ground truth alone.
    notes : sequence of str
        Lines for the reader, such as skipped images.
    sections : sequence of mapping
        Tables and charts, from `pycam.report.summary`. They are read after the last image is written.
    threshold : float, optional
        The threshold of the runs' box rule; None if no run has one.
    thresholds : sequence of float
        The thresholds that the page can apply to all images, those of `Entry.rescored`, in steps of 1 % from 0 on.
    labels : Labels
        The labels of the classes of `Entry.every`; empty for a page that shows no other classes than the best.
    """

    title: str
    runs: Mapping[str, Sequence[str]]
    notes: Sequence[str] = ()
    sections: Sequence[Mapping[str, Any]] = ()
    threshold: float | None = None
    thresholds: Sequence[float] = ()
    labels: Labels = NO_LABELS


def is_one_file(place: Path) -> bool:
    """Return whether a page at a place is one file: its name ends in .html. Anything else is a folder."""
    return place.suffix.lower() in (".html", ".htm")


def write_html(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    """Write a report.

    Parameters
    ----------
    place : Path
        A file name with the ending `.html` gets the whole report. Anything else is a folder, new, empty, or that of a
        page that was interrupted, which is written again; the page in its `index.html` loads images and maps from the
        folder when they become visible.
    entries : iterable of Entry
        The images, which are read one after the other. All have the same runs; without runs, they have ground truth.
    heading : Heading
        The part above the images.

    Raises
    ------
    UsageError
        The folder is not empty, and not that of an interrupted page.
    """
    if is_one_file(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_file(place, entries, heading)
    else:
        new_folder(place)
        _write_folder(place, entries, heading)
        (place / UNFINISHED).unlink()


def check_folder(place: Path) -> None:
    """Refuse a folder for a page that is not new, not empty, and not that of an interrupted page.

    Raises
    ------
    UsageError
        Something else is there.
    """
    if exists(place) and not (is_file(place / UNFINISHED) or (is_folder(place) and not any(place.iterdir()))):
        raise UsageError(f"{place}: exists and is not an empty folder; give a new folder, or a file that ends in .html")


def new_folder(place: Path) -> None:
    """Make the folder of a page, and mark it as unfinished until `UNFINISHED` is removed from it.

    Parameters
    ----------
    place : Path
        The folder; `check_folder` says which one may be there.

    Raises
    ------
    UsageError
        Something else is there.
    """
    check_folder(place)
    place.mkdir(parents=True, exist_ok=True)
    (place / UNFINISHED).touch()


def _write_file(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    begin, end = page(heading.title, "report.css", "report.js")
    cards = []
    with atomic_open(place) as file:
        file.write(utf8(begin))
        for number, entry in enumerate(entries):
            file.write(utf8(json_block(f"image-{number}", image_record(entry))))
            if entry.every:
                file.write(utf8(json_block(f"classes-{number}", every_class_record(entry.every))))
            cards.append(_card(entry))
        file.write(utf8(json_block("report", _contents(heading, cards, chunk=0)) + end))


def _write_folder(place: Path, entries: Iterable[Entry], heading: Heading) -> None:
    for folder, names in _PARTS.items():
        (place / folder).mkdir(exist_ok=True)
        # The interrupted page may have been that of more images.
        for old in (place / folder).iterdir():
            if names.fullmatch(old.name):
                old.unlink()
    cards = []
    numbered = enumerate(entries)
    for chunk in itertools.count():
        records = []
        for number, entry in itertools.islice(numbered, CHUNK):
            address = f"images/{number + 1:06}.jpg"
            atomic_write(place / address, shown(entry.image.pixels))
            records.append(image_record(entry, address))
            if entry.every:
                text = json_text(every_class_record(entry.every))
                atomic_write(place / f"classes/{number + 1:06}.js", f'arrive("classes/{number + 1:06}.js", {text});\n')
            cards.append(_card(entry))
        if not records:
            break
        atomic_write(place / f"data/{chunk}.js", f'arrive("data/{chunk}.js", {json_text(records)});\n')
    # The page may load the scripts that its own script adds, and images from its folder, wherever the folder is.
    begin, end = page(heading.title, "report.css", "report.js", scripts="'strict-dynamic'", images="'self' file: data:")
    atomic_write(place / "index.html", begin + json_block("report", _contents(heading, cards, chunk=CHUNK)) + end)


def _card(entry: Entry) -> dict[str, Any]:
    """Return the data of an image in the list of images."""
    group, severity = group_of(entry.outcomes)
    return {
        "name": entry.name,
        "size": entry.image.size,
        "truth": entry.truth and entry.truth.label,
        "group": group,
        "severity": severity,
        "runs": [
            {
                "label": run.top[0].label if run.top else "",
                "score": run.top[0].score if run.top else None,
                "outcome": outcome and outcome.name,
                "iou": outcome and outcome.iou,
                "rescored": rescored and rescored.packed_outcomes(),
            }
            for run, outcome, rescored in itertools.zip_longest(entry.runs.values(), entry.outcomes, entry.rescored)
        ],
    }


def _contents(heading: Heading, cards: Sequence[Mapping[str, Any]], chunk: int) -> dict[str, Any]:
    return {
        "title": heading.title,
        "runs": [{"label": label, "facts": list(facts)} for label, facts in heading.runs.items()],
        "notes": list(heading.notes),
        "sections": list(heading.sections),
        "outcomes": _meanings(OUTCOMES),
        "groups": _meanings(OUTCOMES if len(heading.runs) == 1 else CHANGES),
        "judged": any(card["group"] for card in cards),
        "images": list(cards),
        "chunk": chunk,
        "threshold": heading.threshold,
        "thresholds": list(heading.thresholds),
        "classes": classes_record(heading.labels),
    }


def _meanings(names: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "tone": tone, "text": text} for name, (tone, text) in names.items()]
