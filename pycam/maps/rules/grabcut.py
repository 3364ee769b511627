"""The rule that cuts the object out of the image itself."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.maps.boxes import Mask, corners
from pycam.maps.rules.rule import Found, by_name, rule

THRESHOLDS = (10, 40)
"""The program's own thresholds."""


@rule("grabcut", takes="grey", fixed="it has two, the option `thresholds`")
def grabcut(map: Mask, *, image: NDArray[np.uint8] | None = None, thresholds: Sequence[int] = THRESHOLDS) -> Found:
    """Cut the object out of the image with GrabCut, which starts from an 8-bit heat map.

    Source: zhoubolei/CAM, commit c63f285, `bboxgenerator/cut`; Rother et al., "GrabCut", 2004. Pixels of the heat map
    above the first threshold are probably background, and above the second one probably foreground; the others are
    background. After one iteration, every contour of the foreground, those of holes too, gives a box, if its area is
    above 10 pixels.

    Options: `image`, required: (H, W, 3) uint8, BGR, of the size of the map. `thresholds`, two increasing ints from 0
    to 255.

    Deviations: OpenCV's random generator of this thread is set to its first state before each call, as in a new
    process. The program ignores thresholds that are not in order, and both of them if it also saves the cut; here they
    are refused, or used. Without a pixel above the second threshold, or with none at or below it, the program aborts;
    here the box is the whole image, which is also its box if it finds none. The published numbers are x y w h, the
    largest area first.
    """
    height, width = map.shape
    if image is None:
        raise UsageError(f"box rule 'grabcut' cuts the image: give it as image=, {height}×{width}×3 uint8, BGR")
    image = np.asarray(image)
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        shape = "×".join(str(side) for side in image.shape)
        raise UsageError(
            f"box rule 'grabcut': got an image of {shape}, {image.dtype}; expected {height}×{width}×3 uint8, BGR, of "
            "the size of the map"
        )
    try:
        low, high = thresholds
        in_order = bool(0 <= low < high <= 255)
    except (TypeError, ValueError):
        in_order = False
    if not in_order:
        raise UsageError(f"box rule 'grabcut': thresholds are {thresholds}; expected two increasing ints, 0 to 255")
    boxes = _boxes(cut_out(map, image, (low, high)))
    if not len(boxes):
        boxes = np.array([[0, 0, width, height]], np.intp)
    return Found(corners(boxes), boxes)


def cut_out(map: Mask, image: NDArray[np.uint8], thresholds: Sequence[int]) -> NDArray[np.bool_]:
    """Return the pixels of the object, (H, W) bool; the parameters are those of the rule, and none are checked."""
    low, high = thresholds
    likely = map > high
    if not likely.any() or likely.all():
        return np.zeros(map.shape, np.bool_)
    labels = np.where(map > low, np.uint8(cv2.GC_PR_BGD), np.uint8(cv2.GC_BGD))
    labels[likely] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(image), labels, None, *models, 1, cv2.GC_INIT_WITH_MASK)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _boxes(cut: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the boxes of the object, x y w h, the largest first; none if there is no object."""
    found, _ = cv2.findContours(cut.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(contour) for contour in found], np.intp).reshape(-1, 4)
    areas = boxes[:, 2:].prod(axis=1)
    order = np.argsort(-areas, kind="stable")
    return np.asarray(boxes[order[areas[order] > 10]])


RULES = by_name(grabcut)
