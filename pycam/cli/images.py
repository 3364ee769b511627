"""The images that a command line names: files, folders, patterns, lists, and names on standard input."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Annotated, cast

import typer

from pycam.console import Notes
from pycam.errors import ImageError, UsageError
from pycam.formats.files import exists, is_folder
from pycam.formats.opening import TEXT_BYTES
from pycam.images.files import IMAGE_SUFFIXES, LIST, image_files
from pycam.images.foreign import is_address
from pycam.images.lists import read_image_list

STANDARD_INPUT = "-"

UNREAD_SUFFIXES = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".cr2", ".nef", ".arw", ".dng"}
"""Endings of images that are not read; a folder says how many of them are left out."""

_CHUNK = 1 << 16
_PATTERN = re.compile(r"[*?[]")

Images = Annotated[
    list[Path],  # shells complete paths
    typer.Argument(
        help="Images; folders, with their subfolders; patterns, as in '*.jpg'; @list.txt, with a path per line; "
        "or - for paths from standard input.",
        metavar="IMAGES…",
        show_default=False,
    ),
]


class GivenImages:
    """The images that arguments name. They can be iterated over once.

    Parameters
    ----------
    arguments : sequence of Path
        Files, folders, patterns, `@list.txt`, and `-`. An argument that is the name of a file is that file.
    notes : Notes
        Told how many files of a folder are left out.

    Attributes
    ----------
    count : int or None
        The number of images; None if some come from standard input, which is read as images are needed.

    Raises
    ------
    UsageError
        A folder has no images, or standard input is named twice.
    ImageError
        No file matches a pattern.
    FormatError, GroundTruthError
        A list is damaged, or names a file that does not exist.
    """

    def __init__(self, arguments: Sequence[str | Path], notes: Notes) -> None:
        given = list(map(str, arguments))
        if given.count(STANDARD_INPUT) > 1:
            raise UsageError(f"{STANDARD_INPUT}: standard input is given twice; give it once")
        self._names = [name for argument in given for name in _expanded(argument, notes)]
        self.count = None if STANDARD_INPUT in self._names else len(self._names)
        if self.count is None and sys.stdin is not None and sys.stdin.isatty():
            notes.say("paths of images are read from the terminal, one per line; Ctrl-D (Windows: Ctrl-Z) ends them")

    def __iter__(self) -> Iterator[Path]:
        for name in self._names:
            if name == STANDARD_INPUT:
                yield from map(Path, _names_from_input())
            else:
                yield Path(name)

    def at_most(self, number: int) -> int:
        """Return the number of images, or the given one if that is smaller or the number is not known."""
        return number if self.count is None else min(self.count, number)


def all_images(arguments: Sequence[str | Path], notes: Notes) -> list[Path]:
    """Return all images that arguments name; parameters and errors are those of `GivenImages`."""
    return list(GivenImages(arguments, notes))


def _expanded(argument: str, notes: Notes) -> list[str]:
    if argument == STANDARD_INPUT or is_address(argument):
        return [argument]
    if is_folder(argument):
        return _in_folder(Path(argument), notes)
    if exists(argument):
        return [argument]
    if argument.startswith(LIST):
        return list(read_image_list(Path(argument.removeprefix(LIST))).paths)
    if not _PATTERN.search(argument):
        return [argument]
    found = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207  a pattern may be absolute
    if not found:
        raise ImageError(f"{argument}: no file has this name or matches this pattern; check it, and the folder")
    return [name for each in found for name in (_in_folder(Path(each), notes) if is_folder(each) else [each])]


def _in_folder(folder: Path, notes: Notes) -> list[str]:
    """Return the images in a folder and its subfolders."""
    found = image_files(folder)
    unread = Counter(path.suffix.lower() for path in image_files(folder, UNREAD_SUFFIXES))
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
    if not found and not left_out:
        raise UsageError(f"{folder}: no images in it; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    if not found:
        raise UsageError(f"{folder}: no images in it that are read, but {left_out}: convert them to JPEG or PNG")
    if left_out:
        notes.say(f"{folder}: not read: {left_out}; convert them to JPEG or PNG")
    return list(map(str, found))


def _names_from_input() -> Iterator[str]:
    """Yield the names on standard input, which end in a line break, or in NUL as those of `find -print0`."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: pipe names of images to it, one per line")
    source = cast("BufferedReader", sys.stdin.buffer)
    end: bytes | None = None
    rest = b""
    count = 0
    while chunk := source.read1(_CHUNK):
        if end is None:
            if chunk.translate(None, TEXT_BYTES + b"\0"):
                raise UsageError(
                    "standard input: expected names of images, one per line, found other data: save an image to a "
                    "file, and give its name"
                )
            end = b"\0" if b"\0" in chunk else b"\n"
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        *whole, rest = (rest + chunk).split(end)
        for name in filter(None, map(_name, whole)):
            count += 1
            yield name
    if name := _name(rest):
        count += 1
        yield name
    if not count:
        raise UsageError("standard input: no names of images; pipe them to it, one per line")


def _name(line: bytes) -> str:
    return os.fsdecode(line.removesuffix(b"\r"))
