"""MATLAB's `imresize`, with the same numbers.

One sparse matrix resizes each dimension. A row of the matrix has the weights of one output position, so that a resize
is two matrix products. docs/release.md, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.images.blocks import BLOCK, row_blocks

Method = Literal["bicubic", "bilinear"]
Scalar = TypeVar("Scalar", bound=np.generic)
Floats = NDArray[np.float64]

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def imresize(
    array: NDArray[Scalar], size: Sequence[int], method: Method = "bicubic", antialias: bool = True
) -> NDArray[Scalar]:
    """Resize an image or a stack of maps as MATLAB's `imresize` does.

    Parameters
    ----------
    array : (H, W) or (H, W, C)
        8-, 16- or 32-bit integers, float32 or float64.
    size : (int, int)
        The new height and width.
    method : {"bicubic", "bilinear"}
        The kernel: the cubic with a = -0.5, or the triangle.
    antialias : bool
        Widen the kernel of a dimension that shrinks.

    Returns
    -------
    (size[0], size[1]) or (size[0], size[1], C), the dtype of `array`
        Computed in float64. Integers are rounded (halves away from zero) and clamped after each pass.

    Raises
    ------
    UsageError
        The array has another shape or dtype, or the size or the method is not valid.

    Notes
    -----
    The dimension that shrinks most (or grows least) is resized first; on a tie, the rows.
    docs/release.md, section 6.
    """
    array = np.asarray(array)
    return _resized(array, size, method, antialias, rounds=array.dtype.kind in "iu").astype(array.dtype, copy=False)


def imresize_single(array: NDArray[Any], size: Sequence[int], method: Method) -> NDArray[np.float32]:
    """Return what `imresize` returns for the array in single precision, without making the converted copy."""
    return _resized(np.asarray(array), size, method, antialias=True, rounds=False).astype(np.float32, copy=False)


def _resized(array: NDArray[Any], size: Sequence[int], method: Method, antialias: bool, rounds: bool) -> NDArray[Any]:
    _check(array, size, method)
    values = array
    for axis in sorted((0, 1), key=lambda axis: size[axis] / array.shape[axis]):
        matrix = resize_matrix(array.shape[axis], int(size[axis]), method, antialias)
        if axis == 0:
            values = _resize_rows(matrix, values, rounds)
        else:
            values = _swap(_resize_rows(matrix, _swap(values), rounds))
    return values


@lru_cache(maxsize=256)
def resize_matrix(n_in: int, n_out: int, method: Method = "bicubic", antialias: bool = True) -> Any:
    """Return the matrix that resizes one dimension.

    Parameters
    ----------
    n_in, n_out : int
        The old and the new length.
    method, antialias
        As for `imresize`.

    Returns
    -------
    float64 CSR matrix (n_out, n_in)
        Each row sums to 1. Positions outside are reflected, with the edge sample repeated. The matrix is cached:
        do not change it.
    """
    from scipy.sparse import csr_matrix  # takes a quarter of a second to import

    scale = n_out / n_in
    kernel, width = KERNELS[method]
    stretch = min(scale, 1.0) if antialias else 1.0
    width /= stretch
    centre = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)
    first = np.floor(centre - width / 2)
    positions = first[:, None] + np.arange(int(np.ceil(width)) + 2)  # (n_out, taps), counted from 1
    weights = kernel(stretch * (centre[:, None] - positions))
    weights /= weights.sum(axis=1, keepdims=True)
    period = (positions.astype(np.int64) - 1) % (2 * n_in)
    columns = np.minimum(period, 2 * n_in - 1 - period)
    rows = np.repeat(np.arange(n_out), positions.shape[1])
    matrix = csr_matrix((weights.ravel(), (rows, columns.ravel())), shape=(n_out, n_in))
    matrix.eliminate_zeros()
    return matrix


def _cubic(t: Floats) -> Floats:
    t = np.abs(t)
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.select([t <= 1, t <= 2], [near, far])


def _triangle(t: Floats) -> Floats:
    values: Floats = np.maximum(1 - np.abs(t), 0.0)
    return values


KERNELS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    "bicubic": (_cubic, 4.0),
    "bilinear": (_triangle, 2.0),
}


def _resize_rows(matrix: Any, array: NDArray[Any], rounds: bool) -> NDArray[Any]:
    columns = array.reshape(len(array), -1)
    resized = np.empty((matrix.shape[0], columns.shape[1]), array.dtype if rounds else np.float64)
    # SciPy multiplies a copy in double precision.
    for part in row_blocks(columns.shape[1], sum(matrix.shape), 4 * BLOCK):
        product = matrix @ columns[:, part]
        resized[:, part] = _rounded(product, array.dtype) if rounds else product
    return resized.reshape(-1, *array.shape[1:])


def _rounded(resized: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    np.clip(resized, limits.min, limits.max, out=resized)
    # The number below a half, because 0.49999999999999994 + 0.5 is 1.0; the cast truncates towards zero.
    half = np.nextafter(0.5, 0)
    resized += half if limits.min == 0 else np.copysign(half, resized)
    return resized.astype(dtype)


def _swap(array: NDArray[Any]) -> NDArray[Any]:
    # (H, W[, C]) -> (W, H[, C]). Moves whole pixels: NumPy copies swapped axes channel by channel, much slower.
    height, width, *channels = array.shape
    pixel = np.dtype((np.void, array[0, 0].nbytes))
    pixels = np.ascontiguousarray(array).reshape(height, -1).view(pixel)
    swapped: NDArray[Any] = pixels.T.copy().view(array.dtype)
    return swapped.reshape(width, height, *channels)


def _check(array: NDArray[Any], size: Sequence[int], method: str) -> None:
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UsageError(f"imresize: expected an array of shape (H, W) or (H, W, C), not empty, found {array.shape}")
    if array.dtype.name not in DTYPES:
        raise UsageError(f"imresize: expected a dtype of {', '.join(DTYPES)}, found {array.dtype}")
    sides = tuple(size) if np.ndim(size) == 1 else ()
    if len(sides) != 2 or not all(1 <= side < np.inf and side == int(side) for side in sides):
        found = sides or size
        raise UsageError(f"imresize: expected the size (rows, columns), whole numbers of 1 or more, found {found}")
    if method not in KERNELS:
        raise UsageError(f"imresize: expected the method {' or '.join(KERNELS)}, found {method!r}")
