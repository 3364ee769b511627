"""A folder of what is made from images: each image keeps a name of its own in it, and a run keeps what others made."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import Any

from pycam.errors import RunError, escaped
from pycam.formats.files import NamedFile, atomic_open, exists, is_folder, locked, utf8
from pycam.formats.names import DistinctNames, stem_of
from pycam.formats.opening import open_file

NAMES = "image-names.csv"
"""The file of an output folder that says which name belongs to which image."""

_HEADER = b"name,image\n"
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_PATIENCE = 60.0
"""Seconds to wait for another process, which holds the lock for an instant."""


class OutputFolder:
    """A folder in which each image has a name: that of its file, with a number if another image has it already.

    The names are in `image-names.csv`, with the path of each image from the folder on: the next run gives the same
    image the same name, and another image a new one. Several processes may write to the folder.

    Parameters
    ----------
    path : Path
        The folder. It is made with the first name.
    endings : sequence of str
        What follows the name of an image in the folder: nothing for a folder per image, or the endings of its files.

    Raises
    ------
    RunError
        The folder has a file `image-names.csv` that pycam did not write.
    """

    def __init__(self, path: Path, endings: Sequence[str] = ("",)) -> None:
        self.path = path
        self._names: dict[str, str] = {}
        self._distinct = DistinctNames()
        self._read = 0
        if not is_folder(path):
            return
        with self.alone():
            self._update()
            known = set(self._names.values())
            for entry in path.iterdir():
                for ending in endings:
                    if entry.name.endswith(ending) and (name := entry.name.removesuffix(ending)) not in known:
                        self._distinct.take(name)

    def name(self, image: str | os.PathLike[str]) -> str:
        """Return the name of an image in the folder."""
        key = self._key(Path(image).absolute())
        if key not in self._names:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.alone():
                self._update()
                if key not in self._names:
                    self._append(self._distinct.make(stem_of(os.fspath(image))), key)
        return self._names[key]

    def _update(self) -> None:
        """Read the names that were added since the last call, and remove a line that a kill has cut off."""
        path = self.path / NAMES
        if not exists(path) or path.stat().st_size == self._read:
            return
        with open_file(path, "the names of images", RunError) as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if self._read == 0 and not (whole.startswith(_HEADER) or _HEADER.startswith(data)):
            raise RunError(
                f"{path}: expected the names of images that pycam writes there, found another file: move it away, or "
                "name another --out"
            )
        if len(whole) < len(data):
            os.truncate(path, self._read + len(whole))
        lines = whole.decode(errors="replace").split("\n")[0 if self._read else 1 : -1]
        self._read += len(whole)
        for line in lines:
            try:
                ((name, image),) = csv.reader([line])
            except (ValueError, csv.Error):
                raise RunError(
                    f"{path}: {line[:80]!r}; expected the name and the path of an image: move the file away, or name "
                    "another --out"
                ) from None
            self._names[image] = name
            self._distinct.take(name)

    def _key(self, image: Path) -> str:
        """Return the path of an image from the folder on, as one line of UTF-8 text."""
        try:
            path = os.path.relpath(image, self.path)
        except ValueError:  # on another drive of Windows
            path = os.fspath(image)
        return escaped(utf8(path.replace(os.sep, "/")).decode())

    def _append(self, name: str, key: str) -> None:
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow((name, key))
        data = (b"" if self._read else _HEADER) + utf8(row.getvalue())
        with BufferedWriter(NamedFile(self.path / NAMES, "a")) as file:
            file.write(data)
        self._read += len(data)
        self._names[key] = name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process write names or rows while this block runs, where files can be locked.

        Raises
        ------
        RunError
            Another process writes for longer than `_PATIENCE`.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / f".{NAMES}.lock", _PATIENCE))
            except BlockingIOError:
                raise RunError(
                    f"{self.path}: another process has been writing there for {_PATIENCE:g} s: wait for it, or name "
                    "another --out"
                ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            yield


class Rows:
    """Rows of a CSV file in an output folder, which replace those of the same images and keep those of others.

    Parameters
    ----------
    folder : OutputFolder
        The folder.
    name : str
        The name of the file.
    key : str
        The column with the name of the image in the folder.
    columns : sequence of str
        Its columns, which an earlier file must have.
    more : iterable of str
        Columns of this run that another run may lack. Those that only an earlier run has are kept.

    Raises
    ------
    RunError
        The file exists, but lacks some of the columns.
    """

    def __init__(
        self, folder: OutputFolder, name: str, key: str, columns: Sequence[str], more: Iterable[str] = ()
    ) -> None:
        self._folder, self._path = folder, folder.path / name
        self._key, self._expected, self._columns = key, columns, [*columns, *more]
        self._images: set[str] = set()
        # As text, the rows of many images need little memory.
        self._text = io.StringIO()
        self._writer = csv.DictWriter(self._text, self._columns, lineterminator="\n")
        with self._old():
            pass

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the rows of an image; the rows of an image that is given twice count once."""
        if rows and (image := str(rows[0][self._key])) not in self._images:
            self._images.add(image)
            self._writer.writerows(rows)

    def write(self) -> None:
        """Write the file, if there are rows to add: first the rows of other images, then those that were added."""
        if not self._images:
            return
        self._text.seek(0)
        with self._folder.alone(), atomic_open(self._path) as binary:
            file = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="")
            with self._old() as (columns, kept):
                extra = [column for column in columns if column not in self._columns]
                writer = csv.DictWriter(file, [*self._columns, *extra], lineterminator="\n")
                writer.writeheader()
                writer.writerows(kept)
                writer.writerows(csv.DictReader(self._text, self._columns))
            file.flush()
            file.detach()

    @contextmanager
    def _old(self) -> Iterator[tuple[Sequence[str], Iterator[dict[str, str]]]]:
        """Open the file as it is: its columns, and its rows of other images."""
        if not exists(self._path):
            yield [], iter(())
            return
        binary = open_file(self._path, "rows of images", RunError)
        with io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            try:
                columns = list(reader.fieldnames or [])
                if missing := [column for column in self._expected if column not in columns]:
                    raise self._foreign(f"a file without the column {missing[0]!r}")
                yield columns, (row for row in reader if self._is_kept(row, reader.line_num))
            except csv.Error as error:
                raise self._foreign(f"in line {reader.line_num}: {error}") from None

    def _is_kept(self, row: dict[Any, Any], line: int) -> bool:
        if None in row or None in row.values():
            raise self._foreign(f"in line {line} another number of fields")
        return row[self._key] not in self._images

    def _foreign(self, found: str) -> RunError:
        return RunError(
            f"{self._path}: expected rows that pycam writes, found {found}: move it away, or name another --out"
        )
