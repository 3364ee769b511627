"""Ground-truth masks of the WSOL benchmark: `localization.txt` names mask files and an ignore file per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines
from pycam.ilsvrc.names import join_all, normal
from pycam.ilsvrc.pixels import read_pixels

LARGEST = 1 << 28
"""The largest number of bytes of a mask."""


@dataclass(frozen=True)
class ImageMasks:
    """The mask files of an image.

    Attributes
    ----------
    objects : tuple of Path
        One or more masks, whose union is the object.
    ignored : Path or None
        The mask of what counts nowhere; an object's pixels in it count.
    """

    objects: tuple[Path, ...]
    ignored: Path | None

    def read(self, size: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Read the object's pixels and the ignored ones, at a width and height.

        Returns
        -------
        two (H, W) bool
            A pixel is set if the nearest one of the file is not 0, as in the benchmark.

        Raises
        ------
        GroundTruthError
            A file is missing or damaged.
        """
        objects = np.logical_or.reduce([_read(path, size) for path in self.objects])
        return objects, np.zeros_like(objects) if self.ignored is None else _read(self.ignored, size)


def read_masks(folder: Path, names: Sequence[str], root: Path | None = None) -> list[ImageMasks]:
    """Find the masks of each image.

    Parameters
    ----------
    folder : Path
        A folder with `localization.txt`. Each line has an image's ID, a mask file and an ignore file, which is empty in
        all lines of an image but one, and may be empty in that, too.
    names : sequence of str
        Names of the images.
    root : Path, optional
        The folder to which the paths in the file are relative. By default the files are beside or under `folder`.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, a mask file does not exist; or an image has no masks.
    """
    path = folder / "localization.txt"
    files = _Files(folder, root)
    objects: dict[str, list[Path]] = {}
    ignored: dict[str, Path] = {}
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        name, *cells = [each.strip() for each in line.split(",")]
        if not name or not 1 <= len(cells) <= 2 or not cells[0]:
            raise GroundTruthError(f"{where}: {line[:80]!r}; `image,mask,ignore` was expected: paths of two files")
        name = normal(name)
        objects.setdefault(name, []).append(files.find(cells[0], where))
        if cells[1:] not in ([], [""]):
            if name in ignored:
                raise GroundTruthError(f"{where}: image {name!r} has an ignore file already: leave this one empty")
            ignored[name] = files.find(cells[1], where)
    return [ImageMasks(tuple(objects[key]), ignored.get(key)) for key in join_all(names, objects, path, "mask")]


class _Files:
    """Finds mask files by the paths in a list."""

    def __init__(self, folder: Path, root: Path | None) -> None:
        self._roots = [folder, folder.parent] if root is None else [root]
        self._root = self._roots[0]
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, text: str, where: str) -> Path:
        for root in self._roots:
            if is_file(path := root / text):
                return path
        if self._by_name is None:
            self._by_name = {}
            for place, _, names in os.walk(self._root):
                for name in names:
                    self._by_name.setdefault(name, []).append(Path(place, name))
        found = self._by_name.get(PurePath(text).name, [])
        if len(found) == 1:
            return found[0]
        problem = f"{len(found)} files have this name" if found else "no such file"
        raise GroundTruthError(f"{where}: mask {text!r}: {problem} in {self._root}: give its folder with --mask-root")


def _read(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = read_pixels(path, "a mask", LARGEST, cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0)
