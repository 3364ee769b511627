"""Translation of a `Net` into a `torch.nn.Module`, to run it and to differentiate it.

`pycam.net.layers` defines what a layer computes; this module only writes it in PyTorch. To add a layer, add an entry to
`_FUNCTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pycam.errors import EngineError
from pycam.net import Net, ParamKey, layers as L
from pycam.net.layers.loss import SMALLEST


class TorchLayer(nn.Module):
    """A layer of a net, with its learned blobs.

    The blobs are called `weight` and `bias`; those of a BatchNorm `mean`, `variance` and `factor`, as in Caffe: two
    sums and their common divisor, which get no gradient.

    Parameters
    ----------
    layer : Layer
        Any layer but a source.
    blobs : sequence of Parameter
        Its learned blobs in Caffe's order. Layers may share one, also in another shape.
    *own, **more
        For the type of PyTorch that a subclass is as well.
    """

    def __init__(self, layer: L.Layer, blobs: Sequence[nn.Parameter], *own: Any, **more: Any) -> None:
        super().__init__(*own, **more)
        self.layer = layer
        statistics = isinstance(layer, L.BatchNorm)
        self._names = ("mean", "variance", "factor") if statistics else ("weight", "bias")[: len(blobs)]
        for name, blob in zip(self._names, blobs, strict=True):
            blob.requires_grad_(not statistics)
            self.register_parameter(name, blob)
        # `false` stands for a gradient that stops here.
        self._learns = [False] * 3 if statistics else [spec.lr_mult != 0 for spec in layer.message.param]

    @property
    def learned(self) -> list[nn.Parameter]:
        """The parameters in Caffe's order; one that layers share has the shape of the first of them."""
        return [getattr(self, name) for name in self._names]

    @property
    def blobs(self) -> list[Tensor]:
        """The learned blobs, in Caffe's shapes and order."""
        return [blob.reshape(shape) for blob, shape in zip(self.learned, self.layer.param_shapes, strict=True)]

    def forward(self, inputs: Any) -> Any:
        """Compute the layer.

        Parameters
        ----------
        inputs : Tensor or tuple of Tensor
            The values of its bottom; of several bottoms a tuple, so that any layer takes one argument.

        Returns
        -------
        Tensor or tuple of Tensor
            The values of its top; a tuple unless there is exactly one.
        """
        bottoms = (inputs,) if isinstance(inputs, Tensor) else inputs
        made = run_layer(self.layer, bottoms, _stopped(self.blobs, self._learns), self.training)
        return made[0] if len(made) == 1 else tuple(made)

    def _get_name(self) -> str:
        return self.layer.type


# Types of PyTorch by which tools find layers. Their constructors get a device without memory: the blobs are there.


@final
class _Convolution(TorchLayer, nn.Conv2d):
    def __init__(self, layer: L.Convolution, blobs: Sequence[nn.Parameter]) -> None:
        sides = layer.kernel, layer.stride, layer.pad, layer.dilation, layer.group, layer.bias
        super().__init__(layer, blobs, layer.input_shapes[0][1], layer.num_output, *sides, device="meta")


@final
class _InnerProduct(TorchLayer, nn.Linear):
    def __init__(self, layer: L.InnerProduct, blobs: Sequence[nn.Parameter]) -> None:
        super().__init__(layer, blobs, layer.param_shapes[0][1], layer.num_output, layer.bias, device="meta")


@final
class _ReLU(TorchLayer, nn.ReLU):
    pass


@final
class _Dropout(TorchLayer, nn.Dropout):
    def __init__(self, layer: L.Dropout, blobs: Sequence[nn.Parameter]) -> None:
        super().__init__(layer, blobs, layer.ratio)


def _torch_layer(layer: L.Layer, blobs: Sequence[nn.Parameter]) -> TorchLayer:
    if isinstance(layer, L.Convolution):
        return _Convolution(layer, blobs)
    if isinstance(layer, L.InnerProduct) and not layer.transpose:
        return _InnerProduct(layer, blobs)
    if isinstance(layer, L.ReLU) and not layer.negative_slope:
        return _ReLU(layer, blobs)
    if isinstance(layer, L.Dropout):
        return _Dropout(layer, blobs)
    return TorchLayer(layer, blobs)


