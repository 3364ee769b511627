"""The rule that works on the cells of a map before any resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.maps.boxes import paper_box
from pycam.maps.rules.rule import Found, by_name, rule

CELL = 32
"""Pixels of a side of a cell: 14 cells have 448 pixels."""


@rule("psol-448", fixed="every cell above 0 is foreground")
def psol_448(map: NDArray[Any], *, saved: bool = False) -> Found:
    """Find the largest component of positive cells in a raw map.

    Source: tzzcl/PSOL, commit ddecfce; Zhang et al., "Rethinking the Route Towards Weakly Supervised Object
    Localization", CVPR 2020. The map is a raw one of 14×14 (of DDT, whose zero means something): it is not scaled, and
    the cells above 0 are foreground. Components are 8-connected; the one of most cells counts, the first in raster
    order if several have as many.

    Options: `saved`: the published numbers are those that the program stores, x y w h as shares of the sides.

    Deviations: the published box is half-open in pixels of the map enlarged to 448×448, by 32 pixels a cell; maps of
    other sizes are enlarged by 32 as well. Empty: everything, 0 0 448 448.
    """
    x0, y0, x1, y1 = box = np.array(paper_box((map > 0).astype(np.float32)))
    height, width = map.shape
    shares = x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height
    return Found.of(box, shares if saved else box * CELL)


RULES = by_name(psol_448)
