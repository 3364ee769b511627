"""`Net` → `torch.nn.Module`: Caffe's layers spelled in PyTorch, to run and to differentiate.

What a layer means is settled in `pycam.net.layers`; here it is only spelled. A new layer is a function and a line in
`_SPELLINGS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pycam.errors import EngineError
from pycam.net import Net
from pycam.net import layers as L


class TorchNet(nn.Module):
    """A net as a PyTorch module.

    Parameters
    ----------
    net
        With parameters; they are copied.

    Attributes
    ----------
    blobs
        Layer name -> its learned blobs, in Caffe's shapes and order.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        # PyTorch allows no dots in a parameter's name, Caffe's layers have them: numbers name parameters here.
        self._learned = nn.ParameterList(
            nn.Parameter(torch.from_numpy(array.copy())) for name in net.params for array in net.params[name]
        )
        for layer in net.layers:
            if type(layer) not in _SPELLINGS:
                raise EngineError(f"torch cannot run layer {layer.name!r}: no spelling for type {layer.type!r}")

    @property
    def blobs(self) -> dict[str, list[nn.Parameter]]:
        """Learned blobs by layer, see the class."""
        learned = iter(self._learned)
        return {name: [next(learned) for _ in arrays] for name, arrays in self.net.params.items()}

    def forward(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run the net.

        Parameters
        ----------
        inputs
            Input blob -> values, N on axis 0. Values in the middle of the net may be given as well.
        outputs
            Names of values; what none of them needs is not computed.

        Returns
        -------
        dict
            Output -> values, N on axis 0.
        """
        blobs = self.blobs
        values = {self.net.input_values.get(name, name): value for name, value in inputs.items()}
        steps = self._steps(frozenset(values), tuple(outputs))
        for layer, finished in steps:
            read = [values[name] for name in layer.inputs]
            made = _SPELLINGS[type(layer)](layer, blobs.get(layer.name, []), read, self.training)
            values.update(zip(layer.outputs, made, strict=True))
            for name in finished:
                del values[name]
        return {name: values[name] for name in outputs}

    def _steps(self, given: frozenset[str], outputs: tuple[str, ...]) -> list[tuple[L.Layer, list[str]]]:
        """Give the layers that the outputs need, each with the values that nobody needs after it."""
        needed = set(outputs)
        steps: list[tuple[L.Layer, list[str]]] = []
        for layer in reversed(self.net.layers):
            if not needed.intersection(layer.outputs) or given.issuperset(layer.outputs):
                continue
            finished = [name for name in {*layer.inputs, *layer.outputs} if name not in needed]
            needed.update(layer.inputs)
            steps.append((layer, finished))
        return steps[::-1]


Spelling = Callable[[Any, Sequence[Tensor], Sequence[Tensor], bool], Sequence[Tensor]]


def _convolution(layer: L.Convolution, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [F.conv2d(x[0], blobs[0], _bias(blobs), layer.stride, layer.pad, layer.dilation, layer.group)]


def _deconvolution(layer: L.Deconvolution, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [F.conv_transpose2d(x[0], blobs[0], _bias(blobs), layer.stride, layer.pad, 0, layer.group, layer.dilation)]


def _bias(blobs: Sequence[Tensor]) -> Tensor | None:
    return blobs[1] if len(blobs) > 1 else None


def _pooling(layer: L.Pooling, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    if layer.is_global:
        return [x[0].amax((2, 3), keepdim=True) if layer.method == "MAX" else x[0].mean((2, 3), keepdim=True)]
    (top, left), (bottom, right) = layer.pad, (max(n, 0) for n in layer.overhang)
    edges = (left, right, top, bottom)
    if layer.method == "MAX":
        padded = F.pad(x[0], edges, value=-torch.inf) if any(edges) else x[0]
        return [F.max_pool2d(padded, layer.kernel, layer.stride)]
    padded = F.pad(x[0], edges) if any(edges) else x[0]
    rows, columns = layer.covers
    if set(rows) == {layer.kernel[0]} and set(columns) == {layer.kernel[1]}:
        return [F.avg_pool2d(padded, layer.kernel, layer.stride)]
    sums = F.avg_pool2d(padded, layer.kernel, layer.stride, divisor_override=1)
    return [sums / torch.outer(sums.new_tensor(rows), sums.new_tensor(columns))]


def _lrn(layer: L.LRN, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    size, half = layer.local_size, layer.local_size // 2
    squares = x[0] * x[0]
    if layer.within_channel:
        scale = 1 + layer.alpha * F.avg_pool2d(squares, size, 1, half)
    else:
        padded = F.pad(squares, (0, 0, 0, 0, half, half))
        # Adding shifted views is several times faster than pooling over channels.
        total = padded[:, : x[0].shape[1]]
        for shift in range(1, size):
            total = total + padded[:, shift : shift + x[0].shape[1]]
        scale = layer.k + layer.alpha / size * total
    if layer.beta == 0.75:
        root = scale.rsqrt()
        return [x[0] * (root * root.sqrt())]
    return [x[0] * scale.pow(-layer.beta)]


def _inner_product(layer: L.InnerProduct, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    weights = blobs[0].T if layer.transpose else blobs[0]
    return [F.linear(x[0].flatten(layer.axis), weights, _bias(blobs))]


def _relu(layer: L.ReLU, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [F.leaky_relu(x[0], layer.negative_slope) if layer.negative_slope else F.relu(x[0])]


def _prelu(layer: L.PReLU, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [F.prelu(x[0], blobs[0].reshape(-1))]


def _elu(layer: L.ELU, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [F.elu(x[0], layer.alpha)]


def _power(layer: L.Power, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    linear = layer.shift + layer.scale * x[0]
    return [linear if layer.power == 1 else linear.pow(layer.power)]


def _dropout(layer: L.Dropout, blobs: Sequence[Tensor], x: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
    return [F.dropout(x[0], layer.ratio, training)]


def _split(layer: L.Split, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [x[0]] * len(layer.outputs)


def _slice(layer: L.Slice, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return x[0].tensor_split(layer.points, dim=layer.axis)


def _eltwise(layer: L.Eltwise, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    first, *others = x
    if layer.operation == "SUM":
        first = first * layer.coefficients[0]
    for other, coefficient in zip(others, layer.coefficients[1:], strict=True):
        if layer.operation == "SUM":
            first = first + coefficient * other
        else:
            first = first * other if layer.operation == "PROD" else torch.maximum(first, other)
    return [first]


def _batch_norm(layer: L.BatchNorm, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    mean, variance, factor = blobs
    share = torch.where(factor == 0, 0.0, 1 / factor)
    along = (1, -1) + (1,) * (x[0].ndim - 2) if x[0].ndim > 1 else (-1,)
    return [(x[0] - (mean * share).reshape(along)) / (variance * share + layer.eps).sqrt().reshape(along)]


def _scale(layer: L.Scale, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    learned = len(layer.inputs) == 1
    factors = blobs[0] if learned else x[1]
    behind = (1,) * (x[0].ndim - layer.axis - len(layer.factor_shape))
    scaled = x[0] * factors.reshape(*factors.shape, *behind)
    return [scaled + blobs[-1].reshape(*blobs[-1].shape, *behind) if layer.bias else scaled]


def _reshape(layer: L.Flatten | L.Reshape, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    return [x[0].reshape([x[0].shape[i] if side == 0 else side for i, side in enumerate(layer.target)])]


def _crop(layer: L.Crop, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    cropped = x[0]
    for axis, offset in enumerate(layer.offsets, start=layer.axis):
        cropped = cropped.narrow(axis, offset, x[1].shape[axis])
    return [cropped]


def _softmax_with_loss(
    layer: L.SoftmaxWithLoss, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool
) -> Sequence[Tensor]:
    scores, labels = _judged(layer, x)
    total = F.cross_entropy(scores, labels, reduction="sum")
    divisors = {
        "FULL": x[1].numel(),
        "VALID": max(labels.numel(), 1),
        "BATCH_SIZE": x[0].shape[: layer.axis].numel(),
        "NONE": 1,
    }
    tops = [total / divisors[layer.normalization], x[0].softmax(layer.axis)]
    return tops[: len(layer.outputs)]


def _accuracy(layer: L.Accuracy, blobs: Sequence[Tensor], x: Sequence[Tensor], _: bool) -> Sequence[Tensor]:
    scores, labels = _judged(layer, x)
    # As Caffe does, rank classes of equal scores before the right one.
    rank = (scores >= scores.gather(1, labels[:, None])).sum(1)
    right = rank <= layer.top_k
    return [right.float().sum() / max(len(right), 1)]


def _judged(layer: L.SoftmaxWithLoss | L.Accuracy, x: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Give scores as positions × classes and a label a position, of those positions that count."""
    scores, labels = x[0].movedim(layer.axis, -1).flatten(0, -2), x[1].flatten().long()
    if layer.ignore_label is None:
        return scores, labels
    counted = labels != layer.ignore_label
    return scores[counted], labels[counted]


_SPELLINGS: dict[type[L.Layer], Spelling] = {
    L.Input: lambda layer, blobs, x, training: [],
    L.Convolution: _convolution,
    L.Deconvolution: _deconvolution,
    L.Pooling: _pooling,
    L.LRN: _lrn,
    L.InnerProduct: _inner_product,
    L.ReLU: _relu,
    L.PReLU: _prelu,
    L.ELU: _elu,
    L.Sigmoid: lambda layer, blobs, x, training: [x[0].sigmoid()],
    L.TanH: lambda layer, blobs, x, training: [x[0].tanh()],
    L.AbsVal: lambda layer, blobs, x, training: [x[0].abs()],
    L.Power: _power,
    L.Softmax: lambda layer, blobs, x, training: [x[0].softmax(layer.axis)],
    L.Dropout: _dropout,
    L.Split: _split,
    L.Concat: lambda layer, blobs, x, training: [torch.cat(list(x), layer.axis)],
    L.Slice: _slice,
    L.Eltwise: _eltwise,
    L.BatchNorm: _batch_norm,
    L.Scale: _scale,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.Crop: _crop,
    L.SoftmaxWithLoss: _softmax_with_loss,
    L.Accuracy: _accuracy,
}
