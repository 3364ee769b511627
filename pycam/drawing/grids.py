"""Grids: the channels of a blob side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycam.drawing.colormaps import viridis

GRID_COLUMNS = 16
"""The number of channels in a row."""


def channel_grid(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay out the channels of a blob as a grid with 16 channels per row.

    Parameters
    ----------
    values : (K, h, w)
        Each channel is scaled separately to (x − mean)/std · 64 + 128, clipped to 0…255, and truncated. A channel
        without variance becomes 128.

    Returns
    -------
    (ceil(K / 16) · h, 16 · w, 3) uint8 BGR
        Colours of viridis; unused cells have its darkest colour. docs/recipes.md, "Grad-CAM with VGG16".
    """
    count, height, width = values.shape
    centred = values - values.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    spread = values.std(axis=(1, 2), keepdims=True, dtype=np.float64)
    levels = np.clip(centred / np.where(spread > 0, spread, 1) * 64 + 128, 0, 255).astype(np.uint8)
    # (K, h, w) -> (rows · 16, h, w) -> (rows, h, 16, w) -> (rows · h, 16 · w)
    cells = np.pad(levels, ((0, -count % GRID_COLUMNS), (0, 0), (0, 0)))
    grid = cells.reshape(-1, GRID_COLUMNS, height, width).swapaxes(1, 2)
    return viridis(grid.reshape(-1, GRID_COLUMNS * width))
