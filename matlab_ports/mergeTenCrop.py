"""`mergeTenCrop.m`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.maps.cam import merge_ten_crop


def mergeTenCrop(CAMmap_crops: NDArray[Any]) -> NDArray[np.float32]:
    """Merge the maps of ten crops into one of the whole image.

    Parameters
    ----------
    CAMmap_crops : (W, H, 10)
        The map of a class in each crop, resized to the side of the crop, in the order of `prepare_image`.

    Returns
    -------
    (256, 256) single
        Rows before columns: H×W. docs/release.md, section 3, step 5.
    """
    if CAMmap_crops.ndim != 3:
        raise UsageError(f"mergeTenCrop: got maps of shape {CAMmap_crops.shape}; expected (W, H, 10)")
    return merge_ten_crop(CAMmap_crops.transpose(2, 1, 0))
