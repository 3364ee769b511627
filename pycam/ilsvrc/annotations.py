"""VOC-style XML files, one per image, as Pascal VOC and ImageNet publish them: 1-based, both corners included."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycam.errors import GroundTruthError
from pycam.formats.files import is_folder
from pycam.formats.lines import number_of, whole_number
from pycam.formats.xml_elements import Element, read_elements
from pycam.ilsvrc.classes import number_classes
from pycam.ilsvrc.names import image_name, known_name, normal
from pycam.ilsvrc.source import Source

LARGEST = 1 << 20
"""The largest number of bytes of an annotation."""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_WANTED = {
    "annotation",
    "annotation/filename",
    "annotation/size/width",
    "annotation/size/height",
    "annotation/object",
    "annotation/object/name",
    *(f"annotation/object/bndbox/{side}" for side in _SIDES),
}


@dataclass(frozen=True)
class AnnotatedBox:
    """A box of an annotation.

    Attributes
    ----------
    label : str
        Name of the class; a WordNet ID in ImageNet's files.
    box : tuple of int
        xmin, ymin, xmax, ymax in 1-based inclusive pixels.
    line : int
        The line of the file on which the box ends.
    """

    label: str
    box: tuple[int, int, int, int]
    line: int


@dataclass(frozen=True)
class Annotation:
    """The content of an XML file.

    Attributes
    ----------
    size : tuple of int or None
        Width and height of the image; None if the file has no size.
    boxes : tuple of AnnotatedBox
        In the order of the file.
    """

    size: tuple[int, int] | None
    boxes: tuple[AnnotatedBox, ...]


def read_annotations(folder: Path, listed: tuple[str, ...] = ()) -> Source:
    """Read all annotations of a folder, or of its subfolder `val/` or `Annotations/`, in the order of their names.

    Classes are numbered as in `number_classes`; `listed` has their names, if the user gives them.

    Raises
    ------
    GroundTruthError
        The folder has no annotations or no boxes, a box has an unknown class, or as `read_annotation`.
    """
    if not any(folder.glob("*.xml")):
        folder = next((each for name in ("val", "Annotations") if is_folder(each := folder / name)), folder)
    file_of: dict[str, Path] = {}
    for file in folder.glob("*.xml"):
        if (other := file_of.setdefault(normal(file.stem), file)) is not file:
            raise GroundTruthError(f"{file}: {other} has the same name in another form: remove one of the two")
    names = tuple(sorted(file_of))
    files = [file_of[name] for name in names]
    if not files:
        others = "a WSOL set (image_ids.txt, …) nor CUB's files (images.txt, …)"
        raise GroundTruthError(f"{folder}: neither XML annotations nor {others} in it")
    sizes: list[tuple[int, int]] = []
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[str] = []
    places: list[str] = []
    images: list[int] = []
    for image, file in enumerate(files):
        annotation = read_annotation(file)
        sizes.append(annotation.size or (0, 0))
        for annotated in annotation.boxes:
            labels.append(annotated.label)
            places.append(f"{file}:{annotated.line}")
            boxes.append(annotated.box)
            images.append(image)
    if not boxes:
        raise GroundTruthError(f"{folder}: no box in {len(files)} annotations")
    classes, class_names = number_classes(labels, places, listed)
    arrays = (np.array(sizes), np.array(boxes), classes, np.array(images))
    return Source(folder, len(files), names, None, *arrays, class_names=class_names)


def read_annotation(path: Path) -> Annotation:
    """Read and check a VOC-style XML file.

    Entities and external references are refused. Coordinates range from 0 (some of ImageNet's files contain 0,
    although they count from 1) to the image's width or height; fractions of pixels are rounded.

    Raises
    ------
    GroundTruthError
        With file and line: the XML is damaged or is not an annotation, the file name is that of another image,
        a coordinate is not a number, xmin > xmax, or a box lies outside of the image.
    """
    return _annotation(path, read_elements(path, _WANTED, LARGEST, "the annotation of an image"))


def _annotation(path: Path, fields: list[Element]) -> Annotation:
    if not fields or fields[-1].path != "annotation":
        raise GroundTruthError(f"{path}:1: no <annotation>; a VOC-style annotation was expected")
    names = {normal(path.stem), image_name(path.stem)}
    numbers: dict[str, int] = {}
    label = ""
    boxes: list[AnnotatedBox] = []
    for name, text, line, _ in fields:
        where = f"{path}:{line}"
        tag = name.rpartition("/")[2]
        if tag == "filename" and known_name(text, names) is None:
            raise GroundTruthError(f"{where}: the file annotates {text[:80]!r}, not {path.stem!r}")
        if tag in ("width", "height", *_SIDES):
            # A few of Pascal VOC's files have fractions of pixels.
            place = f"{where}: <{tag}>"
            numbers[tag] = round(number_of(text, place)) if tag in _SIDES else whole_number(text, place)
            if tag not in _SIDES and numbers[tag] < 1:
                raise GroundTruthError(f"{where}: <{tag}> is {numbers[tag]}; at least 1 pixel was expected")
        elif tag == "name":
            label = text
        elif tag == "object":
            if missing := [side for side in _SIDES if side not in numbers]:
                raise GroundTruthError(f"{where}: an object has no <{missing[0]}>")
            x0, y0, x1, y1 = (numbers.pop(side) for side in _SIDES)
            boxes.append(AnnotatedBox(label, (x0, y0, x1, y1), line))
            label = ""
    size = (numbers["width"], numbers["height"]) if {"width", "height"} <= numbers.keys() else None
    for annotated in boxes:
        _check_inside(annotated, size, f"{path}:{annotated.line}")
    return Annotation(size, tuple(boxes))


def _check_inside(annotated: AnnotatedBox, size: tuple[int, int] | None, where: str) -> None:
    x0, y0, x1, y1 = annotated.box
    if x0 > x1 or y0 > y1:
        raise GroundTruthError(f"{where}: box {x0} {y0} {x1} {y1}: xmin ≤ xmax and ymin ≤ ymax were expected")
    if min(x0, y0) < 0 or (size is not None and (x1 > size[0] or y1 > size[1])):
        extent = f"of {size[0]}×{size[1]}" if size else "(a coordinate is below 0)"
        raise GroundTruthError(f"{where}: box {x0} {y0} {x1} {y1} lies outside of the image {extent}")
