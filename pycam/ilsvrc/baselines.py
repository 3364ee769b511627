"""The two baselines without a net: the whole image, and a Gaussian at its center. Every result is shown with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.ilsvrc import map_scores
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.scores import known_class_hits
from pycam.metrics.baselines import whole_images
from pycam.metrics.box_accuracy import RULES, THRESHOLDS, BoxAccuracy
from pycam.metrics.errors import error


@dataclass(frozen=True)
class Baselines:
    """The baselines, evaluated on the images of a ground truth that are not blacklisted.

    Attributes
    ----------
    whole_image_error : float
        GT-known localization error of the box of the whole image, a fraction.
    whole_image, center_gaussian : BoxAccuracy
        Accuracies of the baselines as score maps.
    """

    whole_image_error: float
    whole_image: BoxAccuracy
    center_gaussian: BoxAccuracy

    @classmethod
    def of(cls, truth: GroundTruth, thresholds: NDArray[np.float64] = THRESHOLDS) -> Baselines | None:
        """Evaluate the baselines; return None for a ground truth without boxes, sizes or counted images."""
        if not (truth.has_boxes and truth.has_sizes and len(truth.counted)):
            return None
        whole = float(error(known_class_hits(whole_images(truth.sizes), truth)))
        return cls(whole, map_scores.whole_image(truth, thresholds), map_scores.center_gaussian(truth, thresholds))


def known_class_errors(baselines: Baselines | None) -> dict[str, Any]:
    """Return the GT-known errors of the baselines under their names in reports."""
    return {
        "whole_image_gt_known_error": baselines and baselines.whole_image_error,
        "center_gaussian_gt_known_error": baselines and 1 - baselines.center_gaussian.max_box_acc / 100,
    }


def accuracies(accuracy: BoxAccuracy, baselines: Baselines) -> dict[str, Any]:
    """Return accuracies, best thresholds and curves of maps, and the baselines' accuracies, as in reports."""
    best = accuracy.best_thresholds.tolist()
    return {
        **_both(accuracy),
        "center_gaussian": _both(baselines.center_gaussian),
        "whole_image": _both(baselines.whole_image),
        "best_threshold": best[0],
        "best_thresholds": dict(zip(RULES, best, strict=False)),
        "thresholds": accuracy.thresholds.round(12).tolist(),
        "curves": dict(zip(RULES, accuracy.curves.tolist(), strict=False)),
    }


def _both(accuracy: BoxAccuracy) -> dict[str, Any]:
    return {"max_box_acc": accuracy.max_box_acc, "max_box_acc_v2": accuracy.max_box_acc_v2}
