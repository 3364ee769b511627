"""The metadata folder of a WSOL benchmark set: four comma-separated files that identify images by ID."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines, whole_number
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.source import Source
from pycam.images.files import IMAGE_SUFFIXES

MOST = 500_000
"""The largest number of lines of a file; the largest set has 50,000 images."""

_Row = tuple[str, list[int], str]
"""ID, numbers, and place (file and line)."""


def is_metadata(folder: Path) -> bool:
    """Return True if a folder is a set of the WSOL benchmark."""
    return is_file(folder / "image_ids.txt")


def read_metadata(folder: Path) -> Source:
    """Read `image_ids.txt`, `class_labels.txt`, `image_sizes.txt` and `localization.txt`, joined by ID.

    A set with masks, whose `localization.txt` names files, has no boxes.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, an ID is unknown, missing or occurs twice, a box has x0 > x1,
        or a box lies outside of its image.
    """
    names = tuple(name for name, _, _ in _read_rows(folder / "image_ids.txt", 0))
    place = {name: row for row, name in enumerate(names)}
    classes = _read_columns(folder / "class_labels.txt", 1, place)[:, 0]
    sizes = _read_columns(folder / "image_sizes.txt", 2, place)
    if _names_masks(folder / "localization.txt"):
        return Source(folder, len(names), names, classes, sizes)
    rows = _read_rows(folder / "localization.txt", 4, place, unique=False)
    images = np.array([place[name] for name, _, _ in rows])
    boxes = np.array([numbers for _, numbers, _ in rows])
    for wrong, complaint in (
        ((boxes[:, :2] > boxes[:, 2:]).any(axis=1), "x0 ≤ x1 and y0 ≤ y1 were expected"),
        ((boxes[:, 2:] > sizes[images]).any(axis=1), "the box lies outside of its image"),
    ):
        if wrong.any():
            name, numbers, where = rows[int(np.argmax(wrong))]
            raise GroundTruthError(f"{where}: {name!r}, box {numbers}: {complaint}")
    order = np.argsort(images, kind="stable")
    images = images[order]
    return Source(folder, len(names), names, classes, sizes, boxes[order], classes[images], images)


def _names_masks(path: Path) -> bool:
    """Return True if the first line names a mask and an ignore file, in place of a box."""
    _, line = next(numbered_lines(path, MOST), (1, ""))
    return line.count(",") in (1, 2) and PurePath(line.split(",")[1].strip()).suffix.lower() in IMAGE_SUFFIXES


def _read_rows(path: Path, columns: int, known: Container[str] | None = None, *, unique: bool = True) -> list[_Row]:
    """Read lines of an ID and `columns` whole numbers from 0 up."""
    rows: list[_Row] = []
    found: set[str] = set()
    for number, line in numbered_lines(path, MOST):
        where = f"{path}:{number}"
        name, *cells = line.rsplit(",", columns)
        name = normal(name)
        if not name or len(cells) != columns:
            raise GroundTruthError(f"{where}: {line[:80]!r}; an ID and {columns} numbers were expected")
        numbers = [whole_number(cell, where) for cell in cells]
        if min(numbers, default=0) < 0:
            raise GroundTruthError(f"{where}: {line[:80]!r}; numbers from 0 up were expected")
        if known is not None and name not in known:
            raise GroundTruthError(f"{where}: image {name!r} is not in image_ids.txt")
        if unique and name in found:
            raise GroundTruthError(f"{where}: image {name!r} occurs twice")
        found.add(name)
        rows.append((name, numbers, where))
    if not rows:
        raise GroundTruthError(f"{path}:1: an empty list; one image per line was expected")
    return rows


def _read_columns(path: Path, columns: int, place: dict[str, int]) -> NDArray[np.int64]:
    """Read a file with one line per image: (n, columns), in the order of `place`."""
    found = {name: numbers for name, numbers, _ in _read_rows(path, columns, place)}
    if missing := next((name for name in place if name not in found), None):
        raise GroundTruthError(f"{path}: image {missing!r} of image_ids.txt is missing")
    return np.array([found[name] for name in place])
