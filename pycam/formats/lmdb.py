"""LMDB as Caffe's `convert_imageset` writes it: one `Datum` per key."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from pycam.errors import FormatError
from pycam.formats import schema
from pycam.formats.files import is_file, is_folder
from pycam.formats.sandbox import read_in_child

SECONDS = 4
SECONDS_PER_BYTE = 1e-6
"""Processor time that a walk through a database may take."""


class Database:
    """The `Datum` messages of an LMDB, in the order of its keys.

    Parameters
    ----------
    path : Path
        The folder with `data.mdb`, or the file itself.

    Raises
    ------
    FormatError
        The database is damaged or empty, or the package `lmdb` is not installed.
    """

    def __init__(self, path: Path) -> None:
        if find_spec("lmdb") is None:
            raise FormatError(f"{path}: reading LMDB needs `pip install 'caffe-cam[lmdb]'`")
        import lmdb

        self.name = str(path)
        self._error = lmdb.Error
        _check(path)
        self._lmdb = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir())
        with self._lmdb.begin() as reading:
            self.keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
        if not self.keys:
            raise FormatError(f"{path}: an empty database")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        """Return the `Datum` at a position.

        Raises
        ------
        FormatError
            The value is none.
        """
        key = self.keys[index]
        with self._lmdb.begin() as reading:
            try:
                # What a damaged index has lost is no Datum, either.
                return schema.Datum.FromString(reading.get(key, b"\xff"))
            except (DecodeError, self._error):
                raise FormatError(f"{self.name}: the value of key {key!r} is no Datum") from None


def _check(path: Path) -> None:
    """Refuse a database that is damaged, before it is mapped into this process."""
    file = path / "data.mdb" if path.is_dir() else path
    seconds = SECONDS + SECONDS_PER_BYTE * (file.stat().st_size if is_file(file) else 0)
    read_in_child(_walk, path, expected="an LMDB", library="lmdb", seconds=seconds)


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
