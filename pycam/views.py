"""Views: which parts of a picture a net sees, where they lie, and the numbers that it is given.

A view resizes the picture to a square canvas and cuts crops out of it. The crops' places are kept, since a
map lies where its pixels were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pycam.errors import UsageError

CANVAS = 256
"""Side of the canvas that the views `center` and `ten` cut their crops from, as the release does."""

Pixels = NDArray[np.uint8]
Blob = NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A square part of the canvas: columns from `x`, rows from `y`; `mirrored` left to right for the net."""

    x: int
    y: int
    mirrored: bool = False


@dataclass(frozen=True)
class View:
    """What a net sees of a picture.

    Attributes
    ----------
    name : str
        `center`, `full` or `ten`.
    canvas : int
        Side of the square that the picture is resized to.
    size : int
        Side of every crop: the net's input.
    crops : tuple of Crop
        In the order of the batch.
    """

    name: str
    canvas: int
    size: int
    crops: tuple[Crop, ...]


def view_of(name: str, size: int) -> View:
    """Give the view of that name for a net with a square input.

    Parameters
    ----------
    name : {"center", "full", "ten"}
        `center`: the crop in the middle of a 256×256 canvas, as the Python driver cuts it (docs/release.md,
        section 2). `full`: the whole picture, resized to the input. `ten`: of a 256×256 canvas the corners
        (top left, bottom left, top right, bottom right), the middle, and these five mirrored, as the MATLAB
        demo cuts them (section 3); if the side is odd, its middle lies one pixel beside that of `center`.
    size : int
        Side of the net's input.

    Raises
    ------
    UsageError
        There is no such view, or its canvas is smaller than the input.
    """
    if name == "full":
        return View(name, size, size, (Crop(0, 0),))
    if name not in ("center", "ten"):
        raise UsageError(f"view {name!r}: there are center, full and ten")
    if size > CANVAS:
        raise UsageError(
            f"view {name!r}: an input of {size}×{size} does not fit its {CANVAS}×{CANVAS} canvas; use full"
        )
    if name == "center":
        start = int(CANVAS / 2 - size / 2)
        return View(name, CANVAS, size, (Crop(start, start),))
    far, middle = CANVAS - size, (CANVAS + 1 - size) // 2
    places = ((0, 0), (0, far), (far, 0), (far, far), (middle, middle))
    crops = tuple(Crop(x, y, mirrored) for mirrored in (False, True) for x, y in places)
    return View(name, CANVAS, size, crops)


def resize(pixels: Pixels, side: int, resizer: str = "opencv_bilinear") -> NDArray[Any]:
    """Resize a picture to a square without regard to its proportions.

    Parameters
    ----------
    pixels : uint8 (H, W, 3)
        Any channel order.
    side : int
        Height and width of the result.
    resizer : str
        A name in `RESIZERS`: `opencv_bilinear` and `opencv_cubic` sample (shrinking skips pixels);
        so do `pillow_nearest` and `caffe_bilinear`; `pillow_bicubic`, `matlab_bicubic` and `matlab_bilinear` average
        over the pixels that become one.

    Returns
    -------
    (side, side, 3)
        uint8; of `matlab_bilinear` and `caffe_bilinear` float32, 0…255, not rounded.
    """
    if resizer not in RESIZERS:
        raise UsageError(f"resizer {resizer!r}: there are {', '.join(RESIZERS)}")
    return RESIZERS[resizer](pixels, side)


def net_input(
    pixels: Pixels,
    view: View,
    mean: ArrayLike,
    resizer: str = "opencv_bilinear",
    out: Blob | None = None,
    brightest: float = 255,
) -> Blob:
    """Make a net's input from a picture: resize, crop, subtract the mean.

    Parameters
    ----------
    pixels : uint8 (H, W, 3)
        BGR, as `pycam.pictures.read_picture` gives them.
    view : View
        From `view_of`.
    mean, out
        As for `cut_crops`.
    resizer : str
        As for `resize`.
    brightest : float
        What the brightest pixel becomes, 255 or 1.

    Returns
    -------
    float32 (crops, 3, size, size)
        BGR, 0…`brightest` less the mean, C-contiguous.
    """
    canvas = resize(pixels, view.canvas, resizer)
    if brightest != 255:
        canvas = canvas.astype(np.float32) * np.float32(brightest / 255)
    return cut_crops(canvas, view, mean, out)


