"""Metrics of classification and localization, on arrays: `pycam.metrics`.

What belongs here takes and returns arrays: box accuracies at all thresholds, pixel precision, errors, intervals,
paired tests, the maps of the baselines, and the faithfulness of maps. Files, data sets and reports do not belong here:
`pycam.ilsvrc` reads them.
"""

from pycam.metrics.baselines import center_gaussian, whole_images
from pycam.metrics.box_accuracy import (
    IOUS,
    RULES,
    THRESHOLDS,
    BoxAccuracy,
    Candidates,
    box_hits,
    candidates,
    scaled,
)
from pycam.metrics.errors import classification_hits, correct_boxes, error, error_interval, localization_hits
from pycam.metrics.faithfulness import Faithfulness, area, faithfulness_figures, faithfulness_of
from pycam.metrics.intervals import interval, resampled_means
from pycam.metrics.paired import McNemar, difference_interval, mcnemar
from pycam.metrics.pixel_precision import PixelPrecision, pixel_histograms, precision_recall, pxap

__all__ = [
    "IOUS",
    "RULES",
    "THRESHOLDS",
    "BoxAccuracy",
    "Candidates",
    "Faithfulness",
    "McNemar",
    "PixelPrecision",
    "area",
    "box_hits",
    "candidates",
    "center_gaussian",
    "classification_hits",
    "correct_boxes",
    "difference_interval",
    "error",
    "error_interval",
    "faithfulness_figures",
    "faithfulness_of",
    "interval",
    "localization_hits",
    "mcnemar",
    "pixel_histograms",
    "precision_recall",
    "pxap",
    "resampled_means",
    "scaled",
    "whole_images",
]
