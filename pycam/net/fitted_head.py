"""Heads of linear classifiers: a classifier of pooled features, written as the last layers of the net.

The class weights of a CAM net are such a classifier. With a classifier of other classes in their place, the net has
class activation maps of these classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError, suggest
from pycam.net import Net, net_from_message
from pycam.net.heads import CamHead, find_head, named_head
from pycam.net.layers import dims
from pycam.net.linear_path import NO_POOLING, positions_of, trace
from pycam.net.surgery import free_name, trunk

TINY = 1e-12
"""What is added to a squared norm, so that features of 0 have a finite inverse norm."""


def fitted_net(
    net: Net,
    blob: str,
    weights: NDArray[Any],
    bias: NDArray[Any],
    *,
    pooling: str = "average",
    unit_norm: bool = False,
) -> tuple[Net, CamHead]:
    """Cut a net after a blob and append a linear classifier of its pooled channels.

    Parameters
    ----------
    net : Net
        With parameters. The layers that `blob` depends on keep theirs.
    blob : str
        The features: a blob with rows and columns, which get a global pooling; or a blob that is pooled already.
    weights : (T, K) array
        One row per class, for the K pooled channels. Rounded once, to float32.
    bias : (T,) array
        Where it is 0 for every class, the layer has no bias.
    pooling : {"average", "max"}
        The global pooling that is appended.
    unit_norm : bool
        Whether the classifier takes features divided by their L2 norm. The division is written as layers of Caffe 1.0;
        only a model card that names the head can then say where the class weights are.

    Returns
    -------
    net : Net
        The new net, with its parameters. Its scores are those of the classifier: margins, without a softmax.
    head : CamHead
        Its head: the blobs and the layer that a model card names.

    Raises
    ------
    NetError
        The net has no such blob or no parameters, the classifier has another number of features, or the net would have
        no class activation maps: no global pooling lies before the classifier.
    """
    shape = net.shapes.get(blob)
    if shape is None:
        raise NetError(f"the net has no blob {blob!r}: {suggest(blob, net.shapes, 'see `pycam net show`')}")
    if len(shape) not in (2, 4):
        raise NetError(f"blob {blob!r} is {dims(shape)}: features are N×K, or N×K×h×w")
    if weights.shape[1] != shape[1]:
        raise NetError(f"the classifier takes {weights.shape[1]} features, but blob {blob!r} has {shape[1]} channels")

    spec, kept = trunk(net, blob)
    taken = {name for layer in spec.message.layer for name in (layer.name, *layer.top)}

    def new(name: str) -> str:
        return free_name(name, taken)

    params = {layer.name: net.params[layer.name] for layer in kept if layer.name in net.params}
    x = blob
    if positions_of(shape) is not None:
        pool = spec.average_pooling if pooling == "average" else spec.max_pooling
        x = pool(new("CAM_pool"), x, global_pooling=True)
    pooled = x
    if unit_norm:
        flat = spec.flatten(new("CAM_flat"), x)
        squares = spec.power(new("CAM_square"), flat, power=2)
        total = spec.inner_product(new("CAM_sum"), squares, num_output=1, bias_term=False)
        params[total] = (np.ones((1, shape[1]), np.float32),)
        inverse = spec.power(new("CAM_inverse"), total, power=-0.5, shift=TINY)
        factor = spec.reshape(new("CAM_factor"), inverse, 0)
        x = spec.scale(new("CAM_unit"), flat, factor, axis=0)
    has_bias = bool(np.any(bias))
    scores = spec.inner_product(new("CAM_fc"), x, num_output=len(weights), bias_term=None if has_bias else False)
    rounded = (weights.astype(np.float32), *([bias.astype(np.float32)] if has_bias else []))
    fitted = net_from_message(spec.message, path="the net with the classifier")
    before = trace(fitted, pooled)
    if before.pooling is None or before.reason:
        raise NetError(
            f"a classifier of blob {blob!r} has no class activation maps: {before.reason or NO_POOLING}; "
            "choose features with rows and columns, or features that are pooled"
        )
    if unit_norm:
        head = named_head(fitted, before.pooling.inputs[0], scores, scores)
    else:
        head = find_head(fitted)
    return fitted.with_params(params | {scores: rounded}, "the classifier"), head
