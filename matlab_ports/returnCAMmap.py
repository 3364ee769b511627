"""`returnCAMmap.m`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.maps.cam import class_activation_maps


def returnCAMmap(activation: NDArray[Any], weights_LR: NDArray[Any]) -> NDArray[np.float32]:
    """Return the class activation maps of a batch.

    Parameters
    ----------
    activation : (W, H, K, N)
        The feature blob; (W, H, K) for one image, because MATLAB drops a last dimension of 1.
    weights_LR : (K, T)
        The class weights of the T classes.

    Returns
    -------
    (W, H, T, N) or (W, H, T), single
        docs/release.md, section 3, step 4.
    """
    if activation.ndim not in (3, 4) or weights_LR.ndim != 2 or weights_LR.shape[0] != activation.shape[2]:
        raise UsageError(
            f"returnCAMmap: got activation {activation.shape} and weights {weights_LR.shape}; "
            "expected (W, H, K, N) and (K, T)"
        )
    batch = activation.reshape(*activation.shape[:3], -1)
    maps: NDArray[np.float32] = class_activation_maps(batch.transpose(3, 2, 1, 0), weights_LR.T)
    return maps.transpose(3, 2, 1, 0) if activation.ndim == 4 else maps[0].transpose(2, 1, 0)
