"""Score maps of any program: a folder with one `.npy` or 8-bit image per image, or one `.npz` with all of them."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError
from pycam.formats.files import is_folder
from pycam.formats.npy import map_numbers, numbers_in
from pycam.formats.opening import open_file
from pycam.ilsvrc.manifest import Manifest, read_manifest
from pycam.ilsvrc.names import join, join_all
from pycam.ilsvrc.pixels import read_pixels
from pycam.images.files import IMAGE_SUFFIXES

LARGEST = 1 << 30
"""The largest number of bytes of a map."""

ScoreMap = NDArray[np.floating] | NDArray[np.uint8]


@dataclass(frozen=True)
class Maps:
    """The maps of some images.

    Attributes
    ----------
    keys : tuple of str
        Names of the maps, in the order of the images.
    extra : tuple of str
        Names of the maps that belong to no image.
    read : callable
        Takes a name and returns its map, as `read_map`.
    """

    keys: tuple[str, ...]
    extra: tuple[str, ...]
    read: Callable[[str], ScoreMap]

    def __iter__(self) -> Iterator[ScoreMap]:
        """Read the maps one by one, in the order of the images."""
        return map(self.read, self.keys)


def find_maps(path: Path, names: Sequence[str], others: Sequence[str] = ()) -> Maps:
    """Find the map of each image. A map's name is the image's ID, with or without folders and the image's suffix.

    Parameters
    ----------
    path : Path
        A folder with one `.npy` per image, or with one 8-bit image per image if it has no `.npy`; or a `.npz`.
    names : sequence of str
        Names of the images.
    others : sequence of str
        Names of images that are not scored, whose maps are not `extra`.

    Raises
    ------
    GroundTruthError
        An image has no map, or two images have the same; with their number and the first one.
    """
    if is_folder(path):
        files, read = _in_folder(path)
    else:
        files, read = _in_archive(path)
    found = join_all(names, files, path, "map")
    owner: dict[str, str] = {}
    for name, key in zip(names, found, strict=True):
        if key in owner:
            both = f"images {owner[key]!r} and {name!r}"
            raise GroundTruthError(f"{path}: map {key!r} could be that of {both}: give each map the image's whole ID")
        owner[key] = name
    used = owner.keys() | {key for key in join(others, files) if key is not None}
    return Maps(tuple(found), tuple(sorted(files.keys() - used)), lambda key: read(files[key]))


def _in_folder(folder: Path) -> tuple[dict[str, str], Callable[[str], ScoreMap]]:
    """Return the path of each map in a folder by its name, and the function that reads it."""
    listing: dict[str, list[str]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            listing.setdefault(PurePath(name).suffix.lower(), []).append(str(Path(place, name)))
    suffixes, read = [".npy"], read_map
    if ".npy" not in listing:
        suffixes, read = sorted(IMAGE_SUFFIXES), _read_image
    files: dict[str, str] = {}
    for path in (path for each in suffixes for path in sorted(listing.get(each, ()))):
        name = PurePath(path).relative_to(folder).as_posix()[: -len(PurePath(path).suffix)]
        if name in files:
            raise GroundTruthError(f"{path}: {files[name]} is another map of {name!r}: remove one of the two")
        files[name] = path
    if not files:
        raise GroundTruthError(f"{folder}: no map in it: one .npy, or one 8-bit image, per image was expected")
    manifest = read_manifest(folder)
    if manifest is not None and manifest.size == "features":
        return files, lambda path: _placed(Path(path), manifest)
    return files, lambda path: read(Path(path))


def _in_archive(path: Path) -> tuple[dict[str, str], Callable[[str], ScoreMap]]:
    """Return the entry of each map in a `.npz` by its name, and the function that reads it."""
    expected = "a folder of maps or a .npz"
    with open_file(path, expected, GroundTruthError):
        pass
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise GroundTruthError(f"{path}: expected {expected}, but: {error}") from None
    files = {name.removesuffix(".npy"): name for name in archive.namelist() if not name.endswith("/")}

    def read(entry: str) -> ScoreMap:
        where = f"{path}: {entry}"
        if archive.getinfo(entry).file_size > LARGEST:
            raise GroundTruthError(f"{where}: more than {LARGEST:,} bytes; a map was expected")
        try:
            data = archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise GroundTruthError(f"{where}: cannot be read ({error}): save the file again") from None
        return _checked(numbers_in(data, where, GroundTruthError), where)

    return files, read


def read_map(path: Path) -> ScoreMap:
    """Read a map from a `.npy` file: (H, W) or (1, H, W), floating point in [0, 1], or uint8.

    Returns
    -------
    (H, W) floating point or uint8
        Of the type in the file. It may have NaNs.

    Raises
    ------
    GroundTruthError
        The file is not a `.npy`, is cut short, or holds pickled objects (which are never loaded); or the array has
        another shape or type, or values outside of [0, 1].
    """
    return _checked(_numbers(path), str(path))


def _numbers(path: Path) -> NDArray[Any]:
    try:
        return map_numbers(path)
    except FormatError as error:
        raise GroundTruthError(str(error)) from None


def _placed(path: Path, manifest: Manifest) -> ScoreMap:
    """Read the maps of an image at the size of the features, and place them on the image."""
    content = _numbers(path)
    if not manifest.fits(content):
        shape = "×".join(map(str, content.shape))
        raise GroundTruthError(
            f"{path}: {shape} of {content.dtype}; its manifest says: maps of the view {manifest.view}, crops×h×w, of "
            f"{manifest.dtype}: save the maps again"
        )
    maps = np.asarray(content, np.float32)
    return manifest.score_map(maps) if np.isfinite(maps).all() else np.full((1, 1), np.nan)


def _read_image(path: Path) -> ScoreMap:
    """Read a map from an 8-bit grey image."""
    content = read_pixels(path, "an 8-bit grey image", LARGEST, cv2.IMREAD_UNCHANGED)
    if content.ndim == 3 and (content[..., 1:3] == content[..., :1]).all():
        content = content[..., 0]
    if content.ndim != 2 or content.dtype != np.uint8:
        found = "a colour image" if content.ndim == 3 else f"an image of {content.dtype}"
        raise GroundTruthError(f"{path}: {found}; the map itself, an 8-bit grey image, was expected")
    return np.asarray(content)


def _checked(content: NDArray[Any], where: str) -> ScoreMap:
    score_map = np.array(content[0] if content.ndim == 3 and len(content) == 1 else content)
    if score_map.ndim != 2 or score_map.size == 0 or not (score_map.dtype.kind == "f" or score_map.dtype == np.uint8):
        shape = "×".join(map(str, content.shape))
        raise GroundTruthError(f"{where}: {shape} of {content.dtype}; H×W of floating point or uint8 was expected")
    if score_map.dtype != np.uint8:
        numbers = score_map[~np.isnan(score_map)] if np.isnan(score_map.max()) else score_map
        if numbers.size and not (numbers.min() >= 0 and numbers.max() <= 1):
            infinite = int(np.isinf(numbers).sum())
            fix = "subtract its minimum and divide by the new maximum"
            if infinite:
                fix = f"{infinite} of its {score_map.size} values are infinite: find out where they come from"
            raise GroundTruthError(
                f"{where}: values from {numbers.min():g} to {numbers.max():g}; a map in [0, 1] was expected: {fix}"
            )
    return score_map
