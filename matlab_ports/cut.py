"""The program `cut`, which finds boxes with GrabCut: `python -m matlab_ports.cut IMAGE HEATMAP BOXES`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from pycam.drawing import encode_jpeg, encode_png
from pycam.errors import ImageError, UsageError
from pycam.formats.files import atomic_write
from pycam.images.read import read_image
from pycam.maps.rules import box_rules
from pycam.maps.rules.grabcut import THRESHOLDS, cut_out

ENCODERS = {".jpg": encode_jpeg, ".jpeg": encode_jpeg, ".png": encode_png}


def cut(
    image: str | Path,
    heatmap: str | Path,
    boxes: str | Path | None = None,
    thresholds: Sequence[int] = THRESHOLDS,
    cutout: str | Path | None = None,
) -> NDArray[np.intp]:
    """Cut an object out of an image with GrabCut, and return its boxes.

    Parameters
    ----------
    image : path
        The image.
    heatmap : path
        An 8-bit grey image of the same size.
    boxes : path, optional
        The file for the boxes: x, y, width and height of each, on one line.
    thresholds : two ints
        Heat above the first is probably background, above the second probably foreground; the rest is background.
    cutout : path, optional
        A file for the image with black in place of the background, `.png` or `.jpg`.

    Returns
    -------
    (n, 4) int
        x, y, width, height, 0-based, the largest area first; the whole image if nothing is found.
        docs/release.md, section 9.

    Raises
    ------
    ImageError
        A file is no image, or the sizes differ.
    UsageError
        The thresholds do not increase between 0 and 255, or the cutout has another suffix.
    """
    encode = None if cutout is None else ENCODERS.get(Path(cutout).suffix.lower())
    if cutout is not None and encode is None:
        raise UsageError(f"{cutout}: expected a file that ends in .png or .jpg")
    pixels = read_image(image).pixels
    heat = np.asarray(cv2.cvtColor(read_image(heatmap).pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    if heat.shape != pixels.shape[:2]:
        of_map, of_image = (f"{array.shape[1]}×{array.shape[0]}" for array in (heat, pixels))
        raise ImageError(
            f"{heatmap} is {of_map}, and {image} is {of_image}: give an image and its heat map of one size"
        )
    found = np.asarray(box_rules["grabcut"].published(heat, image=pixels, thresholds=thresholds), np.intp)
    if boxes is not None:
        atomic_write(boxes, "".join(f"{number} " for number in found.flat))
    if cutout is not None and encode is not None:
        atomic_write(cutout, encode(np.where(cut_out(heat, pixels, thresholds)[..., None], pixels, np.uint8(0))))
    return found


def _script(
    image: Annotated[Path, typer.Argument(help="Image.")],
    heatmap: Annotated[Path, typer.Argument(help="Grey heat map of the same size.")],
    boxes: Annotated[
        Path | None, typer.Argument(help="File for the boxes: x y width height of each, on one line.")
    ] = None,
    thresholds: Annotated[tuple[int, int], typer.Option(help="Two increasing numbers, 0 to 255.")] = THRESHOLDS,
    cutout: Annotated[
        Path | None, typer.Option(help="File for the image without its background, .png or .jpg.")
    ] = None,
) -> None:
    """Cut an object out of an image with GrabCut as the release does, and print its boxes: x y width height."""
    for box in cut(image, heatmap, boxes, thresholds, cutout).tolist():
        print(*box)


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
