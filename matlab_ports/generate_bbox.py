"""`generate_bbox.m` and the program `dt_box` that it runs: `python -m matlab_ports.generate_bbox HEATMAP`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from pycam.drawing import draw_box, encode_jpeg
from pycam.formats.files import atomic_write
from pycam.images.read import read_image
from pycam.maps.boxes import RELEASED_THRESHOLDS, corners, released_boxes

FALLBACK_THRESHOLDS = (30, 90, 150)
SHOWN = 3


def generate_bbox(
    curHeatMapFile: str | Path,
    curBBoxFile: str | Path | None = None,
    bbox_threshold: Sequence[int] = RELEASED_THRESHOLDS,
) -> NDArray[np.intp]:
    """Find boxes in a heat map.

    Parameters
    ----------
    curHeatMapFile : path
        An 8-bit grey image from `ILSVRC_generate_heatmap`.
    curBBoxFile : path, optional
        The file for the boxes in the form of `dt_box`: x, y, width and height of each, on one line.
    bbox_threshold : three ints
        Increasing numbers between 0 and 255. Otherwise 30, 90, 150 are used; `dt_box` does this silently, this function
        warns.

    Returns
    -------
    (n, 4) int
        x, y, x + width, y + height, 0-based: `boxData_formulate` in the release.
        docs/release.md, section 5.
    """
    boxes = dt_box(curHeatMapFile, bbox_threshold)
    if curBBoxFile is not None:
        atomic_write(curBBoxFile, "".join(f"{number} " for number in boxes.flat))
    return corners(boxes)


def dt_box(curHeatMapFile: str | Path, bbox_threshold: Sequence[int] = RELEASED_THRESHOLDS) -> NDArray[np.intp]:
    """Return the boxes that `dt_box` prints: (n, 4) int, x, y, width, height; parameters as for `generate_bbox`."""
    if len(bbox_threshold) != 3 or not 0 < bbox_threshold[0] < bbox_threshold[1] < bbox_threshold[2] < 255:
        warnings.warn(
            f"thresholds {', '.join(map(str, bbox_threshold))} do not increase between 0 and 255: "
            f"{', '.join(map(str, FALLBACK_THRESHOLDS))} are used instead, as in dt_box",
            stacklevel=2,
        )
        bbox_threshold = FALLBACK_THRESHOLDS
    heatmap = cv2.cvtColor(read_image(curHeatMapFile).pixels, cv2.COLOR_BGR2GRAY)
    return released_boxes(np.asarray(heatmap, np.uint8), bbox_threshold)


def _script(
    heatmap: Annotated[Path, typer.Argument(help="Grey heat map.")],
    boxes: Annotated[
        Path | None, typer.Option(help="File for the boxes: x y width height of each, on one line.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Image for a drawing of the first three boxes.")] = None,
    result: Annotated[Path, typer.Option(help="File for the drawing.")] = Path("result_bbox.jpg"),
    thresholds: Annotated[tuple[int, int, int], typer.Option(help="Three increasing numbers.")] = RELEASED_THRESHOLDS,
) -> None:
    """Find boxes in a heat map as the release does, and print their corners."""
    found = generate_bbox(heatmap, boxes, thresholds).tolist()
    for corner in found:
        print(*corner)
    if image is not None:
        drawn = read_image(image).pixels
        for corner in found[:SHOWN]:
            drawn = draw_box(drawn, corner)
        atomic_write(result, encode_jpeg(drawn))


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
