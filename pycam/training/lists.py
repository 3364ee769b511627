"""Image files with labels: lists, as Caffe's ImageData reads them, and folders with one folder per class."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pycam.errors import GroundTruthError, TrainingError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines
from pycam.images.read import FORMATS, read_image
from pycam.images.resize import resize

Pixels = NDArray[Any]

SUFFIXES = (".jpg", ".jpeg", ".tif", ".pgm", *(f".{name.lower()}" for name in FORMATS))
"""Suffixes of the files in a folder that count as images."""

_LEADING_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")
_WHOLE = re.compile(r"\s*[+-]?[0-9]+(\.0*)?")
MOST_DIGITS = 9


@dataclass(frozen=True)
class ImageFiles:
    """Image files with labels.

    Attributes
    ----------
    name : str
        The list or folder, for error messages.
    paths : tuple of str
        One per image.
    labels : tuple of int
        One per image.
    lines : tuple of int
        The line of each image in its list; 0 in a folder.
    size : (int, int), optional
        Height and width that each image is resized to (OpenCV bilinear, as in Caffe); None for its own.
    grey : bool
        Return one channel.
    notes : tuple of str
        Labels that were read with a loss, one line for each kind.
    """

    name: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    lines: tuple[int, ...]
    size: tuple[int, int] | None = None
    grey: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        pixels: Pixels = read_image(self.paths[index], channels=1 if self.grey else 3).values
        if self.size is not None:
            pixels = resize(pixels, *self.size)
        return pixels, self.labels[index]

    def where(self, index: int) -> str:
        """Return where an image is named: the line of its list, or its path in a folder."""
        return f"{self.name}:{self.lines[index]}" if self.lines[index] else self.paths[index]


def list_files(path: Path, root: str = "") -> ImageFiles:
    """Read a list of images as Caffe does: one path and label per line, the label after the last blank.

    Parameters
    ----------
    path : Path
        The list.
    root : str
        Put before each of its paths as it is: a folder ends with a slash. A relative path is looked for in the current
        folder, then beside the list.

    Returns
    -------
    ImageFiles
        A label is the whole number at the beginning of what follows the last blank, or 0; without a blank it is that
        at the beginning of the line. `notes` tells where this loses something.

    Raises
    ------
    TrainingError
        The list is missing or empty, a label is too large, or an image does not exist.
    """
    found = []
    lossy: dict[str, str] = {}  # kind -> the first line of it
    counts: Counter[str] = Counter()
    try:
        numbered = [(number, line) for number, line in numbered_lines(path) if line]
    except GroundTruthError as error:
        raise TrainingError(f"{error} (a list of images)") from None
    for number, line in numbered:
        name, blank, text = line.rpartition(" ")
        match = _LEADING_NUMBER.match(text)
        label = match[1] if match else "0"
        if len(label.lstrip("+-0")) > MOST_DIGITS:
            raise TrainingError(f"{path}:{number}: label {text[:40]!r} has more than {MOST_DIGITS} digits")
        if not blank or not _WHOLE.fullmatch(text):
            kind, what = ("label", f"label {text[:40]!r}") if blank else ("none", "no label after a blank")
            lossy.setdefault(kind, f"{path}:{number}: {what}: read as {int(label)}, as in Caffe")
            counts[kind] += 1
        found.append((root + (name if blank else line), int(label), number))
    if not found:
        raise TrainingError(f"{path}: a list without images")
    paths, labels, lines = zip(*found, strict=True)
    if not is_file(paths[0]):
        paths = tuple(str(path.parent / name) for name in paths)
    for name, number, (given, _, _) in zip(paths, lines, found, strict=True):
        if not is_file(name):
            raise TrainingError(f"{path}:{number}: no image {name[:400]}{_advice(given, root, path)}")
    notes = tuple(f"{first} ({counts[kind]} such line{'s' * (counts[kind] > 1)})" for kind, first in lossy.items())
    return ImageFiles(str(path), paths, labels, lines, notes=notes)


def _advice(name: str, root: str, path: Path) -> str:
    """Return what to do about a path that does not exist, where its form tells."""
    joined = Path(root, name[len(root) :].lstrip("/"))
    if root and not root.endswith("/") and any(is_file(place / joined) for place in (Path(), path.parent)):
        return f": root_folder {root!r} is put before the path as it is, as in Caffe: end it with a slash"
    if re.search(r"[\t,;]\s*[0-9]+$", name):
        return ": a blank, not a tab or comma, separates the path and the label"
    if re.search(r"\S( +-?[0-9]+)+$", name):
        return ": a line has one label, after the last blank; several labels per image need HDF5Data"
    return ": write / for \\ in the list" if "\\" in name else ""


def folder_files(path: Path) -> ImageFiles:
    """Read a folder with one folder of images per class; classes are numbered in the order of their names."""
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    found = [
        (str(file), label)
        for label, folder in enumerate(classes)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise TrainingError(f"{path}: expected one folder of images per class, found {len(classes)} folders")
    paths, labels = zip(*found, strict=True)
    return ImageFiles(str(path), paths, labels, (0,) * len(paths))