class TorchGraph(nn.Module):
    """The layers of a net as PyTorch modules, each with the name of its layer.

    PyTorch has rules for names: a dot becomes `_`, and `_` is added to a name that another module has, or `nn.Module`
    itself (`type`, `half`). A layer without a name has that of its type.

    Parameters
    ----------
    net : Net
        A net with parameters. The modules copy them.

    Raises
    ------
    EngineError
        PyTorch cannot run a layer of the net.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self._inputs = net.input_values
        self._owners = net.param_owners
        self._layers: dict[str, L.Layer] = {}
        shared: dict[ParamKey, nn.Parameter] = {}
        for layer in net.layers:
            if isinstance(layer, L.Source):
                continue
            if isinstance(layer, L.OnnxNode):
                raise EngineError(
                    f"PyTorch does not run nodes of an ONNX file ({layer.name!r}, {layer.type}): use a method without "
                    "gradients, such as cam or scorecam, or the PyTorch module that the file was exported from"
                )
            if type(layer) not in _FUNCTIONS:
                raise EngineError(f"torch cannot run layer {layer.name!r}: type {layer.type!r} is not supported")
            keys = [(layer.name, index) for index in range(len(layer.param_shapes))]
            for key in keys:
                if self._owners[key] == key:
                    shared[key] = nn.Parameter(torch.from_numpy(net.params[layer.name][key[1]].copy()))
            name = layer.name.replace(".", "_") or layer.type
            while hasattr(self, name):
                name += "_"
            self._layers[name] = layer
            self.add_module(name, _torch_layer(layer, [shared[self._owners[key]] for key in keys]))

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run the net; parameters and result are those of `TorchNet`."""
        values = {self._inputs.get(name, name): value for name, value in inputs.items()}
        for name, layer, finished in self._steps(frozenset(values), tuple(outputs)):
            bottoms = [values[value] for value in layer.inputs]
            if self.training:
                bottoms = _stopped(bottoms, layer.message.propagate_down)
            # A tool may have replaced the module.
            made = self.get_submodule(name)(bottoms[0] if len(bottoms) == 1 else tuple(bottoms))
            values.update(zip(layer.outputs, (made,) if isinstance(made, Tensor) else made, strict=True))
            for value in finished:
                del values[value]
        return {name: values[name] for name in outputs}

    def _steps(self, given: frozenset[str], outputs: tuple[str, ...]) -> list[tuple[str, L.Layer, list[str]]]:
        """Return the layers that the outputs need, by name, each with the values that no later layer needs."""
        needed = set(outputs)
        steps: list[tuple[str, L.Layer, list[str]]] = []
        for name, layer in reversed(self._layers.items()):
            if needed.intersection(layer.outputs) and not given.issuperset(layer.outputs):
                steps.append((name, layer, [value for value in {*layer.inputs, *layer.outputs} if value not in needed]))
                needed.update(layer.inputs)
        return steps[::-1]


