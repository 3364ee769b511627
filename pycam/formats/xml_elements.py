"""XML files of annotations, read as a list of the few elements that matter."""

from __future__ import annotations

import xml.sax.handler
import xml.sax.xmlreader
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import defusedxml.sax

from pycam.errors import GroundTruthError
from pycam.formats.opening import read_file


class Element(NamedTuple):
    """An element, when it ends.

    Attributes
    ----------
    path : str
        The names of the elements around it and its own, with slashes.
    text : str
        The text between its last tag and its end, without surrounding white space.
    line : int
        The line of the file on which it ends.
    attributes : dict
        Its attributes.
    """

    path: str
    text: str
    line: int
    attributes: dict[str, str]


def read_elements(path: Path, wanted: Collection[str], largest: int, expected: str) -> list[Element]:
    """Read the elements of an XML file whose paths are wanted, in the order of their ends.

    Parameters
    ----------
    path : Path
        The file.
    wanted : collection of str
        Paths of elements, such as `annotation/object/name`.
    largest : int
        The largest number of bytes. Larger files could make expat use minutes and much memory.
    expected : str
        The expected kind of file, for messages.

    Raises
    ------
    GroundTruthError
        With file and line: the file is missing, larger, not well-formed, or defines entities.
    """
    content = read_file(path, expected, largest, GroundTruthError)
    collector = _Collector(wanted)
    try:
        defusedxml.sax.parseString(content, collector)
    except defusedxml.DefusedXmlException as error:
        raise GroundTruthError(
            f"{path}:{collector.line}: refused ({type(error).__name__}): an annotation defines no entities"
        ) from None
    except (xml.sax.SAXException, ValueError, LookupError) as error:
        reason = error.getMessage() if isinstance(error, xml.sax.SAXException) else error
        raise GroundTruthError(
            f"{path}:{collector.line}: not well-formed XML ({reason}): is the file complete?"
        ) from None
    return collector.elements


class _Collector(xml.sax.handler.ContentHandler):
    _locator: xml.sax.xmlreader.Locator | None

    def __init__(self, wanted: Collection[str]) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._wanted = wanted
        self._deepest = 1 + max(path.count("/") for path in wanted)
        self._names: list[str] = []
        self._attributes: list[dict[str, str]] = []
        self._text: list[str] = []

    @property
    def line(self) -> int:
        return (self._locator.getLineNumber() if self._locator else None) or 1

    def startElement(self, name: str, attrs: xml.sax.xmlreader.AttributesImpl) -> None:
        self._names.append(name)
        self._attributes.append(dict(attrs.items()) if len(self._names) <= self._deepest else {})
        self._text.clear()

    def characters(self, content: str) -> None:
        self._text.append(content)

    def endElement(self, name: str) -> None:
        attributes = self._attributes.pop()
        # Joining the names of a deeply nested file at every level would take quadratic time.
        if len(self._names) <= self._deepest and (path := "/".join(self._names)) in self._wanted:
            self.elements.append(Element(path, "".join(self._text).strip(), self.line, attributes))
        self._names.pop()
