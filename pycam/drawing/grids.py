"""Grids: the channels of a blob side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycam.drawing.colormaps import viridis

A_ROW = 16
"""Channels side by side."""


def channel_grid(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay the channels of a blob side by side, sixteen a row.

    Parameters
    ----------
    values
        (K, h, w). Each channel by itself becomes (x − mean)/std · 64 + 128, clipped to 0…255 and cut to whole
        numbers; one without variance is 128 throughout.

    Returns
    -------
    (ceil(K / 16) · h, 16 · w, 3) uint8 BGR
        In viridis; where there are no channels left, its darkest colour. docs/recipes.md, "Grad-CAM with VGG16".
    """
    count, height, width = values.shape
    centred = values - values.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    spread = values.std(axis=(1, 2), keepdims=True, dtype=np.float64)
    levels = np.clip(centred / np.where(spread > 0, spread, 1) * 64 + 128, 0, 255).astype(np.uint8)
    rows = -(-count // A_ROW)
    grid = np.zeros((rows * A_ROW, height, width), np.uint8)
    grid[:count] = levels
    return viridis(grid.reshape(rows, A_ROW, height, width).transpose(0, 2, 1, 3).reshape(rows * height, A_ROW * width))
