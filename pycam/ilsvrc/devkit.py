"""The files of ILSVRC's development kit: labels, blacklist, table of classes, cached ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError
from pycam.formats.mat import read_mat
from pycam.ilsvrc.lines import numbered_lines, whole_number
from pycam.ilsvrc.synsets import CLASSES, synsets


@dataclass(frozen=True)
class TrueClasses:
    """The true class of each image, as a list of its own says.

    Attributes
    ----------
    classes : (n,) int64
        Network indices.
    names : tuple of str, or None
        Image names without extension, where the list gives them; else its order is that of the images.
    path : Path
        The list. Line i + 1 holds item i.
    """

    classes: NDArray[np.int64]
    names: tuple[str, ...] | None
    path: Path


def read_true_classes(path: Path) -> TrueClasses:
    """Read a devkit list, an ILSVRC2014 ID a line, or a `val.txt`, a file name and a network index a line.

    Raises
    ------
    GroundTruthError
        With file and line: an empty list, a line of another form, an ID outside of 1…1000, an index outside
        of 0…999, a name that comes twice.
    """
    names: dict[str, int] = {}
    classes: list[int] = []
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        *name, text = line.rsplit(maxsplit=1) or [""]
        value = whole_number(text, where)
        if number > 1 and bool(name) != bool(names):
            raise GroundTruthError(f"{where}: {line[:80]!r} is not of the form of the lines before it")
        if name:
            stem = Path(name[0]).stem
            if stem in names:
                raise GroundTruthError(f"{where}: image {stem!r} came before, on line {names[stem]}")
            if not 0 <= value < CLASSES:
                raise GroundTruthError(f"{where}: network index {value}; 0…{CLASSES - 1} was expected")
            names[stem] = number
            classes.append(value)
        else:
            if not 1 <= value <= CLASSES:
                raise GroundTruthError(f"{where}: label {value}; an ILSVRC2014 ID, 1…{CLASSES}, was expected")
            classes.append(int(synsets().index_of_id[value]))
    if not classes:
        raise GroundTruthError(f"{path}:1: an empty list; a label a line was expected")
    return TrueClasses(np.array(classes), tuple(names) or None, path)


def read_blacklist(path: Path | None, count: int) -> tuple[NDArray[np.bool_], str]:
    """Read the numbers, from 1, of the images that localization leaves out.

    Parameters
    ----------
    path : Path or None
        A number a line; none leaves no image out.
    count : int
        How many images there are.

    Returns
    -------
    (count,) bool, str
        Which images are left out, and one line that says so, duplicates included.
    """
    blacklisted = np.zeros(count, dtype=bool)
    if path is None:
        return blacklisted, "no blacklist was given: localization counts every image"
    twice = 0
    for line_number, line in numbered_lines(path):
        where = f"{path}:{line_number}"
        number = whole_number(line, where)
        if not 1 <= number <= count:
            raise GroundTruthError(f"{where}: image {number}, but the images are 1…{count}")
        twice += int(blacklisted[number - 1])
        blacklisted[number - 1] = True
    note = f"{path.name} leaves {blacklisted.sum()} of {count} images out of localization"
    return blacklisted, note + (f"; {twice} of its lines repeat another" if twice else "")


def check_meta(path: Path) -> None:
    """Check that `meta_clsloc.mat` joins ILSVRC2014 IDs and WordNet IDs as pycam's own table does.

    Raises
    ------
    GroundTruthError
        Naming the first class that differs.
    """
    table = synsets()
    seen: set[int] = set()
    for row in _read_structs(path, "synsets"):
        try:
            number, wnid = int(_flat(row["ILSVRC2014_ID"])[0]), str(_flat(row["WNID"])[0])
        except (IndexError, TypeError, ValueError):
            raise GroundTruthError(f"{path}: synsets: fields ILSVRC2014_ID and WNID were expected") from None
        if number > CLASSES:
            continue  # Inner nodes of the tree follow the 1000 classes in some of the kits.
        index = table.index_of_wnid.get(wnid)
        if index is None or table.ids[index] != number:
            ours = "is no class of ILSVRC" if index is None else f"has ID {table.ids[index]}"
            raise GroundTruthError(f"{path}: says that {wnid[:20]} has ID {number}; it {ours} in pycam's table")
        seen.add(number)
    if len(seen) != CLASSES:
        raise GroundTruthError(f"{path}: {len(seen)} classes; {CLASSES} were expected")


@dataclass(frozen=True)
class CachedBoxes:
    """The boxes of a devkit cache, flat, one row each; `count` images.

    Attributes
    ----------
    images : (m,) int64
        From 0, ascending.
    classes : (m,) int64
        Network indices.
    boxes : (m, 4) int64
        xmin, ymin, xmax, ymax, inclusive pixels that count from 1.
    """

    count: int
    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]


def read_cache(path: Path) -> CachedBoxes:
    """Read `cache_groundtruth.mat`: struct array `rec`, each with `objects` of `label` and `bbox`.

    Raises
    ------
    GroundTruthError
        Naming the image by its number: a field that is missing, a label outside of 1…1000, a box that is
        not four whole numbers from 0 up, xmin > xmax.
    """
    records = _read_structs(path, "rec")
    images: list[int] = []
    labels: list[float] = []
    corners: list[NDArray[Any]] = []
    for image, record in enumerate(records):
        try:
            for thing in _flat(record["objects"]):
                (label,), box = _flat(thing["label"]), _flat(thing["bbox"])
                labels.append(float(label))
                corners.append(box.astype(np.float64).reshape(4))
                images.append(image)
        except (IndexError, TypeError, ValueError):
            raise GroundTruthError(
                f"{path}: rec({image + 1}): objects with one label and a bbox of four numbers were expected"
            ) from None
    if not images:
        raise GroundTruthError(f"{path}: rec: an empty list; boxes were expected")
    ids, boxes = np.array(labels), np.array(corners)
    for wrong, complaint in (
        (~((ids >= 1) & (ids <= CLASSES) & (ids == np.rint(ids))), f"a label outside of 1…{CLASSES}"),
        (~(np.isfinite(boxes) & (boxes == np.rint(boxes))).all(1), "a bbox that is not of whole numbers"),
        ((boxes[:, :2] > boxes[:, 2:]).any(1), "a bbox with min above max"),
        ((boxes < 0).any(1) | (boxes > 1e9).any(1), "a bbox outside of the image"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            came = f"label {labels[first]:g}, bbox {' '.join(f'{value:g}' for value in boxes[first])}"
            raise GroundTruthError(f"{path}: rec({images[first] + 1}): {complaint} ({came})")
    classes = synsets().index_of_id[ids.astype(np.int64)]
    return CachedBoxes(len(records), np.array(images), classes, boxes.astype(np.int64))


def _read_structs(path: Path, name: str) -> NDArray[Any]:
    """Give the elements of a struct array: (n,) records of objects."""
    try:
        value = read_mat(path, [name])[name]
    except FormatError as error:
        raise GroundTruthError(str(error)) from None
    if value.dtype.names is None:
        raise GroundTruthError(f"{path}: {name} is {value.dtype}; a struct array was expected")
    return _flat(value)


def _flat(value: Any) -> NDArray[Any]:
    return np.asarray(value).reshape(-1)
