"""Data for training: lists and folders of images, databases, and Caffe's transformations of images.

A batch follows from its number: the same number always gives the same images, cropped and mirrored in the same way. An
interrupted training therefore resumes from a number alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, PycamError, TrainingError
from pycam.formats.files import is_file, is_folder
from pycam.formats.mean import read_mean
from pycam.ilsvrc.lines import numbered_lines
from pycam.images.read import FORMATS, read_image
from pycam.images.resize import resize
from pycam.images.views import CANVAS
from pycam.prefetch import prefetch
from pycam.training.solver import beside

Floats = NDArray[np.float32]
Pixels = NDArray[Any]

SUFFIXES = (".jpg", ".jpeg", ".tif", ".pgm", *(f".{name.lower()}" for name in FORMATS))
"""Suffixes of the files in a folder that count as images."""


class Source(Protocol):
    """Images with labels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        """Return an image, (H, W, C) BGR or grey, and its label."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Image files with labels.

    Attributes
    ----------
    name : str
        The list or folder, for error messages.
    paths : tuple of str
        One per image.
    labels : tuple of int
        One per image.
    lines : tuple of int
        The line of each image in its list; 0 in a folder.
    size : (int, int), optional
        Height and width that each image is resized to (OpenCV bilinear, as in Caffe); None for its own.
    grey : bool
        Return one channel.
    """

    name: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    lines: tuple[int, ...]
    size: tuple[int, int] | None = None
    grey: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        pixels: Pixels = read_image(self.paths[index], channels=1 if self.grey else 3).values
        if self.size is not None:
            pixels = resize(pixels, *self.size)
        return pixels, self.labels[index]

    def check_labels(self, classes: int) -> None:
        """Raise a `TrainingError` for a label outside 0 to `classes` - 1."""
        for label, line in zip(self.labels, self.lines, strict=True):
            if not 0 <= label < classes:
                where = f"{self.name}:{line}" if line else self.name
                raise TrainingError(f"{where}: label {label}, but the net has {classes} classes, 0 to {classes - 1}")


def list_files(path: Path, root: str = "") -> ImageFiles:
    """Read a list of images as Caffe does: one path and label per line, the label after the last blank.

    Parameters
    ----------
    path : Path
        The list.
    root : str
        The folder of its paths; a relative one is looked for in the current folder, then beside the list.

    Raises
    ------
    TrainingError
        The list is missing or empty, a line has another form, or an image does not exist.
    """
    found = []
    try:
        numbered = [(number, line) for number, line in numbered_lines(path) if line]
    except GroundTruthError as error:
        raise TrainingError(f"{error} (a list of images)") from None
    for number, line in numbered:
        name, _, label = line.rpartition(" ")
        if not name or not re.fullmatch(r"-?[0-9]{1,9}", label):
            raise TrainingError(f"{path}:{number}: expected a path, a blank and a label, found {line[:80]!r}")
        found.append((str(Path(root, name)), int(label), number))
    if not found:
        raise TrainingError(f"{path}: a list without images")
    paths, labels, lines = zip(*found, strict=True)
    if not is_file(paths[0]):
        paths = tuple(str(path.parent / name) for name in paths)
    for name, number in zip(paths, lines, strict=True):
        if not is_file(name):
            raise TrainingError(f"{path}:{number}: no image {name[:400]}")
    return ImageFiles(str(path), paths, labels, lines)


