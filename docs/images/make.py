"""Draw the images of README.md and docs/concepts.md: `python docs/images/make.py [FOLDER]`.

The default folder is that of this script.

The photograph is scikit-image's `coffee` (Pikolo Espresso Bar, by Rachel Michetti, CC0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from skimage import data

import pycam
from pycam.drawing import encode_jpeg
from pycam.formats.files import atomic_write
from pycam.images.resize import resize
from pycam.images.views import CANVAS, View, view_of

WIDTH = 1200
RED, GREY = (40, 40, 230), (90, 90, 90)


def strip(pixels: np.ndarray) -> np.ndarray:
    """Draw the photograph and the maps of its three best classes, with boxes."""
    with pycam.load("squeezenet-cam-caltech101", view="full") as cam:
        drawn = cam(pixels, top=3).strip(box=True)
    return resize(drawn, round(len(drawn) * WIDTH / drawn.shape[1]), WIDTH, "opencv_area")


def draw_view(pixels: np.ndarray, view: View) -> np.ndarray:
    """Draw a view: the resized image with a frame around each crop; parts outside all crops are dark."""
    canvas = resize(pixels, *view.canvas)
    height, width = view.size
    drawn = canvas // 3
    for crop in view.crops:
        part = np.s_[crop.y : crop.y + height, crop.x : crop.x + width]
        drawn[part] = canvas[part]
    for crop in view.crops:
        cv2.rectangle(drawn, (crop.x, crop.y), (crop.x + width - 1, crop.y + height - 1), RED, 1)
    below, right = (CANVAS - side for side in view.canvas)
    drawn = cv2.copyMakeBorder(drawn, 0, 28 + below, 0, 24 + right, 0, value=(255,) * 3)
    at = (0, len(drawn) - 8)
    return cv2.putText(drawn, f"{view.name}: {len(view.crops)} x {width}", at, 0, 0.5, GREY, 1, cv2.LINE_AA)


def main(folder: Path) -> None:
    """Write the images."""
    pixels = np.ascontiguousarray(data.coffee()[..., ::-1])
    views = np.hstack([draw_view(pixels, view_of(name, (224, 224))) for name in ("center", "full", "ten")])
    for name, drawn in (("coffee.jpg", strip(pixels)), ("views.jpg", views)):
        atomic_write(folder / name, encode_jpeg(drawn, 85))
        print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
