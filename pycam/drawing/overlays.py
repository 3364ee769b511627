"""Overlays: mix the colours of a map with an image, in the style of a protocol.

Images are (H, W, 3) uint8 BGR unless stated otherwise; maps are (H, W) floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.drawing.colormaps import gray2ind, ind2rgb, mat2gray, matlab_jet, matplotlib_jet, opencv_jet, viridis
from pycam.errors import UsageError
from pycam.images.blocks import row_blocks
from pycam.images.scaling import min_max_scale
from pycam.maps.boxes import Box

Pixels = NDArray[np.uint8]
Map = NDArray[np.floating]
Overlay = Callable[[Pixels, Map, Box | None], Pixels]


def overlay_half(pixels: Pixels, map_: Map, region: Box | None = None) -> Pixels:
    """Mix an image and the JET colours of its map, half each.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 BGR
        The image.
    map_ : (H, W)
        Values of 0 and below get the lowest colour, the maximum gets the highest.
    region : (x0, y0, x1, y1), optional
        The part of the image that the map covers, half-open; the whole image by default. The rest is darkened and
        not coloured, because the net did not get it.

    Returns
    -------
    (H, W, 3) uint8 BGR
    """
    height, width = map_.shape
    x0, y0, x1, y1 = region or (0, 0, width, height)
    peak = float(map_[y0:y1, x0:x1].max())
    drawn: Pixels = np.right_shift(pixels, 1)
    for rows in row_blocks(y1 - y0, width):
        covered = np.s_[y0 + rows.start : y0 + rows.stop, x0:x1]
        _, positive = cv2.threshold(map_[covered], 0, 0, cv2.THRESH_TOZERO)
        colours = opencv_jet(cv2.convertScaleAbs(positive, alpha=255 / peak if peak > 0 else 0.0))
        cv2.addWeighted(pixels[covered], 0.5, colours, 0.5, 0, dst=drawn[covered])
    return drawn


def py_map2jpg(imgmap: NDArray[Any], rang: Any, colorMap: Any) -> NDArray[np.uint8]:
    """Colour a map as the release's Python driver does.

    Parameters
    ----------
    imgmap : (H, W)
        Values in [0, 1].
    rang, colorMap
        Ignored, as in the release: the map is not rescaled, and the colours are always OpenCV's JET.

    Returns
    -------
    (H, W, 3) uint8, BGR
        docs/release.md, section 2, step 6.

    Raises
    ------
    UsageError
        The map is empty or not two-dimensional, or a value is outside [0, 1]. In the release, such values wrap around.
    """
    levels = np.round(np.asarray(imgmap) * 255)
    if not levels.size:
        raise UsageError(f"py_map2jpg: got a map of shape {levels.shape}; expected (H, W), not empty")
    if levels.ndim != 2 or not ((levels >= 0) & (levels <= 255)).all():
        raise UsageError(
            f"py_map2jpg: got a map of shape {levels.shape} from {np.min(imgmap)} to {np.max(imgmap)}; "
            "expected (H, W) in [0, 1]: normalise it first"
        )
    return opencv_jet(levels.astype(np.uint8))


def normalize(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Scale all values of an array together to [0, 1], as `cv2.normalize` with NORM_MINMAX does."""
    # Not `min_max_scale`: it divides, OpenCV multiplies and adds. The last bits differ, and so do some 8-bit values.
    doubles = np.asarray(values, np.float64)
    scaled = cv2.normalize(doubles, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_64F)  # type: ignore[call-overload,unused-ignore]
    return np.asarray(scaled, np.float64)


