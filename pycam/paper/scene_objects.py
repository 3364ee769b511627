"""Objects in scenes (Figure 9): which occur most often, and which most often lie under a map's high values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam.tables import PERCENT, Table, percent

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ObjectCount:
    """How often an object occurs in the images of a category.

    Attributes
    ----------
    name : str
        The name of the object.
    occurs : int
        The number of images with at least one polygon of the name.
    overlaps : int
        The number of these in which the object lies under the map's high region.
    """

    name: str
    occurs: int
    overlaps: int


def high_region(map: NDArray[np.floating], threshold: float = 0.2) -> Mask:
    """Return the pixels at `threshold` times the map's maximum or more; none if no value is positive."""
    peak = map.max()
    # In the precision of the map: a float32 value at the threshold can lie below the float64 threshold.
    region: Mask = map >= map.dtype.type(threshold) * peak if peak > 0 else np.zeros(map.shape, np.bool_)
    return region


def overlapping(masks: Mapping[str, Mask], region: Mask, share: float = 0.5) -> set[str]:
    """Return the objects that lie under a region: more than `share` of their area inside the image does."""
    return {name for name, mask in masks.items() if np.count_nonzero(mask & region) > share * np.count_nonzero(mask)}


def count_objects(images: Iterable[tuple[Iterable[str], Iterable[str]]], least: int = 5) -> list[ObjectCount]:
    """Count objects over the images of a category.

    Parameters
    ----------
    images : iterable of (names, names)
        For each image, the objects that occur, and those that lie under the high region.
    least : int
        Objects in fewer images are left out.

    Returns
    -------
    list of ObjectCount
        In the order of their names.
    """
    occurs: Counter[str] = Counter()
    overlaps: Counter[str] = Counter()
    for present, under in images:
        occurs.update(set(present))
        overlaps.update(set(under))
    return [ObjectCount(name, occurs[name], overlaps[name]) for name in sorted(occurs) if occurs[name] >= least]


def ranked(counts: Iterable[ObjectCount], by: str, most: int | None = None) -> list[ObjectCount]:
    """Sort objects by `occurs` or `overlaps`, most first; equal ones by their names. Return at most `most`."""
    return sorted(counts, key=lambda each: (-getattr(each, by), each.name))[:most]


def object_table(category: str, counts: Sequence[ObjectCount], images: int, most: int, note: str) -> Table:
    """Return the two lists of a category, side by side: shares of all its images, in percent."""
    from pandas import DataFrame

    lists = [ranked(counts, by, most) for by in ("occurs", "overlaps")]
    rows = [
        {
            "rank": rank,
            "most frequent": frequent.name,
            "occurs in": percent(frequent.occurs / images),
            "most often under the map": under.name,
            "under the map in": percent(under.overlaps / images),
        }
        for rank, (frequent, under) in enumerate(zip(*lists, strict=True), start=1)
    ]
    columns = ["rank", "most frequent", "occurs in", "most often under the map", "under the map in"]
    formats = dict.fromkeys(["occurs in", "under the map in"], PERCENT)
    return Table(f"{category}, {images} images", DataFrame(rows, columns=columns), note, formats)
