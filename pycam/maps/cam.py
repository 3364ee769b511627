"""Class activation maps: from features and class weights to maps, and from the maps of ten crops to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.images.matlab import resize_matrix
from pycam.images.views import CANVAS, view_of

Floats = NDArray[np.float32]

CHANNELS = 3
"""The release lays a crop's map into three equal colour channels before it sums."""


def class_activation_maps(features: NDArray[Any], class_weights: NDArray[Any]) -> Floats:
    """Sum the features of a net, weighted for each class: its class activation maps.

    Parameters
    ----------
    features : (N, K, H, W)
        The feature blob.
    class_weights : (T, K) or (N, T, K)
        Rows of the class-weight matrix: the same classes for all images, or classes an image.

    Returns
    -------
    (N, T, H, W) float32
        No bias is added. Zhou et al., CVPR 2016, section 2; docs/release.md, section 2, step 5.

    Raises
    ------
    UsageError
        The shapes do not fit each other.
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
            f"features of shape {features.shape} and class weights of shape {class_weights.shape} came, "
            "expected (N, K, H, W) and (T, K) or (N, T, K)"
        )
    # Not a product of matrices: the threads of a BLAS would spin on after it, against those of the engine.
    maps: Floats = np.einsum("...tk,...khw->...thw", class_weights, features)
    return maps


def py_returnCAMmap(activation: NDArray[Any], weights_LR: NDArray[Any]) -> NDArray[np.float64]:
    """Give the maps of some classes as the release's Python driver does.

    Parameters
    ----------
    activation : (1, K, H, W)
        The feature blob of one image.
    weights_LR : (T, K)
        The class weights of the T classes.

    Returns
    -------
    (H, W, T) float64
        Filled by one float32 dot product a class. docs/release.md, section 2, step 5.

    Raises
    ------
    UsageError
        More than one image came, as in the release, or shapes that do not fit.
    """
    activation = np.asarray(activation, np.float32)
    weights = np.asarray(weights_LR, np.float32)
    if activation.ndim != 4 or len(activation) != 1:
        raise UsageError(
            f"py_returnCAMmap: activation of shape {activation.shape} came, expected one image (1, K, H, W)"
        )
    _, k, height, width = activation.shape
    if weights.ndim != 2 or weights.shape[1] != k:
        raise UsageError(f"py_returnCAMmap: weights of shape {weights.shape} came, expected (T, {k})")
    maps = np.empty((height, width, len(weights)))
    for index, row in enumerate(weights):
        maps[:, :, index] = (row @ activation.reshape(k, -1)).reshape(height, width)
    return maps


def merge_ten_crop(maps: NDArray[Any], *, absolute: bool = True, mean: bool = False) -> Floats:
    """Merge the maps of ten crops into one of the whole image, as the release's `mergeTenCrop`.

    Parameters
    ----------
    maps : (10, s, s) or (10, T, s, s)
        The crops in the order of the view `ten`, rows before columns, mirrored crops as the net saw them.
    absolute : bool
        Sum absolute values, as released; false sums the values.
    mean : bool
        Give each pixel the mean over the crops that cover it. The release does not: its maps grow from the
        corners, which two crops cover, to the centre, which ten cover.

    Returns
    -------
    (256, 256) or (T, 256, 256) float32
        The sum over ten crops and three equal colour channels. docs/release.md, section 3, step 5.

    Raises
    ------
    UsageError
        The maps are not those of ten square crops.
    """
    maps = np.asarray(maps)
    if maps.ndim not in (3, 4) or len(maps) != 10 or maps.shape[-1] != maps.shape[-2] or maps.shape[-1] > CANVAS:
        raise UsageError(
            f"merge_ten_crop: maps of shape {maps.shape} came, expected (10, s, s) or (10, T, s, s), s up to {CANVAS}"
        )
    return _merge(maps, maps.shape[1:], absolute, mean)


def merge_column_maps(column_maps: NDArray[Any], size: int, *, absolute: bool = True, mean: bool = False) -> Floats:
    """Enlarge the maps of ten crops to the crops' size with MATLAB's bicubic resize, and merge them.

    Parameters
    ----------
    column_maps : (10, T, h, w)
        Each crop's class maps as they leave the net.
    size : int
        The crops' side: the net's input.
    absolute, mean
        As for `merge_ten_crop`.

    Returns
    -------
    (T, 256, 256) float32
        docs/release.md, section 3, step 5.

    Raises
    ------
    UsageError
        The maps are not those of ten crops, or the size is not one of a crop.
    """
    column_maps = np.asarray(column_maps)
    if column_maps.ndim != 4 or len(column_maps) != 10 or not 1 <= size <= CANVAS:
        raise UsageError(
            f"merge_column_maps: maps of shape {column_maps.shape} for crops of {size} came, "
            f"expected (10, T, h, w) and a size from 1 to {CANVAS}"
        )
    height, width = column_maps.shape[2:]
    rows = resize_matrix(height, size).toarray()
    columns = resize_matrix(width, size).toarray().T
    enlarged = (rows @ maps @ columns for maps in column_maps)
    return _merge(enlarged, (column_maps.shape[1], size, size), absolute, mean)


def _merge(maps: Iterable[NDArray[Any]], shape: Sequence[int], absolute: bool, mean: bool) -> Floats:
    *stack, _, size = shape
    merged = np.zeros((*stack, CANVAS, CANVAS))
    coverage = np.zeros((CANVAS, CANVAS))
    for crop, seen in zip(view_of("ten", size).crops, maps, strict=True):
        upright = seen[..., ::-1] if crop.mirrored else seen
        covered = np.s_[..., crop.y : crop.y + size, crop.x : crop.x + size]
        merged[covered] += np.abs(upright) if absolute else upright
        coverage[covered] += 1
    merged *= 1 / np.maximum(coverage, 1) if mean else CHANNELS
    return merged.astype(np.float32)
