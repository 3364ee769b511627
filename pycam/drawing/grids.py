"""Grids: the channels of a blob side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycam.drawing.colormaps import viridis
from pycam.errors import UsageError
from pycam.images.blocks import row_blocks

GRID_COLUMNS = 16
"""The number of channels in a row."""

MOST_PIXELS = 100_000_000
"""The most pixels of a grid, as of an image that is read."""


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

    Raises
    ------
    UsageError
        The grid would have more than `MOST_PIXELS`.
    """
    count, height, width = values.shape
    rows = -(-count // GRID_COLUMNS)
    if rows * height * GRID_COLUMNS * width > MOST_PIXELS:
        raise UsageError(
            f"{count} channels of {height}×{width}: the grid would have {GRID_COLUMNS * width}×{rows * height} pixels; "
            f"at most {MOST_PIXELS / 10**6:g} million are drawn: choose a smaller layer"
        )
    # (K, h, w) -> (rows · 16, h, w) -> (rows, h, 16, w) -> (rows · h, 16 · w)
    cells = np.zeros((rows * GRID_COLUMNS, height, width), np.uint8)
    for some in row_blocks(count, height * width):
        channels = values[some]
        centred = channels - channels.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        spread = channels.std(axis=(1, 2), keepdims=True, dtype=np.float64)
        cells[some] = np.clip(centred / np.where(spread > 0, spread, 1) * 64 + 128, 0, 255).astype(np.uint8)
    grid = cells.reshape(-1, GRID_COLUMNS, height, width).swapaxes(1, 2)
    return viridis(grid.reshape(-1, GRID_COLUMNS * width))
