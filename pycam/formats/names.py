"""Names of output files and folders that are made from the names of images, layers and blobs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

MOST_BYTES = 240
"""Bytes of a name, in UTF-8; file systems take 255, and endings such as `_strip.jpg` follow."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.I | re.S)
"""The names of Windows's devices, with or without an ending."""


def safe_name(name: str) -> str:
    """Return a name for a file or folder that every file system takes, and that stays in its folder.

    Parameters
    ----------
    name : str
        Any text, such as the stem of an image's name, or the name of a blob.

    Returns
    -------
    str
        The name itself if it is safe. Otherwise, `_` replaces separators, control characters and others that Windows
        refuses; `_` precedes a dot or dash at the beginning, and the names of Windows's devices; blanks and dots at
        the end are left out, and so is what exceeds `MOST_BYTES`; `image` stands for what is empty then.
    """
    safe = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", name)
    while len(safe.encode(errors="surrogatepass")) > MOST_BYTES:
        safe = safe[:-1]
    safe = safe.rstrip(" .")
    if not safe:
        return "image"
    return f"_{safe}" if safe[0] in "-." or _RESERVED.fullmatch(safe) else safe


def stem_of(path: str) -> str:
    """Return the safe name of what is made from a file: its own name without the ending."""
    return safe_name(PurePath(path).stem)


def distinct_names(names: Iterable[str]) -> list[str]:
    """Make names safe and different from one another: equal ones get numbers in the given order.

    Names that differ only in the case or in the composition of their letters are equal: on some file systems, they are
    the same file.
    """
    return list(map(DistinctNames().make, names))


class DistinctNames:
    """Names that `distinct_names` has made, and others that are taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def take(self, name: str) -> None:
        """Make no name that is equal to this one."""
        self._taken.add(_folded(name))

    def make(self, name: str) -> str:
        """Return a name made safe and different from those before."""
        name = safe_name(name)
        made, key = name, _folded(name)
        while _folded(made) in self._taken:
            self._numbers[key] = self._numbers.get(key, 1) + 1
            made = f"{name}-{self._numbers[key]}"
        self.take(made)
        return made


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