@final
class TorchNet(TorchGraph):
    """A net as a PyTorch module that takes values by blob, and returns any of the net's values."""

    @property
    def learned(self) -> dict[ParamKey, nn.Parameter]:
        """The distinct parameters in Caffe's order, each with its owner: the first layer that has it, and an index."""
        return {
            (module.layer.name, index): parameter
            for module in self._torch_layers()
            for index, parameter in enumerate(module.learned)
            if self._owners[module.layer.name, index] == (module.layer.name, index)
        }

    @property
    def blobs(self) -> dict[str, list[Tensor]]:
        """Layer name -> its learned blobs, in Caffe's shapes and order; those that layers share are one tensor."""
        return {module.layer.name: module.blobs for module in self._torch_layers() if module.learned}

    def _torch_layers(self) -> Iterator[TorchLayer]:
        return (module for module in self.children() if isinstance(module, TorchLayer))

    def forward(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run the net.

        Parameters
        ----------
        inputs : mapping of str to float Tensor
            Input blob -> values, N on axis 0. Inner values of the net may be given too.
        outputs : sequence of str
            Names of values. Layers that none of them needs are not computed.

        Returns
        -------
        dict of str to Tensor
            Output -> values, N on axis 0.
        """
        return self.run(inputs, outputs)


def _stopped(tensors: Sequence[Tensor], passed: Sequence[bool]) -> list[Tensor]:
    """Return the tensors, without a gradient where `passed` is false; those without an entry keep theirs."""
    rest = [True] * (len(tensors) - len(passed))
    return [x if passes else x.detach() for x, passes in zip(tensors, [*passed, *rest], strict=False)]


def run_layer(layer: L.Layer, inputs: Sequence[Tensor], blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
    """Compute one layer.

    Parameters
    ----------
    layer : Layer
        Any layer but a source.
    inputs : sequence of Tensor
        The values of its bottoms, N on axis 0.
    blobs : sequence of Tensor
        Its learned blobs, in Caffe's shapes.
    training : bool
        As in phase TRAIN: Dropout is random, by PyTorch's generator; BatchNorm, unless it has use_global_stats, takes
        the statistics of the batch, and adds them to its blobs in place.

    Returns
    -------
    list of Tensor
        The values of its tops. They may be views of the inputs.
    """
    if training and isinstance(layer, L.Dropout):
        return [F.dropout(inputs[0], layer.ratio)]
    if isinstance(layer, L.BatchNorm) and (
        layer.use_global_stats is False or (training and not layer.use_global_stats)
    ):
        return [_learning_batch_norm(layer, inputs[0], *blobs)]
    made = _FUNCTIONS[type(layer)](layer, *inputs, *blobs)
    return [made] if isinstance(made, Tensor) else list(made)


def _convolution(layer: L.Convolution, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias, layer.stride, layer.pad, layer.dilation, layer.group)


def _deconvolution(layer: L.Deconvolution, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv_transpose2d(x, weight, bias, layer.stride, layer.pad, 0, layer.group, layer.dilation)


def _pooling(layer: L.Pooling, x: Tensor) -> Tensor:
    if layer.is_global:
        # Of equal values, Caffe's gradient goes to the first; that of amax goes to all.
        return F.max_pool2d(x, x.shape[2:]) if layer.method == "MAX" else x.mean((2, 3), keepdim=True)
    (top, left), (bottom, right) = layer.pad, (max(n, 0) for n in layer.overhang)
    edges = (left, right, top, bottom)
    if any(edges):
        x = F.pad(x, edges, value=-torch.inf if layer.method == "MAX" else 0.0)
    if layer.method == "MAX":
        return F.max_pool2d(x, layer.kernel, layer.stride)
    rows, columns = layer.covers
    if set(rows) == {layer.kernel[0]} and set(columns) == {layer.kernel[1]}:
        return F.avg_pool2d(x, layer.kernel, layer.stride)
    sums = F.avg_pool2d(x, layer.kernel, layer.stride, divisor_override=1)
    return sums / torch.outer(sums.new_tensor(rows), sums.new_tensor(columns))


def _lrn(layer: L.LRN, x: Tensor) -> Tensor:
    size, half, channels = layer.local_size, layer.local_size // 2, x.shape[1]
    squares = x * x
    if layer.within_channel:
        scale = 1 + layer.alpha * F.avg_pool2d(squares, size, 1, half)
    else:
        padded = F.pad(squares, (0, 0, 0, 0, half, half))
        # Adding shifted views is several times faster than pooling over channels.
        total = reduce(torch.add, (padded[:, shift : shift + channels] for shift in range(size)))
        scale = layer.k + layer.alpha / size * total
    if layer.beta == 0.75:
        root = scale.rsqrt()
        return x * (root * root.sqrt())
    return x * scale.pow(-layer.beta)


def _inner_product(layer: L.InnerProduct, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x.flatten(layer.axis), weight.T if layer.transpose else weight, bias)


def _power(layer: L.Power, x: Tensor) -> Tensor:
    linear = layer.shift + layer.scale * x
    return linear if layer.power == 1 else linear.pow(layer.power)


def _eltwise(layer: L.Eltwise, first: Tensor, *others: Tensor) -> Tensor:
    if layer.operation == "SUM":
        first = first * layer.coefficients[0]
    for number, (other, coefficient) in enumerate(zip(others, layer.coefficients[1:], strict=True)):
        if layer.operation == "SUM":
            first = first + coefficient * other
        elif layer.operation == "PROD":
            first = first * other
        else:
            # The gradient of equal values goes to the second of the first two bottoms, but not to a later one.
            first = torch.where(other >= first if number == 0 else other > first, other, first)
    return first


def _reduction(layer: L.Reduction, x: Tensor) -> Tensor:
    rows = x.flatten(layer.axis)
    if layer.operation != "SUM":
        rows = rows.abs() if layer.operation == "ASUM" else rows.square()
    return rows.sum(-1) * layer.coefficient


def _argmax(layer: L.ArgMax, x: Tensor) -> Tensor:
    axis = layer.axis
    if axis is None:
        x, axis = x.flatten(1) if x.ndim > 1 else x[:, None], 1
    # Caffe puts the highest of equal positions first: the values are reversed, and their order is kept.
    found = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    values, places = (each.narrow(axis, 0, layer.top_k) for each in found)
    positions = (x.shape[axis] - 1 - places).to(x.dtype)
    if layer.gives == "both":
        positions = torch.cat([positions, values], 1)
    return (values if layer.gives == "values" else positions).reshape(-1, *layer.output_shapes[0][1:])


def _batch_norm(layer: L.BatchNorm, x: Tensor, mean: Tensor, variance: Tensor, factor: Tensor) -> Tensor:
    share = torch.where(factor == 0, 0.0, 1 / factor)
    along = (1, -1) + (1,) * (x.ndim - 2)
    return (x - (mean * share).reshape(along)) / (variance * share + layer.eps).sqrt().reshape(along)


def _learning_batch_norm(layer: L.BatchNorm, x: Tensor, mean: Tensor, variance: Tensor, factor: Tensor) -> Tensor:
    """Normalize by the batch's own statistics, and add them to the stored sums."""
    of_batch = torch.zeros_like(mean), torch.zeros_like(variance)
    count = x.numel() // x.shape[1]
    if count == 1:  # PyTorch refuses a single value, which is its own mean and has no variance
        of_batch[0].copy_(x.detach().flatten())
        made = x - x
    else:
        # With momentum 1, PyTorch stores the statistics of this batch alone: the variance with divisor count - 1.
        made = F.batch_norm(x, *of_batch, training=True, momentum=1.0, eps=layer.eps)
    with torch.no_grad():
        for stored, new in zip((mean, variance, factor), (*of_batch, torch.ones_like(factor)), strict=True):
            stored.mul_(layer.moving_average_fraction).add_(new)
    return made


def _scale(layer: L.Scale, x: Tensor, factors: Tensor, bias: Tensor | None = None) -> Tensor:
    behind = (1,) * (x.ndim - layer.axis - len(layer.factor_shape))
    scaled = x * factors.reshape(*factors.shape, *behind)
    return scaled if bias is None else scaled + bias.reshape(*bias.shape, *behind)


def _reshape(layer: L.Flatten | L.Reshape, x: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(layer.target)])


