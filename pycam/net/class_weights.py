"""The numbers of a head: the layers between the pooled features and the scores as one matrix and one bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.net import layers as L
from pycam.net.heads import CamHead
from pycam.net.layers import Shape, dims
from pycam.net.linear_path import Trace, pooled_share, trace, width
from pycam.net.net import Net


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """The numbers of a head.

    Attributes
    ----------
    matrix : (T, K) float32, optional
        Classes × channels; None if the channels are the maps of the classes.
    bias : (T,) float32
        With average pooling, logits = mean of the map + bias.
    coverage : (h, w) float32, optional
        How much each position of the features counts in the mean; None if all count 1. They differ if windows of the
        pooling overlap or extend beyond the features.
    """

    matrix: NDArray[np.float32] | None
    bias: NDArray[np.float32]
    coverage: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        matrix = "one channel per class" if self.matrix is None else f"{dims(self.matrix.shape)} class weights"
        return f"<HeadWeights: {matrix}, {len(self.bias)} biases>"


def head_weights(net: Net, head: CamHead) -> HeadWeights:
    """Multiply the layers of a head into one matrix and one bias.

    Parameters
    ----------
    net : Net
        With parameters.
    head : CamHead
        From `find_head` or `named_head`.

    Returns
    -------
    HeadWeights
        Computed in double precision. The weights of a single class layer are returned as they are.

    Raises
    ------
    NetError
        The net has no parameters.
    """
    for name in head.path:
        if net.by_name[name].param_shapes and name not in net.params:
            raise NetError(f"the net has no weights for {name!r}: read it together with its caffemodel")
    no_bias = np.zeros(width(net.value_shapes[head.logits], bool(head.positions)), np.float32)
    if head.pooling == "none" and head.class_layer is None:
        return HeadWeights(None, no_bias)
    if head.pooling == "none":
        params = net.params[str(head.class_layer)]
        return HeadWeights(
            net.class_weights(str(head.class_layer)), params[1].reshape(-1) if len(params) > 1 else no_bias
        )
    found = trace(net, head.logits)
    assert found.pooling is not None
    coverage = _coverage(found.pooling) if head.pooling == "average" else None
    match [net.by_name[name] for name in head.path] if pooled_share(found.pooling) == 1 else None:
        case []:
            return HeadWeights(None, no_bias, coverage)
        case [L.InnerProduct() as layer]:
            bias = net.params[layer.name][1].reshape(-1) if layer.bias else no_bias
            return HeadWeights(net.class_weights(layer.name), bias, coverage)
    form = _product(net, head.logits, found)
    return HeadWeights(form.weights.astype(np.float32), form.bias.astype(np.float32), coverage)


@dataclass(frozen=True)
class _Form:
    """A value as a linear function of the K pooled features.

    Attributes
    ----------
    weights : (…, K) float64
        One row per number of the value.
    bias : (…) float64
        The value where all features are 0.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def reshaped(self, sides: Shape) -> _Form:
        return _Form(self.weights.reshape(*sides, -1), self.bias.reshape(sides))


def _product(net: Net, logits: str, found: Trace) -> _Form:
    """Return logits as a function of the pooled features: (T, K) weights and (T,) bias."""
    assert found.pooling is not None
    channels = found.pooling.output_shapes[0][1]
    forms = {found.pooling.outputs[0]: _Form(pooled_share(found.pooling) * np.eye(channels), np.zeros(channels))}
    for layer in found.path:
        inputs = [
            forms[value].reshaped(shape[1:2] if found.several else shape[1:])
            for value, shape in zip(layer.inputs, layer.input_shapes, strict=True)
        ]
        params = [array.astype(np.float64) for array in net.params.get(layer.name, ())]
        forms.update(zip(layer.outputs, _applied(layer, inputs, params), strict=True))
    return forms[logits].reshaped((width(net.value_shapes[logits], found.several),))


