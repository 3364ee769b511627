"""The MATLAB functions that the release calls, with MATLAB's defaults, classes and 1-based counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.drawing import colormaps
from pycam.drawing.colormaps import mat2gray, matlab_jet as jet
from pycam.errors import UsageError
from pycam.images.matlab import Method, imresize as resize_image

__all__ = ["gray2ind", "im2double", "im2uint8", "imresize", "ind2rgb", "jet", "mat2gray"]


def imresize(
    A: NDArray[Any], output_size: Sequence[int], method: Method = "bicubic", antialiasing: bool = True
) -> NDArray[Any]:
    """Resize the first two dimensions of an array of any number of dimensions to `output_size`."""
    stack = A.reshape(*A.shape[:2], -1)
    return resize_image(stack, output_size, method, antialiasing).reshape(*output_size, *A.shape[2:])


def im2double(I: NDArray[Any]) -> NDArray[np.float64]:  # noqa: E741
    """Convert to float64: scale 8- and 16-bit classes to [0, 1]; keep the values of floats and logicals."""
    if I.dtype.kind in "fb":
        return I.astype(np.float64)
    if I.dtype.name not in ("uint8", "uint16", "int16"):
        raise UsageError(f"im2double: got dtype {I.dtype}; expected uint8, uint16, int16, logical or floats")
    limits = np.iinfo(I.dtype)
    scaled: NDArray[np.float64] = (I.astype(np.float64) - limits.min) / (limits.max - limits.min)
    return scaled


def im2uint8(I: NDArray[Any]) -> NDArray[np.uint8]:  # noqa: E741
    """Convert floats in [0, 1] to 8 bits, as MATLAB's `imwrite` does; return 8-bit values unchanged."""
    if I.dtype == np.uint8:
        return I
    rounded: NDArray[np.uint8] = np.floor(np.clip(I, 0, 1) * 255 + 0.5).astype(np.uint8)
    return rounded


def gray2ind(I: NDArray[Any], n: int = 64) -> NDArray[Any]:  # noqa: E741
    """Convert values in [0, 1] to indices from 0 to n - 1, of class uint8, or uint16 if n is above 256."""
    return colormaps.gray2ind(I, n).astype(np.uint8 if n <= 256 else np.uint16)


def ind2rgb(X: NDArray[Any], map: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of indices: 0-based for integer classes, 1-based for floats."""
    indices = X if X.dtype.kind in "iu" else X.astype(np.intp) - 1
    return colormaps.ind2rgb(indices, map)