def _crop(layer: L.Crop, x: Tensor, like: Tensor) -> Tensor:
    for axis, offset in enumerate(layer.offsets, start=layer.axis):
        x = x.narrow(axis, offset, like.shape[axis])
    return x


def _softmax_with_loss(layer: L.SoftmaxWithLoss, x: Tensor, labels: Tensor) -> Sequence[Tensor]:
    scores, counted = _scores_and_labels(layer, x, labels)
    losses = F.cross_entropy(scores, counted, reduction="none")
    # The clamped value with the gradient of the unclamped one, as in Caffe.
    total = _with_gradient_of(losses.detach().clamp(max=-math.log(SMALLEST)), losses).sum()
    batch = x.shape[: layer.axis].numel()
    loss = total / _divisor(layer.normalization, labels.numel(), counted.numel(), batch)
    return [loss, x.detach().softmax(layer.axis)][: len(layer.outputs)]


def _sigmoid_cross_entropy_loss(layer: L.SigmoidCrossEntropyLoss, x: Tensor, targets: Tensor) -> Tensor:
    targets = targets.detach().reshape(x.shape)
    losses = F.binary_cross_entropy_with_logits(x, targets, reduction="none")
    valid = x.numel()
    if layer.ignore_label is not None:
        counted = targets.trunc() != layer.ignore_label
        losses, valid = losses[counted], int(counted.sum())
    return losses.sum() / _divisor(layer.normalization, x.numel(), valid, len(x))


def _divisor(normalization: str, positions: int, valid: int, batch: int) -> int:
    return max({"FULL": positions, "VALID": valid, "BATCH_SIZE": batch, "NONE": 1}[normalization], 1)


def _euclidean_loss(layer: L.EuclideanLoss, x: Tensor, targets: Tensor) -> Tensor:
    return (x - targets.reshape(x.shape)).square().sum() / (2 * len(x))


def _hinge_loss(layer: L.HingeLoss, x: Tensor, labels: Tensor) -> Tensor:
    scores, labels = x.flatten(1), _checked(layer, labels)[:, None]
    terms = (1 + scores.scatter(1, labels, -scores.gather(1, labels))).relu()
    return (terms.square() if layer.squared else terms).sum() / len(x)


def _multinomial_logistic_loss(layer: L.MultinomialLogisticLoss, x: Tensor, labels: Tensor) -> Tensor:
    found = x.flatten(1).gather(1, _checked(layer, labels)[:, None])
    least = found.detach().clamp(min=1e-20)
    # Caffe's gradient is that of the logarithm at the clamped value.
    return -_with_gradient_of(least.log(), found / least).sum() / len(x)


