"""The file of an image in a run: its bytes with the state that belongs to them, or whose fault it is that it has none.

A fault of the image is stored with the run and can be skipped. A fault of the machine passes, and stops the run.
"""

from __future__ import annotations

import errno
import zlib
from pathlib import Path
from typing import NamedTuple

from pycam.errors import ImageError, RunError
from pycam.images.read import FileContent, Source, read_bytes


class FileState(NamedTuple):
    """The content of an image's file when it was read.

    Attributes
    ----------
    size : int
        In bytes; -1 if the file has no content.
    crc : int
        CRC-32 of the content.
    """

    size: int
    crc: int


NO_FILE = FileState(-1, 0)


def read_file(path: Path | str) -> tuple[bytes, FileState]:
    """Read the file of an image, and return its bytes with the state of these very bytes.

    Raises
    ------
    ImageError
        The file has no content: it is empty, a folder, a pipe, too large for an image, or a link to nothing.
    RunError
        The machine cannot read the file now, which says nothing of the image.
    """
    try:
        data = read_bytes(path)
    except ImageError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno != errno.ELOOP:
            if not isinstance(cause, FileNotFoundError):
                raise RunError(
                    f"{path}: cannot be read now ({cause.strerror}); the same command resumes the run"
                ) from cause
            if not Path(path).is_symlink():
                raise RunError(
                    f"{path}: was there when the run began, and is not there now: put it back; "
                    "then the same command resumes the run"
                ) from cause
        raise
    return data, FileState(len(data), zlib.crc32(data))


def read_source(path: Path | str) -> tuple[Source, FileState]:
    """Read the file of an image for a `Cam`, with the state of these very bytes; raises RunError as `read_file`.

    If it has no content, it is the path, whose error the `Cam` will give, and `NO_FILE`.
    """
    try:
        data, state = read_file(path)
    except ImageError:
        return path, NO_FILE
    return FileContent(data, str(path)), state


def state_of(path: Path | str) -> FileState:
    """Return the state of an image's file now, `NO_FILE` if it has no content; raises RunError as `read_file`."""
    return read_source(path)[1]
