"""Maps made visible: colours, overlays with captions, strips.

Everything takes and gives (H, W, 3) uint8 BGR pictures unless it says otherwise; maps are (H, W) floats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pycam.cam import py_map2jpg
from pycam.colormaps import gray2ind, ind2rgb, mat2gray, matlab_jet, matplotlib_jet, opencv_jet, viridis

Pixels = NDArray[np.uint8]
Map = NDArray[np.floating]
Region = tuple[int, int, int, int]

CAPTION_HEIGHT = 24
STRIP_HEIGHT = 256
_BOX_COLOUR = (255, 255, 255)


def colour_half(pixels: Pixels, map_: Map, region: Region | None = None) -> Pixels:
    """Mix a picture with its map in JET, half and half.

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
    drawn = np.empty_like(pixels)
    cv2.addWeighted(pixels[seen], 0.5, colours, 0.5, 0, dst=drawn[seen])
    for unseen in (np.s_[:y0], np.s_[y1:], np.s_[y0:y1, :x0], np.s_[y0:y1, x1:]):
        np.right_shift(pixels[unseen], 1, out=drawn[unseen])
    return drawn


def normalize(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stretch an array to [0, 1] over all of its values together, as `cv2.normalize` with NORM_MINMAX does."""
    given = np.asarray(values, np.float64)
    stretched = cv2.normalize(given, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_64F)  # type: ignore[call-overload,unused-ignore]
    return np.asarray(stretched, np.float64)


def overlay_py_demo(pixels: Pixels, map_: Map) -> NDArray[np.float64]:
    """Overlay a picture with a map as the released Python driver does.

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
    """Overlay a picture with a map as the MATLAB demo does.

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
    """Lay colours over a picture, both (H, W, 3) uint8 BGR: opacity · colours + (1 − opacity) · picture."""
    return np.asarray(cv2.addWeighted(pixels, 1 - opacity, colours, opacity, 0), np.uint8)


def indices_of(map_: Map) -> NDArray[np.uint8]:
    """Stretch a map from its least to its largest value over 256 colours, as matplotlib does: (H, W) uint8."""
    levels = np.minimum(mat2gray(map_) * 256, 255)
    return levels.astype(np.uint8)


def truncated_indices_of(map_: Map) -> NDArray[np.uint8]:
    """Stretch a map from its least to its largest value to 0…255, cutting fractions off: (H, W) uint8."""
    levels = mat2gray(map_) * 255
    return levels.astype(np.uint8)


def overlay_keras(pixels: Pixels, map_: Map, *, wrap: bool) -> Pixels:
    """Add 0.4 of a map's colours to a picture; 255 times the map are the colours, not stretched.

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


def to_pixels(picture: NDArray[np.float64]) -> Pixels:
    """Turn a picture of floats in [0, 1] into 8 bits."""
    return np.floor(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def overlay(pixels: Pixels, map_: Map, blend: str, region: Region | None = None) -> Pixels:
    """Overlay a picture with a map in the manner that a protocol names; see `pycam.protocols.Protocol.blend`."""
    return BLENDS[blend](pixels, map_, region)


BLENDS: dict[str, Callable[[Pixels, Map, Region | None], Pixels]] = {
    "half": colour_half,
    "py_demo": lambda pixels, map_, _: to_pixels(overlay_py_demo(pixels, map_)),
    "matlab_demo": lambda pixels, map_, _: to_pixels(overlay_matlab_demo(pixels, map_)),
    "jet_50": lambda pixels, map_, _: overlay_colours(pixels, matplotlib_jet(truncated_indices_of(map_)), 0.5),
    "viridis_30": lambda pixels, map_, _: overlay_colours(pixels, viridis(indices_of(map_)), 0.3),
    "viridis_40": lambda pixels, map_, _: overlay_colours(pixels, viridis(indices_of(map_)), 0.4),
    "keras": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=True),
    "keras_clipped": lambda pixels, map_, _: overlay_keras(pixels, map_, wrap=False),
}


def write_on(pixels: Pixels, text: str) -> Pixels:
    """Write a text in white on a copy of a picture, at its foot."""
    image = Image.fromarray(pixels[..., ::-1])
    draw = ImageDraw.Draw(image)
    draw.text((4, image.height - 4), text, font=_font(), fill="white", anchor="lb")
    drawn: Pixels = np.asarray(image, np.uint8)[..., ::-1].copy()
    return drawn


def draw_box(pixels: Pixels, box: Sequence[int]) -> Pixels:
    """Draw a box (x0, y0, x1, y1; 0-based, half-open) on a copy of a picture."""
    x0, y0, x1, y1 = box
    thickness = max(1, round(min(pixels.shape[:2]) / 150))
    drawn: Pixels = pixels.copy()
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), thickness + 2)
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), _BOX_COLOUR, thickness)
    return drawn


