"""The rule that places boxes of a fixed size on the peaks of a map."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pycam.errors import UsageError
from pycam.maps.rules.rule import Found, Threshold, by_name, rule

SIDE = 224
MARGIN = 16
"""Pixels between the frame of an image of 256×256 and its crop of 224×224."""
STRIDE = 4
"""Pixels of an original image, 1024×1024, for each of an image of 256×256."""

BOXES = {
    "Atelectasis": (219.0, 139.1),
    "Cardiomegaly": (479.8, 381.1),
    "Effusion": (221.6, 318.0),
    "Infiltration": (294.0, 297.4),
    "Mass": (168.7, 189.8),
    "Nodule": (71.9, 70.4),
    "Pneumonia": (276.5, 304.5),
    "Pneumothorax": (198.9, 246.0),
}
"""Mean width and height of the boxes of each disease in ChestX-ray14, in pixels of 1024×1024 images, which the program
uses; in the order of its classes."""


@rule("chexnet-peaks", Threshold(0.9), takes="unit")
def chexnet_peaks(map: NDArray[Any], threshold: float, *, box: Iterable[float] | None = None) -> Found:
    """Place a box of a fixed size on each peak of a map of a chest X-ray.

    Source: thtang/CheXNet-with-localization, commit 1d4cd93. The map has 224×224 pixels in [0, 1] (Grad-CAM, scaled
    before it was resized). A peak is a maximum within a window of 100×100 whose values spread by more than 0.1. Peaks
    are dilated five times; each component that results has its center of mass, which counts if its value is above the
    threshold, a share of the map's maximum (float32). The program's threshold is 0.9.

    Options: `box`, required: (width, height) in pixels of the 1024×1024 original. `pycam.maps.rules.peaks.BOXES` has
    the program's, which are the mean sizes of each disease.

    Deviations: the size of the box says nothing of the map. The published numbers are x y w h in the 1024×1024 original
    of which a center crop was taken. Empty: no box.
    """
    wide, tall = _quarter(box)
    if map.shape != (SIDE, SIDE):
        raise UsageError(
            f"box rule 'chexnet-peaks': got a map of {map.shape[0]}×{map.shape[1]}; its boxes are for maps of 224×224: "
            "resize it first"
        )
    map = map.astype(np.float32)
    highest, lowest = ndimage.maximum_filter(map, 100), ndimage.minimum_filter(map, 100)
    peaks = (map == highest) & (highest - lowest > np.float32(0.1))
    labels, count = ndimage.label(ndimage.binary_dilation(peaks, iterations=5))
    least = np.float32(threshold) * map.max()
    found = []
    for y, x in ndimage.center_of_mass(map, labels, range(1, count + 1)):
        if map[int(y), int(x)] > least:
            left, top = int(max(x - wide / 2, 0)), int(max(y - tall / 2, 0))
            found.append((left, top, min(left + wide, SIDE), min(top + tall, SIDE)))
    boxes = np.array(found, np.intp).reshape(-1, 4)
    starts, ends = boxes[:, :2], boxes[:, 2:]
    return Found(boxes, np.hstack([starts + MARGIN, ends - starts]) * STRIDE)


def _quarter(box: Iterable[float] | None) -> tuple[int, int]:
    """Return the size of a box in pixels of the map."""
    try:
        width, height = () if box is None else box
        if 4 <= width <= 1024 and 4 <= height <= 1024:
            return int(width / STRIDE), int(height / STRIDE)
    except (TypeError, ValueError):
        pass
    raise UsageError(
        f"box rule 'chexnet-peaks' needs the size of its boxes: box is {box}; expected (width, height) from 4 to 1024 "
        "pixels, as in pycam.maps.rules.peaks.BOXES"
    )


RULES = by_name(chexnet_peaks)
