"""Layout: draw text, boxes and captions, put overlays side by side, and encode images.

All images are (H, W, 3) uint8 BGR.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pycam.drawing.fonts import check_glyphs, draw_text, fitted, text_width
from pycam.errors import ImageError, UsageError
from pycam.images.files import JPEG_SIDE
from pycam.images.resize import resize

Pixels = NDArray[np.uint8]

CAPTION_HEIGHT = 24
STRIP_HEIGHT = 256
GAP = 6
MATLAB_GAP = 8

NARROWEST_TILE = 32
"""The least room for a tile of a strip, in pixels."""

WIDEST_TILE = 8 * STRIP_HEIGHT
"""The most room for a tile of a strip: an image that is wider for its height gets a lower tile."""

_SMALLEST_WITH_RIM = 100
"""The least side, in pixels, of an image on which a box has a rim."""

DARK = 24
"""The grey of the background of captions, and of the room that a low tile leaves in its strip."""


def write_on(pixels: Pixels, text: str) -> Pixels:
    """Write white text at the bottom of a copy of an image."""
    check_glyphs(text)
    image = Image.fromarray(pixels[..., ::-1])
    draw_text(ImageDraw.Draw(image), (4, image.height - 4), text, "white", "lb")
    return np.array(np.asarray(image)[..., ::-1], order="C")


def draw_box(pixels: Pixels, box: Sequence[int]) -> Pixels:
    """Draw a box (x0, y0, x1, y1; 0-based, half-open) on a copy of an image.

    The white line has a black rim, except on an image so small that the rim would hide it.
    """
    x0, y0, x1, y1 = box
    side = min(pixels.shape[:2])
    thickness = max(1, round(side / 150))
    drawn: Pixels = pixels.copy()
    for grey, width in ((0, thickness + 2), (255, thickness)) if side >= _SMALLEST_WITH_RIM else ((255, thickness),):
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), (grey, grey, grey), width)
    return drawn


def scaled_box(box: Sequence[int], size: tuple[int, int], new_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of the pixels that a box covers when an image of `size` (width, height) gets `new_size`."""
    x0, y0, x1, y1 = box
    (wide, tall), (width, height) = size, new_size
    return x0 * width // wide, y0 * height // tall, -(-x1 * width // wide), -(-y1 * height // tall)


def caption(pixels: Pixels, text: str, score: str = "") -> Pixels:
    """Add a bar below an image, with a text on the left and a score on the right; a long text ends in an ellipsis."""
    return np.vstack([pixels, _caption_bar(pixels.shape[1], text, score)])


def _caption_bar(width: int, text: str, score: str) -> Pixels:
    return (_kept_caption_bar if width <= WIDEST_TILE else _draw_caption_bar)(width, text, score)


@functools.lru_cache(maxsize=256)
def _kept_caption_bar(width: int, text: str, score: str) -> Pixels:
    return _draw_caption_bar(width, text, score)


