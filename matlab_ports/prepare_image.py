"""`prepare_image.m`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlab_ports.matlab import imresize
from pycam import zoo
from pycam.errors import UsageError
from pycam.formats.mean import read_mean
from pycam.images.views import CANVAS, cut_crops, view_of


def prepare_image(
    im: NDArray[np.uint8], mean_data: NDArray[Any] | None = None, CROPPED_DIM: int = 224
) -> NDArray[np.float32]:
    """Compute the input of a net from an image: ten crops minus the mean image.

    Parameters
    ----------
    im : (H, W, 3) uint8, RGB
        The image, of any size. A grey image, (H, W), is repeated into three channels.
    mean_data : (256, 256, 3), W×H×3, BGR, optional
        The mean image, as in `ilsvrc_2012_mean.mat`; the default is BVLC's.
    CROPPED_DIM : int
        The side of the crops: 227 for AlexNet, 224 for the other nets. In the release, it is a constant in the file.

    Returns
    -------
    (CROPPED_DIM, CROPPED_DIM, 3, 10) single, W×H×3×10, BGR
        docs/release.md, section 3, step 2.
    """
    if im.ndim not in (2, 3) or (im.ndim == 3 and im.shape[2] != 3) or im.dtype != np.uint8:
        raise UsageError(f"prepare_image: got a {im.dtype} array of shape {im.shape}; expected (H, W, 3) uint8")
    if mean_data is None:
        mean = read_mean(zoo.mean_path(zoo.bvlc_mean()))
    else:
        mean = mean_data.transpose(2, 1, 0)
    bgr = np.broadcast_to(np.atleast_3d(im), (*im.shape[:2], 3))[:, :, ::-1].astype(np.float32)
    canvas = imresize(bgr, (CANVAS, CANVAS), "bilinear")
    crops: NDArray[np.float32] = cut_crops(
        canvas, view_of("ten", (CROPPED_DIM,) * 2, (CANVAS,) * 2), mean
    )  # (10, 3, H, W)
    return crops.transpose(3, 2, 1, 0)
