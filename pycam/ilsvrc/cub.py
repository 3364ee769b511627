"""The files of Caltech-UCSD Birds (CUB_200_2011): boxes are x, y, width, height in pixels, 0-based."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file, is_folder
from pycam.ilsvrc.lines import numbered_lines
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.source import Source, whole_boxes


def is_cub(folder: Path) -> bool:
    """Return True if a folder has CUB's files."""
    return is_file(folder / "images.txt") and is_file(folder / "bounding_boxes.txt")


def read_cub(folder: Path) -> Source:
    """Read `images.txt`, `image_class_labels.txt`, `bounding_boxes.txt`, and `classes.txt` and the split if they exist.

    With `train_test_split.txt`, only the test images are used. Network index i is class i + 1. The sizes of the images
    are read from the images themselves, if the folder `images/` is there.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, an image has no class or box, a box lies outside of its image, or
        an image cannot be read.
    """
    paths = _read(folder / "images.txt", 1)
    if is_file(folder / "train_test_split.txt"):
        split = _read(folder / "train_test_split.txt", 1)
        paths = {key: path for key, path in paths.items() if split.get(key, (("",), ""))[0] != ("1",)}
    if not paths:
        raise GroundTruthError(f"{folder / 'train_test_split.txt'}: no test image in it: every image is for training")
    labels, boxes = (
        _read(folder / name, count) for name, count in (("image_class_labels.txt", 1), ("bounding_boxes.txt", 4))
    )
    names: list[str] = []
    classes: list[int] = []
    corners: list[tuple[float, ...]] = []
    places: list[str] = []
    for key, ((path,), where) in paths.items():
        for found, name in ((labels, "image_class_labels.txt"), (boxes, "bounding_boxes.txt")):
            if key not in found:
                raise GroundTruthError(f"{folder / name}: image {key} of {where} is missing")
        (label,), place = labels[key]
        classes.append(int(_number(label, place)) - 1)
        if classes[-1] < 0:
            raise GroundTruthError(f"{place}: class {label}; a number from 1 on was expected")
        x, y, width, height = (_number(text, boxes[key][1]) for text in boxes[key][0])
        corners.append((x, y, x + width, y + height))
        names.append(normal(path))
        places.append(boxes[key][1])
    sizes = np.array([_size(folder / "images" / path) for (path,), _ in paths.values()])
    whole = whole_boxes(np.array(corners), sizes, places)
    indices, rows = np.array(classes), np.arange(len(names))
    return Source(folder, len(names), tuple(names), indices, sizes, whole, indices, rows, _class_names(folder))


def _class_names(folder: Path) -> tuple[str, ...]:
    if not is_file(folder / "classes.txt"):
        return ()
    return tuple(name for (name,), _ in _read(folder / "classes.txt", 1).values())


def _read(path: Path, columns: int) -> dict[str, tuple[tuple[str, ...], str]]:
    """Read lines of an ID and `columns` values: ID -> values, and place."""
    found: dict[str, tuple[tuple[str, ...], str]] = {}
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        cells = line.split(maxsplit=1) if columns == 1 else line.split()
        if len(cells) != columns + 1:
            what = "a value was" if columns == 1 else f"{columns} values were"
            raise GroundTruthError(f"{where}: {line[:80]!r}; an ID and {what} expected")
        if cells[0] in found:
            raise GroundTruthError(f"{where}: ID {cells[0]} occurs twice")
        found[cells[0]] = tuple(cells[1:]), where
    if not found:
        raise GroundTruthError(f"{path}:1: an empty list; one image per line was expected")
    return found


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e9:
        raise GroundTruthError(f"{where}: {text[:40]!r}; a number was expected")
    return number


def _size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image; zeros if its folder does not exist."""
    if not is_file(path) and not is_folder(path.parent):
        return 0, 0
    try:
        with Image.open(path) as image:
            width, height = image.size
            return width, height
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise GroundTruthError(
            f"{path}: the size of the image cannot be read ({error}): is the file complete?"
        ) from None
