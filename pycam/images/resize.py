"""All resizers, under the names that protocols use, for images and for maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pycam.errors import UsageError
from pycam.images.caffe_resize import caffe_resize
from pycam.images.matlab import imresize, imresize_single
from pycam.images.scaling import min_max_scale

Array = NDArray[Any]
Resizer = Callable[[Array, int, int], Array]


def resize(array: Array, height: int, width: int, resizer: str = "opencv_bilinear") -> Array:
    """Resize an image or a map; the aspect ratio may change.

    Parameters
    ----------
    array : (H, W) or (H, W, C)
        An image, uint8 or float32 in any channel order, or a map, float32.
    height, width : int
        The new size.
    resizer : str
        A name in `RESIZERS`. `opencv_bilinear`, `opencv_cubic`, `pillow_nearest`, `caffe_bilinear` and `tf_corner`
        sample: they skip pixels if the array shrinks. `opencv_area`, `pillow_bilinear`, `pillow_bicubic`,
        `matlab_bicubic` and `matlab_bilinear` average over all pixels. `levels_256` is for maps: it scales them to
        whole levels, 0…255.

    Returns
    -------
    (height, width) or (height, width, C)
        The dtype of `array`; float32, not rounded, for `matlab_bilinear`, `caffe_bilinear` and `tf_corner`; float32,
        whole numbers, for `levels_256`.

    Raises
    ------
    UsageError
        There is no such resizer.
    """
    if resizer not in RESIZERS:
        raise UsageError(f"resizer {resizer!r} does not exist: use one of {', '.join(RESIZERS)}")
    # OpenCV drops the last axis of an array with one channel.
    return RESIZERS[resizer](array, height, width).reshape(height, width, *array.shape[2:])


def _opencv(interpolation: int) -> Resizer:
    def resized(array: Array, height: int, width: int) -> Array:
        if array.ndim == 3 and array.shape[2] > 4:  # INTER_AREA takes four channels, the others 512
            return _by_channels(resized, array, height, width)
        return np.asarray(cv2.resize(array, (width, height), interpolation=interpolation))

    return resized


def _pillow(resampling: Image.Resampling) -> Resizer:
    def resized(array: Array, height: int, width: int) -> Array:
        # Pillow has no colours in floating point, and would weight those of BGRA with their alpha.
        if array.ndim == 3 and (array.shape[2] != 3 or array.dtype != np.uint8):
            return _by_channels(resized, array, height, width)
        return np.asarray(Image.fromarray(array).resize((width, height), resampling))

    return resized


def _by_channels(resized: Resizer, array: Array, height: int, width: int) -> Array:
    channels = (np.ascontiguousarray(channel) for channel in np.moveaxis(array, 2, 0))
    return np.stack([resized(channel, height, width) for channel in channels], axis=2)


def _tf_corner(array: Array, height: int, width: int) -> Array:
    """Resize as TensorFlow 1's `resize_bilinear` does: the corners of the first samples are aligned, not the centers.

    The output at (y, x) is the input at (y · H/height, x · W/width). The last sample is repeated beyond the end.
    """
    rows, columns = (
        _linear_weights(*axis).astype(np.float32) for axis in zip((height, width), array.shape, strict=False)
    )
    resized: Array = np.moveaxis(rows @ np.moveaxis(np.atleast_3d(array), 2, 0) @ columns.T, 0, 2)
    return resized


def _linear_weights(count: int, length: int) -> NDArray[np.float64]:
    """Return the weights of the two samples around each position, (count, length)."""
    positions = np.minimum(np.arange(count) * (length / count), length - 1)
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(length)))
    return weights


def _levels_256(array: Array, height: int, width: int) -> Array:
    """Resize a map as the release's PyTorch driver does, in 8 bits: to 256×256, and from there to the size.

    docs/release.md, section 8, steps 4 and 5.
    """
    levels = (min_max_scale(np.asarray(array, np.float32)) * 255).astype(np.uint8)
    return _BILINEAR(_BILINEAR(levels, 256, 256), height, width).astype(np.float32)


_BILINEAR = _opencv(cv2.INTER_LINEAR)

RESIZERS: dict[str, Resizer] = {
    "opencv_bilinear": _BILINEAR,
    "opencv_cubic": _opencv(cv2.INTER_CUBIC),
    "opencv_area": _opencv(cv2.INTER_AREA),
    "pillow_bilinear": _pillow(Image.Resampling.BILINEAR),
    "pillow_bicubic": _pillow(Image.Resampling.BICUBIC),
    "pillow_nearest": _pillow(Image.Resampling.NEAREST),
    "matlab_bicubic": lambda array, height, width: imresize(array, (height, width), "bicubic"),
    # The release's prepare_image converts to single precision before it resizes.
    "matlab_bilinear": lambda array, height, width: imresize_single(array, (height, width), "bilinear"),
    # `caffe.io.Transformer` converts to single precision before it resizes.
    "caffe_bilinear": lambda array, height, width: caffe_resize(array.astype(np.float32), height, width),
    "tf_corner": _tf_corner,
    "levels_256": _levels_256,
}
"""Name -> function of an array, a height and a width. `pycam.protocols.CHOICES` lists the choices of protocols."""
