"""The files of Caltech-UCSD Birds (CUB_200_2011): boxes are x, y, width, height in pixels, 0-based."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file, is_folder
from pycam.formats.lines import number_of, numbered_lines, whole_number
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.source import Source, whole_boxes

MOST_CLASSES = 100_000
"""The limit on the ID of a class."""


@dataclass(frozen=True, eq=False)
class CubImages:
    """All images of CUB_200_2011: n images of training and test, in the order of `images.txt`.

    Attributes
    ----------
    folder : Path
        The folder of the data set.
    names : tuple of str
        The path of each image below the folder `images`.
    classes : (n,) int64
        The class of each image, its ID less 1.
    class_names : tuple of str
        The name of each class; a class without a line has its ID as its name.
    is_training : (n,) bool
        Whether an image is for training; the others are for test.
    boxes : (n, 4) float64
        The bounding box of each image, half-open, in pixels, at most two pixels outside of the image.
    sizes : (n, 2) int64
        Width and height of each image.
    """

    folder: Path
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    class_names: tuple[str, ...]
    is_training: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return [self.folder / "images" / name for name in self.names]


def is_cub(folder: Path) -> bool:
    """Return True if a folder has CUB's files, or those of its first edition, which `read_cub` refuses."""
    return _has_first_edition(folder) or (is_file(folder / "images.txt") and is_file(folder / "bounding_boxes.txt"))


def read_cub_images(folder: Path) -> CubImages:
    """Read all images of the data set; all of its files are needed, and every image must be there.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, one of the files has an ID that another lacks, a class has no name,
        the split is neither 0 nor 1, a box lies outside of its image, or an image is missing or cannot be read.
    """
    _refuse_others(folder)
    images = _read(folder / "images.txt", _path)
    labels = _read_for(folder / "image_class_labels.txt", _class_index, images, exactly=True)
    boxes = _read_for(folder / "bounding_boxes.txt", _corners, images, exactly=True)
    split = _read_for(folder / "train_test_split.txt", _is_training, images, exactly=True)
    names = _class_names(folder)
    for index, where in labels.values():
        if index not in names:
            raise GroundTruthError(f"{where}: class {index + 1} has no line in classes.txt")
    sizes = np.array([_size(folder / "images" / path, where) for path, where in images.values()])
    corners = _in_order(images, boxes)
    whole_boxes(corners, sizes, [boxes[key][1] for key in images])
    is_training = _in_order(images, split)
    for part, has_images in (("training", is_training.any()), ("test", not is_training.all())):
        if not has_images:
            raise GroundTruthError(f"{folder / 'train_test_split.txt'}: no image for {part} in it")
    paths = tuple(path for path, _ in images.values())
    return CubImages(folder, paths, _in_order(images, labels), _names_in_order(names), is_training, corners, sizes)


def read_cub(folder: Path) -> Source:
    """Read `images.txt`, `image_class_labels.txt`, `bounding_boxes.txt`, and `classes.txt` and the split if they exist.

    With `train_test_split.txt`, only the test images are used. Network index i is class i + 1. The sizes of the images
    are read from the images themselves, if the folder `images/` is there.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, an image has no class or box, a box lies outside of its image, or
        an image cannot be read.
    """
    _refuse_others(folder)
    images = _read(folder / "images.txt", _path)
    if is_file(folder / "train_test_split.txt"):
        split = _read_for(folder / "train_test_split.txt", _is_training, images)
        images = {key: image for key, image in images.items() if not split[key][0]}
    if not images:
        raise GroundTruthError(f"{folder / 'train_test_split.txt'}: no test image in it: every image is for training")
    labels = _read_for(folder / "image_class_labels.txt", _class_index, images)
    boxes = _read_for(folder / "bounding_boxes.txt", _corners, images)
    sizes = np.array([_size(folder / "images" / path) for path, _ in images.values()])
    whole = whole_boxes(_in_order(images, boxes), sizes, [boxes[key][1] for key in images])
    indices, rows = _in_order(images, labels), np.arange(len(images))
    class_names = _names_in_order(_class_names(folder)) if is_file(folder / "classes.txt") else ()
    paths = tuple(normal(path) for path, _ in images.values())
    return Source(folder, len(images), paths, indices, sizes, whole, indices, rows, class_names)


