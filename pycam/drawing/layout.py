"""Layout: texts, boxes and captions on overlays, overlays side by side, and the bytes of image files.

Everything takes and gives (H, W, 3) uint8 BGR images.
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
_BOX_COLOUR = (255, 255, 255)


def write_on(pixels: Pixels, text: str) -> Pixels:
    """Write a text in white on a copy of an image, at its foot."""
    image = Image.fromarray(pixels[..., ::-1])
    draw = ImageDraw.Draw(image)
    draw.text((4, image.height - 4), text, font=_font(), fill="white", anchor="lb")
    drawn: Pixels = np.asarray(image, np.uint8)[..., ::-1].copy()
    return drawn


def draw_box(pixels: Pixels, box: Sequence[int]) -> Pixels:
    """Draw a box (x0, y0, x1, y1; 0-based, half-open) on a copy of an image."""
    x0, y0, x1, y1 = box
    thickness = max(1, round(min(pixels.shape[:2]) / 150))
    drawn: Pixels = pixels.copy()
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), thickness + 2)
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), _BOX_COLOUR, thickness)
    return drawn


def caption(pixels: Pixels, text: str, score: str = "") -> Pixels:
    """Put a bar with a text, and a score at its right end, below an image. Texts too long are cut with an ellipsis."""
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


def strip(
    pixels: Pixels,
    overlays: Sequence[Pixels],
    captions: Sequence[tuple[str, str]],
    title: str,
    layout: str = "captioned",
) -> Pixels:
    """Lay an image and its overlays side by side.

    Parameters
    ----------
    pixels
        The image.
    overlays
        One a class, best first, all of one size.
    captions
        (words, score) a class.
    title
        What stands under the image itself.
    layout
        `captioned`: all at one height, each with its caption. `matlab_demo`: at the height of the image, without
        captions, 8 white columns before each overlay (docs/release.md, section 3, step 7).

    Returns
    -------
    (280, W, 3) uint8 BGR, or (H, W, 3) as in the MATLAB demo
    """
    if layout == "matlab_demo":
        white = np.full((pixels.shape[0], 8, 3), 255, np.uint8)
        return np.hstack([pixels, *(part for image in overlays for part in (white, image))])

    def tile(image: Pixels, text: str, score: str) -> Pixels:
        width = max(1, round(image.shape[1] * STRIP_HEIGHT / image.shape[0]))
        return caption(resize(image, STRIP_HEIGHT, width, "opencv_area"), text, score)

    tiles = [tile(pixels, title, "")]
    gap = np.full((STRIP_HEIGHT + CAPTION_HEIGHT, 6, 3), 255, np.uint8)
    for image, (words, score) in zip(overlays, captions, strict=True):
        tiles += [gap, tile(image, words, score)]
    return np.hstack(tiles)


def encode_png(pixels: Pixels) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as PNG, which keeps every value."""
    return _encode(pixels, ".png")


def encode_jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as JPEG."""
    return _encode(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def _encode(pixels: Pixels, suffix: str, *options: int) -> bytes:
    encoded, data = cv2.imencode(suffix, pixels, options)
    if not encoded:
        raise RuntimeError(f"OpenCV cannot encode pixels of shape {pixels.shape} as {suffix}")
    return bytes(data.tobytes())
