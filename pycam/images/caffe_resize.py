"""The resize of `caffe.io.resize_image`, with the same numbers.

Images of one or three channels are resized as scikit-image did in Caffe's time: the centers of the samples are
distributed evenly, nothing is smoothed when the image shrinks, and the range of the values is kept. Other numbers of
channels are resized by SciPy, which aligns the centers of the corner samples instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError

Floats = NDArray[np.float64]

ORDERS = range(6)
"""Orders of interpolation: 0 takes the nearest sample, 1 is linear, 3 is cubic, 2, 4 and 5 are splines."""


def caffe_resize(array: NDArray[Any], height: int, width: int, order: int = 1) -> NDArray[np.float32]:
    """Resize an image or a map as Caffe does.

    Parameters
    ----------
    array : (H, W) or (H, W, C)
        Any real values.
    height, width : int
        The new size.
    order : int
        The order of interpolation, one of `ORDERS`. Order 0 takes the later one of two samples that are equally near;
        Caffe's choice depends on rounding errors.

    Returns
    -------
    (height, width) or (height, width, C) float32
        With one or three channels, samples outside of the array have its minimum, and no value leaves its range.

    Raises
    ------
    UsageError
        There is no such order, or a size is not positive.
    """
    if order not in ORDERS:
        raise UsageError(f"interpolation of order {order!r}: give one of {ORDERS[0]} to {ORDERS[-1]}")
    if min(height, width, *array.shape) < 1:
        raise UsageError(f"an array of shape {array.shape} cannot be resized to {height}×{width}: no side may be 0")
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        return np.asarray(_by_corners(array, height, width, order), np.float32)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    low, high = array.min(), array.max()
    if not low < high:
        return np.full((height, width, *array.shape[2:]), low, np.float32)
    rows, columns = _positions(height, array.shape[0]), _positions(width, array.shape[1])
    interpolate = _by_kernel if order in KERNELS else _by_spline
    above = interpolate(array - low, rows, columns, order)
    return np.asarray(np.clip(above, 0, high - low) + low, np.float32)


def _by_corners(array: NDArray[Any], height: int, width: int, order: Any) -> NDArray[Any]:
    from scipy import ndimage  # takes half a second to import, and most resizes don't need it

    return ndimage.zoom(array, (height / array.shape[0], width / array.shape[1], 1), order=order)


def _positions(count: int, length: int) -> Floats:
    """Return where in the old samples the centers of the new ones are, without the last digits' rounding errors."""
    return np.round((np.arange(count) + 0.5) * (length / count) - 0.5, 12)


def _by_kernel(array: NDArray[Any], rows: Floats, columns: Floats, order: int) -> NDArray[Any]:
    weights = [
        KERNELS[order](positions[:, None] - np.arange(length)).astype(array.dtype)
        for positions, length in ((rows, array.shape[0]), (columns, array.shape[1]))
    ]
    resized: NDArray[Any] = np.einsum("yh,hw...,xw->yx...", weights[0], array, weights[1], optimize=True)
    return resized


def _by_spline(array: NDArray[Any], rows: Floats, columns: Floats, order: Any) -> NDArray[Any]:
    from scipy import ndimage  # as above

    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    channels = np.moveaxis(np.atleast_3d(array), 2, 0)
    resized = [ndimage.map_coordinates(channel, grid, order=order, mode="constant") for channel in channels]
    return np.stack(resized, axis=2).reshape(len(rows), len(columns), *array.shape[2:])


def _nearest(distance: Floats) -> Floats:
    return ((distance >= -0.5) & (distance < 0.5)).astype(np.float64)


def _linear(distance: Floats) -> Floats:
    weights: Floats = np.maximum(0, 1 - np.abs(distance))
    return weights


def _cubic(distance: Floats) -> Floats:
    """Return the weights of the cubic convolution with a = -0.5."""
    x = np.abs(distance)
    near, far = 1 + x**2 * (1.5 * x - 2.5), 2 + x * (x * (2.5 - 0.5 * x) - 4)
    weights: Floats = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights


KERNELS = {0: _nearest, 1: _linear, 3: _cubic}
"""Order of interpolation -> weights of samples at a distance. Samples outside of the array have none."""
