"""Layout: draw text, boxes and captions, put overlays side by side, and encode images.

All images are (H, W, 3) uint8 BGR.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pycam.images.resize import resize

Pixels = NDArray[np.uint8]

CAPTION_HEIGHT = 24
STRIP_HEIGHT = 256


def write_on(pixels: Pixels, text: str) -> Pixels:
    """Write white text at the bottom of a copy of an image."""
    image = Image.fromarray(pixels[..., ::-1])
    draw = ImageDraw.Draw(image)
    draw.text((4, image.height - 4), text, font=_font(), fill="white", anchor="lb")
    return np.array(np.asarray(image)[..., ::-1], order="C")


def draw_box(pixels: Pixels, box: Sequence[int]) -> Pixels:
    """Draw a box (x0, y0, x1, y1; 0-based, half-open) on a copy of an image."""
    x0, y0, x1, y1 = box
    thickness = max(1, round(min(pixels.shape[:2]) / 150))
    drawn: Pixels = pixels.copy()
    for grey, width in ((0, thickness + 2), (255, thickness)):
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), (grey, grey, grey), width)
    return drawn


def caption(pixels: Pixels, text: str, score: str = "") -> Pixels:
    """Add a bar below an image, with a text on the left and a score on the right; a long text ends in an ellipsis."""
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
    return np.array(np.asarray(bar)[..., ::-1], order="C")


@functools.lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=14)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow without FreeType has only a bitmap font
        raise RuntimeError("Pillow was built without FreeType: install Pillow's wheel")
    return font


def strip(
    pixels: Pixels,
    overlays: Sequence[Pixels],
    captions: Sequence[tuple[str, str]],
    title: str,
    layout: str = "captioned",
) -> Pixels:
    """Put an image and its overlays side by side.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 BGR
        The image.
    overlays : sequence of (H, W, 3) uint8 BGR
        One overlay per class, best class first, all of one size.
    captions : sequence of (str, str)
        Label and score of each class.
    title : str
        The caption of the image itself.
    layout : {"captioned", "matlab_demo"}
        `captioned`: all tiles have one height and a caption. `matlab_demo`: tiles have the height of the image and
        no caption; 8 white columns precede each overlay (docs/release.md, section 3, step 7).

    Returns
    -------
    (280, W, 3) uint8 BGR
        For `matlab_demo` (H, W, 3), with the height of the image.
    """
    if layout == "matlab_demo":
        white = np.full((pixels.shape[0], 8, 3), 255, np.uint8)
        return np.hstack([pixels, *(part for image in overlays for part in (white, image))])
    gap = np.full((STRIP_HEIGHT + CAPTION_HEIGHT, 6, 3), 255, np.uint8)
    parts = []
    for image, (text, score) in zip([pixels, *overlays], [(title, ""), *captions], strict=True):
        width = max(1, round(image.shape[1] * STRIP_HEIGHT / image.shape[0]))
        parts += [gap, caption(resize(image, STRIP_HEIGHT, width, "opencv_area"), text, score)]
    return np.hstack(parts[1:])


def encode_png(pixels: Pixels) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as PNG, which is lossless."""
    return _encode(pixels, ".png")


def encode_jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as JPEG."""
    return _encode(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def _encode(pixels: Pixels, suffix: str, *options: int) -> bytes:
    encoded, data = cv2.imencode(suffix, pixels, options)
    if not encoded:
        raise RuntimeError(f"OpenCV cannot encode pixels of shape {pixels.shape} as {suffix}")
    return bytes(data.tobytes())
