"""Overlays: the colours of a map mixed with an image, in the manner that a protocol names.

Everything takes and gives (H, W, 3) uint8 BGR images unless it says otherwise; maps are (H, W) floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.drawing.colormaps import gray2ind, ind2rgb, mat2gray, matlab_jet, matplotlib_jet, opencv_jet, viridis
from pycam.errors import UsageError
from pycam.images.scaling import min_max_scale

Pixels = NDArray[np.uint8]
Map = NDArray[np.floating]
Region = tuple[int, int, int, int]


def colour_half(pixels: Pixels, map_: Map, region: Region | None = None) -> Pixels:
    """Mix an image with its map in JET, half and half.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 BGR.
    map_
        (H, W); 0 and below is the lowest colour, the largest value the highest.
    region
        (x0, y0, x1, y1), half-open: what the net saw. The rest is darkened, not coloured, for the map says nothing
        about it. None: all of it.

    Returns
    -------
    (H, W, 3) uint8 BGR
    """
    height, width = map_.shape
    x0, y0, x1, y1 = region or (0, 0, width, height)
    seen = np.s_[y0:y1, x0:x1]
    peak = float(map_[seen].max())
    _, positive = cv2.threshold(map_[seen], 0, 0, cv2.THRESH_TOZERO)
    colours = opencv_jet(cv2.convertScaleAbs(positive, alpha=255 / peak if peak > 0 else 0.0))
    drawn: Pixels = np.right_shift(pixels, 1)
    cv2.addWeighted(pixels[seen], 0.5, colours, 0.5, 0, dst=drawn[seen])
    return drawn


def py_map2jpg(imgmap: NDArray[Any], rang: Any, colorMap: Any) -> NDArray[np.uint8]:
    """Colour a map as the release's Python driver does.

    Parameters
    ----------
    imgmap : (H, W)
        Values in [0, 1].
    rang, colorMap
        Without effect, as in the release: the map is never rescaled and the colours are always OpenCV's JET.

    Returns
    -------
    (H, W, 3) uint8, BGR
        docs/release.md, section 2, step 6.

    Raises
    ------
    UsageError
        The map leaves [0, 1]; the release wrapped such values round.
    """
    levels = np.round(np.asarray(imgmap) * 255)
    if levels.ndim != 2 or not ((levels >= 0) & (levels <= 255)).all():
        raise UsageError(
            f"py_map2jpg: a map of shape {levels.shape} from {np.min(imgmap)} to {np.max(imgmap)} came, "
            "expected (H, W) in [0, 1]: normalise it first"
        )
    return opencv_jet(levels.astype(np.uint8))


def normalize(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stretch an array to [0, 1] over all of its values together, as `cv2.normalize` with NORM_MINMAX does."""
    # `min_max_scale` divides, OpenCV multiplies and adds: the last bits differ, and with them some 8-bit values.
    given = np.asarray(values, np.float64)
    stretched = cv2.normalize(given, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_64F)  # type: ignore[call-overload,unused-ignore]
    return np.asarray(stretched, np.float64)


def overlay_py_demo(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Overlay an image with a map as the released Python driver does.

    Parameters
    ----------
    pixels
        (256, 256, 3) uint8 BGR.
    map_
        (256, 256), any range.

    Returns
    -------
    (256, 256, 3) float64 BGR, 0…0.9

    Notes
    -----
    Release: Python driver, steps 6 and 7; docs/release.md section 2.
    """
    colours = py_map2jpg(normalize(map_), None, "jet")
    return 0.2 * normalize(pixels) + 0.7 * normalize(colours)


def overlay_matlab_demo(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Overlay an image with a map as the MATLAB demo does.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 BGR.
    map_
        (H, W), any range.

    Returns
    -------
    (H, W, 3) float64 BGR, 0…0.9

    Notes
    -----
    Release: MATLAB demo, step 6; docs/release.md section 3.
    """
    colours = ind2rgb(gray2ind(mat2gray(map_)), matlab_jet(256))
    return 0.2 * pixels / 255 + 0.7 * colours[..., ::-1]


def overlay_colours(pixels: Pixels, colours: Pixels, opacity: float) -> Pixels:
    """Lay colours over an image, both (H, W, 3) uint8 BGR: opacity · colours + (1 − opacity) · image."""
    return np.asarray(cv2.addWeighted(pixels, 1 - opacity, colours, opacity, 0), np.uint8)


def indices_of(map_: Map, levels: int) -> NDArray[np.uint8]:
    """Scale a map to indices of 256 colours: (H, W) uint8.

    `levels` is 256 as in matplotlib, where each colour has an equal share of the range; with 255, only the map's
    largest value gets the last colour.
    """
    indices = np.minimum(min_max_scale(np.asarray(map_, np.float64)) * levels, 255)
    return indices.astype(np.uint8)


def overlay_keras(pixels: Pixels, map_: Map, *, wrap: bool) -> Pixels:
    """Add 0.4 of a map's colours to an image; 255 times the map are the colours, not stretched.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 BGR.
    map_
        (H, W), any range.
    wrap
        Whether a value below 0 or above 255 begins anew at the other end, as it did; else it is clipped.
    """
    levels = np.trunc(np.asarray(map_, np.float64) * 255)
    indices = levels % 256 if wrap else np.clip(levels, 0, 255)
    colours = opencv_jet(indices.astype(np.uint8))
    return np.clip(pixels + 0.4 * colours, 0, 255).astype(np.uint8)


def to_pixels(image: NDArray[np.float64]) -> Pixels:
    """Turn an image of floats in [0, 1] into 8 bits."""
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def overlay(pixels: Pixels, map_: Map, style: str, region: Region | None = None) -> Pixels:
    """Overlay an image with a map in the manner that a protocol names; see `pycam.protocols.Protocol.overlay`."""
    return OVERLAYS[style](pixels, map_, region)


OVERLAYS: dict[str, Callable[[Pixels, Map, Region | None], Pixels]] = {
    "half": colour_half,
    "py_demo": lambda pixels, map_, _: to_pixels(overlay_py_demo(pixels, map_)),
    "matlab_demo": lambda pixels, map_, _: to_pixels(overlay_matlab_demo(pixels, map_)),
    "jet_50": lambda pixels, map_, _: overlay_colours(pixels, matplotlib_jet(indices_of(map_, 255)), 0.5),
    "viridis_30": lambda pixels, map_, _: overlay_colours(pixels, viridis(indices_of(map_, 256)), 0.3),
    "viridis_40": lambda pixels, map_, _: overlay_colours(pixels, viridis(indices_of(map_, 256)), 0.4),
    "keras": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=True),
    "keras_clipped": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=False),
}