def folder_files(path: Path) -> ImageFiles:
    """Read a folder with one folder of images per class; classes are numbered in the order of their names."""
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    found = [
        (str(file), label)
        for label, folder in enumerate(classes)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise TrainingError(f"{path}: expected one folder of images per class, found {len(classes)} folders")
    paths, labels = zip(*found, strict=True)
    return ImageFiles(str(path), paths, labels, (0,) * len(paths))


@dataclass(frozen=True)
class Transform:
    """Caffe's transformation of an image before it enters a net: subtract the mean, crop, mirror, scale.

    Attributes
    ----------
    crop : int
        Side of the square crop; 0 for the whole image.
    anywhere : bool
        Crop at a random place, as in training; else in the center.
    mirror : bool
        Mirror half of the images, at random.
    mean : (C,) or (C, H, W) float32, optional
        Subtracted before cropping.
    scale : float
        The factor, applied last.
    """

    crop: int = 0
    anywhere: bool = False
    mirror: bool = False
    mean: Floats | None = None
    scale: float = 1.0

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Floats:
        """Return the net's input for an image, (H, W, C): (C, crop, crop) or (C, H, W) float32."""
        height, width, channels = pixels.shape
        tall, wide = (self.crop, self.crop) if self.crop else (height, width)
        if height < tall or width < wide:
            raise TrainingError(f"an image of {width}×{height} is smaller than crop_size {self.crop}")
        y, x = (height - tall) // 2, (width - wide) // 2
        if self.anywhere:
            y, x = (int(rng.integers(room + 1)) for room in (height - tall, width - wide))
        part = np.s_[:, y : y + tall, x : x + wide]
        cut: Floats = pixels.transpose(2, 0, 1)[part].astype(np.float32)
        if self.mean is not None:
            if self.mean.ndim == 3 and self.mean.shape != (channels, height, width):
                raise TrainingError(f"a mean image of {self.mean.shape} for an image of {(channels, height, width)}")
            if len(self.mean) not in (1, channels):
                raise TrainingError(
                    f"{len(self.mean)} mean values for an image of {channels} channels: give one, or one each"
                )
            cut -= self.mean[part] if self.mean.ndim == 3 else self.mean[:, None, None]
        if self.mirror and rng.integers(2):
            cut = cut[:, :, ::-1]
        if self.scale != 1:
            cut = cut * np.float32(self.scale)
        return cut


@dataclass(frozen=True)
class Batches:
    """The batches of a data layer.

    Attributes
    ----------
    tops : tuple of str
        Its blobs: images, and labels if there is a second one.
    source : Source
        The images and labels.
    transform : Transform
        Applied to each image.
    size : int
        Images per batch.
    shuffle : bool
        Shuffle the images before each epoch.
    skip : int
        Number of images that are skipped at the start.
    seed : tuple of int
        Seed of everything random here.
    """

    tops: tuple[str, ...]
    source: Source
    transform: Transform
    size: int
    shuffle: bool = False
    skip: int = 0
    seed: tuple[int, ...] = (0,)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the blobs."""
        image = self.transform(self.source[0][0], np.random.default_rng(0)).shape
        return ((self.size, *image), (self.size,))[: len(self.tops)]

    def __getitem__(self, number: int) -> dict[str, Floats]:
        """Return batch `number`, from 0: the images, (N, C, H, W) float32, and the labels, (N,) float32."""
        rng = np.random.default_rng([*self.seed, number])
        images = np.empty(self.shapes[0], np.float32)
        labels = np.empty(self.size, np.float32)
        for i in range(self.size):
            round_, place = divmod(self.skip + number * self.size + i, len(self.source))
            index = int(_order(len(self.source), (*self.seed, round_))[place]) if self.shuffle else place
            pixels, labels[i] = self.source[index]
            given = self.transform(pixels, rng)
            if given.shape != images.shape[1:]:
                raise TrainingError(
                    f"image {index} gives {given.shape}, the first one {images.shape[1:]}: all need one size: "
                    "set crop_size, or new_height and new_width"
                )
            images[i] = given
        return dict(zip(self.tops, (images, labels), strict=False))

    def stream(self, first: int, last: int) -> Iterator[dict[str, Floats]]:
        """Yield the batches from `first` up to, not including, `last`; the next one is made meanwhile."""
        with ThreadPoolExecutor(1, "pycam-data") as reader:
            yield from prefetch(lambda number: reader.submit(self.__getitem__, number), range(first, last), 2)


@lru_cache(maxsize=2)
def _order(count: int, seed: tuple[int, ...]) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(count)


def open_batches(layer: Any, path: Path, phase: str, seed: int = 0, given: Path | None = None) -> Batches:
    """Open the data of a data layer.

    Parameters
    ----------
    layer : LayerParameter
        Of type `Data` or `ImageData`.
    path : Path
        Its prototxt. Relative paths in it are looked for in the current folder, as in Caffe, then beside it.
    phase : str
        `TRAIN` crops at random places, `TEST` in the center.
    seed : int
        Seed of what is random.
    given : Path, optional
        A list or a folder in place of the layer's own source. Its images are resized as the layer says, or
        to 256×256 where it says nothing, before they are cropped; in training they are shuffled.

    Raises
    ------
    TrainingError
        The source is missing or damaged.
    """
    training = phase == "TRAIN"
    param = layer.image_data_param if layer.type == "ImageData" else layer.data_param
    shuffle = layer.type == "ImageData" and param.shuffle
    try:
        source: Source
        if given is not None:
            source = _files(layer, given)
            shuffle = training
        elif layer.type == "ImageData":
            source = _files(layer, beside(param.source, path))
        else:
            from pycam.training.database import open_database

            source = open_database(layer, beside(param.source, path))
        seeds = (seed, int(training))
        return Batches(
            tops=tuple(layer.top),
            source=source,
            transform=_transform(layer.transform_param, path, training),
            size=int(param.batch_size),
            shuffle=shuffle,
            skip=int(np.random.default_rng(seeds).integers(param.rand_skip)) if param.rand_skip else 0,
            seed=seeds,
        )
    except PycamError as error:
        raise TrainingError(f"{path}: layer {layer.name!r} ({phase}): {error}") from None


def _files(layer: Any, path: Path) -> ImageFiles:
    param = layer.image_data_param
    files = folder_files(path) if is_folder(path) else list_files(path, param.root_folder)
    size = (int(param.new_height), int(param.new_width))
    if size == (0, 0) and layer.type == "Data":
        size = (CANVAS, CANVAS)
    grey = layer.transform_param.force_gray or (layer.type == "ImageData" and not param.is_color)
    return replace(files, size=size if all(size) else None, grey=grey)


def _transform(param: Any, path: Path, training: bool) -> Transform:
    mean = np.array(param.mean_value, np.float32) if param.mean_value else None
    if param.mean_file:
        mean = read_mean(beside(param.mean_file, path), None)
    return Transform(int(param.crop_size), training, bool(param.mirror), mean, float(param.scale))
