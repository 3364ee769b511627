"""Test for files, and write files that are complete or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Path's own methods raise for a name that is too long or that may not be read; these return False.
from os.path import exists as exists, isdir as is_folder, isfile as is_file
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

__all__ = ["atomic_open", "atomic_write", "exists", "is_file", "is_folder", "utf8"]


@contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing, which replaces an older file only when it is complete.

    Parameters
    ----------
    path : path
        The file's final path, in a folder that exists.

    Yields
    ------
    binary file
        A file in the same folder. If the block raises an exception, this file is removed, and the final path is
        unchanged.
    """
    final = Path(path)
    # Only their owner may read the files that tempfile makes.
    partial = final.with_name(f".{final.name[:100]}.{uuid4().hex}.part")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(final)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write bytes, or a text as UTF-8, as `atomic_open` does."""
    with atomic_open(path) as file:
        file.write(utf8(data) if isinstance(data, str) else data)


def utf8(text: str) -> bytes:
    r"""Return a text as UTF-8; a byte of a file's name that is no UTF-8 becomes an escape, `\udcff`, as in JSON."""
    return text.encode(errors="backslashreplace")
