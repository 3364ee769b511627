"""Placement: bring maps from the size of the features to the position of their pixels in the canvas and the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam.images.resize import resize
from pycam.images.views import Size, View, canvas_of
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

    @property
    def canvas(self) -> Size:
        """Height and width of the canvas; for the view `full`, of the canvas that the other views have."""
        return canvas_of(self.view.size) if self.view.name == "full" else self.view.canvas

    def on_canvas(self, maps: NDArray[np.floating]) -> Map:
        """Place the maps of a class on the canvas.

        Parameters
        ----------
        maps : (n, h, w)
            One map per crop.

        Returns
        -------
        float32 of the size of `canvas`
            0 where there is no crop.
        """
        height, width = self.view.size
        if self.merge != "single":
            absolute, mean = self.merge.startswith("absolute"), self.merge.endswith("mean")
            options = {"absolute": absolute, "mean": mean}
            merged: Map = merge_column_maps(maps[:, None], self.view.size, canvas=self.canvas, **options)[0]
            return merged
        (map_,) = maps
        if self.placement == "stretched" or self.view.name == "full":
            return self._resized(map_, *self.canvas)
        (crop,) = self.view.crops
        canvas = np.zeros(self.canvas, np.float32)
        canvas[crop.y : crop.y + height, crop.x : crop.x + width] = self._resized(map_, height, width)
        return canvas

    def on_input(self, maps: NDArray[np.floating]) -> Map:
        """Resize the map of a view's only crop, (1, h, w), to the net's input: (height, width) float32."""
        return self._resized(maps[0], *self.view.size)

    def on_image(self, maps: NDArray[np.floating], height: int, width: int) -> Map:
        """Place the maps of a class, (n, h, w), on an image: (height, width) float32."""
        return self._resized(maps[0] if self.view.name == "full" else self.on_canvas(maps), height, width)

    def region(self, height: int, width: int) -> Box:
        """Return the part of an image that the maps cover: (x0, y0, x1, y1), half-open, image pixels."""
        if self.placement == "stretched" or self.view.name != "center":
            return 0, 0, width, height
        (crop,) = self.view.crops
        return self.view.region(crop, height, width)

    def _resized(self, map_: NDArray[np.floating], height: int, width: int) -> Map:
        return resize(np.asarray(map_, np.float32), height, width, self.map_resizer)
