"""The pixels of masks and maps that are image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pycam.errors import GroundTruthError, ImageError
from pycam.formats.opening import read_file
from pycam.images.read import decode


def read_pixels(path: Path, what: str, largest: int, flags: int) -> NDArray[Any]:
    """Read an image file as it is, after the checks of all images.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be, for messages: "a mask".
    largest : int
        The largest number of its bytes.
    flags : int
        Flags of OpenCV's `imdecode`.

    Returns
    -------
    array
        The result of `pycam.images.read.decode`.

    Raises
    ------
    GroundTruthError
        The file is missing, too large, damaged, or not an image.
    """
    data = read_file(path, what, largest, GroundTruthError)
    try:
        return decode(data, str(path), flags)
    except ImageError:
        raise GroundTruthError(f"{path}: damaged, or not an image; {what} was expected") from None