def _draw_caption_bar(width: int, text: str, score: str) -> Pixels:
    check_glyphs(text)
    bar = Image.new("RGB", (width, CAPTION_HEIGHT), (DARK, DARK, DARK))
    draw = ImageDraw.Draw(bar)
    room = width - 8
    if score and text_width(score) + 40 < room:
        room -= int(text_width(score)) + 8
        draw_text(draw, (width - 4, CAPTION_HEIGHT // 2), score, (255, 214, 102), "rm")
    draw_text(draw, (4, CAPTION_HEIGHT // 2), fitted(text, room), (255, 255, 255), "lm")
    return np.array(np.asarray(bar)[..., ::-1], order="C")


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
        One overlay per class, best class first, all of one size; or what `strip_tile` makes of them.
    captions : sequence of (str, str)
        Label and score of each class.
    title : str
        The caption of the image itself.
    layout : {"captioned", "matlab_demo"}
        `captioned`: all tiles have one height and a caption; the image in a tile is lower if it is more than eight
        times as wide as high, or if the strip of many classes would be wider than a JPEG. `matlab_demo`: tiles have the
        height of the image and no caption; 8 white columns precede each overlay (docs/release.md, section 3, step 7).

    Returns
    -------
    (280, W, 3) uint8 BGR
        For `matlab_demo` (H, W, 3), with the height of the image.

    Raises
    ------
    UsageError
        There are more classes than a strip has room for, see `check_strip`.
    """
    check_strip(pixels.shape[1], len(overlays), layout)
    if layout == "matlab_demo":
        white = np.full((pixels.shape[0], MATLAB_GAP, 3), 255, np.uint8)
        return np.hstack([pixels, *(part for image in overlays for part in (white, image))])
    tiles = [strip_tile(image, len(overlays), layout) for image in (pixels, *overlays)]
    width = sum(tile.shape[1] + GAP for tile in tiles) - GAP
    whole = np.full((STRIP_HEIGHT + CAPTION_HEIGHT, width, 3), 255, np.uint8)
    left = 0
    for tile, (text, score) in zip(tiles, [(title, ""), *captions], strict=True):
        part = whole[:, left : left + tile.shape[1]]
        part[:STRIP_HEIGHT] = tile
        part[STRIP_HEIGHT:] = _caption_bar(tile.shape[1], text, score)
        left += tile.shape[1] + GAP
    return whole


def rows_of_strips(strips: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Put strips below each other, each under a bar with its name; narrower ones have white on their right.

    Parameters
    ----------
    strips : sequence of (str, (H, W, 3) uint8 BGR)
        Name and strip of each row.

    Returns
    -------
    (H, W, 3) uint8 BGR
    """
    width = max(pixels.shape[1] for _, pixels in strips)
    rows = []
    for number, (name, pixels) in enumerate(strips):
        room = ((GAP * (number > 0), 0), (0, 0), (0, 0))
        rows.append(np.pad(_caption_bar(width, name, ""), room, constant_values=255))
        rows.append(np.pad(pixels, ((0, 0), (0, width - pixels.shape[1]), (0, 0)), constant_values=255))
    return np.vstack(rows)


def check_strip(width: int, count: int, layout: str) -> None:
    """Raise a `UsageError` if a strip of an image of a width and of `count` overlays would be wider than a JPEG."""
    room, gap = (width, MATLAB_GAP) if layout == "matlab_demo" else (NARROWEST_TILE, GAP)
    most = (JPEG_SIDE - room) // (room + gap)
    if count > most:
        raise UsageError(
            f"{count} classes: a strip has room for the maps of {most}, because a JPEG has at most {JPEG_SIDE:,} "
            "columns: choose fewer classes (--top, --class)"
        )


def strip_tile(pixels: Pixels, count: int, layout: str, box: Sequence[int] | None = None) -> Pixels:
    """Resize an image to a tile of a strip of `count` overlays: (256, W, 3); `matlab_demo` takes the image itself.

    A box, in pixels of the image, is drawn on the tile: the lines of a box on a small image would hide it.
    """
    if layout == "matlab_demo":
        return pixels if box is None else draw_box(pixels, box)
    height, width = pixels.shape[:2]
    tall, wide = STRIP_HEIGHT, max(1, round(width * STRIP_HEIGHT / height))
    room = min(WIDEST_TILE, (JPEG_SIDE - count * GAP) // (count + 1))
    if wide > room:
        tall, wide = max(1, round(height * room / width)), room
    part = pixels if (tall, wide) == (height, width) else resize(pixels, tall, wide, "opencv_area")
    if box is not None:
        part = draw_box(part, scaled_box(box, (width, height), (wide, tall)))
    if tall == STRIP_HEIGHT:
        return part
    tile = np.full((STRIP_HEIGHT, wide, 3), DARK, np.uint8)
    top = (STRIP_HEIGHT - tall) // 2
    tile[top : top + tall] = part
    return tile


def encode_png(pixels: Pixels) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as PNG, which is lossless."""
    return _encode(pixels, ".png")


def encode_jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels as JPEG; raise an ImageError if a side has more than `JPEG_SIDE` pixels."""
    if max(pixels.shape[:2]) > JPEG_SIDE:
        raise ImageError(
            f"a drawing of {pixels.shape[1]}×{pixels.shape[0]} pixels cannot be a JPEG, which has at most "
            f"{JPEG_SIDE:,} on a side: cut the image into parts"
        )
    return _encode(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def _encode(pixels: Pixels, suffix: str, *options: int) -> bytes:
    encoded, data = cv2.imencode(suffix, pixels, options)
    if not encoded:
        raise RuntimeError(f"OpenCV cannot encode pixels of shape {pixels.shape} as {suffix}")
    return bytes(data.tobytes())