def caption(pixels: Pixels, text: str, score: str = "") -> Pixels:
    """Put a bar with a text, and a score at its right end, below a picture. Texts too long are cut with an ellipsis."""
    return np.vstack([pixels, _caption_bar(pixels.shape[1], text, score)])


@functools.lru_cache(maxsize=1024)
def _caption_bar(width: int, text: str, score: str) -> Pixels:
    font = _font()
    bar = Image.new("RGB", (width, CAPTION_HEIGHT), (24, 24, 24))
    draw = ImageDraw.Draw(bar)
    room = width - 8
    if score and font.getlength(score) + 40 < room:
        room -= int(font.getlength(score)) + 8
        draw.text((width - 4, CAPTION_HEIGHT // 2), score, font=font, fill=(255, 214, 102), anchor="rm")
    if font.getlength(text) > room:
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        text = text.rstrip(" ,") + "…"
    draw.text((4, CAPTION_HEIGHT // 2), text, font=font, fill=(255, 255, 255), anchor="lm")
    pixels: Pixels = np.asarray(bar, np.uint8)[..., ::-1].copy()
    return pixels


@functools.lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=14)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has a bitmap font alone
        raise RuntimeError("Pillow was built without FreeType: install Pillow's wheel")
    return font


def strip(pixels: Pixels, overlays: Sequence[Pixels], captions: Sequence[tuple[str, str]], title: str) -> Pixels:
    """Lay a picture and its overlays side by side, each with its caption.

    Parameters
    ----------
    pixels
        The picture.
    overlays
        One a class, best first, all of one size.
    captions
        (words, score) a class.
    title
        What stands under the picture itself.

    Returns
    -------
    (280, W, 3) uint8 BGR
    """

    def tile(picture: Pixels, text: str, score: str) -> Pixels:
        width = max(1, round(picture.shape[1] * STRIP_HEIGHT / picture.shape[0]))
        scaled = cv2.resize(picture, (width, STRIP_HEIGHT), interpolation=cv2.INTER_AREA)
        return caption(np.asarray(scaled, np.uint8), text, score)

    tiles = [tile(pixels, title, "")]
    gap = np.full((STRIP_HEIGHT + CAPTION_HEIGHT, 6, 3), 255, np.uint8)
    for picture, (words, score) in zip(overlays, captions, strict=True):
        tiles += [gap, tile(picture, words, score)]
    return np.hstack(tiles)


def strip_matlab_demo(pixels: Pixels, overlays: Sequence[Pixels]) -> Pixels:
    """Lay a picture and its overlays side by side as the MATLAB demo does: 8 white columns before each overlay.

    Release: MATLAB demo, step 6; docs/release.md section 3.
    """
    white = np.full((pixels.shape[0], 8, 3), 255, np.uint8)
    return np.hstack([pixels, *(part for picture in overlays for part in (white, picture))])


def encode_png(pixels: Pixels) -> bytes:
    """Encode a picture as PNG, which keeps every value."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of {pixels.shape}")
    return data.tobytes()


def encode_jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """Encode a picture as JPEG."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of {pixels.shape}")
    return data.tobytes()
