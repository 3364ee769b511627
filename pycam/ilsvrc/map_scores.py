"""The scores of maps on a data set: one map of the ground-truth class for each image."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.metrics import baselines
from pycam.metrics.box_accuracy import BoxAccuracy, Candidates, box_hits, candidates, scaled


def score_maps(maps: Iterable[NDArray[np.floating]], truth: GroundTruth) -> BoxAccuracy:
    """Evaluate one map of the ground-truth class for each image that is not blacklisted.

    Parameters
    ----------
    maps : iterable of (H, W) float arrays in [0, 1]
        In the order of the ground truth, of any size; the ground-truth boxes are scaled to each map.
    truth : GroundTruth
        With boxes and sizes.

    Raises
    ------
    GroundTruthError
        The ground truth has no boxes or sizes, or every image is blacklisted.
    """
    return _score(map(candidates, maps), truth)


def center_gaussian(truth: GroundTruth) -> BoxAccuracy:
    """Evaluate the same map for every image: a Gaussian at the center."""
    return _same_map(baselines.center_gaussian(), truth)


def whole_image(truth: GroundTruth) -> BoxAccuracy:
    """Evaluate the box of the whole image at every threshold."""
    return _same_map(np.ones((baselines.SIDE, baselines.SIDE)), truth)


def _same_map(score_map: NDArray[np.floating], truth: GroundTruth) -> BoxAccuracy:
    return _score(repeat(candidates(score_map), len(truth.counted)), truth)


def _score(found: Iterable[Candidates], truth: GroundTruth) -> BoxAccuracy:
    if not (truth.has_boxes and truth.has_sizes):
        lacking = "sizes" if truth.has_boxes else "boxes"
        raise GroundTruthError(f"the ground truth has no image {lacking}; maps cannot be scored without them")
    if not len(truth.counted):
        raise GroundTruthError("every image is on the blacklist: there is no image to score")
    hits = [
        np.packbits(box_hits(boxes, scaled(truth.boxes_of(image), truth.sizes[image], boxes.size)), axis=-1)
        for image, boxes in zip(truth.counted.tolist(), found, strict=True)
    ]
    return BoxAccuracy(np.stack(hits))
