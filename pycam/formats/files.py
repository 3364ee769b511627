"""Test for files, and write files that are complete or absent."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedWriter, FileIO

# Path's own methods raise for a name that is too long or that may not be read; these return False.
from os.path import exists as exists, isdir as is_folder, isfile as is_file
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

if sys.platform == "win32":
    import msvcrt

    fcntl = None
else:
    import fcntl

__all__ = ["NamedFile", "atomic_open", "atomic_write", "exists", "is_file", "is_folder", "locked", "utf8"]

_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})[0-9a-f]{24}\.part")
_OLD = 24 * 3600.0
"""Seconds after which a temporary file counts as left behind, if no lock can tell."""

_DESCRIPTORS = re.compile(r"/proc/(\d+)(/task/\d+)?/fd")
_MOST_LINKS = 40

_PAUSE = 0.01
"""Seconds between two attempts to lock a file."""


class NamedFile(FileIO):
    """A file whose errors name it; Python's own errors of reading and writing name no file.

    Parameters
    ----------
    file : path or int
        The file to open, or a descriptor.
    mode : str
        As for `open`.
    shown : path, optional
        The path in errors, if it is not that of the file.
    """

    def __init__(self, file: str | os.PathLike[str] | int, mode: str, shown: str | os.PathLike[str] = "") -> None:
        self._shown = os.fspath(shown or ("" if isinstance(file, int) else file))
        with _errors_name(self._shown):
            super().__init__(file if isinstance(file, int) else os.fspath(file), mode)

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer."""
        with _errors_name(self._shown):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        """Read the rest of the file."""
        with _errors_name(self._shown):
            return super().readall()

    def write(self, data: Any) -> int:
        """Write bytes, or the first of them."""
        with _errors_name(self._shown):
            return super().write(data)


@contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing, which replaces an older file only when it is complete and on the disk.

    A link is followed: its target is replaced. A file that is replaced passes its mode on. What cannot be replaced is
    written to: a pipe, a device, and an open file of a process, such as `/dev/stdout`.

    Parameters
    ----------
    path : path
        The file's final path, in a folder that exists.

    Yields
    ------
    binary file
        A file in the same folder. If the block raises an exception, this file is removed, and the final path is
        unchanged. What a killed process left behind is removed when another one first writes into the folder.

    Raises
    ------
    OSError
        The file cannot be written; `filename` is the final path.
    """
    stream = _stream(Path(path))
    if stream is not None:
        with stream:
            yield stream
        return
    final = Path(os.path.realpath(path))
    _sweep(os.fspath(final.parent))
    partial = _temporary(final)
    try:
        with _create(partial, final) as file:
            yield file
            file.flush()
            with _errors_name(final):
                _take_mode(final, file.fileno())
                os.fsync(file.fileno())
                if fcntl is not None:  # as long as the file is locked
                    partial.replace(final)
        with _errors_name(final):
            if fcntl is None:  # Windows renames closed files only.
                partial.replace(final)
            _sync_folder(final.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write bytes, or a text as UTF-8, as `atomic_open` does.

    A byte of a file's name that is not UTF-8 becomes an escape as in JSON: a backslash, and `udcff` for the byte 0xff.
    """
    with atomic_open(path) as file:
        file.write(utf8(data) if isinstance(data, str) else data)


@contextmanager
def locked(path: str | os.PathLike[str], seconds: float = 0) -> Iterator[None]:
    """Hold a lock, so that no other process is in a block with the same path.

    Parameters
    ----------
    path : path
        The file of the lock. It is made, and removed after the block. What a killed process left locks nothing.
    seconds : float
        How long to wait for another process.

    Raises
    ------
    BlockingIOError
        Another process is in such a block.
    OSError
        The file cannot be made or locked.
    """
    end = time.monotonic() + seconds
    while True:
        file = NamedFile(path, "a")
        with file:
            with _errors_name(path):
                try:
                    _lock(file.fileno())
                except BlockingIOError:
                    if time.monotonic() >= end:
                        raise
                    time.sleep(_PAUSE)
                    continue
            if os.fstat(file.fileno()).st_nlink:
                try:
                    yield
                finally:
                    with suppress(OSError):
                        Path(path).unlink()
                return
        # The process that held the lock has just removed this file: another one has its name.


def utf8(text: str) -> bytes:
    r"""Return a text as UTF-8; a byte of a file's name that is no UTF-8 becomes an escape, `\udcff`, as in JSON."""
    return text.encode(errors="backslashreplace")


@contextmanager
def _errors_name(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let the operating system's errors in the block name a file."""
    try:
        yield
    except OSError as error:
        if os.fspath(path):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _stream(path: Path) -> BufferedWriter[NamedFile] | None:
    """Open a pipe, a device or an open file for writing; return None for a path that takes a file."""
    link = path
    for _ in range(_MOST_LINKS):
        if not link.is_symlink():
            break
        if found := _DESCRIPTORS.fullmatch(os.path.realpath(link.parent)):
            if int(found[1]) != os.getpid():
                return BufferedWriter(NamedFile(link, "a", path))
            if sys.stdout is not None:
                sys.stdout.flush()
            # Opened by its name, a file would be cut, and written to from its beginning.
            return BufferedWriter(NamedFile(os.dup(int(link.name)), "w", path))
        link = link.parent / link.readlink()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    return None if stat.S_ISREG(mode) else BufferedWriter(NamedFile(path, "w"))


def _temporary(final: Path) -> Path:
    """Return a new name for a temporary file beside the final path."""
    # The name is short, so that it is valid wherever the final one is. Files of tempfile would be their owner's only.
    shown = re.sub(r"[^A-Za-z0-9._-]", "_", final.name)[:50]
    return final.with_name(f".{shown}.{_machine()}{uuid4().hex[8:]}.part")


def _create(partial: Path, final: Path) -> BufferedWriter[NamedFile]:
    """Make a temporary file, locked where files can be locked."""
    while True:
        file = BufferedWriter(NamedFile(partial, "x", final))
        if not _locks(file.fileno()) or os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # Another process has swept it before it was locked.


def _locks(descriptor: int) -> bool:
    """Lock a file if nobody else does; return whether it was locked."""
    if fcntl is None:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return False
    return True


def _lock(descriptor: int) -> None:
    """Lock a file, or raise an OSError."""
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _machine() -> str:
    """Return eight digits for this machine: locks of another one may not be visible."""
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}" if hasattr(os, "uname") else "0" * 8


@lru_cache(maxsize=1024)
def _sweep(folder: str) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (name := _TEMPORARY.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "r+b") as file:
                    if name[1] == _machine() and fcntl is not None:
                        left = _locks(file.fileno())
                    else:
                        left = time.time() - os.fstat(file.fileno()).st_mtime > _OLD
                    if left:
                        Path(entry.path).unlink()


def _take_mode(final: Path, descriptor: int) -> None:
    """Give a file the owner and the mode of the file that it replaces, if there is one."""
    if sys.platform == "win32":
        return
    try:
        old = final.stat()
    except FileNotFoundError:
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    if stat.S_IMODE(old.st_mode) != stat.S_IMODE(new.st_mode):
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
