"""The scores of maps on a data set: one map of the ground-truth class for each image, read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.maps import ScoreMap
from pycam.ilsvrc.masks import ImageMasks
from pycam.ilsvrc.scores import by_k
from pycam.maps.boxes import RIGHT_IOU, iou
from pycam.metrics import baselines
from pycam.metrics.box_accuracy import THRESHOLDS, BoxAccuracy, box_hits, candidates, grey_levels, scaled
from pycam.metrics.errors import error, error_interval
from pycam.metrics.pixel_precision import PixelPrecision, pixel_histograms, precision_recall


@dataclass(frozen=True)
class MapScores:
    """The scores of one map for each image that is not blacklisted.

    Attributes
    ----------
    truth : GroundTruth
        The ground truth; images without a size have that of their map.
    boxes : BoxAccuracy or None
        The accuracies of boxes; None without ground-truth boxes.
    pixels, gaussian_pixels : PixelPrecision or None
        Precision and recall of the maps, and of a Gaussian at the center; None without masks.
    zero_maps, nan_maps : tuple of str
        Names of the images whose maps are zero in 8 bits, and of those whose maps have a NaN.
    rule_hits : (n,) bool, or None
        Whether the largest box of a box rule is correct; None without a rule or boxes.
    """

    truth: GroundTruth
    boxes: BoxAccuracy | None
    pixels: PixelPrecision | None
    gaussian_pixels: PixelPrecision | None
    zero_maps: tuple[str, ...]
    nan_maps: tuple[str, ...]
    rule_hits: NDArray[np.bool_] | None = None

    @property
    def notes(self) -> list[str]:
        """One line for each kind of map that shows nothing."""
        kinds = (
            (self.zero_maps, "zero everywhere: the box is the first pixel, as in the benchmark"),
            (self.nan_maps, "with a NaN: counted as wrong at every threshold"),
        )
        return [f"{listed(names, 'map')} {problem}" for names, problem in kinds if names]

    def pixel_figures(self) -> dict[str, Any]:
        """Return PxAP, in percent, its interval, curves and baselines, as in reports; nothing without masks."""
        if self.pixels is None or self.gaussian_pixels is None:
            return {}
        objects, background = self.pixels.histograms.sum(axis=1)
        precision, recall = precision_recall(self.pixels.histograms)
        return {
            "pxap": self.pixels.pxap,
            "pixel_curves": {
                "thresholds": [*self.pixels.thresholds.round(12).tolist(), 1.0],
                "precision": precision[:-1].tolist(),
                "recall": recall[:-1].tolist(),
            },
            "intervals": {"pxap": self.pixels.interval()},
            "center_gaussian": {"pxap": self.gaussian_pixels.pxap},
            "whole_image": {"pxap": float(objects / (objects + background) * 100)},
        }


def score_maps(
    maps: Iterable[ScoreMap],
    truth: GroundTruth,
    masks: Sequence[ImageMasks] | None = None,
    thresholds: NDArray[np.float64] = THRESHOLDS,
    find_boxes: Callable[[ScoreMap], NDArray[Any]] | None = None,
) -> MapScores:
    """Evaluate one map of the ground-truth class for each image that is not blacklisted.

    Parameters
    ----------
    maps : iterable of (H, W) floating point in [0, 1], or uint8
        In the order of the ground truth, of any size; boxes and masks are scaled to each map. None is kept.
    truth : GroundTruth
        Boxes of images without a size must be in pixels of their maps.
    masks : sequence of ImageMasks, optional
        The masks of the same images.
    thresholds : (t,) float64
        Thresholds from 0 on, evenly spaced, below 1.
    find_boxes : callable, optional
        A box rule at one threshold: takes a map and returns half-open boxes in its pixels, (b, 4).

    Raises
    ------
    GroundTruthError
        There are neither boxes nor masks, every image is blacklisted, a mask cannot be read, no mask has an object, or
        a box without an image size lies outside of its map.
    """
    rows = truth.counted.tolist()
    if not rows:
        raise GroundTruthError("every image is on the blacklist: there is no image to score")
    if not truth.has_boxes and masks is None:
        raise GroundTruthError("the ground truth has neither boxes nor masks; maps cannot be scored without them")
    pixels, gaussian = (None, None) if masks is None else (PixelPrecision(len(rows), thresholds) for _ in range(2))
    hits: list[NDArray[np.uint8]] = []
    rule_hits: list[bool] = []
    sizes = truth.sizes.copy()
    zero: list[str] = []
    nan: list[str] = []
    for number, (row, given) in enumerate(zip(rows, maps, strict=True)):
        size = given.shape[1], given.shape[0]
        broken = given.dtype.kind == "f" and bool(np.isnan(given).any())
        # For its pixels a map with a NaN is zero everywhere.
        score_map = np.zeros(given.shape) if broken else given
        if broken:
            nan.append(truth.names[row])
        elif not grey_levels(given.max(keepdims=True)).any():
            zero.append(truth.names[row])
        if not sizes[row].all():
            _check_size(truth, row, size)
            sizes[row] = size
        if truth.has_boxes:
            boxes = np.zeros((0, 4), np.int64) if broken else scaled(truth.boxes_of(row), sizes[row], size)
            hits.append(np.packbits(box_hits(candidates(score_map, thresholds), boxes), axis=-1))
            if find_boxes is not None:
                found = np.zeros((0, 4)) if broken else find_boxes(score_map)
                rule_hits.append(
                    _largest_is_right(found / np.tile(size, 2) * np.tile(sizes[row], 2), truth.boxes_of(row))
                )
        if masks is not None and pixels is not None and gaussian is not None:
            areas = masks[number].read(size)
            pixels.add(pixel_histograms(score_map, *areas, thresholds))
            gaussian.add(pixel_histograms(_gaussian(*size), *areas, thresholds))
    if pixels is not None and not pixels.histograms[0].any():
        raise GroundTruthError("no mask has a pixel of an object; PxAP is the precision for objects")
    accuracy = BoxAccuracy(np.stack(hits), thresholds) if hits else None
    right = np.array(rule_hits) if rule_hits else None
    return MapScores(replace(truth, sizes=sizes), accuracy, pixels, gaussian, tuple(zero), tuple(nan), right)


def _largest_is_right(boxes: NDArray[np.float64], true: NDArray[np.int64]) -> bool:
    if not len(boxes):
        return False
    # In small maps the release's generator makes boxes that end before they start.
    largest = boxes[(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1).argmax()]
    return bool(iou(largest, true).max(initial=0.0) >= RIGHT_IOU)


# Maps may have the sizes of their images: as many as there are images.
_gaussian = lru_cache(8)(baselines.center_gaussian)


def localization(
    accuracy: BoxAccuracy, right: NDArray[np.bool_], classified: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return localization errors, their intervals, and curves over all thresholds, as in reports: fractions.

    Parameters
    ----------
    accuracy : BoxAccuracy
        The hits of n maps; the box of the curves is that of the largest contour.
    right : (n,) bool
        Whether the box of each image is correct.
    classified : (n, 5) bool, optional
        `classification_hits` of the same images. The maps are of the ground-truth class: a prediction with another
        class cannot be right.
    """
    hits, right = accuracy.hits(0), right[:, None]
    found: dict[str, Any] = {"gt_known_error": float(error(right)[0]), "localization_error": None}
    intervals: dict[str, Any] = {"gt_known_error": error_interval(right)[0].tolist(), "localization_error": None}
    curves = {"gt_known_error": (1 - accuracy.curves[0] / 100).tolist()}
    if classified is not None:
        both = right & classified
        found["localization_error"] = by_k(error(both))
        intervals["localization_error"] = by_k(error_interval(both))
        for k in (1, 5):
            curves[f"localization_error, top{k}"] = error(hits & classified[:, [k - 1]]).tolist()
    return found | {"error_curves": curves, "intervals": intervals}


