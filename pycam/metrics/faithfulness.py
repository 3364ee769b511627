"""Faithfulness of a map: what happens to the score of a class when the image is masked by its map.

- average drop (%) = 100 · mean of max(0, Y - O) / Y; increase in confidence (%) = 100 · share of images with O > Y.
  Y is the score of the image, O that of the image times its map, from 0 to 1. Chattopadhay et al., WACV 2018.
- average gain (%) = 100 · mean of max(0, O - Y) / (1 - Y). Zhang et al., CVIU 2024 (Opti-CAM).
- deletion = area under the scores of the image while its pixels become 0, the pixel with the largest value of the map
  first; insertion = the same while a blurred image gets its pixels back. Petsiuk et al., BMVC 2018 (RISE).

Images are inputs of a net: 0 is the mean colour, where a mean is subtracted. docs/methods.md has the caveats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from pycam.errors import UsageError
from pycam.images.scaling import min_max_scale

Floats = NDArray[np.float32]
Predict = Callable[[Iterator[Floats]], ArrayLike]
"""Takes images, (C, H, W), one after the other, and returns the score of the class for each: (n,), from 0 to 1."""

STEPS = 100
"""The default number of steps of the curves."""
BLUR_SIDE, BLUR_SIGMA = 11, 5
"""The side of the blur's kernel, and its standard deviation, in pixels; those of RISE."""


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What happens to the score of a class when an image is masked by the map of the class.

    Attributes
    ----------
    score : float
        The score of the image.
    masked : float
        The score of the image times its map.
    deletion, insertion : (steps + 1,) float64
        The scores from the image to no pixel of it, and from a blurred image to the image.
    """

    score: float
    masked: float
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


def faithfulness_of(image: Floats, map_: Floats, predict: Predict, steps: int = STEPS) -> Faithfulness:
    """Measure the faithfulness of the map of a class.

    Parameters
    ----------
    image : (C, H, W) float32
        The input of a net.
    map_ : (H, W) float32
        The map of the class.
    predict : callable
        See `Predict`. It is called once, for 2 · steps + 3 images.
    steps : int
        The number of steps of the curves.

    Raises
    ------
    UsageError
        The shapes do not match, the map is not finite, the number of steps is below 1 or above the number of pixels, or
        `predict` returns another number of scores or one that is not from 0 to 1.
    """
    if image.ndim != 3 or map_.shape != image.shape[1:]:
        raise UsageError(
            f"got an image of shape {image.shape} and a map of {map_.shape}; expected (C, H, W) and (H, W)"
        )
    if not np.isfinite(map_).all():
        raise UsageError("the map is not finite: it has no largest value")
    if not 1 <= steps <= map_.size:
        raise UsageError(f"steps is {steps}; expected 1 to {map_.size}, the number of pixels")
    changed = chain(
        [image * min_max_scale(map_)],
        exchanged(image, np.zeros_like(image), map_, steps),
        exchanged(blurred(image), image, map_, steps),
    )
    scores = np.asarray(predict(changed), np.float64)
    if scores.shape != (2 * steps + 3,):
        raise UsageError(f"expected {2 * steps + 3} scores, got an array of shape {scores.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise UsageError(f"expected scores from 0 to 1, got some from {scores.min():g} to {scores.max():g}")
    return Faithfulness(float(scores[1]), float(scores[0]), scores[1 : steps + 2], scores[steps + 2 :])


def exchanged(start: Floats, end: Floats, map_: Floats, steps: int) -> Iterator[Floats]:
    """Yield images on the way from one to another: the pixels with the largest values of a map change first.

    Parameters
    ----------
    start, end : (C, H, W) float32
        The first image and the last one.
    map_ : (H, W) float32
        The map. Equal values are in the order of rows, then columns.
    steps : int
        The number of steps.

    Yields
    ------
    (C, H, W) float32
        steps + 1 images. After step i, i · H · W / steps pixels have changed, rounded.
    """
    order = np.argsort(-map_.ravel(), kind="stable")
    image, target = start.reshape(len(start), -1).copy(), end.reshape(len(end), -1)
    before = 0
    for step in range(steps + 1):
        now = round(step * map_.size / steps)
        pixels = order[before:now]
        image[:, pixels] = target[:, pixels]
        before = now
        yield image.reshape(start.shape).copy()


def blurred(image: Floats) -> Floats:
    """Blur an image, (C, H, W), as RISE does: a kernel of 11×11 with a deviation of 5 pixels, and 0 beyond the border.

    The kernel is a Gaussian that is reflected at its own borders.
    """
    impulse = np.zeros(BLUR_SIDE)
    impulse[BLUR_SIDE // 2] = 1
    kernel = gaussian_filter1d(impulse, BLUR_SIGMA)
    channels = [cv2.sepFilter2D(each, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT) for each in image]
    return np.stack(channels).astype(np.float32)


def area(curve: ArrayLike) -> float:
    """Return the area under a curve of n ≥ 2 values, (n,), over a width of 1, by the trapezoidal rule."""
    values = np.asarray(curve, np.float64)
    return float((values.sum() - (values[0] + values[-1]) / 2) / (len(values) - 1))


def drops(scores: ArrayLike, masked: ArrayLike) -> NDArray[np.float64]:
    """Return the share of each score that is lost: max(0, Y - O) / Y, (n,); 0 where Y is 0."""
    before, after = np.asarray(scores, np.float64), np.asarray(masked, np.float64)
    return np.divide(np.maximum(before - after, 0), before, out=np.zeros_like(before), where=before != 0)


def gains(scores: ArrayLike, masked: ArrayLike) -> NDArray[np.float64]:
    """Return the share of what each score lacks that is gained: max(0, O - Y) / (1 - Y), (n,); 0 where Y is 1."""
    return drops(1 - np.asarray(scores, np.float64), 1 - np.asarray(masked, np.float64))


def faithfulness_figures(measured: Iterable[Faithfulness]) -> dict[str, NDArray[np.float64]]:
    """Return the figures of each image; the figure of a set of images is their mean.

    Parameters
    ----------
    measured : iterable of Faithfulness
        One per image.

    Returns
    -------
    dict of str to (n,) float64
        `average_drop`, `increase_in_confidence` and `average_gain` in percent; `insertion` and `deletion` from 0 to 1.
    """
    each = list(measured)
    scores, masked = np.array([one.score for one in each]), np.array([one.masked for one in each])
    return {
        "average_drop": 100 * drops(scores, masked),
        "increase_in_confidence": 100.0 * (masked > scores),
        "average_gain": 100 * gains(scores, masked),
        "insertion": np.array([area(one.insertion) for one in each]),
        "deletion": np.array([area(one.deletion) for one in each]),
    }
