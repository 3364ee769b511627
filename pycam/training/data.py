"""Opening the data of data layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pycam.errors import PycamError, TrainingError
from pycam.formats.files import is_folder
from pycam.images.views import CANVAS
from pycam.net.layers import LAYER_TYPES
from pycam.training.batches import Batches, ImageBatches
from pycam.training.database import DatabaseImages, open_database
from pycam.training.dummy import DummyBatches
from pycam.training.hdf5_data import open_hdf5
from pycam.training.lists import ImageFiles, folder_files, list_files
from pycam.training.solver import beside
from pycam.training.transform import read_transform

IMAGE_TYPES = ("Data", "ImageData")
DATA_TYPES = (*IMAGE_TYPES, "HDF5Data", "DummyData")
"""The types of layers whose data can be opened; those of the first kind can read a list or folder instead."""


def open_batches(layer: Any, path: Path, phase: str, seed: int = 0, given: Path | None = None) -> Batches:
    """Open the data of a data layer.

    Parameters
    ----------
    layer : LayerParameter
        Of a type in `DATA_TYPES`.
    path : Path
        Its prototxt. Relative paths in it are looked for in the current folder, as in Caffe, then beside it.
    phase : str
        `TRAIN` crops at random places, `TEST` in the center.
    seed : int
        Seed of what is random.
    given : Path, optional
        A list or a folder in place of an image layer's own source. Its images are resized as the layer says, or
        to 256×256 where it says nothing, before they are cropped; in training they are shuffled.

    Raises
    ------
    TrainingError
        The source is missing or damaged, or a field of the layer is wrong.
    """
    seeds = (seed, int(phase == "TRAIN"))
    try:
        _check_blobs(layer)
        if layer.type == "DummyData":
            return DummyBatches(layer, seeds)
        if layer.type == "HDF5Data":
            return open_hdf5(layer, path, seeds)
        batches = _open_images(layer, path, phase == "TRAIN", seeds, given)
        # An image that the transformation cannot take is an error of the layer, too.
        _ = batches.shapes
        return batches
    except PycamError as error:
        raise TrainingError(f"{path}: layer {layer.name!r} ({phase}): {error}") from None


def _check_blobs(layer: Any) -> None:
    if layer.bottom:
        raise TrainingError(f"bottom {layer.bottom[0]!r}: a layer of type {layer.type} has none, remove it")
    least, most = LAYER_TYPES[layer.type].top_count
    if len(layer.top) < least or (most is not None and len(layer.top) > most):
        wanted = f"{least} or more" if most is None else f"{least} to {most}"
        raise TrainingError(f"{len(layer.top)} tops, the type {layer.type} takes {wanted}")


def _open_images(layer: Any, path: Path, training: bool, seeds: tuple[int, ...], given: Path | None) -> ImageBatches:
    listed = layer.type == "ImageData"
    param = layer.image_data_param if listed else layer.data_param
    if param.batch_size < 1:
        raise TrainingError(f"batch_size {int(param.batch_size)}: expected 1 or more")
    transform = read_transform(layer.transform_param, path, training)
    source: ImageFiles | DatabaseImages
    if given is not None or listed:
        source = _files(layer, given or beside(param.source, path))
    else:
        source = open_database(layer, beside(param.source, path))
    return ImageBatches(
        tops=tuple(layer.top),
        source=source,
        transform=transform,
        size=int(param.batch_size),
        shuffle=training if given is not None else listed and param.shuffle,
        skip=int(np.random.default_rng(seeds).integers(param.rand_skip)) if listed and param.rand_skip else 0,
        seed=seeds,
        notes=(*source.notes, *(f"{path}: layer {layer.name!r}: {note}" for note in _without_effect(layer, param))),
    )


def _files(layer: Any, path: Path) -> ImageFiles:
    param = layer.image_data_param
    size = (int(param.new_height), int(param.new_width))
    if bool(size[0]) != bool(size[1]):
        raise TrainingError(
            f"new_height {size[0]} and new_width {size[1]}: Caffe resizes only where both are given: add the other one"
        )
    files = folder_files(path) if is_folder(path) else list_files(path, param.root_folder)
    if size == (0, 0) and layer.type == "Data":
        size = (CANVAS, CANVAS)
    # Caffe's ImageData ignores force_gray.
    grey = not param.is_color if layer.type == "ImageData" else layer.transform_param.force_gray
    return replace(files, size=size if all(size) else None, grey=grey)


def _without_effect(layer: Any, param: Any) -> Iterator[str]:
    """Yield a line for each field that Caffe reads without an effect."""
    old = [name for name in ("scale", "mean_file", "crop_size", "mirror") if param.HasField(name)]
    if old:
        yield f"{', '.join(old)} outside transform_param: without effect, as in Caffe"
    if layer.type == "Data" and param.rand_skip:
        yield "rand_skip of a Data layer: without effect, as in Caffe"
    if layer.type == "ImageData" and (layer.transform_param.force_gray or layer.transform_param.force_color):
        yield "force_gray and force_color of an ImageData layer: without effect, as in Caffe; is_color decides"
