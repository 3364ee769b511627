"""The content of one source of ground truth, in one form for all kinds of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Source:
    """The content of an XML folder, a devkit cache, a WSOL folder or a list of classes: n images, m boxes.

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
    """

    path: Path
    count: int
    names: tuple[str, ...] | None = None
    classes: NDArray[np.int64] | None = None
    sizes: NDArray[np.int64] | None = None
    boxes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    box_classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box_images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
