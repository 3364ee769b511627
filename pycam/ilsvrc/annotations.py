"""The VOC-style XML file of one image, as ImageNet publishes its boxes."""

from __future__ import annotations

import xml.sax
import xml.sax.handler
import xml.sax.xmlreader
from dataclasses import dataclass
from pathlib import Path

import defusedxml
import defusedxml.sax

from pycam.errors import GroundTruthError
from pycam.formats.opening import read_file
from pycam.ilsvrc.lines import whole_number

LARGEST = 1 << 20
"""More bytes than any annotation has: over some of more, expat would take minutes, and much memory."""

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
    """A box: WordNet ID, (xmin, ymin, xmax, ymax) in 1-based inclusive pixels, the line where it ends."""

    wnid: str
    box: tuple[int, int, int, int]
    line: int


@dataclass(frozen=True)
class Annotation:
    """What an XML file says of its image; `size` is (width, height), or None where the file gives none."""

    size: tuple[int, int] | None
    boxes: tuple[AnnotatedBox, ...]


def read_annotation(path: Path) -> Annotation:
    """Read and check a VOC-style XML file.

    Entities, and whatever it refers to outside of itself, are refused. Coordinates run from 0 (ImageNet's
    files hold it, 1-based as they are) to the image's width or height.

    Raises
    ------
    GroundTruthError
        With file and line: XML that is damaged or no annotation, another image's file name, a coordinate
        that is no whole number, xmin > xmax, a box outside of the image.
    """
    content = read_file(path, "the annotation of an image", LARGEST, GroundTruthError)
    collector = _Collector()
    try:
        defusedxml.sax.parseString(content, collector)
    except defusedxml.DefusedXmlException as error:
        raise GroundTruthError(
            f"{path}:{collector.line}: refused ({type(error).__name__}): an annotation defines no entities"
        ) from None
    except (xml.sax.SAXException, ValueError, LookupError) as error:
        raise GroundTruthError(
            f"{path}:{collector.line}: not well-formed XML ({_reason(error)}); is the file whole?"
        ) from None
    return _annotation(path, collector.fields)


class _Collector(xml.sax.handler.ContentHandler):
    """Notes the few elements that matter as (path of names, text, line), each when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str, int]] = []
        self._names: list[str] = []
        self._text: list[str] = []
        self._locator: xml.sax.xmlreader.Locator | None = None

    @property
    def line(self) -> int:
        return (self._locator.getLineNumber() if self._locator else None) or 1

    def setDocumentLocator(self, locator: xml.sax.xmlreader.Locator) -> None:
        self._locator = locator

    def startElement(self, name: str, attrs: xml.sax.xmlreader.AttributesImpl) -> None:
        self._names.append(name)
        self._text.clear()

    def characters(self, content: str) -> None:
        self._text.append(content)

    def endElement(self, name: str) -> None:
        if len(self._names) <= 4:
            path = "/".join(self._names)
            if path in _WANTED:
                self.fields.append((path, "".join(self._text).strip(), self.line))
        self._names.pop()


def _annotation(path: Path, fields: list[tuple[str, str, int]]) -> Annotation:
    if not fields or fields[-1][0] != "annotation":
        raise GroundTruthError(f"{path}:1: no <annotation>; a VOC-style annotation was expected")
    size: dict[str, int] = {}
    sides: dict[str, int] = {}
    wnid = ""
    boxes: list[AnnotatedBox] = []
    for name, text, line in fields:
        where = f"{path}:{line}"
        tag = name.rpartition("/")[2]
        if tag == "filename" and Path(text).stem != path.stem:
            raise GroundTruthError(f"{where}: says that it annotates {text[:80]!r}, not {path.stem!r}")
        if tag in ("width", "height"):
            size[tag] = whole_number(text, f"{where}: <{tag}>")
            if size[tag] < 1:
                raise GroundTruthError(f"{where}: <{tag}> is {size[tag]}; at least 1 pixel was expected")
        elif tag in _SIDES:
            sides[tag] = whole_number(text, f"{where}: <{tag}>")
        elif tag == "name":
            wnid = text
        elif tag == "object":
            if missing := [side for side in _SIDES if side not in sides]:
                raise GroundTruthError(f"{where}: an object without <{missing[0]}>")
            box = (sides["xmin"], sides["ymin"], sides["xmax"], sides["ymax"])
            boxes.append(AnnotatedBox(wnid, box, line))
            sides, wnid = {}, ""
    found = (size["width"], size["height"]) if len(size) == 2 else None
    for annotated in boxes:
        _check_inside(annotated, found, f"{path}:{annotated.line}")
    return Annotation(found, tuple(boxes))


def _check_inside(annotated: AnnotatedBox, size: tuple[int, int] | None, where: str) -> None:
    x0, y0, x1, y1 = annotated.box
    if x0 > x1 or y0 > y1:
        raise GroundTruthError(f"{where}: box {x0} {y0} {x1} {y1}: xmin ymin xmax ymax were expected, min up to max")
    if min(x0, y0) < 0 or (size is not None and (x1 > size[0] or y1 > size[1])):
        extent = f"of {size[0]}×{size[1]}" if size else "(no coordinate is below 0)"
        raise GroundTruthError(f"{where}: box {x0} {y0} {x1} {y1} lies outside of the image {extent}")


def _reason(error: Exception) -> str:
    return error.getMessage() if isinstance(error, xml.sax.SAXException) else str(error)