def _check_size(truth: GroundTruth, row: int, size: tuple[int, int]) -> None:
    boxes = truth.boxes_of(row)
    if (boxes[:, 2:] > size).any():
        raise GroundTruthError(
            f"image {truth.names[row]!r}: the ground truth has no image size, and a box ends at "
            f"{boxes[:, 2].max()}, {boxes[:, 3].max()}, outside of its map of {size[0]}×{size[1]}: give ground truth "
            "with sizes, or maps of the image's size"
        )


def listed(names: Sequence[str], what: str, most: int = 3) -> str:
    """Return a number of things and the first of their names: `2 maps (a, b)`."""
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({shown})"


def center_gaussian(truth: GroundTruth, thresholds: NDArray[np.float64] = THRESHOLDS) -> BoxAccuracy:
    """Evaluate the same map for every image: a Gaussian at the center."""
    return _same_map(baselines.center_gaussian(), truth, thresholds)


def whole_image(truth: GroundTruth, thresholds: NDArray[np.float64] = THRESHOLDS) -> BoxAccuracy:
    """Evaluate the box of the whole image at every threshold."""
    return _same_map(np.ones((baselines.SIDE, baselines.SIDE)), truth, thresholds)


def _same_map(score_map: NDArray[np.floating], truth: GroundTruth, thresholds: NDArray[np.float64]) -> BoxAccuracy:
    if not (truth.has_boxes and truth.has_sizes):
        lacking = "sizes" if truth.has_boxes else "boxes"
        raise GroundTruthError(f"the ground truth has no image {lacking}; a baseline cannot be scored without them")
    found = candidates(score_map, thresholds)
    boxes = (scaled(truth.boxes_of(row), truth.sizes[row], found.size) for row in truth.counted.tolist())
    hits = [np.packbits(box_hits(found, each), axis=-1) for each in boxes]
    return BoxAccuracy(np.stack(hits), thresholds)
