"""Weights as TensorFlow has them, in Caffe's order: for nets that were converted and trained on there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.net import Net
from pycam.net.layers import Convolution, InnerProduct, Layer, dims

Floats = NDArray[np.float32]


def with_tf_weights(net: Net, tensors: Mapping[str, Mapping[str, Floats]], path: str = "the weights") -> Net:
    """Give a net the weights of a TensorFlow one with the same layers.

    Parameters
    ----------
    net
        Of convolutions and fully connected layers.
    tensors
        Layer -> `weights` and `biases`: convolutions height × width × in × out (in groups, `in` is a group's), fully
        connected layers in × out, where `in` runs over height, width, channels. Biases that the net does not have
        are left out.
    path
        What to call the weights in errors.

    Returns
    -------
    Net

    Raises
    ------
    NetError
        A layer has no weights, or some that do not fit.
    """
    params = {}
    for layer in net.layers:
        if not layer.param_shapes:
            continue
        found = tensors.get(layer.name)
        if found is None or "weights" not in found:
            raise NetError(f"{path}: no weights for layer {layer.name!r}; there are {', '.join(tensors)}")
        params[layer.name] = [_in_caffes_order(layer, found["weights"], path)]
        if len(layer.param_shapes) > 1:
            if "biases" not in found:
                raise NetError(f"{path}: layer {layer.name!r} has no biases, which the net asks for")
            params[layer.name].append(found["biases"])
    return net.with_params(params, path)


def _in_caffes_order(layer: Layer, weights: Floats, path: str) -> Floats:
    if isinstance(layer, Convolution) and weights.ndim == 4:
        return np.ascontiguousarray(weights.transpose(3, 2, 0, 1))
    if isinstance(layer, InnerProduct) and weights.ndim == 2:
        channels, *size = layer.input_shapes[0][1:]
        height, width = size or (1, 1)
        if len(weights) == channels * height * width:
            volume = weights.reshape(height, width, channels, -1)
            return np.ascontiguousarray(volume.transpose(3, 2, 0, 1).reshape(weights.shape[1], -1))
    raise NetError(f"{path}: weights of {dims(weights.shape)} do not fit layer {layer.name!r} ({layer.type})")
