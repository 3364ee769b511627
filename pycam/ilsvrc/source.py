"""The content of one source of ground truth, in one form for all kinds of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.maps.boxes import inclusive


@dataclass(frozen=True)
class Source:
    """The content of one source, such as an XML folder or a list of classes: n images, m boxes.

    Attributes
    ----------
    path : Path
        The file or folder. Line i + 1 of a list of classes holds image i.
    count : int
        The number of images, n.
    names : tuple of str, optional
        Image names without extension; IDs for a WSOL folder. Without names, images are joined by order.
    classes : (n,) int64, optional
        Network index of each image's class.
    sizes : (n, 2) int64, optional
        Width and height of each image; zeros where the source has none.
    boxes : (m, 4) int64
        xmin, ymin, xmax, ymax in 1-based inclusive pixels.
    box_classes : (m,) int64
        Network index of each box's class.
    box_images : (m,) int64
        Position of the image of each box, 0-based, ascending.
    class_names : tuple of str
        The name of each network index; empty if the source has only indices.
    labelled : bool
        Whether the boxes have classes of their own; otherwise each box has its image's.
    """

    path: Path
    count: int
    names: tuple[str, ...] | None = None
    classes: NDArray[np.int64] | None = None
    sizes: NDArray[np.int64] | None = None
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    box_classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box_images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_names: tuple[str, ...] = ()
    labelled: bool = True


def whole_boxes(boxes: NDArray[np.float64], sizes: NDArray[np.int64], places: Sequence[str]) -> NDArray[np.int64]:
    """Round half-open boxes to whole pixels and check them, for formats that count from 0.

    Parameters
    ----------
    boxes : (m, 4) float64
        x0, y0, x1, y1; x1 and y1 are outside.
    sizes : (m, 2) int64
        Width and height of each box's image; zeros if unknown.
    places : sequence of str
        File and line of each box, for messages.

    Returns
    -------
    (m, 4) int64
        The same boxes in the form of `Source.boxes`. A side that lies less than two pixels outside of the image, as
        rounding makes it, is moved to the border.

    Raises
    ------
    GroundTruthError
        A box is empty or lies outside of its image.
    """
    extents = np.where(sizes > 0, sizes, np.iinfo(np.int32).max)
    for wrong, complaint in (
        ((boxes[:, :2] >= boxes[:, 2:]).any(axis=1), "is empty: x0 < x1 and y0 < y1 were expected"),
        (((boxes[:, :2] <= -2) | (boxes[:, 2:] >= extents + 2)).any(axis=1), "lies outside of the image"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong))
            box, size = " ".join(f"{side:g}" for side in boxes[first]), sizes[first]
            extent = f" of {size[0]}×{size[1]}" if size.any() and "outside" in complaint else ""
            raise GroundTruthError(f"{places[first]}: box {box} {complaint}{extent}")
    rounded = np.rint(boxes)
    low = np.clip(rounded[:, :2], 0, extents - 1)
    high = np.minimum(np.maximum(rounded[:, 2:], low + 1), extents)
    corners: NDArray[np.int64] = inclusive(np.hstack([low, high]).astype(np.int64))
    return corners
