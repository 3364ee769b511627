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
    database
        As opened.
    flags
        How encoded images are decoded: a flag of OpenCV's `imdecode`.
    """

    def __init__(self, database: Database, flags: int = cv2.IMREAD_UNCHANGED) -> None:
        self._database = database
        self._flags = flags

    def __len__(self) -> int:
        return len(self._database)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], int]:
        """Return an image, (H, W, C) as stored, and its label."""
        where = f"{self._database.name}: key {self._database.keys[index]!r}"
        try:
            datum = self._database[index]
            return _pixels(datum, where, self._flags), int(datum.label)
        except (FormatError, ImageError) as error:
            raise TrainingError(str(error)) from None


def _pixels(datum: Any, where: str, flags: int) -> NDArray[Any]:
    if datum.encoded:
        return np.atleast_3d(decode(datum.data, where, flags))
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
        It is not there, no LMDB, or the package `lmdb` is not installed.
    """
    instead = "or give a list or a folder of images with --data (--test-data)"
    if layer.data_param.backend != LMDB:
        raise TrainingError(f"{path}: backend LEVELDB is not supported: use LMDB, {instead}")
    if not exists(path):
        raise TrainingError(f"no database {path}: check `source`, {instead}")
    param = layer.transform_param
    forced = cv2.IMREAD_GRAYSCALE if param.force_gray else cv2.IMREAD_UNCHANGED
    flags = cv2.IMREAD_COLOR if param.force_color else forced
    try:
        return DatabaseImages(Database(path), flags)
    except FormatError as error:
        raise TrainingError(str(error)) from None
