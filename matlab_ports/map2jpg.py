"""`map2jpg.m`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlab_ports.matlab import gray2ind, ind2rgb, jet, mat2gray
from pycam.errors import UsageError


def map2jpg(imgmap: NDArray[Any], range: Sequence[float] | None = None, colorMap: str = "jet") -> NDArray[np.float64]:
    """Colour a map.

    Parameters
    ----------
    imgmap : (H, W)
        Values in any range.
    range : [low, high], optional
        The values of the first and the last colour; minimum and maximum if it is None or `[]`.
    colorMap : str
        "jet" only. The release evaluates any name as MATLAB code.

    Returns
    -------
    (H, W, 3) double in [0, 1], RGB
        docs/release.md, section 3, step 6.
    """
    if colorMap != "jet":
        raise UsageError(f"map2jpg: got colour map {colorMap!r}; expected 'jet'")
    if range is not None and len(range) not in (0, 2):
        raise UsageError(f"map2jpg: got range {list(range)}; expected [low, high] or []")
    limits = (float(range[0]), float(range[1])) if range is not None and len(range) else None
    return ind2rgb(gray2ind(mat2gray(imgmap, limits), 256), jet(256))