def _applied(layer: L.Layer, inputs: Sequence[_Form], params: Sequence[NDArray[np.float64]]) -> list[_Form]:
    """Apply a layer in which `pycam.net.linear_path.obstacle` finds none to linear functions."""
    first = inputs[0]
    rows = first.bias.shape
    match layer:
        case L.Power():
            return [_scaled(first, layer.scale, layer.shift)]
        case L.BatchNorm():
            mean, variance, factor = params
            share = 0.0 if factor[0] == 0 else 1 / factor[0]
            along = (-1,) + (1,) * (len(rows) - 1)
            scale = 1 / np.sqrt(variance * share + layer.eps)
            return [_scaled(first, scale.reshape(along), (-mean * share * scale).reshape(along))]
        case L.Scale():
            along = layer.factor_shape + (1,) * (len(rows) + 1 - layer.axis - len(layer.factor_shape))
            shift = params[1].reshape(along) if layer.bias else 0.0
            return [_scaled(first, params[0].reshape(along), shift)]
        case L.InnerProduct():
            flat = first.reshaped((first.bias.size,))
            matrix = params[0].T if layer.transpose else params[0]
            bias = params[1].reshape(-1) if layer.bias else 0.0
            return [_Form(matrix @ flat.weights, matrix @ flat.bias + bias)]
        case L.Convolution():
            flat = first.reshaped((first.bias.size,))
            matrix = _central(layer, params[0])
            bias = params[1].reshape(-1) if layer.bias else 0.0
            return [_Form(matrix @ flat.weights, matrix @ flat.bias + bias)]
        case L.Concat():
            axis = layer.axis - 1
            return [
                _Form(np.concatenate([f.weights for f in inputs], axis), np.concatenate([f.bias for f in inputs], axis))
            ]
        case L.Slice():
            axis = layer.axis - 1
            pieces = zip(
                np.split(first.weights, layer.points, axis), np.split(first.bias, layer.points, axis), strict=True
            )
            return [_Form(*piece) for piece in pieces]
        case L.Eltwise():
            terms = list(zip(layer.coefficients, inputs, strict=True))
            return [_Form(sum(c * f.weights for c, f in terms), sum(c * f.bias for c, f in terms))]  # type: ignore[arg-type]
    return [first] * len(layer.outputs)


def _scaled(form: _Form, scale: Any, shift: Any) -> _Form:
    return _Form(form.weights * np.asarray(scale)[..., None], form.bias * scale + shift)


def _central(layer: L.Convolution, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (outputs, inputs) weights of a convolution that meet its bottom of one row and one column."""
    taps = [divmod(pad, step) for pad, step in zip(layer.pad, layer.dilation, strict=True)]
    inputs, outputs = layer.input_shapes[0][1] // layer.group, layer.num_output // layer.group
    matrix = np.zeros((layer.num_output, layer.input_shapes[0][1]))
    if any(rest or tap >= side for (tap, rest), side in zip(taps, layer.kernel, strict=True)):
        return matrix
    (row, _), (column, _) = taps
    for group in range(layer.group):
        own = slice(group * outputs, (group + 1) * outputs)
        matrix[own, group * inputs : (group + 1) * inputs] = weights[own, :, row, column]
    return matrix


def _coverage(pooling: L.Layer) -> NDArray[np.float32] | None:
    """Return how much each position counts in the mean over all windows, (h, w), or None if all count 1."""
    if not isinstance(pooling, L.Pooling) or pooling.is_global:
        return None
    sides = zip(pooling.input_shapes[0][2:], pooling.kernel, pooling.stride, pooling.pad, pooling.covers, strict=True)
    rows, columns = (_shares(*side) for side in sides)
    coverage = np.outer(rows, columns)
    return None if np.all(coverage == 1) else coverage.astype(np.float32)


def _shares(size: int, kernel: int, stride: int, pad: int, covers: Shape) -> NDArray[np.float64]:
    """Return the share of each position along one side in the mean over windows, in units of 1/size."""
    shares = np.zeros(size)
    for index, divisor in enumerate(covers):
        start = index * stride - pad
        shares[max(start, 0) : max(start + kernel, 0)] += size / (divisor * len(covers))
    return shares
