"""Placement: bring maps from the size of the features to the position of their pixels in the canvas and the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam.images.resize import resize
from pycam.images.views import CANVAS, View
from pycam.maps.boxes import Box
from pycam.maps.cam import merge_column_maps

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """The way from the maps of a view's crops to one map.

    Attributes
    ----------
    view : View
        The view that the crops belong to.
    map_resizer, merge, placement : str
        The choices of `pycam.protocols.Protocol`.
    """

    view: View
    map_resizer: str
    merge: str
    placement: str

    def on_canvas(self, maps: NDArray[np.floating]) -> Map:
        """Place the maps of a class on the 256×256 canvas.

        Parameters
        ----------
        maps : (n, h, w)
            One map per crop.

        Returns
        -------
        (256, 256) float32
            0 where there is no crop.
        """
        size = self.view.size
        if self.merge != "single":
            absolute, mean = self.merge.startswith("absolute"), self.merge.endswith("mean")
            merged: Map = merge_column_maps(maps[:, None], size, absolute=absolute, mean=mean)[0]
            return merged
        (map_,) = maps
        if self.placement == "stretched" or self.view.name == "full":
            return self._resized(map_, CANVAS, CANVAS)
        (crop,) = self.view.crops
        canvas = np.zeros((CANVAS, CANVAS), np.float32)
        canvas[crop.y : crop.y + size, crop.x : crop.x + size] = self._resized(map_, size, size)
        return canvas

    def on_input(self, maps: NDArray[np.floating]) -> Map:
        """Resize the map of a view's only crop, (1, h, w), to the net's input: (size, size) float32."""
        return self._resized(maps[0], self.view.size, self.view.size)

    def on_image(self, maps: NDArray[np.floating], height: int, width: int) -> Map:
        """Place the maps of a class, (n, h, w), on an image: (height, width) float32."""
        return self._resized(maps[0] if self.view.name == "full" else self.on_canvas(maps), height, width)

    def region(self, height: int, width: int) -> Box:
        """Return the part of an image that the maps cover: (x0, y0, x1, y1), half-open, image pixels."""
        if self.placement == "stretched" or self.view.name != "center":
            return 0, 0, width, height
        (crop,) = self.view.crops
        # A pixel of the image belongs to the region if the center of the pixel does.
        x0, x1 = (round(x * width / CANVAS) for x in (crop.x, crop.x + self.view.size))
        y0, y1 = (round(y * height / CANVAS) for y in (crop.y, crop.y + self.view.size))
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    def _resized(self, map_: NDArray[np.floating], height: int, width: int) -> Map:
        return resize(np.asarray(map_, np.float32), height, width, self.map_resizer)