def _contrastive_loss(layer: L.ContrastiveLoss, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    squares = (a.flatten(1) - b.flatten(1)).square().sum(1)
    if layer.legacy:
        costs = (layer.margin - squares).relu()
    else:
        distances = squares.detach().sqrt()
        short = (layer.margin - distances).relu()
        # Caffe adds 1e-4 to the distance that the gradient is divided by.
        costs = _with_gradient_of(short.square(), -short / (distances + 1e-4) * squares)
    similar = labels.detach().flatten().trunc() != 0
    return torch.where(similar, squares, costs).sum() / (2 * len(a))


def _with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    """Return a value, which has no gradient, with the gradient of another."""
    return value + (other - other.detach())


def _accuracy(layer: L.Accuracy, x: Tensor, labels: Tensor) -> Sequence[Tensor]:
    scores, counted = _scores_and_labels(layer, x, labels)
    # Caffe ranks classes of equal score before the ground-truth class.
    rank = (scores >= scores.gather(1, counted[:, None])).sum(1)
    right = (rank <= layer.top_k).float()
    counts, rights = (
        x.new_zeros(layer.class_count).index_add(0, counted, n.to(x)) for n in (torch.ones_like(right), right)
    )
    return [right.sum() / max(len(right), 1), rights / counts.clamp(min=1)][: len(layer.outputs)]


def _scores_and_labels(layer: L.SoftmaxWithLoss | L.Accuracy, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scores, (positions, classes), and the labels, (positions,), without the ignored positions."""
    scores, labels = x.movedim(layer.axis, -1).flatten(0, -2), labels.flatten()
    if layer.ignore_label is not None:
        counted = labels.trunc() != layer.ignore_label
        scores, labels = scores[counted], labels[counted]
    return scores, _checked(layer, labels)


def _checked(layer: L.Classification, labels: Tensor) -> Tensor:
    """Return labels as integers, (positions,); raise an `EngineError` for one that is no class."""
    numbers, classes = labels.detach().flatten().long(), layer.class_count
    if len(wrong := numbers[(numbers < 0) | (numbers >= classes)]):
        raise EngineError(
            f"layer {layer.name!r} ({layer.type}): label {int(wrong[0])}, but there are {classes} classes, "
            f"0 to {classes - 1}"
        )
    return numbers


_FUNCTIONS: dict[type[L.Layer], Callable[..., Any]] = {
    L.Convolution: _convolution,
    L.Deconvolution: _deconvolution,
    L.Pooling: _pooling,
    L.LRN: _lrn,
    L.InnerProduct: _inner_product,
    L.ReLU: lambda layer, x: F.leaky_relu(x, layer.negative_slope) if layer.negative_slope else F.relu(x),
    L.PReLU: lambda layer, x, slopes: F.prelu(x, slopes.reshape(-1)),
    L.ELU: lambda layer, x: F.elu(x, layer.alpha),
    L.Sigmoid: lambda layer, x: x.sigmoid(),
    L.TanH: lambda layer, x: x.tanh(),
    L.AbsVal: lambda layer, x: x.abs(),
    L.Power: _power,
    L.Exp: lambda layer, x: (x * layer.inner).exp() * layer.outer,
    L.Log: lambda layer, x: (x * layer.scale + layer.shift).log() * layer.factor,
    L.Softmax: lambda layer, x: x.softmax(layer.axis),
    L.Dropout: lambda layer, x: x,
    L.Split: lambda layer, x: [x] * len(layer.outputs),
    L.Concat: lambda layer, *x: torch.cat(x, layer.axis),
    L.Slice: lambda layer, x: x.tensor_split(layer.points, dim=layer.axis),
    L.Silence: lambda layer, *x: (),
    L.Tile: lambda layer, x: x.repeat([layer.tiles if i == layer.axis else 1 for i in range(x.ndim)]),
    L.Eltwise: _eltwise,
    L.Reduction: _reduction,
    L.ArgMax: _argmax,
    L.BatchNorm: _batch_norm,
    L.Scale: _scale,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.ShuffleChannel: lambda layer, x: x.unflatten(1, (layer.group, -1)).transpose(1, 2).flatten(1, 2),
    L.Crop: _crop,
    L.SoftmaxWithLoss: _softmax_with_loss,
    L.SigmoidCrossEntropyLoss: _sigmoid_cross_entropy_loss,
    L.EuclideanLoss: _euclidean_loss,
    L.HingeLoss: _hinge_loss,
    L.MultinomialLogisticLoss: _multinomial_logistic_loss,
    L.ContrastiveLoss: _contrastive_loss,
    L.Accuracy: _accuracy,
}
"""Layer type -> function of the layer, its inputs, and its learned blobs; it returns the output, or a list of them."""
