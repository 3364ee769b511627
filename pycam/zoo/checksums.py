"""Checksums of the three kinds that models were published with, and pins of files without a published one."""

from __future__ import annotations

import hashlib
from io import BufferedReader
from pathlib import Path

from pycam.errors import FormatError
from pycam.formats.files import NamedFile, atomic_write, is_file

CHUNK = 1 << 20
DIGITS = {"sha256": 64, "sha1": 40, "git_blob": 40}


def checksum(path: Path, kind: str) -> str:
    """Return the checksum of a file in hexadecimal.

    Parameters
    ----------
    path : Path
        The file; it is read in chunks.
    kind : {"sha256", "sha1", "git_blob"}
        `git_blob` is git's name for the content: the SHA-1 of `blob <size>`, a zero byte, and the file.

    Returns
    -------
    str
        Lowercase hexadecimal digits, `DIGITS[kind]` of them.
    """
    state = hashlib.new("sha1" if kind == "git_blob" else kind, usedforsecurity=False)
    if kind == "git_blob":
        state.update(b"blob %d\0" % path.stat().st_size)
    with BufferedReader(NamedFile(path, "r")) as stream:
        while chunk := stream.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def pin_file(path: Path) -> Path:
    """Return the path of the small file beside `path` that stores the SHA-256 of its first use."""
    return path.with_name(path.name + ".sha256")


def pinned(path: Path) -> str | None:
    """Return the SHA-256 pinned for `path`, or None if there is no pin.

    Raises
    ------
    FormatError
        The pin exists but is not a SHA-256.
    """
    pin = pin_file(path)
    if not is_file(pin):
        return None
    with BufferedReader(NamedFile(pin, "r")) as stream:
        digits = stream.read(DIGITS["sha256"])
    if len(digits) != DIGITS["sha256"] or not set(digits) <= set(b"0123456789abcdef"):
        raise FormatError(f"{pin}: expected a SHA-256 of 64 hexadecimal digits; delete this file to pin again")
    return digits.decode()


def pin(path: Path) -> None:
    """Write the SHA-256 of `path` beside it, in the form that `sha256sum --check` reads."""
    atomic_write(pin_file(path), f"{checksum(path, 'sha256')}  {path.name}\n")
