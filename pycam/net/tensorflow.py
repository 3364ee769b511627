"""Convert weights from TensorFlow's order to Caffe's, for nets that were converted to TensorFlow and trained there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.net import Net
from pycam.net.layers import Convolution, InnerProduct, Layer, dims

Floats = NDArray[np.float32]


def with_tf_weights(net: Net, tensors: Mapping[str, Mapping[str, Floats]], path: str = "the weights") -> Net:
    """Return a net with the weights of a TensorFlow net with the same layers.

    Parameters
    ----------
    net : Net
        Its layers with weights are convolutions and fully connected layers.
    tensors : mapping
        Layer -> `weights` and `biases`, float32. Convolutions have height × width × in × out (`in` per group), fully
        connected layers in × out, where `in` is height × width × channels in this order. Biases that the net does not
        have are ignored.
    path : str
        The name of the weights in errors.

    Returns
    -------
    Net

    Raises
    ------
    NetError
        A layer has no weights, or its weights do not fit.
    """
    params = {}
    for layer in net.layers:
        if not layer.param_shapes:
            continue
        found = tensors.get(layer.name)
        if found is None or "weights" not in found:
            raise NetError(f"{path}: no weights for layer {layer.name!r}; the file has {', '.join(tensors)}")
        params[layer.name] = [_in_caffes_order(layer, found["weights"], path)]
        if len(layer.param_shapes) > 1:
            if "biases" not in found:
                raise NetError(f"{path}: layer {layer.name!r} has no biases, but the net needs them")
            params[layer.name].append(found["biases"])
    return net.with_params(params, path)


def _in_caffes_order(layer: Layer, weights: Floats, path: str) -> Floats:
    if isinstance(layer, Convolution) and weights.ndim == 4:
        return np.ascontiguousarray(weights.transpose(3, 2, 0, 1))
    if isinstance(layer, InnerProduct) and weights.ndim == 2 and len(layer.input_shapes[0]) in (2, 4):
        channels, height, width = (*layer.input_shapes[0][1:], 1, 1)[:3]
        if len(weights) == channels * height * width:
            volume = weights.reshape(height, width, channels, -1)
            return np.ascontiguousarray(volume.transpose(3, 2, 0, 1).reshape(weights.shape[1], -1))
    raise NetError(f"{path}: weights of {dims(weights.shape)} do not fit layer {layer.name!r} ({layer.type})")
