"""Score maps of other tools: a folder with one `.npy` file per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError
from pycam.formats.npy import map_numbers


def find_map(folder: Path, name: str) -> Path:
    """Return the file of an image's map: `<name>.npy`, with or without the image's extension and folders.

    Raises
    ------
    GroundTruthError
        The folder has no map of this image.
    """
    stem = Path(name).with_suffix("")
    for candidate in (name, f"{name}.JPEG", stem, Path(name).name, stem.name):
        if (path := folder / f"{candidate}.npy").is_file():
            return path
    raise GroundTruthError(f"{folder / name}.npy: no such file; every image needs a map")


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
