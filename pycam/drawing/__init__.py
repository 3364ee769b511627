"""Drawing: colour maps, overlays, captions, strips, channel grids, figures for print, and image encoding.

Functions that turn arrays into pixels, usually (H, W, 3) uint8 BGR, belong here. These do not belong here: arithmetic
that decides a result (maps, their placement, boxes), HTML pages, and curves.
"""

from pycam.drawing.grids import channel_grid
from pycam.drawing.layout import (
    caption,
    check_strip,
    draw_box,
    encode_jpeg,
    encode_png,
    rows_of_strips,
    scaled_box,
    strip,
    strip_tile,
)
from pycam.drawing.overlays import overlay, py_map2jpg

__all__ = [
    "caption",
    "channel_grid",
    "check_strip",
    "draw_box",
    "encode_jpeg",
    "encode_png",
    "overlay",
    "py_map2jpg",
    "rows_of_strips",
    "scaled_box",
    "strip",
    "strip_tile",
]
