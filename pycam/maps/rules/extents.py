"""Rules that take the first and the last row and column of a region, both included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pycam.images.scaling import min_max_scale
from pycam.maps.boxes import Boxes, Mask
from pycam.maps.rules.regions import CROP, above, eight_bits, extent, in_map, resized, scaled_crop
from pycam.maps.rules.rule import FIRST_PIXEL, Found, Threshold, by_name, checked_size, rule

_LAST = np.array([0, 0, 1, 1])
"""From the last pixels to half-open ends."""

CCAM_STRIDE = 4


@rule("ccam-extent", Threshold(), takes="unit")
def ccam_extent(map: NDArray[Any], threshold: float) -> Found:
    """Find the extent of all pixels of CCAM's map above an absolute threshold.

    Source: CVI-SZU/CCAM, commit e6a46c9; Xie et al., CVPR 2022. The map is in [0, 1] and is not scaled; the threshold
    is a value of the map, and not a share of its maximum. float32 decides.

    Deviations: the published numbers are four times the first and the last pixel, so that the width of the last column
    is lost: a single pixel gives a box of no size. Empty: 0 0 0 0, the first pixel.
    """
    boxes = extent((map.astype(np.float32) > np.float32(threshold)).view(np.uint8))
    if not len(boxes):
        return Found.of(FIRST_PIXEL, (0, 0, 0, 0))
    return Found(boxes, (boxes - _LAST) * CCAM_STRIDE)


@rule("eil-union", Threshold())
def eil_union(map: NDArray[Any], threshold: float, *, size: Iterable[int] = CROP) -> Found:
    """Find the extent of all foreground of a map that was resized with a bicubic resizer.

    Source: Wayne-Mai/EIL, commit e515653, its mode "DANet"; Mai et al., CVPR 2020. The steps to the foreground are
    those of `eil-classical`.

    Options: `size`, (width, height), in place of 224×224.

    Deviations: the published box has its last pixels, both included, in pixels of `size`. Empty: 0 0 0 0, the first
    pixel.
    """
    crop = checked_size("eil-union", size)
    return _inclusive(extent(above(eight_bits(scaled_crop(map, crop, "opencv_cubic")), threshold)), crop, map)


@rule("danet-union", Threshold(inclusive=True))
def danet_union(map: NDArray[Any], threshold: float, *, size: Iterable[int] | None = None) -> Found:
    """Find the extent of all foreground of a map that was scaled before it was resized.

    Source: xuehaolan/DANet, commit f34b68f; Xue et al., "DANet: Divergent Activation for Weakly Supervised Object
    Localization", ICCV 2019; its evaluation tries thresholds from 0.05 to 0.3. The map is not scaled: it is scaled to
    [0, 1] first and resized (bilinear) afterwards, so that its maximum is often below 1. The threshold is absolute, and
    values at it are foreground.

    Options: `size`, (width, height) of the image, to which the map is resized; by default the map keeps its size.

    Deviations: the published box has its last pixels, both included, in pixels of `size`. Empty: 0 0 0 0, the first
    pixel.
    """
    mask, crop = _danet_mask("danet-union", map, threshold, size)
    return _inclusive(extent(mask), crop, map)


@rule("danet-max", Threshold(inclusive=True))
def danet_max(map: NDArray[Any], threshold: float, *, size: Iterable[int] | None = None) -> Found:
    """Find the component of DANet's foreground whose box is largest.

    Source: xuehaolan/DANet, commit f34b68f, its mode "max". The steps to the foreground, the option and the deviations
    are those of `danet-union`. Components are 4-connected; the area of the box counts, not that of the component; the
    first of equally large ones in raster order.
    """
    mask, crop = _danet_mask("danet-max", map, threshold, size)
    labels, _ = ndimage.label(mask)
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    boxes = np.array(found, np.intp).reshape(-1, 4)
    first = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")[:1]
    return _inclusive(boxes[first], crop, map)


def _danet_mask(
    name: str, map: NDArray[Any], threshold: float, size: Iterable[int] | None
) -> tuple[Mask, tuple[int, int]]:
    height, width = map.shape
    crop = checked_size(name, (width, height) if size is None else size)
    scaled = min_max_scale(map.astype(np.float32))
    # A constant map divides 0 by 0 in the program, and NaN is not above a threshold.
    limit = np.float32(threshold if scaled.any() else np.inf)
    return (resized(scaled, crop, "opencv_bilinear") >= limit).view(np.uint8), crop


def _inclusive(boxes: Boxes, crop: tuple[int, int], map: NDArray[Any]) -> Found:
    """Return boxes of a map that was resized; the published ones have their last pixels, in pixels of the crop."""
    if not len(boxes):
        return Found.of(FIRST_PIXEL, (0, 0, 0, 0))
    return Found(in_map(boxes, crop, map), boxes - _LAST)


RULES = by_name(ccam_extent, eil_union, danet_union, danet_max)
