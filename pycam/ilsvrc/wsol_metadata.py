"""The metadata folder of a set of the WSOL benchmark: four comma-separated files that name images by ID."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.ilsvrc.lines import numbered_lines, whole_number

MOST = 500_000
"""The most lines of a file; the largest set has 50,000 images."""

_Row = tuple[str, list[int], str]


@dataclass(frozen=True)
class Metadata:
    """A set of n images with m boxes.

    Attributes
    ----------
    names : tuple of str
        IDs, such as `val/ILSVRC2012_val_00000001.JPEG`.
    classes : (n,) int64
        From 0; in ILSVRC's sets the network index.
    sizes : (n, 2) int64
        Width and height.
    images : (m,) int64
        The image of each box, from 0, ascending.
    boxes : (m, 4) int64
        x0, y0, x1, y1 in the image's own pixels, as the file gives them: 1-based, inclusive.
    """

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    sizes: NDArray[np.int64]
    images: NDArray[np.int64]
    boxes: NDArray[np.int64]


def is_metadata(folder: Path) -> bool:
    """Whether a folder looks like a set of the WSOL benchmark."""
    return is_file(folder / "image_ids.txt")


def read_metadata(folder: Path) -> Metadata:
    """Read `image_ids.txt`, `class_labels.txt`, `image_sizes.txt` and `localization.txt`, joined by ID.

    Raises
    ------
    GroundTruthError
        With file and line: a line of another form, an ID that is unknown, missing or comes twice, a box with
        x0 > x1, a box outside of its image.
    """
    place: dict[str, int] = {}
    for name, _, where in _read_rows(folder / "image_ids.txt", 0):
        if name in place:
            raise GroundTruthError(f"{where}: image {name!r} comes twice")
        place[name] = len(place)
    classes = _one_each(folder / "class_labels.txt", 1, place)[:, 0]
    sizes = _one_each(folder / "image_sizes.txt", 2, place)
    rows = _read_rows(folder / "localization.txt", 4)
    images = np.array([_place_of(row, place) for row in rows])
    boxes = np.array([numbers for _, numbers, _ in rows])
    order_wrong = (boxes[:, :2] > boxes[:, 2:]).any(axis=1)
    for wrong, complaint in (
        (order_wrong, "x0, y0, x1, y1 were expected, x0 up to x1 and y0 up to y1"),
        ((boxes[:, 2:] > sizes[images]).any(axis=1), "the box lies outside of its image"),
    ):
        if wrong.any():
            name, numbers, where = rows[int(np.argmax(wrong))]
            raise GroundTruthError(f"{where}: {name!r}, box {numbers}: {complaint}")
    order = np.argsort(images, kind="stable")
    return Metadata(tuple(place), classes, sizes, images[order], boxes[order])


def _read_rows(path: Path, columns: int) -> list[_Row]:
    """Give lines of an ID and so many whole numbers from 0 up, each with the place where it stands."""
    rows: list[_Row] = []
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        name, *cells = line.rsplit(",", columns)
        if not name or len(cells) != columns:
            raise GroundTruthError(f"{where}: {line[:80]!r}; an ID and {columns} numbers were expected")
        numbers = [whole_number(cell, where) for cell in cells]
        if min(numbers, default=0) < 0:
            raise GroundTruthError(f"{where}: {line[:80]!r}; numbers from 0 up were expected")
        rows.append((name, numbers, where))
        if number > MOST:
            raise GroundTruthError(f"{where}: more than {MOST:,} lines; no set has as many")
    if not rows:
        raise GroundTruthError(f"{path}:1: an empty list; an image a line was expected")
    return rows


def _place_of(row: _Row, place: dict[str, int]) -> int:
    name, _, where = row
    if name not in place:
        raise GroundTruthError(f"{where}: image {name!r} is not in image_ids.txt")
    return place[name]


def _one_each(path: Path, columns: int, place: dict[str, int]) -> NDArray[np.int64]:
    """Read a file of one line an image: (n, columns), in the order of `place`."""
    found = np.full((len(place), columns), -1)
    for row in _read_rows(path, columns):
        name, numbers, where = row
        if found[_place_of(row, place), 0] >= 0:
            raise GroundTruthError(f"{where}: image {name!r} comes twice")
        found[place[name]] = numbers
    missing = np.flatnonzero(found[:, 0] < 0)
    if len(missing):
        raise GroundTruthError(f"{path}: image {list(place)[missing[0]]!r} of image_ids.txt is missing")
    return found
