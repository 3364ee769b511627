"""Caffe's databases: LMDB with a `Datum` a picture, as `convert_imageset` writes them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pycam.errors import FormatError, PictureError, TrainingError
from pycam.files import is_file, is_folder, is_there
from pycam.formats import schema
from pycam.formats.sandbox import read_in_child
from pycam.pictures import decode

LMDB = 1

SECONDS = 4
SECONDS_PER_BYTE = 1e-6
"""Processor time that a walk through a database may take."""


class Database:
    """The pictures of an LMDB, in the order of its keys.

    Parameters
    ----------
    path
        The folder with `data.mdb`.
    flags
        How encoded pictures are decoded: a flag of OpenCV's `imdecode`.
    """

    def __init__(self, path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> None:
        import lmdb

        self._name = str(path)
        self._error = lmdb.Error
        self._flags = flags
        _check(path)
        self._lmdb = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir())
        with self._lmdb.begin() as reading:
            self._keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
        if not self._keys:
            raise TrainingError(f"{path}: an empty database")

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], int]:
        """Give a picture, (H, W, C) as stored, and its label."""
        key = self._keys[index]
        with self._lmdb.begin() as reading:
            try:
                # What a damaged index has lost is no Datum, either.
                datum = schema.Datum.FromString(reading.get(key, b"\xff"))
            except (DecodeError, self._error):
                raise TrainingError(f"{self._name}: the value of key {key!r} is no Datum") from None
        return self._pixels(datum, key), int(datum.label)

    def _pixels(self, datum: Any, key: bytes) -> NDArray[Any]:
        if datum.encoded:
            try:
                pixels: NDArray[Any] = np.atleast_3d(decode(datum.data, f"{self._name}: key {key!r}", self._flags))
            except PictureError as error:
                raise TrainingError(str(error)) from None
            return pixels
        shape = datum.channels, datum.height, datum.width
        values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
        if min(shape) < 1 or values.size != math.prod(shape):
            raise TrainingError(f"{self._name}: key {key!r} has {values.size} values for a picture of {shape}")
        planes: NDArray[Any] = values.reshape(shape)
        return np.moveaxis(planes, 0, 2)


def _check(path: Path) -> None:
    """Refuse a database that is damaged, before it is mapped into this process."""
    file = path / "data.mdb" if path.is_dir() else path
    seconds = SECONDS + SECONDS_PER_BYTE * (file.stat().st_size if is_file(file) else 0)
    try:
        read_in_child(_walk, path, expected="an LMDB", library="lmdb", seconds=seconds)
    except FormatError as error:
        raise TrainingError(str(error)) from None


def _walk(path: str) -> None:
    """Go to each key and to the end of each value: where LMDB's library crashes, the child does and we do not."""
    import lmdb

    with (
        lmdb.open(path, readonly=True, lock=False, subdir=is_folder(path)) as made,
        made.begin(buffers=True) as reading,
    ):
        last = b""
        for key, value in reading.cursor():
            # Where pages lead to one another again and again, there is no end of keys.
            if not last < bytes(key):
                raise FormatError("its keys are not in order")
            last = bytes(key)
            bytes(value[-1:])


def open_database(layer: Any, path: Path) -> Database:
    """Open the database of a `Data` layer.

    Raises
    ------
    TrainingError
        It is not there, no LMDB, or the package `lmdb` is not installed.
    """
    instead = "or give a list or a folder of pictures with --data (--test-data)"
    if layer.data_param.backend != LMDB:
        raise TrainingError(f"{path}: backend LEVELDB is not supported: use LMDB, {instead}")
    if not is_there(path):
        raise TrainingError(f"no database {path}: check `source`, {instead}")
    if find_spec("lmdb") is None:
        raise TrainingError(f"{path}: reading LMDB needs `pip install 'caffe-cam[lmdb]'`, {instead}")
    param = layer.transform_param
    flags = cv2.IMREAD_UNCHANGED
    if param.force_color or param.force_gray:
        flags = cv2.IMREAD_COLOR if param.force_color else cv2.IMREAD_GRAYSCALE
    return Database(path, flags)
