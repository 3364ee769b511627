"""Text in images (Figure 11): the rectangles of Street View Text, and how much of a map lies in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.xml_elements import read_elements
from pycam.ilsvrc.names import image_name, normal

LARGEST = 1 << 24
"""The largest number of bytes of a list; that of the data set has 150,000."""

_IMAGE = "tagset/image"
_RECTANGLE = f"{_IMAGE}/taggedRectangles/taggedRectangle"
_WANTED = {"tagset", _IMAGE, f"{_IMAGE}/imageName", f"{_IMAGE}/Resolution", _RECTANGLE, f"{_RECTANGLE}/tag"}


@dataclass(frozen=True, eq=False)
class TaggedImage:
    """The words in an image.

    Attributes
    ----------
    size : (int, int) or None
        Width and height of the image; None if the file has no resolution.
    boxes : (n, 4) float64
        x0, y0, x1, y1 of the rectangles in pixels, half-open.
    words : tuple of str
        The word in each rectangle.
    """

    size: tuple[int, int] | None
    boxes: NDArray[np.float64]
    words: tuple[str, ...]

    def mask(self, width: int, height: int) -> NDArray[np.bool_]:
        """Return the pixels that the rectangles cover in an image, (height, width)."""
        covered = np.zeros((height, width), np.bool_)
        for x0, y0, x1, y1 in self.boxes_in(width, height).round().astype(np.intp):
            covered[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        return covered

    def boxes_in(self, width: int, height: int) -> NDArray[np.float64]:
        """Return the boxes in pixels of an image that may have another size, (n, 4)."""
        scale = np.ones(2) if self.size is None else np.array([width, height]) / self.size
        return self.boxes * np.tile(scale, 2)


def read_tagged_images(path: Path) -> dict[str, TaggedImage]:
    """Read a list of Street View Text, `train.xml` or `test.xml`: the name of an image -> its words.

    Raises
    ------
    GroundTruthError
        With file and line: the XML is damaged or no such list, an image has no name or is listed twice, or a number is
        none.
    """
    elements = read_elements(path, _WANTED, LARGEST, "a list of Street View Text")
    if not elements or elements[-1].path != "tagset":
        raise GroundTruthError(f"{path}:1: no <tagset>; train.xml or test.xml of Street View Text was expected")
    found: dict[str, TaggedImage] = {}
    name, size = "", None
    boxes: list[tuple[float, ...]] = []
    texts: list[str] = []
    word = ""
    for element in elements:
        tag = element.path.rpartition("/")[2]
        where = f"{path}:{element.line}"
        if tag == "imageName":
            name = image_name(normal(element.text))
        elif tag == "Resolution":
            wide, tall = (_number(element.attributes, side, where) for side in ("x", "y"))
            if min(wide, tall) < 1:
                raise GroundTruthError(f"{where}: a resolution of {wide:g}×{tall:g}; at least 1 pixel was expected")
            size = (int(wide), int(tall))
        elif tag == "tag":
            word = element.text
        elif tag == "taggedRectangle":
            x, y, wide, tall = (_number(element.attributes, side, where) for side in ("x", "y", "width", "height"))
            boxes.append((x, y, x + wide, y + tall))
            texts.append(word)
            word = ""
        elif tag == "image":
            if not name:
                raise GroundTruthError(f"{where}: an image has no <imageName>")
            if name in found:
                raise GroundTruthError(f"{where}: image {name!r} is listed twice")
            found[name] = TaggedImage(size, np.array(boxes, np.float64).reshape(-1, 4), tuple(texts))
            name, size, boxes, texts = "", None, [], []
    return found


def share_of_mass(map: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the share of a map's positive values, by their sum, that lies in a mask; NaN if no value is positive."""
    positive = np.maximum(np.asarray(map, np.float64), 0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else math.nan


def _number(attributes: Mapping[str, str], side: str, where: str) -> float:
    text = attributes.get(side, "")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= 1e6:
        raise GroundTruthError(f"{where}: {side}={text[:40]!r}; a number of pixels was expected")
    return number
