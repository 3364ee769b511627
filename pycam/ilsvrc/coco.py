"""Boxes in COCO's JSON: `images`, `annotations`, `categories`. A box is x, y, width, height, 0-based, in fractions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from pycam.errors import GroundTruthError
from pycam.formats.opening import read_file
from pycam.ilsvrc.classes import number_classes
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.source import Source, whole_boxes

LARGEST = 1 << 30
"""The largest number of bytes of a file; that of COCO's training set has 470 MB."""

Side = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
"""Pixels of an image, 0 if they are not known."""


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: Side = 0
    height: Side = 0


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, listed: tuple[str, ...] = ()) -> Source:
    """Read the boxes of images; images are in the order of the file.

    Classes are numbered in the order of the categories' ids, or as in `listed`, the names of all classes. Boxes of
    crowds are left out. Fractions of pixels are rounded.

    Raises
    ------
    GroundTruthError
        The file has another form, an image has an impossible size, an id is unknown or occurs twice, a class is not in
        `listed`, or a box is empty or lies outside of its image.
    """
    form = "COCO's JSON with images, annotations and categories"
    try:
        content = msgspec.json.decode(read_file(path, form, LARGEST, GroundTruthError), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GroundTruthError(f"{path}: expected {form}, but: {error}") from None
    names = _by_id(path, "images", {image.id: normal(image.file_name) for image in content.images}, len(content.images))
    ordered = sorted(content.categories, key=lambda each: each.id)
    categories = _by_id(path, "categories", {each.id: normal(each.name) for each in ordered}, len(ordered))
    if len(set(names.values())) < len(names):
        raise GroundTruthError(f"{path}: images: a file name occurs twice")
    row_of = {identity: row for row, identity in enumerate(names)}
    images, corners, labels, places = [], [], [], []
    for number, annotation in enumerate(content.annotations):
        where = f"{path}: annotations[{number}]"
        if annotation.image_id not in row_of or annotation.category_id not in categories:
            known = annotation.image_id in row_of
            what, identity = ("category", annotation.category_id) if known else ("image", annotation.image_id)
            raise GroundTruthError(f"{where}: {what}_id {identity}: the file has no such {what}")
        if annotation.iscrowd:
            continue
        x, y, width, height = annotation.bbox
        corners.append((x, y, x + width, y + height))
        images.append(row_of[annotation.image_id])
        labels.append(categories[annotation.category_id])
        places.append(where)
    if not corners:
        raise GroundTruthError(f"{path}: annotations: no box in it; boxes were expected")
    classes, class_names = number_classes(labels, places, listed or tuple(categories.values()))
    sizes = np.array([(image.width, image.height) for image in content.images])
    rows, order = np.array(images), np.argsort(images, kind="stable")
    boxes = whole_boxes(np.array(corners), sizes[rows], places)
    return Source(
        path,
        len(names),
        tuple(names.values()),
        None,
        sizes,
        boxes[order],
        classes[order],
        rows[order],
        class_names,
    )


def _by_id(path: Path, what: str, by_id: dict[int, str], count: int) -> dict[int, str]:
    if not count or len(by_id) < count:
        problem = "an id occurs twice" if count else "an empty list"
        raise GroundTruthError(f"{path}: {what}: {problem}; one id for each was expected")
    return by_id
