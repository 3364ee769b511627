"""Rules that take a contour of the map in 8 bits, above a share of its largest value."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.images.scaling import min_max_scale
from pycam.maps.boxes import Boxes, Mask
from pycam.maps.rules.regions import (
    CROP,
    above,
    contours,
    eight_bits,
    in_map,
    largest,
    rectangles,
    resized,
    scaled_crop,
)
from pycam.maps.rules.rule import FIRST_PIXEL, Found, Threshold, by_name, checked_size, rule


@rule("wsol-single", Threshold(), takes="unit")
def wsol_single(map: NDArray[Any], threshold: float) -> Found:
    """Find the largest contour, as the WSOL benchmark does for MaxBoxAcc.

    Source: clovaai/wsolevaluation, commit 96f4b88; Choe et al., "Evaluating Weakly Supervised Object Localization
    Methods Right", CVPR 2020. The map is in [0, 1]; float64 decides. The benchmark tries many thresholds, and has no
    default.

    Deviations: the published box ends at x + w and y + h, one pixel after the region, which the benchmark counts as a
    pixel of the box; at the right and lower frame it is clipped to the last pixel. The half-open box has the pixels of
    the region alone. Empty: 0 0 0 0, the first pixel. The benchmark refuses other types than float64; here they are
    converted.
    """
    return _clipped(largest(_wsol_mask(map, threshold)), map)


@rule("wsol-multi", Threshold(), takes="unit")
def wsol_multi(map: NDArray[Any], threshold: float) -> Found:
    """Find every contour, outer ones and those of holes, as the WSOL benchmark does for MaxBoxAccV2.

    Source and deviations: those of `wsol-single`. The boxes have OpenCV's order: among siblings, the contour that
    begins lowest comes first, and a hole follows the contour around it.
    """
    return _clipped(rectangles(contours(_wsol_mask(map, threshold))), map)


@rule("ccam-contour", Threshold(), takes="unit")
def ccam_contour(map: NDArray[Any], threshold: float, *, stride: float = 4) -> Found:
    """Find the largest contour of CCAM's map.

    Source: CVI-SZU/CCAM, commit e6a46c9; Xie et al., "C2AM: Contrastive Learning of Class-agnostic Activation Map",
    CVPR 2022. The map is in [0, 1]; float32 decides.

    Options: `stride`, the side of the image divided by that of the map; the published numbers are multiplied by it.

    Deviations: the published box is clipped as that of `wsol-single`, before it is multiplied, so its end lies one
    stride after the region, or one stride inside the image. Empty: 0 0 0 0, the first pixel.
    """
    if not 0 < stride < np.inf:
        raise UsageError(f"box rule 'ccam-contour': stride is {stride}; expected a number above 0")
    found = _clipped(largest(above(eight_bits(map.astype(np.float32)), threshold)), map)
    return Found(found.boxes, found.published * float(stride))


@rule("adl", Threshold())
def adl(map: NDArray[Any], threshold: float, *, size: Iterable[int] = CROP) -> Found:
    """Find the largest contour in the grey levels of a coloured map.

    Source: junsukchoe/ADL, commit dab2e78; Choe and Shim, "Attention-based Dropout Layer for Weakly Supervised Object
    Localization", CVPR 2019; its default threshold is 0.2. The map is not scaled: it is resized (bilinear) to 224×224,
    scaled to [0, 1], coloured with matplotlib's cubehelix, and converted from colours to grey.

    Options: `size`, (width, height), in place of 224×224.

    Deviations: colours and back change many grey levels by one or two. The published box, x y x+w y+h, is half-open in
    pixels of `size`; the program's overlaps take it as inclusive. Empty: 0 0 1 1, the first pixel.
    """
    width, height = checked_size("adl", size)
    scaled = min_max_scale(resized(map, (width, height), "opencv_bilinear").astype(np.float64))
    steps = np.minimum(scaled * 256, 255).astype(np.uint8)
    return _in_crop(largest(above(_cubehelix_grey()[steps], threshold)), (width, height), map)


@rule("tscam", Threshold())
def tscam(map: NDArray[Any], threshold: float, *, size: Iterable[int] = CROP, direct: bool = False) -> Found:
    """Find the largest contour of TS-CAM's map.

    Source: vasgaowei/TS-CAM, commit 25aece4; Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly
    Supervised Object Localization", ICCV 2021; callsys/GenPromp, commit c480e0a, has the same code. Their
    configurations set thresholds from 0.1 to 0.25. The map is not scaled: it is resized (bilinear) to 224×224, and
    scaled to [0, 1] afterwards.

    Options: `size`, (width, height), in place of 224×224. `direct`: the map is in [0, 1] already, and is neither
    resized nor scaled.

    Deviations: those of the form are those of `adl`. Empty: 0 0 1 1, the first pixel.
    """
    if direct:
        if not (map.min() >= 0 and map.max() <= 1):
            raise UsageError(
                f"box rule 'tscam': got values from {map.min():g} to {map.max():g}; direct=True takes a map in [0, 1]"
            )
        return _in_crop(largest(above(eight_bits(map.astype(np.float32)), threshold)), map.shape[::-1], map)
    crop = checked_size("tscam", size)
    return _in_crop(largest(above(eight_bits(scaled_crop(map, crop, "opencv_bilinear")), threshold)), crop, map)


@rule("eil-classical", Threshold())
def eil_classical(map: NDArray[Any], threshold: float, *, size: Iterable[int] = CROP) -> Found:
    """Find the largest contour of a map that was resized with a bicubic resizer.

    Source: Wayne-Mai/EIL, commit e515653, its mode "classical"; Mai et al., "Erasing Integrated Learning", CVPR 2020;
    its default threshold is 0.2. The map is not scaled: it is resized (bicubic, which overshoots) to 224×224, and
    scaled to [0, 1] afterwards.

    Options: `size`, (width, height), in place of 224×224.

    Deviations: those of the form are those of `adl`. The program mixes up height and width, so it works on squares
    only; here any size is right. Empty: 0 0 1 1, the first pixel.
    """
    crop = checked_size("eil-classical", size)
    return _in_crop(largest(above(eight_bits(scaled_crop(map, crop, "opencv_cubic")), threshold)), crop, map)


@rule("rethink", Threshold())
def rethink(map: NDArray[Any], threshold: float, *, percentile: float = 100, size: Iterable[int] = CROP) -> Found:
    """Find the largest contour above a share of a percentile.

    Source: won-bae/rethinkingCAM, commit 625dc28; Bae et al., "Rethinking Class Activation Mapping for Weakly
    Supervised Object Localization", ECCV 2020; its configuration sets a threshold of 0.2. The map is resized and
    scaled as by `eil-classical`. The reference is the percentile of its 8-bit values, in place of their maximum.

    Options: `percentile`, from 0 to 100; 100 is the maximum. `size`, (width, height), in place of 224×224.

    Deviations: those of the form are those of `adl`. Empty: the whole map, 0 0 224 224.
    """
    crop = checked_size("rethink", size)
    if not 0 <= percentile <= 100:
        raise UsageError(f"box rule 'rethink': percentile is {percentile}; expected a number from 0 to 100")
    grey = eight_bits(scaled_crop(map, crop, "opencv_cubic"))
    reference = float(np.percentile(grey, percentile))
    return _in_crop(largest(above(grey, threshold, reference)), crop, map, empty=(0, 0, *crop))


def _wsol_mask(map: NDArray[Any], threshold: float) -> Mask:
    return above(eight_bits(map.astype(np.float64)), threshold)


def _clipped(boxes: Boxes, map: NDArray[Any]) -> Found:
    """Return boxes, and their form in the WSOL benchmark: one pixel after the end, and at most the last pixel."""
    if not len(boxes):
        return Found.of(FIRST_PIXEL, (0, 0, 0, 0))
    height, width = map.shape
    return Found(boxes, np.minimum(boxes, (width, height, width - 1, height - 1)))


def _in_crop(
    boxes: Boxes, crop: tuple[int, int], map: NDArray[Any], empty: tuple[int, int, int, int] = FIRST_PIXEL
) -> Found:
    """Return boxes of a map that was resized, and the same in pixels of the crop, which are the published ones."""
    if not len(boxes):
        # The first pixel is that of the map, whatever its size.
        return Found.of(FIRST_PIXEL if empty == FIRST_PIXEL else (0, 0, *map.shape[::-1]), empty)
    return Found(in_map(boxes, crop, map), boxes)


@cache
def _cubehelix_grey() -> NDArray[np.uint8]:
    """Return the grey level of each of the 256 steps of the colour map cubehelix.

    D. A. Green, "A colour scheme for the display of astronomical intensity images", 2011, with the values of its own
    example: start 0.5, -1.5 rotations, hue 1, gamma 1.
    """
    level = np.linspace(0, 1, 256)
    angle = 2 * np.pi * (0.5 / 3 - 1.5 * level)
    amplitude = level * (1 - level) / 2
    turns = np.array([[-0.14861, 1.78277], [-0.29227, -0.90649], [1.97294, 0.0]])  # red, green, blue
    colours = level + amplitude * (turns @ np.stack([np.cos(angle), np.sin(angle)]))
    pixels = (np.clip(colours, 0, 1).T[None] * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[0], np.uint8)


RULES = by_name(wsol_single, wsol_multi, ccam_contour, adl, tscam, eil_classical, rethink)
