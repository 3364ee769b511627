"""Opening files, with clear errors when they are not there or are something else."""

from __future__ import annotations

import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from pycam.errors import FormatError

HEAD = 4096
"""How many first bytes tell what a file is."""

TEXT_BYTES = bytes([*b"\t\n\f\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])

DOWNLOAD_AGAIN = "download the file itself again"
UNPACK = "unpack it first"
SWAPPED = "were two files swapped?"

SIGNATURES = (
    (rb"(\xef\xbb\xbf)?\s*<", "a web page", DOWNLOAD_AGAIN),
    (rb"version https://git-lfs", "a git-LFS pointer", "fetch the file itself with `git lfs pull`"),
    (rb"\x1f\x8b", "a gzip archive", UNPACK),
    (rb"PK\x03\x04", "a zip archive", UNPACK),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive", UNPACK),
    (rb"\x80[\x02-\x05]", "a Python pickle", "only Caffe's own format is read"),
    (rb"\x89HDF", "an HDF5 file", "HDF5 is not read, save it in Caffe's own format (BINARYPROTO)"),
    (rb"\x93NUMPY", "a NumPy array", SWAPPED),
    (rb"MATLAB ", "a MATLAB file", SWAPPED),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "a picture", SWAPPED),
    (rb"\xff\xfe|\xfe\xff|([\t-~]\x00){4}|(\x00[\t-~]){4}", "UTF-16 text", "save it as UTF-8"),
    (rb"\x00+\Z", "nothing but zeros", DOWNLOAD_AGAIN),
    (
        rb"\x08[\x80-\xff]*[\x00-\x7f]\x12",
        "a solver state",
        "give the .caffemodel of the same snapshot",
    ),
    (rb"\x08[\x80-\xff]*[\x00-\x7f]\x10|[\x2a\x3a]", "a blob such as a mean file", SWAPPED),
    (rb"[\x0a\x12]|\xa2\x06", "Caffe weights", SWAPPED),
)
TEXT = "text such as a prototxt"


def foreign(path: str | os.PathLike[str], expected: str, head: bytes) -> FormatError | None:
    """Give the error for a file that is something else than expected.

    Parameters
    ----------
    path
        The file, for the message.
    expected
        `a prototxt`, `Caffe weights`, `a mean file` or another kind.
    head
        The file's first bytes, about `HEAD` of them.

    Returns
    -------
    FormatError or None
        None when the bytes are of the expected kind, or of none that is known here.
    """
    what, cure = (TEXT, SWAPPED) if is_text(head) else ("", "")
    for pattern, name, remedy in SIGNATURES:
        # text, too, may start with a newline, an asterisk or a colon
        if re.match(pattern, head) and not (what == TEXT and remedy is SWAPPED):
            what, cure = name, remedy
            break
    if expected in what or not what:
        return None
    return FormatError(f"{shown(path)}: expected {expected}, found {what}: {cure}")


def is_text(head: bytes) -> bool:
    """Tell whether bytes may be text, in UTF-8 or an older code page: no control characters."""
    return not head.translate(None, TEXT_BYTES)


def shown(path: str | os.PathLike[str]) -> str:
    """Give a path as it can stand in a message of one line."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def open_file(path: str | os.PathLike[str], expected: str) -> BufferedReader:
    """Open a regular file that is not empty for reading.

    Parameters
    ----------
    path
        The file.
    expected
        What the file should be, for messages: `a prototxt`.

    Raises
    ------
    FormatError
        No such file, a folder, a pipe, unreadable, or empty.
    """
    try:
        status = Path(path).stat()  # before opening: opening a pipe waits for its writer
        if stat.S_ISDIR(status.st_mode):
            raise FormatError(f"{shown(path)}: expected {expected}, found a folder: give a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{shown(path)}: expected {expected}, found a pipe or device: save it to a file first")
        if status.st_size == 0:
            raise FormatError(f"{shown(path)}: expected {expected}, found an empty file: {DOWNLOAD_AGAIN}")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise FormatError(f"{shown(path)}: expected {expected}, but: {reason}") from None