def cut_crops(canvas: NDArray[Any], view: View, mean: ArrayLike, out: Blob | None = None) -> Blob:
    """Subtract the mean from a canvas and cut a view's crops out of it.

    Parameters
    ----------
    canvas : uint8 or float32 (view.canvas, view.canvas, 3)
        BGR, 0…255.
    view : View
        From `view_of`.
    mean : (3,) or (3, H, W)
        A mean pixel, or a mean picture of the canvas's size, cropped as the canvas is; BGR. For the view
        `full` a picture of any size, which is resized to the canvas (OpenCV bilinear, float32).
    out : float32 (crops, 3, size, size), optional
        Where to write, for instance a part of a batch.

    Returns
    -------
    float32 (crops, 3, size, size)
        `out` if it was given; computed in single precision.

    Raises
    ------
    UsageError
        The mean is neither of these.
    """
    size = view.size
    if out is None:
        out = np.empty((len(view.crops), 3, size, size), np.float32)
    planes = canvas.transpose(2, 0, 1)
    mean_planes = _mean_on_canvas(np.asarray(mean, np.float32), view)
    for crop, blob in zip(view.crops, out, strict=True):
        part = np.s_[:, crop.y : crop.y + size, crop.x : crop.x + size]
        np.subtract(planes[part], mean_planes[part], out=blob[:, :, ::-1] if crop.mirrored else blob)
    return out


def _mean_on_canvas(mean: Blob, view: View) -> Blob:
    if mean.shape == (3,):
        return np.broadcast_to(mean[:, np.newaxis, np.newaxis], (3, view.canvas, view.canvas))
    if mean.shape == (3, view.canvas, view.canvas):
        return mean
    if view.name == "full" and mean.ndim == 3 and len(mean) == 3:
        side = (view.canvas, view.canvas)
        resized = cv2.resize(mean.transpose(1, 2, 0), side, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized.transpose(2, 0, 1), np.float32)
    raise UsageError(
        f"a mean of shape {mean.shape} does not go with the view {view.name!r}: "
        f"give a mean pixel (3,) or a mean picture (3, {view.canvas}, {view.canvas})"
    )


def _opencv_bilinear(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR))


def _opencv_cubic(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC))


def _pillow_bicubic(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _pillow_nearest(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))


def _matlab_bicubic(pixels: Pixels, side: int) -> Pixels:
    # SciPy, which the other resizers do without, takes a quarter of a second to import.
    from pycam.matlab_resize import imresize

    return imresize(pixels, (side, side), "bicubic")


def _matlab_bilinear(pixels: Pixels, side: int) -> Blob:
    from pycam.matlab_resize import imresize

    # The release's prepare_image converts to single before it resizes.
    return imresize(pixels.astype(np.float32), (side, side), "bilinear")


def resize_as_caffe(pixels: NDArray[Any], height: int, width: int) -> Blob:
    """Resize as `caffe.io.resize_image` does: in floats, and what lies outside is as dark as the darkest pixel.

    Parameters
    ----------
    pixels : (H, W, C)
        Any type and range.
    height, width : int
        Of the result.

    Returns
    -------
    float32 (height, width, C)
    """
    low = float(pixels.min())
    rows, columns = map(_bilinear_matrix, (height, width), pixels.shape[:2])
    resized: Blob = np.einsum("yh,hwc,xw->yxc", rows, pixels - low, columns, optimize=True).astype(np.float32)
    resized += np.float32(low)
    return resized


def _caffe_bilinear(pixels: Pixels, side: int) -> Blob:
    return resize_as_caffe(pixels, side, side)


def _bilinear_matrix(count: int, length: int) -> NDArray[np.float64]:
    """Give (count, length) weights of the two samples beside each position; those outside are left out."""
    positions = (np.arange(count) + 0.5) * (length / count) - 0.5
    weights: NDArray[np.float64] = np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(length)))
    return weights


RESIZERS: dict[str, Callable[[Pixels, int], NDArray[Any]]] = {
    "opencv_bilinear": _opencv_bilinear,
    "opencv_cubic": _opencv_cubic,
    "pillow_bicubic": _pillow_bicubic,
    "pillow_nearest": _pillow_nearest,
    "matlab_bicubic": _matlab_bicubic,
    "matlab_bilinear": _matlab_bilinear,
    "caffe_bilinear": _caffe_bilinear,
}
