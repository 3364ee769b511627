"""The files of ILSVRC's development kit (devkit): labels, blacklist, table of classes, cached ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError
from pycam.formats.lines import numbered_lines, whole_number
from pycam.formats.mat import read_mat
from pycam.ilsvrc.classes import class_index, has_ilsvrc_classes, indices
from pycam.ilsvrc.names import image_name
from pycam.ilsvrc.source import Source
from pycam.ilsvrc.synsets import CLASSES, synsets


def read_class_list(path: Path, names: tuple[str, ...] = ()) -> Source:
    """Read the ground-truth class of each image from a list.

    Parameters
    ----------
    path : Path
        A devkit list with one ILSVRC2014 ID per line, or a `val.txt` with one file name and class per line, a network
        index or a name. If the classes are not ILSVRC's, the class alone may stand on each line, too.
    names : tuple of str
        The names of the classes; empty if they are not known, which are ILSVRC's for a list without file names.

    Returns
    -------
    Source
        Classes, and names if the list has them; no boxes.

    Raises
    ------
    GroundTruthError
        With file and line: the list is empty, a line has another form, a class is unknown, or a file name occurs
        twice.
    """
    known, ilsvrc = indices(names), has_ilsvrc_classes(names)
    line_of: dict[str, int] = {}
    classes: list[int] = []
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        *name, text = line.rsplit(maxsplit=1) or [""]
        if number > 1 and bool(name) != bool(line_of):
            raise GroundTruthError(f"{where}: {line[:80]!r} does not have the form of the lines before it")
        if name:
            stem = image_name(name[0])
            if stem in line_of:
                raise GroundTruthError(f"{where}: image {stem!r} is already on line {line_of[stem]}")
            line_of[stem] = number
        if name or not ilsvrc:
            classes.append(class_index(text, known, where))
        else:
            value = whole_number(text, where)
            if not 1 <= value <= CLASSES:
                raise GroundTruthError(f"{where}: label {value}; an ILSVRC2014 ID, 1…{CLASSES}, was expected")
            classes.append(int(synsets().index_of_id[value]))
    if not classes:
        raise GroundTruthError(f"{path}:1: an empty list; one label per line was expected")
    found = names if line_of or not ilsvrc else synsets().wnids
    return Source(path, len(classes), tuple(line_of) or None, np.array(classes), class_names=found)


def read_blacklist(path: Path | None, count: int) -> tuple[NDArray[np.bool_], str]:
    """Read the blacklist: the numbers, 1-based, of the images that localization excludes.

    Parameters
    ----------
    path : Path or None
        A file with one number per line; None excludes no image.
    count : int
        The number of images.

    Returns
    -------
    (count,) bool, str
        A mask of the excluded images, and a note that tells their number and the number of duplicates.

    Raises
    ------
    GroundTruthError
        With file and line: a line is not a number from 1 to `count`.
    """
    blacklisted = np.zeros(count, dtype=bool)
    if path is None:
        return blacklisted, "no blacklist is given: localization counts every image"
    duplicates = 0
    for line_number, line in numbered_lines(path):
        where = f"{path}:{line_number}"
        number = whole_number(line, where)
        if not 1 <= number <= count:
            raise GroundTruthError(f"{where}: image {number}; a number from 1 to {count} was expected")
        duplicates += int(blacklisted[number - 1])
        blacklisted[number - 1] = True
    note = f"{path.name} excludes {blacklisted.sum()} of {count} images from localization"
    return blacklisted, note + (f"; {duplicates} of its lines are duplicates" if duplicates else "")


def check_meta(path: Path) -> None:
    """Check that `meta_clsloc.mat` maps ILSVRC2014 IDs to WordNet IDs as pycam's own table does.

    Raises
    ------
    GroundTruthError
        With the first class that differs.
    """
    structs = _read_structs(path, "synsets")
    try:
        wnid_of = {int(np.ravel(row["ILSVRC2014_ID"])[0]): str(np.ravel(row["WNID"])[0]) for row in structs}
    except (IndexError, TypeError, ValueError):
        raise GroundTruthError(f"{path}: synsets: fields ILSVRC2014_ID and WNID were expected") from None
    # Only the 1000 classes are compared: some devkits also list the inner nodes of the tree, with larger IDs.
    for number, wnid in zip(synsets().ids.tolist(), synsets().wnids, strict=True):
        if wnid_of.get(number) != wnid:
            found = wnid_of.get(number, "missing")[:20]
            raise GroundTruthError(f"{path}: synsets: ID {number} is {found}; {wnid} was expected")


def read_cache(path: Path) -> Source:
    """Read `cache_groundtruth.mat`: a struct array `rec`; each element has `objects` with `label` and `bbox`.

    Returns
    -------
    Source
        Boxes and their classes, without image names, sizes and classes.

    Raises
    ------
    GroundTruthError
        With the number of the image: a field is missing, a label is outside of 1…1000, a box is not four
        whole numbers from 0 up, or xmin > xmax.
    """
    records = _read_structs(path, "rec")
    images: list[int] = []
    labels: list[float] = []
    corners: list[NDArray[Any]] = []
    for image, record in enumerate(records):
        try:
            for thing in np.ravel(record["objects"]):
                (label,), box = np.ravel(thing["label"]), np.ravel(thing["bbox"])
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
        (~(np.isfinite(boxes) & (boxes == np.rint(boxes))).all(1), "a bbox with numbers that are not whole"),
        ((boxes[:, :2] > boxes[:, 2:]).any(1), "a bbox with min above max"),
        ((boxes < 0).any(1) | (boxes > 1e9).any(1), "a bbox outside of the image"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            found = f"label {labels[first]:g}, bbox {' '.join(f'{value:g}' for value in boxes[first])}"
            raise GroundTruthError(f"{path}: rec({images[first] + 1}): {complaint} ({found})")
    classes = synsets().index_of_id[ids.astype(np.int64)]
    return Source(
        path,
        len(records),
        boxes=boxes.astype(np.int64),
        box_classes=classes,
        box_images=np.array(images),
        class_names=synsets().wnids,
    )


def _read_structs(path: Path, name: str) -> NDArray[Any]:
    """Return the elements of a struct array: (n,) records of objects."""
    try:
        value = read_mat(path, [name])[name]
    except FormatError as error:
        raise GroundTruthError(str(error)) from None
    if value.dtype.names is None:
        raise GroundTruthError(f"{path}: {name} is {value.dtype}; a struct array was expected")
    return np.ravel(value)