def _has_first_edition(folder: Path) -> bool:
    """Return True if a folder has the files of CUB-200, the edition of 2010, and not those of 2011."""
    own = folder / "lists" / "files.txt", folder / "lists" / "train.txt"
    return any(map(is_file, own)) and not is_file(folder / "bounding_boxes.txt")


def _refuse_others(folder: Path) -> None:
    """Raise an error for the edition of 2010 and for a folder that is missing or another."""
    if _has_first_edition(folder):
        raise GroundTruthError(
            f"{folder}: this is CUB-200, the edition of 2010, which has {folder / 'lists'}; "
            "expected CUB_200_2011, which has images.txt and bounding_boxes.txt"
        )
    if not is_file(folder / "images.txt"):
        found = "no images.txt in it" if is_folder(folder) else "no such folder"
        raise GroundTruthError(f"{folder}: {found}; expected the folder CUB_200_2011, which has images.txt")


T = TypeVar("T")
Lines = dict[str, tuple[T, str]]
"""ID -> what stands behind it, and the file and line where it stands."""


def _read(path: Path, convert: Callable[[str, str], T]) -> Lines[T]:
    """Read lines of an ID and what `convert` makes of the rest of the line; it also takes the file and line."""
    found: Lines[T] = {}
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        key, *rest = line.split(maxsplit=1)[:2] or [""]
        if not rest:
            raise GroundTruthError(f"{where}: {line[:80]!r}; an ID, a blank and a value were expected")
        if key in found:
            raise GroundTruthError(f"{where}: ID {key} occurs twice")
        found[key] = convert(rest[0], where), where
    if not found:
        raise GroundTruthError(f"{path}:1: an empty list; one image per line was expected")
    return found


def _read_for(path: Path, convert: Callable[[str, str], T], images: Lines[str], exactly: bool = False) -> Lines[T]:
    """Read a file that has a line for each image, and none for others if it has to have `exactly` these."""
    found = _read(path, convert)
    for key, (_, where) in images.items():
        if key not in found:
            raise GroundTruthError(f"{path}: image {key} of {where} is missing")
    for key, (_, where) in found.items():
        if exactly and key not in images:
            raise GroundTruthError(f"{where}: image {key} is missing in images.txt")
    return found


def _in_order(images: Lines[str], found: Lines[T]) -> NDArray[Any]:
    """Return the values of images in the order of `images.txt`."""
    return np.array([found[key][0] for key in images])


def _path(text: str, where: str) -> str:
    return text


def _class_index(text: str, where: str) -> int:
    """Return the index of a class, its ID less 1."""
    number = whole_number(text, where)
    if not 1 <= number <= MOST_CLASSES:
        raise GroundTruthError(f"{where}: class {number}; a number from 1 to {MOST_CLASSES:,} was expected")
    return number - 1


def _is_training(text: str, where: str) -> bool:
    if text not in ("0", "1"):
        raise GroundTruthError(f"{where}: {text[:40]!r}; expected 1, for training, or 0, for test")
    return text == "1"


def _corners(text: str, where: str) -> tuple[float, ...]:
    """Return a half-open box from the text of x, y, width and height."""
    values = text.split()
    if len(values) != 4:
        raise GroundTruthError(f"{where}: {text[:80]!r}; 4 values were expected: x, y, width and height")
    x, y, width, height = (number_of(value, where) for value in values)
    return x, y, x + width, y + height


def _class_names(folder: Path) -> dict[int, str]:
    """Read `classes.txt`: index -> name."""
    return {
        _class_index(key, where): normal(name) for key, (name, where) in _read(folder / "classes.txt", _path).items()
    }


def _names_in_order(names: Mapping[int, str]) -> tuple[str, ...]:
    """Return the names of classes by index; a class that the file lacks has its ID as its name."""
    return tuple(names.get(index, str(index + 1)) for index in range(max(names) + 1))


def _size(path: Path, where: str = "") -> tuple[int, int]:
    """Return the width and height of an image; zeros if its folder does not exist and no line needs the image."""
    if not is_file(path):
        if where:
            raise GroundTruthError(f"{where}: no image {path}")
        if not is_folder(path.parent):
            return 0, 0
    try:
        with Image.open(path) as image:
            width, height = image.size
            return width, height
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise GroundTruthError(
            f"{path}: the size of the image cannot be read ({error}): is the file complete?"
        ) from None
