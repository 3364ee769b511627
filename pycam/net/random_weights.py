"""Random weights, for measurements that do not depend on what a net has learned."""

from __future__ import annotations

import numpy as np

from pycam.net.net import Net
from pycam.net.params import Params


def random_weights(net: Net, seed: int = 0) -> Params:
    """Make weights that keep values in range from layer to layer; biases and other vectors are 0.

    Parameters
    ----------
    net : Net
        A net, with or without parameters.
    seed : int
        Equal seeds give equal weights.

    Returns
    -------
    dict of str to tuple of float32 array
        Layer -> parameters, for `Net.with_params` and `pycam.formats.caffemodel.write`.
    """
    rng = np.random.default_rng(seed)
    return {
        layer.name: tuple(
            rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
            if len(shape) > 1
            else np.zeros(shape, np.float32)
            for shape in layer.param_shapes
        )
        for layer in net.layers
        if layer.param_shapes
    }
