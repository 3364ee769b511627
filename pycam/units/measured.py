"""Measured receptive fields: how much a unit's activation drops if a patch of the input is replaced by noise.

Zhou et al., Object Detectors Emerge in Deep Scene CNNs (ICLR 2015), section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.units.activations import UnitCam
from pycam.units.segmentation import Mask

PATCH = 11
"""The side of the patch of random pixels."""

GRID = 3
"""The distance from one patch to the next."""


@dataclass(frozen=True, eq=False)
class MeasuredField:
    """A measured receptive field.

    Attributes
    ----------
    stamp : (2 · r + 1, 2 · s + 1) bool
        The pixels around a position that change the unit by more than half of the largest change.
    size : float
        The square root of its area.
    """

    stamp: Mask
    size: float


def patch_count(units: UnitCam) -> int:
    """Return the number of inputs with a patch, for each image: 5,329 for 227×227."""
    rows, columns = _places(units)
    return len(rows) * len(columns)


def _places(units: UnitCam) -> tuple[range, range]:
    height, width = units.cam.model.input_size
    if min(height, width) < PATCH:
        raise UsageError(f"the input of {height}×{width} is smaller than a patch of {PATCH}×{PATCH}")
    return range(0, height - PATCH + 1, GRID), range(0, width - PATCH + 1, GRID)


def measured_field(
    units: UnitCam,
    unit: int,
    inputs: Sequence[NDArray[np.float32]],
    *,
    seed: int = 0,
    batch: int = 16,
    progress: Callable[[int], None] = lambda done: None,
) -> MeasuredField:
    """Measure the receptive field of a unit.

    Parameters
    ----------
    units : UnitCam
        The model.
    unit : int
        The channel.
    inputs : sequence of (1, C, height, width) float32
        The inputs of the net for the best images of the unit.
    seed : int
        The seed of the random pixels; all patches of an image are equal.
    batch : int
        The number of inputs in one run of the net.
    progress : callable
        Gets the number of inputs that are done.

    Returns
    -------
    MeasuredField
        Each image gives a map of drops at the position where the unit is largest. The maps are shifted so that the
        center of this position's receptive field is in the middle, and averaged where at least one has a value; the
        field is where the mean is above half of its maximum.
    """
    rows, columns = _places(units)
    field = units.field
    total = np.zeros((2 * len(rows) - 1, 2 * len(columns) - 1))
    count = np.zeros_like(total)
    rng = np.random.default_rng(seed)
    mean, scale = units.cam.mean, units.cam.scale
    of_channels = (mean if mean.ndim == 1 else mean.mean(axis=(1, 2))).reshape(-1, 1, 1)
    factors = np.asarray(scale).reshape(-1, 1, 1)
    middle = (len(rows) - 1, len(columns) - 1)
    for number, whole in enumerate(inputs):
        noise = rng.integers(0, 256, (len(of_channels), PATCH, PATCH))
        patch = ((noise - of_channels) * factors).astype(np.float32)
        before = _run(units, whole)[0, unit]
        row, column = np.unravel_index(int(np.argmax(before)), before.shape)
        places = [(y, x) for y in rows for x in columns]
        drops = np.empty(len(places))
        for start in range(0, len(places), batch):
            some = places[start : start + batch]
            altered = np.repeat(whole, len(some), axis=0)
            for each, (y, x) in zip(altered, some, strict=True):
                each[:, y : y + PATCH, x : x + PATCH] = patch
            drops[start : start + len(some)] = before[row, column] - _run(units, altered)[:, unit, row, column]
            progress(number * len(places) + start + len(some))
        # The patch whose center is the nearest to the center of the field.
        centers = [
            float(begin) + position * float(distance) + (float(size) - 1) / 2
            for begin, distance, size, position in zip(
                field.start, field.distance, field.size, (row, column), strict=True
            )
        ]
        nearest = [
            min(max(round((center - PATCH // 2) / GRID), 0), len(side) - 1)
            for center, side in zip(centers, (rows, columns), strict=True)
        ]
        top, left = (room - at for room, at in zip(middle, nearest, strict=True))
        window = np.s_[top : top + len(rows), left : left + len(columns)]
        total[window] += drops.reshape(len(rows), len(columns))
        count[window] += 1
    drop = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    peak = float(drop.max())
    if peak <= 0:
        raise UsageError(f"unit {unit}: no patch lowers its activation, so that it has no measured field")
    inside = drop > peak / 2
    # Each place of the grid stands for GRID × GRID pixels around its center; the sides stay uneven.
    stamp = np.repeat(np.repeat(inside, GRID, axis=0), GRID, axis=1)
    return MeasuredField(stamp, GRID * math.sqrt(int(inside.sum())))


def _run(units: UnitCam, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    cam = units.cam
    return cam.engine.forward({cam.model.image_input: inputs})[units.head.blob]
