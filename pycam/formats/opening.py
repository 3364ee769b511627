"""Open files for reading, with clear errors for a file that is missing or of another kind."""

from __future__ import annotations

import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from pycam.errors import FormatError, PycamError
from pycam.formats.files import NamedFile

HEAD = 4096
"""The number of first bytes that identify a file."""

TEXT_BYTES = bytes([*b"\t\n\f\r\x1b", *range(0x20, 0x7F), *range(0x80, 0x100)])
"""The bytes of text in UTF-8 or an older code page: no other control characters."""

DOWNLOAD_AGAIN = "download the file itself again"
UNPACK = "unpack it first"
SWAPPED = "were two files swapped?"
NET_FIRST = "give the prototxt of the net; its weights come after it"
"""What to do instead where a net alone was expected, so that nothing can be swapped."""

ONNX = "an ONNX model"
PYTORCH = "weights of PyTorch (.pth)"
FROM_TORCH = "export their module with torch.onnx.export, and give the .onnx file with --onnx"

WEB_PAGE = "a web page"
LFS_POINTER = "a git-LFS pointer"

SIGNATURES = (
    (rb"(\xef\xbb\xbf)?\s*<", WEB_PAGE, DOWNLOAD_AGAIN),
    (rb"version https://git-lfs", LFS_POINTER, "fetch the file itself with `git lfs pull`"),
    (rb"\x1f\x8b", "a gzip archive", UNPACK),
    (rb"(?s)PK\x03\x04.{26}[^/]{1,100}/(data\.pkl|\.format|version)", PYTORCH, FROM_TORCH),
    (rb"PK\x03\x04", "a zip archive", UNPACK),
    (rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", PYTORCH, FROM_TORCH),
    (rb"BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "an archive", UNPACK),
    (rb"\x80[\x02-\x05]", "a Python pickle", "only Caffe's own format is read"),
    (rb"\x89HDF", "an HDF5 file", SWAPPED),
    (rb"\x93NUMPY", "a NumPy array", SWAPPED),
    (rb"MATLAB ", "a MATLAB file", SWAPPED),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "an image", SWAPPED),
    (rb"\xff\xfe|\xfe\xff|([\t-~]\x00){4}|(\x00[\t-~]){4}", "UTF-16 text", "save it as UTF-8"),
    (rb"\x00+\Z", "nothing but zeros", DOWNLOAD_AGAIN),
    # A solver state begins alike: its iteration, and the name of its weights.
    (rb"\x08[\x03-\x20]([:B]|\x12(?![^\x00]{0,250}(caffemodel|\.h5)))", ONNX, "give it as the model, or with --onnx"),
    (rb"\x08[\x80-\xff]*[\x00-\x7f]\x12", "a solver state", "give the .caffemodel of the same snapshot"),
    (rb"\x08[\x80-\xff]*[\x00-\x7f]\x10|[\x2a\x3a]", "a blob such as a mean file", SWAPPED),
    (rb"[\x0a\x12]|\xa2\x06", "Caffe weights", SWAPPED),
)
TEXT = "text such as a prototxt"


def foreign(path: str | os.PathLike[str], expected: str, head: bytes) -> FormatError | None:
    """Return the error for a file of another kind than expected.

    Parameters
    ----------
    path : path
        The file, for the message.
    expected : str
        `a prototxt`, `Caffe weights`, `a mean file` or another kind.
    head : bytes
        The first bytes of the file, about `HEAD` of them.

    Returns
    -------
    FormatError or None
        None if the bytes are of the expected kind or of an unknown kind.
    """
    what, fix = recognise(head)
    if expected in what or not what:
        return None
    return FormatError(f"{os.fspath(path)}: expected {expected}, found {what}: {fix}")


def recognise(head: bytes) -> tuple[str, str]:
    """Identify a file by its first bytes.

    Parameters
    ----------
    head : bytes
        The first bytes of the file, about `HEAD` of them.

    Returns
    -------
    kind : str
        The kind of file, such as `a gzip archive`; empty if it is unknown.
    fix : str
        What to do if another kind was expected; empty if the kind is unknown.
    """
    text = not head.translate(None, TEXT_BYTES)
    for pattern, name, fix in SIGNATURES:
        # Text may also start with a newline, an asterisk or a colon.
        if re.match(pattern, head) and not (text and fix is SWAPPED):
            return name, fix
    return (TEXT, SWAPPED) if text else ("", "")


def open_file(path: str | os.PathLike[str], expected: str, error: type[PycamError] = FormatError) -> BufferedReader:
    """Open a regular file that is not empty for reading.

    Parameters
    ----------
    path : path
        The file.
    expected : str
        The expected kind of file, for messages: `a prototxt`.
    error : type of PycamError
        The class of the error to raise.

    Returns
    -------
    binary file

    Raises
    ------
    PycamError
        The file is missing, a folder, a pipe, unreadable, or empty.
    """
    where = f"{os.fspath(path)}: expected {expected}"
    try:
        status = Path(path).stat()  # Opening a pipe would wait for its writer.
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{where}, found a folder: give a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{where}, found a pipe or device: save it to a file first")
        if status.st_size == 0:
            raise error(f"{where}, found an empty file: {DOWNLOAD_AGAIN}")
        return BufferedReader(NamedFile(path, "r"))
    except (OSError, ValueError) as cause:
        reason = (isinstance(cause, OSError) and cause.strerror) or cause
        if isinstance(cause, FileNotFoundError) and Path(path).is_symlink():
            reason = f"it is a link to {Path(path).readlink()}, which does not exist"
        raise error(f"{where}, but: {reason}") from cause


def read_file(path: str | os.PathLike[str], expected: str, most: int, error: type[PycamError] = FormatError) -> bytes:
    """Read a file of at most `most` bytes; other parameters and errors are those of `open_file`."""
    with open_file(path, expected, error) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise error(f"{os.fspath(path)}: expected {expected}, found more than {most:,} bytes")
    return data


def read_text(path: str | os.PathLike[str], expected: str, most: int, *, swapped: str = SWAPPED) -> str:
    """Read a text file in UTF-8; all line ends become newlines.

    Parameters
    ----------
    path, expected
        As for `open_file`.
    most : int
        The largest number of bytes.
    swapped : str
        What to do about another file that belongs to a net.

    Raises
    ------
    FormatError
        As in `open_file`, or the file is not text, is larger, or is not in UTF-8.
    """
    with open_file(path, expected) as file:
        what, fix = recognise(file.read(HEAD))
    if what != TEXT:
        found = f"{what}: {swapped if fix is SWAPPED else fix}" if what else f"unknown binary data: {DOWNLOAD_AGAIN}"
        raise FormatError(f"{os.fspath(path)}: expected {expected}, found {found}")
    data = read_file(path, expected, most)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        byte = data[error.start]
        raise FormatError(
            f"{os.fspath(path)}:{line}:{column}: byte 0x{byte:02X} is not UTF-8 text (Latin-1?): save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
