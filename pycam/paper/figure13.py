"""Figure 13: the units that matter most for a class, and the images that excite them most, segmented by the units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.drawing import caption
from pycam.errors import UsageError
from pycam.images.read import Image, read_image
from pycam.images.resize import resize
from pycam.units.activations import UnitCam
from pycam.units.best_images import BestImage, Found, find_best_images, ranked_units
from pycam.units.measured import MeasuredField, measured_field, patch_count
from pycam.units.segmentation import (
    ACTUAL_SHARE,
    DIM,
    SEGMENTATIONS,
    Mask,
    bilinear_region,
    disk,
    masked,
    smooth_region,
    stamped_region,
)

Pixels = NDArray[np.uint8]

TILES = {"bilinear": (120, 120), "smooth": (150, 150)}
"""The size of an image in the figure; the other segmentations have `smooth`'s."""

GAP = 3
"""White columns between images."""

NARROWEST = 240
"""The least width of a sheet, in pixels: its captions need room."""


@dataclass(frozen=True)
class Choices:
    """How Figure 13 is made.

    Attributes
    ----------
    units : int
        The number of units for each class.
    images_per_unit : int
        The number of images for each unit.
    segmentation : str
        A name in `pycam.units.segmentation.SEGMENTATIONS`.
    field_size : float, optional
        The diameter of the disk, in pixels of the input. Default: `ACTUAL_SHARE` of the receptive field.
    seed : int
        The seed of the random patches of `measured`.
    """

    units: int = 3
    images_per_unit: int = 12
    segmentation: str = "bilinear"
    field_size: float | None = None
    seed: int = 0

    def check(self, units: UnitCam, classes: Sequence[int]) -> None:
        """Raise a UsageError if a model cannot be shown in this way."""
        if self.segmentation not in SEGMENTATIONS:
            raise UsageError(f"segmentation {self.segmentation!r}: use one of {', '.join(SEGMENTATIONS)}")
        if self.field_size is not None and self.segmentation != "disk":
            raise UsageError(f"a field size has no effect with {self.segmentation}: it is that of disk; leave it out")
        largest = max(units.cam.model.input_size)
        if self.field_size is not None and not 1 <= self.field_size <= largest:
            raise UsageError(f"a field size of {self.field_size:g}: expected 1 to {largest}, the input's side")
        if len(units.cam.placement.view.crops) > 1:
            raise UsageError(
                f"view {units.cam.placement.view.name!r} has several crops: a unit is shown in one; use full or center"
            )
        if len(set(classes)) < len(classes):
            raise UsageError("a class is given twice: give each class once")
        count = units.head.weights.shape[1]
        if self.units > count:
            raise UsageError(f"{self.units} units: the net has {count}")
        if self.segmentation == "measured" and self.units * len(classes) > 1:
            raise UsageError(
                f"segmentation measured runs the net {patch_count(units):,} times for each image of a unit: measure "
                "one unit at a time, with one --class and --units 1"
            )


@dataclass(frozen=True, eq=False)
class UnitRow:
    """A unit of a class.

    Attributes
    ----------
    unit : int
        The channel.
    weight : float
        Its class weight.
    share : float, optional
        Its share of the class's logits, over the images that the net predicts as the class; None without such images.
    images : sequence of BestImage
        The images that excite it most.
    field_size : float, optional
        The size of its field, for the segmentations by fields.
    """

    unit: int
    weight: float
    share: float | None
    images: Sequence[BestImage]
    field_size: float | None = None


@dataclass(frozen=True, eq=False)
class ClassSheet:
    """A class of the figure.

    Attributes
    ----------
    index : int
        The class.
    label : str
        Its label.
    predicted : int
        The number of images that the net predicts as the class.
    rows : sequence of UnitRow
        Its units, those with the largest weights first.
    pixels : (H, W, 3) uint8 BGR
        One row of images per unit.
    """

    index: int
    label: str
    predicted: int
    rows: Sequence[UnitRow]
    pixels: Pixels

    def as_dict(self) -> dict[str, Any]:
        """Return the class for JSON. Boxes are (x0, y0, x1, y1), 0-based and half-open, in pixels of the image."""
        return {
            "class": self.index,
            "label": self.label,
            "predicted_images": self.predicted,
            "units": [
                {
                    "unit": row.unit,
                    "weight": row.weight,
                    "share": row.share,
                    "field_size": row.field_size,
                    "images": [
                        {
                            "image": str(each.path),
                            "activation": each.place.activation,
                            "row": each.place.row,
                            "column": each.place.column,
                            "field": each.place.image_field,
                        }
                        for each in row.images
                    ],
                }
                for row in self.rows
            ],
        }


def find_units(
    units: UnitCam,
    images: Iterable[Path],
    classes: Sequence[int],
    choices: Choices,
    progress: Callable[[], None] = lambda: None,
) -> Found:
    """Find the best images of the units of classes, in one pass.

    Parameters
    ----------
    units : UnitCam
        The model.
    images : iterable of Path
        The images.
    classes : sequence of int
        Indices of classes.
    choices : Choices
        How the figure is made.
    progress : callable
        Is called after each image.
    """
    wanted = {index: ranked_units(units.head.weights[index], choices.units) for index in classes}
    return find_best_images(units, images, wanted, choices.images_per_unit, progress)


