"""Views: the crops of an image that a net runs on, their positions, and the net's input.

A view resizes the image to a square canvas and cuts crops out of it. It keeps the positions of the crops, because a
map must be placed where its pixels were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.images.resize import resize

CANVAS = 256
"""Side of the canvas that the views `center` and `ten` cut their crops from, as the release does."""

Pixels = NDArray[np.uint8]
Blob = NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A square part of the canvas.

    Attributes
    ----------
    x, y : int
        First column and first row on the canvas.
    mirrored : bool
        The net's input is flipped left to right.
    """

    x: int
    y: int
    mirrored: bool = False


@dataclass(frozen=True)
class View:
    """The set of crops of an image that a net runs on.

    Attributes
    ----------
    name : str
        `center`, `full` or `ten`.
    canvas : int
        Side of the square that the image is resized to.
    size : int
        Side of every crop and of the net's input.
    crops : tuple of Crop
        The crops, in the order of the batch.
    """

    name: str
    canvas: int
    size: int
    crops: tuple[Crop, ...]


def view_of(name: str, size: int) -> View:
    """Return the view of a name for a net with a square input.

    Parameters
    ----------
    name : {"center", "full", "ten"}
        `center`: the middle crop of a 256×256 canvas, as in the Python driver (docs/release.md, section 2).
        `full`: the whole image, resized to the input. `ten`: the corners of a 256×256 canvas (top left, bottom left,
        top right, bottom right), the middle, and these five mirrored, as in the MATLAB demo (section 3); if the side
        is odd, the middle is one pixel to the right of and below that of `center`.
    size : int
        Side of the net's input.

    Returns
    -------
    View

    Raises
    ------
    UsageError
        There is no such view, or its canvas is smaller than the input.
    """
    if name == "full":
        return View(name, size, size, (Crop(0, 0),))
    if name not in ("center", "ten"):
        raise UsageError(f"view {name!r} does not exist: use center, full or ten")
    if size > CANVAS:
        raise UsageError(
            f"view {name!r}: the input of {size}×{size} is larger than the canvas of {CANVAS}×{CANVAS}; use full"
        )
    if name == "center":
        start = int(CANVAS / 2 - size / 2)
        return View(name, CANVAS, size, (Crop(start, start),))
    far, middle = CANVAS - size, (CANVAS + 1 - size) // 2
    places = ((0, 0), (0, far), (far, 0), (far, far), (middle, middle))
    crops = tuple(Crop(x, y, mirrored) for mirrored in (False, True) for x, y in places)
    return View(name, CANVAS, size, crops)


def net_input(
    pixels: Pixels,
    view: View,
    mean: ArrayLike,
    resizer: str = "opencv_bilinear",
    input_scale: float = 1.0,
) -> Blob:
    """Make a net's input from an image: resize, crop, subtract the mean.

    Parameters
    ----------
    pixels : uint8 (H, W, 3)
        BGR, 0…255, from `pycam.images.read.read_image`.
    view : View
        From `view_of`.
    mean : array
        As for `cut_crops`.
    resizer : str
        As for `pycam.images.resize.resize`.
    input_scale : float
        Factor of the pixels, applied before the mean is subtracted.

    Returns
    -------
    float32 (crops, 3, size, size)
        BGR, pixels · `input_scale` − mean, C-contiguous.
    """
    canvas = resize(pixels, view.canvas, view.canvas, resizer)
    if input_scale != 1:
        canvas = canvas.astype(np.float32) * np.float32(input_scale)
    return cut_crops(canvas, view, mean)


def cut_crops(canvas: NDArray[Any], view: View, mean: ArrayLike) -> Blob:
    """Subtract the mean from a canvas and cut a view's crops out of it.

    Parameters
    ----------
    canvas : uint8 or float32 (view.canvas, view.canvas, 3)
        BGR, 0…255.
    view : View
        From `view_of`.
    mean : (3,) or (3, H, W)
        A mean value, or a mean image of the canvas's size, cropped like the canvas; BGR. For the view `full`, a mean
        image of any size, resized to the canvas (OpenCV bilinear, float32).

    Returns
    -------
    float32 (crops, 3, size, size)
        Computed in single precision.

    Raises
    ------
    UsageError
        The mean has another shape.
    """
    size = view.size
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
        resized = resize(mean.transpose(1, 2, 0), view.canvas, view.canvas)
        return np.asarray(resized.transpose(2, 0, 1), np.float32)
    raise UsageError(
        f"a mean of shape {mean.shape} does not fit the view {view.name!r}: "
        f"give a mean value (3,) or a mean image (3, {view.canvas}, {view.canvas})"
    )