def overlay_py_demo(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Overlay an image with a map as the released Python driver does.

    Parameters
    ----------
    pixels : (256, 256, 3) uint8 BGR
        The image.
    map_ : (256, 256)
        Values in any range.

    Returns
    -------
    (256, 256, 3) float64 BGR
        Values from 0 to 0.9. docs/release.md, section 2, steps 6 and 7.
    """
    colours = py_map2jpg(normalize(map_), None, "jet")
    return 0.2 * normalize(pixels) + 0.7 * normalize(colours)


def overlay_matlab_demo(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Overlay an image with a map as the MATLAB demo does.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 BGR
        The image.
    map_ : (H, W)
        Values in any range.

    Returns
    -------
    (H, W, 3) float64 BGR
        Values from 0 to 0.9. docs/release.md, section 3, step 6.
    """
    colours = ind2rgb(gray2ind(mat2gray(map_)), matlab_jet(256))
    return 0.2 * pixels / 255 + 0.7 * colours[..., ::-1]


def overlay_pytorch_cam(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Add 0.3 times the JET colours of a map to half of an image, as the release's PyTorch driver does.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 BGR
        The image.
    map_ : (H, W)
        Indices of colours, 0…255, as the resizer `levels_256` makes them; they are truncated, not rescaled.

    Returns
    -------
    (H, W, 3) float64 BGR
        Values from 0 to 204. docs/release.md, section 8, step 6.
    """
    return opencv_jet(np.clip(map_, 0, 255).astype(np.uint8)) * 0.3 + pixels * 0.5


def _with_opacity(colour: Callable[[NDArray[np.uint8]], Pixels], levels: int, opacity: float) -> Overlay:
    """Return an overlay: opacity · colours + (1 − opacity) · image.

    `levels` is 256 as in matplotlib, where each of 256 colours covers an equal part of the range. With 255, only the
    maximum of the map gets the last colour.
    """

    def mixed(pixels: Pixels, map_: Map, _: Box | None) -> Pixels:
        indices = np.minimum(min_max_scale(np.asarray(map_, np.float64)) * levels, 255).astype(np.uint8)
        return np.asarray(cv2.addWeighted(pixels, 1 - opacity, colour(indices), opacity, 0), np.uint8)

    return mixed


def overlay_keras(pixels: Pixels, map_: Map, *, wrap: bool) -> Pixels:
    """Add 0.4 times the JET colours of a map to an image; the map times 255 is the index of the colour.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 BGR
        The image.
    map_ : (H, W)
        Values in any range; they are not rescaled.
    wrap : bool
        Whether indices below 0 or above 255 wrap around, as in the original, or are clipped.
    """
    drawn = np.empty_like(pixels)
    for rows in row_blocks(*map_.shape):
        levels = np.trunc(np.asarray(map_[rows], np.float64) * 255)
        indices = levels % 256 if wrap else np.clip(levels, 0, 255)
        colours = opencv_jet(indices.astype(np.uint8))
        drawn[rows] = np.clip(pixels[rows] + 0.4 * colours, 0, 255).astype(np.uint8)
    return drawn


def to_pixels(image: NDArray[np.float64]) -> Pixels:
    """Convert an image of floats in [0, 1] to 8 bits."""
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def overlay(pixels: Pixels, map_: Map, style: str, region: Box | None = None) -> Pixels:
    """Overlay an image with a map in a style of `OVERLAYS`; `region` is the part of the image that the map covers."""
    return OVERLAYS[style](pixels, map_, region)


OVERLAYS: dict[str, Overlay] = {
    "half": overlay_half,
    "py_demo": lambda pixels, map_, _: to_pixels(overlay_py_demo(pixels, map_)),
    "matlab_demo": lambda pixels, map_, _: to_pixels(overlay_matlab_demo(pixels, map_)),
    "pytorch_cam": lambda pixels, map_, _: np.rint(overlay_pytorch_cam(pixels, map_)).astype(np.uint8),
    "jet_50": _with_opacity(matplotlib_jet, 255, 0.5),
    "viridis_30": _with_opacity(viridis, 256, 0.3),
    "viridis_40": _with_opacity(viridis, 256, 0.4),
    "keras": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=True),
    "keras_clipped": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=False),
}
"""The overlays of protocols, by name."""
