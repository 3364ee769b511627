"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

# Path's own methods raise for a name that is too long, or that may not be asked for; these say no.


def is_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a file of this name."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a folder of this name."""
    return os.path.isdir(path)  # noqa: PTH112


def exists(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is anything of this name."""
    return os.path.exists(path)  # noqa: PTH110


@contextmanager
def atomic_open(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written; it takes its place, and that of an older one, only when all of it is there.

    Parameters
    ----------
    path
        The file's final place, in a folder that exists.

    Yields
    ------
    binary file
        Beside the final place. When the block raises, it is removed and the final place is as it was.
    """
    final = Path(path)
    # tempfile makes files that only their owner may read.
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
        file.write(data.encode() if isinstance(data, str) else data)
