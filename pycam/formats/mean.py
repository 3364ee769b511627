"""Read means: Caffe's `.binaryproto`, NumPy's `.npy`, MATLAB's `.mat`, distinguished by their contents."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.mat import read_mat
from pycam.formats.npy import map_numbers
from pycam.formats.opening import HEAD, foreign, open_file
from pycam.formats.wire import Wire, WireError

EXPECTED = "a mean file"
LARGEST = 4096**2
"""The most pixels of a mean image, the same as of an image."""

FINITE = float(np.finfo(np.float32).max)

MATLAB_NAMES = ("mean_data", "image_mean")


def read_mean(path: str | os.PathLike[str], channels: int | None = 3) -> NDArray[np.float32]:
    """Read a mean image, or mean values.

    Parameters
    ----------
    path : path
        A `.binaryproto` (a `BlobProto` of 1×C×H×W or C×H×W), a `.npy` (C×H×W, H×W, or C values), or a `.mat` of
        MATLAB 5 to 7 with `mean_data` or `image_mean` (W×H×C, MatCaffe's order). Three channels are BGR.
    channels : int, optional
        The number of channels of the net; None for any.

    Returns
    -------
    (C, H, W) or (C,) float32
        0…255 for images of 1, 3 or 4 channels. An image of one pixel is returned as values.

    Raises
    ------
    FormatError
        The file is missing, damaged or of another kind, or it has another number of channels or numbers that are
        not finite or not those of pixels. Pickled arrays are refused: reading them could run any code.
    """
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
        file.seek(0)
        if head.startswith(b"\x93NUMPY"):
            values = map_numbers(path, EXPECTED)
        elif head.startswith(b"MATLAB "):
            values = next(iter(read_mat(path, MATLAB_NAMES).values())).T  # (W, H, C) -> (C, H, W)
        elif mistake := foreign(path, EXPECTED, head):
            raise mistake
        else:
            wire = Wire(file)
            try:
                values = wire.blob(wire.size)
            except WireError as error:
                raise FormatError(f"{os.fspath(path)}: expected {EXPECTED}, but {error}") from None
    return _checked(values, os.fspath(path), channels)


def _checked(values: NDArray[Any], name: str, channels: int | None) -> NDArray[np.float32]:
    found = "×".join(map(str, values.shape)) or "a number"
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    elif values.ndim == 2:
        values = values[np.newaxis]
    if values.dtype.kind not in "fiu":
        raise FormatError(f"{name}: expected a mean of numbers, found {values.dtype}")
    if values.ndim not in (1, 3) or values.size == 0 or channels not in (None, len(values)):
        count = "C" if channels is None else channels
        raise FormatError(f"{name}: expected a mean of shape {count}×H×W or {count} values, found {found}")
    if values[0].size > LARGEST:
        raise FormatError(f"{name}: expected a mean image, found one of more than {LARGEST:,} pixels")
    low, high = float(values.min()), float(values.max())
    of_pixels = len(values) in (1, 3, 4)
    least, most = (0, 255) if of_pixels else (-FINITE, FINITE)
    if not least <= low <= high <= most:  # False for NaN
        expected = "pixels from 0 to 255" if of_pixels else "finite numbers"
        raise FormatError(f"{name}: expected a mean of {expected}, found {low:g} to {high:g}: give another mean file")
    mean = np.array(values, np.float32, order="C")
    return mean[:, 0, 0] if mean.shape[1:] == (1, 1) else mean
