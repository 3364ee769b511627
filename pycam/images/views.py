"""Views: the crops of an image that a net runs on, their positions, and the net's input.

A view resizes the image to a canvas and cuts crops out of it. It keeps the positions of the crops, because a map must
be placed where its pixels were. Sizes are pairs, (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.images.resize import resize

CANVAS = 256
"""Side of the canvas that the views `center` and `ten` of the released nets cut their crops from."""

CROP = 224
"""Side of a crop from that canvas; in proportion to it, other nets get a canvas of their own."""

Size = tuple[int, int]
"""Height and width."""

Blob = NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A part of the canvas.

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
    canvas : (int, int)
        Height and width that the image is resized to.
    size : (int, int)
        Height and width of every crop and of the net's input.
    crops : tuple of Crop
        The crops, in the order of the batch.
    """

    name: str
    canvas: Size
    size: Size
    crops: tuple[Crop, ...]

    def region(self, crop: Crop, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of an image that a crop covers: (x0, y0, x1, y1), half-open, image pixels."""
        # A pixel of the image belongs to the region if the center of the pixel does.
        y0, y1 = (round(y * height / self.canvas[0]) for y in (crop.y, crop.y + self.size[0]))
        x0, x1 = (round(x * width / self.canvas[1]) for x in (crop.x, crop.x + self.size[1]))
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    def on_image(
        self, crop: Crop, box: tuple[int, int, int, int], height: int, width: int
    ) -> tuple[int, int, int, int]:
        """Return where a box of the net's input lies on an image: each pixel that it covers at least in part.

        Parameters
        ----------
        crop : Crop
            The crop that the input is.
        box : (x0, y0, x1, y1)
            Pixels of the input, half-open.
        height, width : int
            The sides of the image.
        """
        x0, y0, x1, y1 = box
        if crop.mirrored:
            x0, x1 = self.size[1] - x1, self.size[1] - x0
        tall, wide = self.canvas
        return (
            (crop.x + x0) * width // wide,
            (crop.y + y0) * height // tall,
            -(-(crop.x + x1) * width // wide),
            -(-(crop.y + y1) * height // tall),
        )


def canvas_of(size: Size) -> Size:
    """Return the size of the canvas for a net's input.

    Parameters
    ----------
    size : (int, int)
        Height and width of the net's input.

    Returns
    -------
    (int, int)
        256×256 if both sides are 224 to 256, as for the released nets; otherwise 256/224 of each side.
    """
    if all(CROP <= side <= CANVAS for side in size):
        return CANVAS, CANVAS
    height, width = (round(side * CANVAS / CROP) for side in size)
    return height, width


def view_of(name: str, size: Size, canvas: Size | None = None) -> View:
    """Return the view of a name for a net's input.

    Parameters
    ----------
    name : {"center", "full", "ten"}
        `center`: the middle crop of the canvas, as in the Python driver (docs/release.md, section 2). `full`: the
        whole image, resized to the input. `ten`: the corners of the canvas (top left, bottom left, top right, bottom
        right), the middle, and these five mirrored, as in the MATLAB demo (section 3); if the margin is odd, the
        middle is one pixel to the right of and below that of `center`.
    size : (int, int)
        Height and width of the net's input.
    canvas : (int, int), optional
        Height and width of the canvas of `center` and `ten`; the default is `canvas_of(size)`.

    Returns
    -------
    View

    Raises
    ------
    UsageError
        There is no such view, or the canvas is smaller than the input.
    """
    if name == "full":
        return View(name, size, size, (Crop(0, 0),))
    if name not in ("center", "ten"):
        raise UsageError(f"view {name!r} does not exist: use center, full or ten")
    canvas = canvas or canvas_of(size)
    bottom, right = (room - side for room, side in zip(canvas, size, strict=True))
    if min(bottom, right) < 0:
        raise UsageError(
            f"view {name!r}: the input of {size[0]}×{size[1]} is larger than the canvas of {canvas[0]}×{canvas[1]}"
        )
    if name == "center":
        y, x = (int(room / 2 - side / 2) for room, side in zip(canvas, size, strict=True))
        return View(name, canvas, size, (Crop(x, y),))
    places = ((0, 0), (0, bottom), (right, 0), (right, bottom), ((right + 1) // 2, (bottom + 1) // 2))
    crops = tuple(Crop(x, y, mirrored) for mirrored in (False, True) for x, y in places)
    return View(name, canvas, size, crops)


def net_input(
    values: NDArray[Any],
    view: View,
    mean: ArrayLike,
    resizer: str = "opencv_bilinear",
    scale: ArrayLike = 1.0,
) -> Blob:
    """Make a net's input from an image: resize, crop, subtract the mean, scale.

    Parameters
    ----------
    values : uint8 or float32 (H, W, C)
        `values` of an image from `pycam.images.read.read_image`: for three channels BGR, 0…255.
    view : View
        From `view_of`.
    mean, scale : array
        As for `cut_crops`.
    resizer : str
        As for `pycam.images.resize.resize`.

    Returns
    -------
    float32 (crops, C, height, width)
        (pixels − mean) · scale, C-contiguous.
    """
    return cut_crops(resize(values, *view.canvas, resizer), view, mean, scale)


def cut_crops(canvas: NDArray[Any], view: View, mean: ArrayLike, scale: ArrayLike = 1.0) -> Blob:
    """Cut a view's crops out of a canvas, subtract the mean, and scale, as Caffe's transformation does.

    Parameters
    ----------
    canvas : uint8 or float32 (view.canvas, C)
        For three channels BGR, 0…255.
    view : View
        From `view_of`.
    mean : (C,) or (C, H, W)
        A mean value per channel, or a mean image of the canvas's size, cropped like the canvas. With another canvas
        than that of the released nets, a mean image of any size is resized to it (OpenCV bilinear, float32).
    scale : float or (C,)
        Factor per channel, applied after the mean is subtracted.

    Returns
    -------
    float32 (crops, C, height, width)
        Computed in single precision.

    Raises
    ------
    UsageError
        The mean has another shape.
    """
    height, width = view.size
    planes = canvas.transpose(2, 0, 1)
    out = np.empty((len(view.crops), len(planes), height, width), np.float32)
    mean_planes = mean_on_canvas(np.asarray(mean, np.float32), view, len(planes))
    for crop, blob in zip(view.crops, out, strict=True):
        part = np.s_[:, crop.y : crop.y + height, crop.x : crop.x + width]
        np.subtract(planes[part], mean_planes[part], out=blob[:, :, ::-1] if crop.mirrored else blob)
    factors = np.asarray(scale, np.float32)
    if (factors != 1).any():
        # What overflows is named where the scores of the net are checked.
        with np.errstate(over="ignore"):
            out *= factors.reshape(-1, 1, 1)
    return out


def mean_on_canvas(mean: Blob, view: View, channels: int) -> Blob:
    """Return the mean of every pixel of a view's canvas, (channels, height, width).

    Parameters and errors are those of `cut_crops`.
    """
    height, width = view.canvas
    if mean.shape == (channels,):
        return np.broadcast_to(mean[:, np.newaxis, np.newaxis], (channels, height, width))
    if mean.shape == (channels, height, width):
        return mean
    has_own_canvas = view.name == "full" or view.canvas != (CANVAS, CANVAS)
    if has_own_canvas and mean.ndim == 3 and len(mean) == channels:
        resized = resize(mean.transpose(1, 2, 0), height, width)
        return np.asarray(resized.transpose(2, 0, 1), np.float32)
    raise UsageError(
        f"a mean of shape {mean.shape} does not fit the view {view.name!r}: "
        f"give a mean value ({channels},) or a mean image ({channels}, {height}, {width})"
    )
