"""LabelMe's annotations: one XML file per image, with named polygons, as SUN's images have them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.xml_elements import read_elements
from pycam.ilsvrc.names import normal

LARGEST = 1 << 23
"""The largest number of bytes of an annotation; a crowded scene has some thousand points."""

FARTHEST = 1e6
"""The largest coordinate, in pixels."""

_SIZE = "annotation/imagesize"
_OBJECT = "annotation/object"
_POINT = f"{_OBJECT}/polygon/pt"
_WANTED = {
    "annotation",
    f"{_SIZE}/nrows",
    f"{_SIZE}/ncols",
    _OBJECT,
    f"{_OBJECT}/name",
    f"{_OBJECT}/deleted",
    _POINT,
    f"{_POINT}/x",
    f"{_POINT}/y",
}
_TRAILING = re.compile(r"( (occluded|crop)| ?\((occluded|crop)\))+$")


@dataclass(frozen=True, eq=False)
class Polygon:
    """An annotated object.

    Attributes
    ----------
    name : str
        In lower case, without the trailing words `occluded` and `crop`.
    points : (n, 2) float64
        x and y of its corners in pixels of the annotated image, as in the file: they may lie outside of it.
    """

    name: str
    points: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """The annotation of an image.

    Attributes
    ----------
    size : (int, int) or None
        Width and height of the annotated image; None if the file has no size.
    polygons : tuple of Polygon
        In the order of the file, without deleted ones and ones without a name or with fewer than three corners.
    """

    size: tuple[int, int] | None
    polygons: tuple[Polygon, ...]

    def masks(self, width: int, height: int) -> dict[str, NDArray[np.bool_]]:
        """Return the pixels of each name in an image: name -> (height, width), the union of its polygons.

        If the image has another size than the annotated one, coordinates are scaled. Parts outside are cut off, and
        names without a pixel inside are left out.
        """
        scale = np.ones(2) if self.size is None else np.array([width, height]) / self.size
        found: dict[str, NDArray[np.bool_]] = {}
        for polygon in self.polygons:
            mask = polygon_mask(polygon.points * scale, width, height)
            found[polygon.name] = found[polygon.name] | mask if polygon.name in found else mask
        return {name: mask for name, mask in found.items() if mask.any()}


def polygon_mask(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    """Return the pixels whose centers lie inside a polygon by the even-odd rule.

    Parameters
    ----------
    points : (n, 2) float64
        x and y of the corners; the last corner is joined with the first one. Pixel (0, 0) covers [0, 1) × [0, 1).
    width, height : int
        The size of the image. Corners may lie outside.

    Returns
    -------
    (height, width) bool
    """
    crossings = np.zeros((height, width + 1), np.int64)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        # The rows whose centers the edge crosses; an edge has its upper end, but not its lower one.
        top, bottom = (int(np.ceil(np.clip(y - 0.5, 0, height))) for y in sorted((y0, y1)))
        rows = np.arange(top, bottom)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] += 1
    # A pixel is inside if an odd number of edges lies to its left.
    inside: NDArray[np.bool_] = np.cumsum(crossings[:, :width], axis=1) % 2 == 1
    return inside


def read_labelme(path: Path) -> Scene:
    """Read and check an annotation of LabelMe.

    Raises
    ------
    GroundTruthError
        With file and line: the XML is damaged or is not an annotation, or a coordinate or a size is not a number.
    """
    elements = read_elements(path, _WANTED, LARGEST, "LabelMe's annotation of an image")
    if not elements or elements[-1].path != "annotation":
        raise GroundTruthError(f"{path}:1: no <annotation>; an annotation of LabelMe was expected")
    numbers: dict[str, float] = {}
    polygons: list[Polygon] = []
    name, deleted = "", ""
    points: list[tuple[float, float]] = []
    for element in elements:
        tag = element.path.rpartition("/")[2]
        where = f"{path}:{element.line}"
        if tag in ("nrows", "ncols") and not element.text:
            continue
        if tag in ("nrows", "ncols", "x", "y"):
            numbers[tag] = _number(element.text, f"{where}: <{tag}>")
        elif tag == "pt":
            for side in ("x", "y"):
                if side not in numbers:
                    raise GroundTruthError(f"{where}: a <pt> has no <{side}>")
            points.append((numbers.pop("x"), numbers.pop("y")))
        elif tag == "name":
            name = object_name(element.text)
        elif tag == "deleted":
            deleted = element.text
        elif tag == "object":
            if name and len(points) >= 3 and deleted in ("", "0"):
                polygons.append(Polygon(name, np.array(points)))
            name, deleted, points = "", "", []
    sides = (numbers.get("ncols", 0.0), numbers.get("nrows", 0.0))
    size = (int(sides[0]), int(sides[1])) if min(sides) >= 1 else None
    return Scene(size, tuple(polygons))


def object_name(text: str) -> str:
    """Return the name of an object: in lower case, single blanks, without the trailing words of SUN's annotators."""
    return _TRAILING.sub("", " ".join(normal(" ".join(text.split())).lower().split()))


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= FARTHEST:
        raise GroundTruthError(f"{where}: {text[:40]!r}; a number of pixels was expected")
    return number
