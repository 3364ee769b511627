"""Class activation maps: compute them from features and class weights, and merge the maps of ten crops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.images.matlab import resize_matrix
from pycam.images.views import CANVAS, Size, view_of

Floats = NDArray[np.float32]

CHANNELS = 3
"""The number of equal colour channels in which the release stores a map before it sums."""


def class_activation_maps(features: NDArray[Any], class_weights: NDArray[Any]) -> Floats:
    """Return the class activation maps: for each class, the sum of the features weighted by the class weights.

    Parameters
    ----------
    features : (N, K, H, W)
        The feature blob.
    class_weights : (T, K) or (N, T, K)
        Rows of the class-weight matrix: the same classes for all images, or T classes for each image.

    Returns
    -------
    (N, T, H, W) float32
        No bias is added. Zhou et al., CVPR 2016, section 2; docs/release.md, section 2, step 5.

    Raises
    ------
    UsageError
        The shapes do not match.
    """
    features = np.asarray(features, np.float32)
    class_weights = np.asarray(class_weights, np.float32)
    if (
        features.ndim != 4
        or class_weights.ndim not in (2, 3)
        or class_weights.shape[-1] != features.shape[1]
        or (class_weights.ndim == 3 and len(class_weights) != len(features))
    ):
        raise UsageError(
            f"got features of shape {features.shape} and class weights of shape {class_weights.shape}; "
            "expected (N, K, H, W) and (T, K) or (N, T, K)"
        )
    # Not a matrix product: after it, the threads of a BLAS keep spinning and compete with those of the engine.
    # (T, K) or (N, T, K), and (N, K, H, W) -> (N, T, H, W)
    maps: Floats = np.einsum("...tk,...khw->...thw", class_weights, features)
    return maps


def py_returnCAMmap(activation: NDArray[Any], weights_LR: NDArray[Any]) -> NDArray[np.float64]:
    """Return the class activation maps of one image as the release's Python driver does.

    Parameters
    ----------
    activation : (1, K, H, W)
        The feature blob of one image.
    weights_LR : (T, K)
        The class weights of T classes.

    Returns
    -------
    (H, W, T) float64
        Each map is one float32 product. docs/release.md, section 2, step 5.

    Raises
    ------
    UsageError
        There is more than one image (the release refuses this too), or the shapes do not match.
    """
    activation = np.asarray(activation, np.float32)
    weights = np.asarray(weights_LR, np.float32)
    if activation.ndim != 4 or len(activation) != 1 or weights.ndim != 2 or weights.shape[1] != activation.shape[1]:
        raise UsageError(
            f"py_returnCAMmap: got activation {activation.shape} and weights {weights.shape}; "
            "expected one image (1, K, H, W) and weights (T, K)"
        )
    _, k, height, width = activation.shape
    maps = np.empty((height, width, len(weights)))
    # One product per class, as in the release: a single matrix product would round differently.
    for index, row in enumerate(weights):
        maps[:, :, index] = (row @ activation.reshape(k, -1)).reshape(height, width)  # (K,) @ (K, H·W) -> (H, W)
    return maps


def merge_ten_crop(
    maps: NDArray[Any], *, absolute: bool = True, mean: bool = False, canvas: Size = (CANVAS, CANVAS)
) -> Floats:
    """Merge the maps of ten crops into one map of the whole image, as the release's `mergeTenCrop` does.

    Parameters
    ----------
    maps : (10, h, w) or (10, T, h, w)
        The crops in the order of the view `ten`, rows before columns. Maps of mirrored crops are mirrored.
    absolute : bool
        Whether to sum absolute values, as the release does, or the values themselves.
    mean : bool
        Whether to divide each pixel by the number of crops that cover it. The release does not: two crops cover
        a corner and ten cover the center, so its maps favour the center.
    canvas : (int, int)
        Height and width of the canvas that the crops were cut from; the default is the release's.

    Returns
    -------
    canvas or (T, canvas) float32
        The sum over ten crops and three equal colour channels. docs/release.md, section 3, step 5.

    Raises
    ------
    UsageError
        The maps are not those of ten crops of the canvas.
    """
    maps = np.asarray(maps)
    if maps.ndim not in (3, 4) or len(maps) != 10 or maps.shape[-2] > canvas[0] or maps.shape[-1] > canvas[1]:
        raise UsageError(
            f"merge_ten_crop: got maps of shape {maps.shape}; expected (10, h, w) or (10, T, h, w), "
            f"up to the canvas of {canvas[0]}×{canvas[1]}"
        )
    height, width = maps.shape[-2:]
    merged = np.zeros((*maps.shape[1:-2], *canvas))
    coverage = np.zeros(canvas)
    for crop, map_ in zip(view_of("ten", (height, width), canvas).crops, maps, strict=True):
        upright = map_[..., ::-1] if crop.mirrored else map_
        covered = np.s_[..., crop.y : crop.y + height, crop.x : crop.x + width]
        merged[covered] += np.abs(upright) if absolute else upright
        coverage[covered] += 1
    merged *= 1 / np.maximum(coverage, 1) if mean else CHANNELS
    return merged.astype(np.float32)


def merge_column_maps(
    column_maps: NDArray[Any],
    size: int | Size,
    *,
    absolute: bool = True,
    mean: bool = False,
    canvas: Size = (CANVAS, CANVAS),
) -> Floats:
    """Enlarge the maps of ten crops to the crops' size with MATLAB's bicubic resize, and merge them.

    Parameters
    ----------
    column_maps : (10, T, h, w)
        The class maps of each crop at the size of the features.
    size : int or (int, int)
        Side of the crops, or their height and width: the input size of the net.
    absolute, mean, canvas
        The same as for `merge_ten_crop`.

    Returns
    -------
    (T, canvas) float32
        docs/release.md, section 3, step 5.

    Raises
    ------
    UsageError
        The maps are not those of ten crops, or a crop cannot have that size.
    """
    column_maps = np.asarray(column_maps)
    sides = (size, size) if isinstance(size, int) else size
    fits = all(1 <= side <= room for side, room in zip(sides, canvas, strict=True))
    if column_maps.ndim != 4 or len(column_maps) != 10 or not fits:
        raise UsageError(
            f"merge_column_maps: got maps of shape {column_maps.shape} for crops of size {size}; "
            f"expected (10, T, h, w) and a size up to the canvas of {canvas[0]}×{canvas[1]}"
        )
    rows, columns = (
        resize_matrix(length, side).toarray() for length, side in zip(column_maps.shape[2:], sides, strict=True)
    )
    # (height, h) @ (10, T, h, w) @ (w, width) -> (10, T, height, width)
    return merge_ten_crop(rows @ column_maps @ columns.T, absolute=absolute, mean=mean, canvas=canvas)
