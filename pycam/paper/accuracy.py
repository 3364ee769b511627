"""The accuracy of a classifier, both ways: the share of all images, and the mean of the classes' shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.metrics.intervals import interval, resampled_means, samples
from pycam.tables import percent


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        Fractions.
    """

    value: float
    low: float
    high: float

    @property
    def percent(self) -> tuple[float, float, float]:
        """The three in percent."""
        return percent(self.value), percent(self.low), percent(self.high)


@dataclass(frozen=True)
class Accuracy:
    """The accuracy on test images.

    Attributes
    ----------
    overall : Estimate
        The share of all images that are right.
    of_classes : Estimate
        The mean, over the classes with images, of the share of their images that are right.
    right, images : int
        So many of so many images are right.
    """

    overall: Estimate
    of_classes: Estimate
    right: int
    images: int


def share(correct: NDArray[np.bool_]) -> Estimate:
    """Return the share of images, (n,), with its bootstrap interval over images."""
    low, high = interval(resampled_means(correct[:, None]))[0].tolist()
    return Estimate(float(correct.mean()), low, high)


def class_mean(correct: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Return the mean, over the classes with images, of the share of images that are right: (n,), (n,)."""
    classes, rows = np.unique(labels, return_inverse=True)
    right = np.bincount(rows, weights=correct, minlength=len(classes))
    return float(np.mean(right / np.bincount(rows, minlength=len(classes))))


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> Accuracy:
    """Compare predicted labels, (n,), with those of the images, (n,); the intervals are bootstrap over images."""
    given = np.asarray(labels, np.int64)
    correct = np.asarray(np.asarray(predicted) == given)
    classes, rows = np.unique(given, return_inverse=True)
    of_class = np.zeros((len(given), len(classes)), np.float32)
    of_class[np.arange(len(given)), rows] = 1
    times = samples(len(given)).astype(np.float32)  # (replicates, n)
    counts = times @ of_class  # (replicates, classes)
    # A class that a sample lacks is not in that sample's mean.
    shares = np.divide(times @ (of_class * correct[:, None]), counts, out=np.zeros_like(counts), where=counts > 0)
    low, high = interval((shares.sum(axis=1) / (counts > 0).sum(axis=1)).astype(np.float64)).tolist()
    of_classes = Estimate(class_mean(correct, given), low, high)
    return Accuracy(share(correct), of_classes, int(correct.sum()), len(given))
