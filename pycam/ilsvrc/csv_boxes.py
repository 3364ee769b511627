"""Boxes in a CSV file with a header: `image,x0,y0,x1,y1`, and optionally `label`, `width` and `height`.

A box is in pixels of its image, 0-based and half-open: x1 and y1 are the first column and row outside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pycam.errors import GroundTruthError
from pycam.formats.lines import cells_of, number_of, numbered_lines, whole_number
from pycam.ilsvrc.classes import number_classes
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.source import Source, whole_boxes

NEEDED = ("image", "x0", "y0", "x1", "y1")
OPTIONAL = ("label", "width", "height")


def read_csv(path: Path, listed: tuple[str, ...] = ()) -> Source:
    """Read the boxes of images, one per line; images are in the order in which they first occur.

    Classes are numbered as in `number_classes`; `listed` has their names, if the user gives them. Without labels, every
    image has class 0. Fractions of pixels are rounded.

    Raises
    ------
    GroundTruthError
        With file and line: a column is missing, a cell is not a number, a label is empty or unknown, a box is empty or
        lies outside of its image, or an image has two sizes.
    """
    lines = numbered_lines(path)
    column = _header(path, next(lines, (1, ""))[1])
    row_of: dict[str, int] = {}
    sizes: list[tuple[int, int]] = []
    images: list[int] = []
    corners: list[list[float]] = []
    labels: list[str] = []
    places: list[str] = []
    for number, line in lines:
        if not line:
            continue
        where = f"{path}:{number}"
        cells = cells_of(line, where)
        if len(cells) != len(column):
            raise GroundTruthError(f"{where}: {len(cells)} cells; {len(column)} were expected, as in the header")
        name = normal(cells[column["image"]])
        if not name:
            raise GroundTruthError(f"{where}: the cell of the image is empty; its file name was expected")
        size = (0, 0)
        if "width" in column:
            width, height = (whole_number(cells[column[side]], f"{where}: {side}") for side in ("width", "height"))
            if min(width, height) < 1:
                raise GroundTruthError(f"{where}: an image of {width}×{height}; at least one pixel was expected")
            size = width, height
        row = row_of.setdefault(name, len(row_of))
        if row == len(sizes):
            sizes.append(size)
        elif sizes[row] != size:
            other = "×".join(map(str, sizes[row]))
            raise GroundTruthError(
                f"{where}: {name!r} has {size[0]}×{size[1]} pixels here and {other} in a line before"
            )
        images.append(row)
        corners.append([number_of(cells[column[side]], f"{where}: {side}") for side in NEEDED[1:]])
        labels.append(cells[column["label"]] if "label" in column else "0")
        places.append(where)
    if not corners:
        raise GroundTruthError(f"{path}:2: no box in it; one box per line was expected")
    classes, names = number_classes(labels, places, listed if "label" in column else ())
    order = np.argsort(images, kind="stable")
    rows = np.array(images)
    boxes = whole_boxes(np.array(corners), np.array(sizes)[rows], places)
    return Source(
        path,
        len(row_of),
        tuple(row_of),
        None,
        np.array(sizes),
        boxes[order],
        classes[order],
        rows[order],
        names or listed,
        labelled="label" in column,
    )


def _header(path: Path, line: str) -> dict[str, int]:
    """Return the position of each column."""
    found = [cell.lower() for cell in cells_of(line, f"{path}:1")]
    if missing := [name for name in NEEDED if name not in found]:
        form = ",".join(NEEDED) + "".join(f"[,{name}]" for name in OPTIONAL)
        raise GroundTruthError(f"{path}:1: no column {missing[0]!r} in {line[:80]!r}; the header {form} was expected")
    if ("width" in found) != ("height" in found):
        raise GroundTruthError(f"{path}:1: one of the columns width and height; both or none were expected")
    return {name: position for position, name in enumerate(found)}
