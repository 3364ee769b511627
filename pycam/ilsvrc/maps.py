"""Score maps of other tools: a folder with one `.npy` file per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError
from pycam.formats.files import is_file
from pycam.formats.npy import map_numbers
from pycam.ilsvrc.names import image_name, normal


def find_maps(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of images' maps: `<name>.npy`, with or without the image's extension and folders.

    Raises
    ------
    GroundTruthError
        The folder has no map of an image; with the first such image.
    """
    listing: dict[str, Path] | None = None
    found = []
    for name in names:
        last, short = PurePath(name).name, image_name(name)
        candidates = (name, f"{name}.JPEG", str(PurePath(name).with_name(short)), last, short)
        path = next((path for each in candidates if is_file(path := folder / f"{each}.npy")), None)
        if path is None:
            # The file may have the name in another form.
            listing = _listing(folder) if listing is None else listing
            path = next((listing[each] for each in candidates if each in listing), None)
        if path is None:
            raise GroundTruthError(f"{folder / name}.npy: no such file; every image needs a map")
        found.append(path)
    return found


def _listing(folder: Path) -> dict[str, Path]:
    return {normal(path.relative_to(folder).with_suffix("").as_posix()): path for path in folder.rglob("*.npy")}


def read_map(path: Path) -> NDArray[np.floating]:
    """Read a map from a `.npy` file: (H, W) or (1, H, W), floating point, in [0, 1].

    Returns
    -------
    (H, W) floating point
        Of the type in the file.

    Raises
    ------
    GroundTruthError
        The file is not a `.npy`, is cut short, or holds pickled objects (which are never loaded); or the array has
        another shape or type, or values that are NaN or outside of [0, 1].
    """
    try:
        content = map_numbers(path)
    except FormatError as error:
        raise GroundTruthError(str(error)) from None
    score_map = np.array(content[0] if content.ndim == 3 and len(content) == 1 else content)
    if score_map.ndim != 2 or score_map.size == 0 or score_map.dtype.kind != "f":
        shape = "×".join(map(str, content.shape))
        raise GroundTruthError(f"{path}: {shape} of {content.dtype}; H×W of floating point was expected")
    # In this form, NaN fails the check, too.
    if not (score_map.min() >= 0 and score_map.max() <= 1):
        raise GroundTruthError(
            f"{path}: values from {score_map.min():g} to {score_map.max():g}; a map in [0, 1] was expected"
        )
    return score_map
