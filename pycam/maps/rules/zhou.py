"""The rules of the CAM paper, of its release, and of a script that builds on the release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.maps.boxes import OWN_THRESHOLDS, RELEASED_THRESHOLDS, Mask, corners, grey_heatmap, paper_box, released_boxes
from pycam.maps.rules.rule import Found, Threshold, by_name, rule

_FIXED = "the release's box generator has three fixed ones"


@rule("paper", Threshold(inclusive=True))
def paper(map: NDArray[Any], threshold: float) -> Found:
    """Find the largest component above a share of the maximum, as the CAM paper describes it.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2: no program of
    this rule was published. `pycam.paper_box` has its steps. The map is not scaled: values of at least the threshold
    times the maximum are foreground.

    Deviations: none known. The published numbers are the half-open box. Empty: the whole map.
    """
    return _same(paper_box(map, threshold))


@rule("smoothed", Threshold(inclusive=True))
def smoothed(map: NDArray[Any], threshold: float) -> Found:
    """Find the box of `paper` in a map that is smoothed first, for gradients at single pixels.

    Source: pycam. The gradient at single pixels is a cloud of points that no threshold connects. The map is smoothed
    with a Gaussian whose standard deviation is 0.035 of the shorter side.

    Deviations: none, nobody else uses it. The published numbers are the half-open box. Empty: the whole map.
    """
    return _same(paper_box(cv2.GaussianBlur(map, (0, 0), 0.035 * min(map.shape)), threshold))


@rule("released", fixed=_FIXED)
def released(map: NDArray[Any]) -> Found:
    """Find the boxes of the release's box generator in the heat map that the release saves as a JPEG file.

    Source: zhoubolei/CAM, commit c63f285, its ILSVRC evaluation and `bboxgenerator/dt_box` with the thresholds 20, 100
    and 110. `pycam.released_boxes` and docs/release.md, sections 4 and 5, have the steps.

    Deviations: the published numbers are x y w h. The release's evaluation takes 0-based corners for 1-based ones; that
    is the choice `submission` of a protocol. The generator is for maps at the image's size: it moves sides by pixels,
    so that in a map of less than some 60 pixels a box may end before it starts. Empty: no box.
    """
    return _generated(grey_heatmap(map), RELEASED_THRESHOLDS)


@rule("released_30_90_150", fixed=_FIXED)
def released_30_90_150(map: NDArray[Any]) -> Found:
    """Find the boxes of `released` with the generator's own default thresholds, 30, 90 and 150.

    Source and deviations: those of `released`.
    """
    return _generated(grey_heatmap(map), OWN_THRESHOLDS)


@rule("released_no_jpeg", fixed=_FIXED)
def released_no_jpeg(map: NDArray[Any]) -> Found:
    """Find the boxes of `released` in a heat map that is not saved as a JPEG file.

    Source and deviations: those of `released`.
    """
    return _generated(grey_heatmap(map, jpeg=False), RELEASED_THRESHOLDS)


@rule("dtbox-corners", takes="grey", fixed="the box generator has three, the option `thresholds`")
def dtbox_corners(map: Mask, *, thresholds: Sequence[int] = RELEASED_THRESHOLDS) -> Found:
    """Find the boxes of the release's box generator in an 8-bit heat map, as corners.

    Source: gcucurull/CAM-Python, commit f1f83e8, which runs `bboxgenerator/dt_box` of zhoubolei/CAM. The map is an
    8-bit heat map; another map is first converted to one.

    Options: `thresholds`, three increasing ints from 1 to 254, in place of 20, 100 and 110.

    Deviations: the script stops with an error if there is no box; here there is none. The published numbers, x y x+w
    y+h, are the half-open boxes.
    """
    boxes = corners(released_boxes(map, thresholds))
    return Found(boxes, boxes)


def _same(box: tuple[int, int, int, int]) -> Found:
    return Found.of(box, box)


def _generated(heatmap: Mask, thresholds: Sequence[int]) -> Found:
    boxes = released_boxes(np.asarray(heatmap), thresholds)
    return Found(corners(boxes), boxes)


RULES = by_name(paper, smoothed, released, released_30_90_150, released_no_jpeg, dtbox_corners)
