"""Read mean images: Caffe's `.binaryproto`, NumPy's `.npy`, MATLAB's `.mat`, distinguished by their contents."""

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

MATLAB_NAMES = ("mean_data", "image_mean")


def read_mean(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a mean image.

    Parameters
    ----------
    path : path
        A `.binaryproto` (a `BlobProto` of 1×3×H×W or 3×H×W), a `.npy` (3×H×W), or a `.mat` of MATLAB 5 to 7
        with `mean_data` or `image_mean` (W×H×3, MatCaffe's order). The channels of all of them are BGR.

    Returns
    -------
    (3, H, W) float32
        BGR, 0…255.

    Raises
    ------
    FormatError
        The file is missing, damaged or of another kind, or it has no image with three channels of finite numbers
        from 0 to 255. Pickled arrays are refused: reading them could run any code.
    """
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
        file.seek(0)
        if head.startswith(b"\x93NUMPY"):
            values = map_numbers(path, EXPECTED)
        elif head.startswith(b"MATLAB "):
            values = next(iter(read_mat(path, MATLAB_NAMES).values())).T  # (W, H, 3) -> (3, H, W)
        elif mistake := foreign(path, EXPECTED, head):
            raise mistake
        else:
            wire = Wire(file)
            try:
                values = wire.blob(wire.size)
            except WireError as error:
                raise FormatError(f"{os.fspath(path)}: expected {EXPECTED}, but {error}") from None
    return _checked(values, os.fspath(path))


def _checked(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.dtype.kind not in "fiu":
        raise FormatError(f"{name}: expected a mean of numbers, found {values.dtype}")
    if values.ndim != 3 or len(values) != 3 or values.size == 0:
        raise FormatError(
            f"{name}: expected a mean of shape 3×H×W, found {'×'.join(map(str, values.shape)) or 'a number'}"
        )
    if values[0].size > LARGEST:
        raise FormatError(f"{name}: expected a mean image, found one of more than {LARGEST:,} pixels")
    if not (values.min() >= 0 and values.max() <= 255):  # False for NaN
        raise FormatError(
            f"{name}: expected a mean of pixels from 0 to 255, found {values.min():g} to {values.max():g}"
        )
    return np.array(values, np.float32, order="C")