def make_sheets(
    units: UnitCam,
    found: Found,
    classes: Sequence[int],
    choices: Choices,
    progress: Callable[[int], None] = lambda done: None,
) -> list[ClassSheet]:
    """Segment the best images of units, and lay them out: one sheet per class.

    Parameters
    ----------
    units, classes, choices
        As for `find_units`.
    found : Found
        Its result.
    progress : callable
        For `measured`, gets the number of inputs that are done.

    Raises
    ------
    UsageError
        No unit is above 0 in any image, or a field cannot be measured.
    """
    labels = units.cam.model.labels
    sheets = []
    for index in classes:
        share, weights = found.shares[index], units.head.weights[index]
        rows, drawn = [], []
        for unit in share.contributions:
            best = found.best[unit]
            tiles, size = _tiles(units, unit, best, choices, progress) if best else ([], None)
            rows.append(UnitRow(unit, float(weights[unit]), share.of(unit), best, size))
            drawn.append(_row(rows[-1], tiles, choices))
        label = labels.label(index)
        title = caption(np.empty((0, drawn[0].shape[1], 3), np.uint8), f"{label} ({index})")
        sheets.append(ClassSheet(index, label, share.images, rows, np.vstack([title, *drawn])))
    return sheets


def _row(row: UnitRow, tiles: Sequence[Pixels], choices: Choices) -> Pixels:
    """Lay out the images of a unit, with a caption."""
    height, width = TILES.get(choices.segmentation, TILES["smooth"])
    across = max(choices.images_per_unit * (width + GAP) - GAP, NARROWEST)
    whole = np.full((height + 2 * GAP, across, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (width + GAP)
        whole[GAP : GAP + height, left : left + width] = tile
    share = "" if row.share is None else f", {row.share:.1%} of the logit"
    none = "" if tiles else ": nowhere above 0 in any image"
    return caption(whole, f"unit {row.unit}: weight {row.weight:.4f}{share}{none}")


def _tiles(
    units: UnitCam, unit: int, best: Sequence[BestImage], choices: Choices, progress: Callable[[int], None]
) -> tuple[list[Pixels], float | None]:
    """Return the segmented images of a unit, and the size of the field that segments them, if one does."""
    tile = TILES.get(choices.segmentation, TILES["smooth"])
    channels, exif = units.cam.model.channels, units.cam.protocol.exif
    images = [read_image(each.path, channels=channels, exif=exif) for each in best]
    inputs = [_input_pixels(units, image) for image in images]
    size = units.cam.model.input_size
    if choices.segmentation == "bilinear":
        largest = best[0].place.activation
        return [
            masked(resize(pixels, *tile, "opencv_area"), bilinear_region(each.map, largest, tile), 0)
            for each, pixels in zip(best, inputs, strict=True)
        ], None
    field_size = None
    if choices.segmentation == "smooth":
        regions = [smooth_region(each.map, size) for each in best]
    else:
        stamp, field_size = _stamp(units, unit, images, choices, progress)
        regions = [stamped_region(each.map, stamp, size) for each in best]
    return [
        resize(masked(pixels, region, DIM), *tile, "matlab_bicubic")
        for pixels, region in zip(inputs, regions, strict=True)
    ], field_size


def _stamp(
    units: UnitCam, unit: int, images: Sequence[Image], choices: Choices, progress: Callable[[int], None]
) -> tuple[Mask, float]:
    if choices.segmentation == "disk":
        diameter = choices.field_size or disk_size(units)
        return disk(diameter), diameter
    prepared = units.cam.prepare(images)
    inputs = [each[1] for each in prepared if isinstance(each, tuple)]
    found: MeasuredField = measured_field(units, unit, inputs, seed=choices.seed, progress=progress)
    return found.stamp, found.size


def disk_size(units: UnitCam) -> float:
    """Return the diameter of the disk: `ACTUAL_SHARE` of the receptive field, at most the side of the input."""
    smallest = min(float(side) for side in units.field.size)
    return min(round(ACTUAL_SHARE * smallest), max(units.cam.model.input_size))


def _input_pixels(units: UnitCam, image: Image) -> Pixels:
    """Return the part of an image that the net gets, at the size of its input."""
    view = units.cam.placement.view
    (crop,) = view.crops
    height, width = view.size
    canvas = resize(image.pixels, *view.canvas, units.cam.protocol.resizer)
    part = canvas[crop.y : crop.y + height, crop.x : crop.x + width]
    return np.clip(np.rint(part), 0, 255).astype(np.uint8)


def caption_of(sheets: Sequence[ClassSheet], found: Found, units: UnitCam, choices: Choices) -> str:
    """Return what the figure shows, in sentences."""
    names, way = ", ".join(sheet.label for sheet in sheets), choices.segmentation
    return (
        f"The {choices.units} units of {units.head.blob} of {units.cam.model.name} with the largest class weights for "
        f"{names}, one row each, with the images that excite them most out of {found.images:,}. "
        f"Each image is segmented by the unit's own map ({way}: {SEGMENTATIONS[way]})."
    )


def settings_of(units: UnitCam, found: Found, choices: Choices) -> Mapping[str, Any]:
    """Return everything that the figure depends on."""
    cam = units.cam
    return {
        "model": cam.model.name,
        **cam.model.digests,
        "engine": cam.engine.description,
        "view": cam.placement.view.name,
        "unit_blob": units.head.blob,
        "receptive_field": units.field.as_dict(),
        "images": found.images,
        "failed_images": found.failed,
        **vars(choices),
    }
