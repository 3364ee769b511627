"""The images that excite units most, found in one pass over any number of images."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import PycamError
from pycam.units.activations import Place, UnitCam

SHOWN_FAILURES = 20
"""The number of images that cannot be read whose errors are kept."""


@dataclass(frozen=True, eq=False)
class BestImage:
    """An image that excites a unit.

    Attributes
    ----------
    path : Path
        The image.
    place : Place
        Where the unit is largest.
    map : (h, w) float32
        The map of the unit.
    """

    path: Path
    place: Place
    map: NDArray[np.float32]


@dataclass
class Shares:
    """What units add to the logit of a class, over the images that the net predicts as this class.

    Attributes
    ----------
    images : int
        Their number.
    total : float
        The sum of their logits.
    contributions : dict of int to float
        Unit -> the sum of its contributions.
    """

    images: int = 0
    total: float = 0.0
    contributions: dict[int, float] = field(default_factory=dict)

    def of(self, unit: int) -> float | None:
        """Return the share of a unit in the logits; None without images, or if their logits are not above 0."""
        return self.contributions[unit] / self.total if self.images and self.total > 0 else None


@dataclass(frozen=True, eq=False)
class Found:
    """What a pass over images gives.

    Attributes
    ----------
    images : int
        The number of images that were run.
    best : mapping of int to sequence of BestImage
        Unit -> the images with its largest maxima, largest first; those of equal maxima in the order of the images.
        Images in which the unit is nowhere above 0 are left out.
    shares : mapping of int to Shares
        Class -> the shares of its units.
    failures : sequence of PycamError
        The first errors of images that cannot be read.
    failed : int
        The number of images that cannot be read.
    """

    images: int
    best: Mapping[int, Sequence[BestImage]]
    shares: Mapping[int, Shares]
    failures: Sequence[PycamError]
    failed: int


def find_best_images(
    units: UnitCam,
    images: Iterable[Path],
    wanted: Mapping[int, Sequence[int]],
    count: int,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Find the images that excite units most. The memory does not depend on the number of images.

    Parameters
    ----------
    units : UnitCam
        The model; its view has one crop.
    images : iterable of Path
        The images.
    wanted : mapping of int to sequence of int
        Class -> its units.
    count : int
        The number of images that are kept for each unit.
    progress : callable
        Is called after each image.
    """
    heaps: dict[int, list[tuple[float, int, BestImage]]] = {unit: [] for each in wanted.values() for unit in each}
    shares = {index: Shares(contributions=dict.fromkeys(of_class, 0.0)) for index, of_class in wanted.items()}
    failures: list[PycamError] = []
    number = failed = 0
    for order, (path, activations) in enumerate(units.stream(images)):
        progress()
        if isinstance(activations, PycamError):
            failed += 1
            failures += [activations] if len(failures) < SHOWN_FAILURES else []
            continue
        number += 1
        for unit, heap in heaps.items():
            map_ = activations.features[0, unit]
            largest = float(map_.max())
            # Of equal maxima, the earlier image stays.
            if largest > 0 and (len(heap) < count or largest > heap[0][0]):
                assert isinstance(path, Path)
                item = (largest, -order, BestImage(path, activations.largest(unit), map_.copy()))
                (heapq.heappush if len(heap) < count else heapq.heapreplace)(heap, item)
        predicted = int(np.argmax(activations.scores))
        if (share := shares.get(predicted)) is not None:
            account = activations.account(predicted)
            share.images += 1
            share.total += account.total
            for unit in share.contributions:
                share.contributions[unit] += float(account.contributions[unit])
    best = {
        unit: [item for _, _, item in sorted(heap, key=lambda each: each[:2], reverse=True)]
        for unit, heap in heaps.items()
    }
    return Found(number, best, shares, failures, failed)


def ranked_units(weights: NDArray[np.float64], count: int) -> list[int]:
    """Return the units with the largest class weights, largest first, with their sign; of equal ones the lower first.

    Parameters
    ----------
    weights : (K,)
        The row of the class.
    count : int
        The number of units.
    """
    return [int(unit) for unit in np.argsort(-weights, kind="stable")[:count]]
