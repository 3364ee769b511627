"""The images of a `Data` layer: decoded from the `Datum` messages of its database."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, ImageError, TrainingError
from pycam.formats.files import exists
from pycam.formats.lmdb import Database
from pycam.images.read import decode

LMDB = 1


class DatabaseImages:
    """The images and labels of a database.

    Parameters
    ----------
    database : Database
        As opened.
    color, gray : bool
        Decode encoded images in colour, or grey; else as they are.

    Attributes
    ----------
    notes : tuple of str
        A line if `color` or `gray` has no effect.
    """

    def __init__(self, database: Database, color: bool = False, gray: bool = False) -> None:
        self._database = database
        first = self._datum(0)
        if color and gray and first.encoded:
            raise TrainingError("force_color and force_gray: an image cannot be both, remove one of them")
        self._flags = cv2.IMREAD_COLOR if color else cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_UNCHANGED
        without = f"{database.name}: its images are not encoded: force_color and force_gray have no effect, as in Caffe"
        self.notes = (without,) if (color or gray) and not first.encoded else ()

    def __len__(self) -> int:
        return len(self._database)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], int]:
        """Return an image, (H, W, C) as stored, and its label."""
        datum = self._datum(index)
        try:
            return _pixels(datum, self.where(index), self._flags), int(datum.label)
        except ImageError as error:
            raise TrainingError(str(error)) from None

    def where(self, index: int) -> str:
        """Return the database and the key of an image."""
        return f"{self._database.name}: key {self._database.keys[index]!r}"

    def _datum(self, index: int) -> Any:
        try:
            return self._database[index]
        except FormatError as error:
            raise TrainingError(str(error)) from None


def _pixels(datum: Any, where: str, flags: int) -> NDArray[Any]:
    if datum.encoded:
        pixels = np.atleast_3d(decode(datum.data, where, flags))
        if pixels.dtype != np.uint8:
            raise TrainingError(
                f"{where}: an image of {8 * pixels.itemsize} bits per channel, Caffe takes 8: make the database anew "
                "from 8-bit images, or set force_color or force_gray in transform_param"
            )
        return pixels
    shape = datum.channels, datum.height, datum.width
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    if min(shape) < 1 or values.size != math.prod(shape):
        raise TrainingError(f"{where} has {values.size} values for an image of {shape}")
    planes: NDArray[Any] = values.reshape(shape)
    return np.moveaxis(planes, 0, 2)


def open_database(layer: Any, path: Path) -> DatabaseImages:
    """Open the database of a `Data` layer.

    Raises
    ------
    TrainingError
        It is not there, no LMDB, or the package `lmdb` is not installed; or its fields contradict each other.
    """
    instead = "or give a list or a folder of images with --data (--test-data)"
    if layer.data_param.backend != LMDB:
        if exists(path / "data.mdb"):
            raise TrainingError(f"{path} is an LMDB, but the backend is LEVELDB where none is given: add backend: LMDB")
        raise TrainingError(
            f"{path}: backend LEVELDB is not supported: make an LMDB (`convert_imageset --backend=lmdb`) and set "
            f"backend: LMDB, {instead}"
        )
    if not exists(path):
        raise TrainingError(f"no database {path}: check `source`, {instead}")
    param = layer.transform_param
    try:
        return DatabaseImages(Database(path), param.force_color, param.force_gray)
    except FormatError as error:
        raise TrainingError(str(error)) from None
