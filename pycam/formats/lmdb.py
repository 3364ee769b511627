"""Read an LMDB that Caffe's `convert_imageset` wrote: one `Datum` per key."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from google.protobuf.message import DecodeError

from pycam.errors import FormatError
from pycam.formats import schema
from pycam.formats.files import is_file, is_folder
from pycam.formats.sandbox import read_in_child

SECONDS = 4
SECONDS_PER_BYTE = 1e-6
"""Limits of the child process that checks a database: processor time, by the size of the file."""


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
        # A damaged database is refused before it is mapped into this process.
        file = path / "data.mdb" if path.is_dir() else path
        seconds = SECONDS + SECONDS_PER_BYTE * (file.stat().st_size if is_file(file) else 0)
        read_in_child(_check_all, path, expected="an LMDB", library="lmdb", seconds=seconds)
        self._lmdb = _open(path)
        with self._lmdb.environment.begin() as reading:
            self.keys = [bytes(key) for key in reading.cursor().iternext(values=False)]
        if not self.keys:
            raise FormatError(f"{path}: the database is empty")

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Any:
        """Return the `Datum` at a position in the order of the keys.

        Raises
        ------
        FormatError
            The value is not a `Datum`.
        """
        key = self.keys[index]
        with self._lmdb.environment.begin() as reading:
            try:
                # A key that a damaged index has lost gives this value, which is not a Datum.
                return schema.Datum.FromString(reading.get(key, b"\xff"))
            except (DecodeError, self._error):
                raise FormatError(f"{self.name}: the value of key {key!r} is not a Datum") from None


class _Mapped:
    """A file that is mapped into this process."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.environment = lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir())


# LMDB refuses to map a file twice; a net for training and one for tests may read the same.
_MAPPED: WeakValueDictionary[tuple[int, int], _Mapped] = WeakValueDictionary()


def _open(path: Path) -> _Mapped:
    found = (path / "data.mdb" if path.is_dir() else path).stat()
    key = found.st_dev, found.st_ino
    mapped = _MAPPED.get(key) or _Mapped(path)
    _MAPPED[key] = mapped
    return mapped


def _check_all(path: str) -> None:
    """Read each key and the end of each value: if LMDB's library crashes, it crashes in the child process."""
    import lmdb

    with (
        lmdb.open(path, readonly=True, lock=False, subdir=is_folder(path)) as made,
        made.begin(buffers=True) as reading,
    ):
        last = b""
        for key, value in reading.cursor():
            # Pages that form a cycle would give keys without end.
            if not last < bytes(key):
                raise FormatError("its keys are not in order")
            last = bytes(key)
            bytes(value[-1:])
