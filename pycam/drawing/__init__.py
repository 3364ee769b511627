"""Maps and activations made visible: colour maps, overlays, captions, strips, channel grids, and their encoding.

What belongs here takes arrays and gives pixels to look at, (H, W, 3) uint8 BGR as a rule. Arithmetic that decides a
result (maps, their place on the image, boxes) does not, and neither do HTML pages and curves.
"""

from pycam.drawing.grids import channel_grid
from pycam.drawing.layout import caption, draw_box, encode_jpeg, encode_png, strip
from pycam.drawing.overlays import overlay, py_map2jpg

__all__ = ["caption", "channel_grid", "draw_box", "encode_jpeg", "encode_png", "overlay", "py_map2jpg", "strip"]
