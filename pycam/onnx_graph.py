"""A `Net` spelled as an ONNX graph: what ONNX Runtime and OpenVINO run, and what `pycam net export` writes.

Values keep their names, so an output is asked for by its blob's name. Axis 0 is open: any batch runs.
What Caffe leaves implicit was resolved in `pycam.layers`; here a layer is only spelled, in operators that both
runtimes compute exactly and fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from pycam import layers
from pycam.errors import UnsupportedLayerError
from pycam.layers import Layer, Shape
from pycam.net import Net, Params

# The oldest ones that have what is spelled here, so that old runtimes read the files as well.
OPSET = 13
IR_VERSION = 8

BATCH = "N"


def onnx_model(net: Net, outputs: Sequence[str]) -> onnx.ModelProto:
    """Spell the part of a net that some of its values need.

    Parameters
    ----------
    net
        With parameters.
    outputs
        Names of values, other than the net's inputs.

    Returns
    -------
    onnx.ModelProto
        It reads those of the net's inputs that `outputs` depend on and gives `outputs`, all float32 with an
        open axis 0. Pictures are N×C×H×W, BGR, mean subtracted.

    Raises
    ------
    UnsupportedLayerError
        ONNX cannot say what a layer computes.
    """
    graph = _Graph(net.params)
    _spell_net(net, outputs, graph)
    for output in outputs:
        graph.outputs.append(_value_info(output, net.value_shapes[output]))
    return graph.model(net.name)


def _spell_net(net: Net, wanted: Sequence[str], graph: _Graph) -> None:
    needed = set(wanted)
    path: list[Layer] = []
    for layer in reversed(net.layers):
        if needed.intersection(layer.outputs):
            needed.update(layer.inputs)
            path.append(layer)
    for layer in reversed(path):
        if isinstance(layer, layers.Input):
            for value, shape in zip(layer.outputs, layer.output_shapes, strict=True):
                if value in needed:
                    graph.inputs.append(_value_info(value, shape))
        else:
            _spell(layer, graph)


def _value_info(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, [BATCH, *shape[1:]])


class _Graph:
    """A graph that is being written down: nodes, and the constants that they read."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._numbers = count()

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node and give the name of its one output."""
        return self.add_many(operator, inputs, [output or self._fresh(operator)], **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        """Append a node with several outputs and give their names."""
        self._nodes.append(
            helper.make_node(operator, inputs, outputs, name=f"{operator}/{outputs[0]}", **attributes)
        )
        return outputs

    def constant(self, values: ArrayLike, name: str | None = None) -> str:
        """Add a constant, in single precision unless it holds integers, and give its name."""
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        name = name or self._fresh("constant")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def learned(self, layer: Layer, *roles: str) -> list[str]:
        """Add a layer's parameters under the names of their roles."""
        arrays = self.params[layer.name]
        return [
            self.constant(array, f"{layer.name}.{role}") for array, role in zip(arrays, roles, strict=False)
        ]

    def model(self, name: str) -> onnx.ModelProto:
        """Close the graph."""
        graph = helper.make_graph(self._nodes, name or "net", self.inputs, self.outputs, self._constants)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="pycam",
        )

    def _fresh(self, role: str) -> str:
        return f"{role}#{next(self._numbers)}"


@singledispatch
def _spell(layer: Layer, graph: _Graph) -> None:
    raise UnsupportedLayerError(f"layer {layer.name!r}: ONNX has no words for the type {layer.type!r}")


@_spell.register
def _convolution(layer: layers.Convolution, graph: _Graph) -> None:
    _filter("Conv", layer, graph)


@_spell.register
def _deconvolution(layer: layers.Deconvolution, graph: _Graph) -> None:
    _filter("ConvTranspose", layer, graph)


def _filter(operator: str, layer: layers.Convolution | layers.Deconvolution, graph: _Graph) -> None:
    graph.add(
        operator,
        [*layer.inputs, *graph.learned(layer, "weight", "bias")],
        *layer.outputs,
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=layer.pad * 2,
        dilations=layer.dilation,
        group=layer.group,
    )


@_spell.register
def _pooling(layer: layers.Pooling, graph: _Graph) -> None:
    if layer.is_global:
        operator = {"MAX": "GlobalMaxPool", "AVE": "GlobalAveragePool"}[layer.method]
        graph.add(operator, layer.inputs, *layer.outputs)
        return
    # Explicit pads: runtimes disagree, with Caffe and with each other, on the last window of ceil_mode.
    window: dict[str, Any] = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": (*layer.pad, *(max(0, beyond) for beyond in layer.overhang)),
    }
    if layer.method == "MAX":
        graph.add("MaxPool", layer.inputs, *layer.outputs, **window)
        return
    area = layer.kernel[0] * layer.kernel[1]
    correction = area / np.outer(*layer.covers)
    if np.all(correction == 1):
        graph.add("AveragePool", layer.inputs, *layer.outputs, count_include_pad=1, **window)
    else:
        means = graph.add("AveragePool", layer.inputs, count_include_pad=1, **window)
        graph.add("Mul", [means, graph.constant(correction)], *layer.outputs)


@_spell.register
def _lrn(layer: layers.LRN, graph: _Graph) -> None:
    (x,) = layer.inputs
    squares = graph.add("Mul", [x, x])
    if layer.within_channel:
        size = (layer.local_size,) * 2
        pads = (layer.local_size // 2,) * 4
        means = graph.add("AveragePool", [squares], kernel_shape=size, pads=pads, count_include_pad=1)
        base = graph.add("Add", [graph.add("Mul", [means, graph.constant(layer.alpha)]), graph.constant(1.0)])
    else:
        # The sum over neighbouring channels is a 1×1 convolution: several times faster than the LRN operator
        # and than an average over channels.
        channels = layer.input_shapes[0][1]
        i = np.arange(channels)
        near = np.abs(i[:, None] - i) <= layer.local_size // 2
        band = near[:, :, None, None] * (layer.alpha / layer.local_size)
        base = graph.add("Conv", [squares, graph.constant(band), graph.constant(np.full(channels, layer.k))])
    if layer.beta == 0.75:
        root = graph.add("Sqrt", [base])
        power = graph.add("Mul", [root, graph.add("Sqrt", [root])])
    else:
        power = graph.add("Pow", [base, graph.constant(layer.beta)])
    graph.add("Div", [x, power], *layer.outputs)


@_spell.register
def _inner_product(layer: layers.InnerProduct, graph: _Graph) -> None:
    rows = graph.add("Flatten", layer.inputs, axis=layer.axis)
    inputs = [rows, *graph.learned(layer, "weight", "bias")]
    if layer.axis == 1:
        graph.add("Gemm", inputs, *layer.outputs, transB=int(not layer.transpose))
        return
    products = graph.add("Gemm", inputs, transB=int(not layer.transpose))
    graph.add("Reshape", [products, graph.constant([-1, *layer.output_shapes[0][1:]])], *layer.outputs)


@_spell.register
def _relu(layer: layers.ReLU, graph: _Graph) -> None:
    if layer.negative_slope == 0:
        graph.add("Relu", layer.inputs, *layer.outputs)
    else:
        graph.add("LeakyRelu", layer.inputs, *layer.outputs, alpha=layer.negative_slope)


@_spell.register
def _prelu(layer: layers.PReLU, graph: _Graph) -> None:
    slopes = graph.params[layer.name][0]
    # ONNX aligns shapes at the last axis, Caffe's slopes lie along axis 1.
    shape = (*slopes.shape, *(1 for _ in layer.input_shapes[0][2:]))
    graph.add(
        "PRelu", [*layer.inputs, graph.constant(slopes.reshape(shape), f"{layer.name}.slope")], *layer.outputs
    )


@_spell.register
def _elu(layer: layers.ELU, graph: _Graph) -> None:
    graph.add("Elu", layer.inputs, *layer.outputs, alpha=layer.alpha)


@_spell.register
def _sigmoid(layer: layers.Sigmoid, graph: _Graph) -> None:
    graph.add("Sigmoid", layer.inputs, *layer.outputs)


@_spell.register
def _tanh(layer: layers.TanH, graph: _Graph) -> None:
    graph.add("Tanh", layer.inputs, *layer.outputs)


@_spell.register
def _abs_val(layer: layers.AbsVal, graph: _Graph) -> None:
    graph.add("Abs", layer.inputs, *layer.outputs)


@_spell.register
def _power(layer: layers.Power, graph: _Graph) -> None:
    scaled = graph.add("Mul", [*layer.inputs, graph.constant(layer.scale)])
    shifted = [scaled, graph.constant(layer.shift)]
    if layer.power == 1:
        graph.add("Add", shifted, *layer.outputs)
    else:
        graph.add("Pow", [graph.add("Add", shifted), graph.constant(layer.power)], *layer.outputs)


@_spell.register
def _softmax(layer: layers.Softmax, graph: _Graph) -> None:
    graph.add("Softmax", layer.inputs, *layer.outputs, axis=layer.axis)


@_spell.register(layers.Dropout)
@_spell.register(layers.Split)
def _copies(layer: Layer, graph: _Graph) -> None:
    for output in layer.outputs:
        graph.add("Identity", layer.inputs, output)


@_spell.register
def _concat(layer: layers.Concat, graph: _Graph) -> None:
    graph.add("Concat", layer.inputs, *layer.outputs, axis=layer.axis)


@_spell.register
def _slice(layer: layers.Slice, graph: _Graph) -> None:
    sizes = graph.constant([shape[layer.axis] for shape in layer.output_shapes])
    graph.add_many("Split", [*layer.inputs, sizes], layer.outputs, axis=layer.axis)


@_spell.register
def _eltwise(layer: layers.Eltwise, graph: _Graph) -> None:
    if layer.operation == "MAX":
        graph.add("Max", layer.inputs, *layer.outputs)
        return
    operator = {"SUM": "Add", "PROD": "Mul"}[layer.operation]
    terms = [
        value if factor == 1 else graph.add("Mul", [value, graph.constant(factor)])
        for value, factor in zip(layer.inputs, layer.coefficients, strict=True)
    ]
    total = terms[0]
    for term in terms[1:-1]:
        total = graph.add(operator, [total, term])
    graph.add(operator, [total, terms[-1]], *layer.outputs)


@_spell.register
def _batch_norm(layer: layers.BatchNorm, graph: _Graph) -> None:
    mean, variance, factor = graph.params[layer.name]
    unit = 1 / factor[0] if factor[0] else np.float32(0)
    statistics = (np.ones_like(mean), np.zeros_like(mean), mean * unit, variance * unit)
    constants = [
        graph.constant(values, f"{layer.name}.{role}")
        for values, role in zip(statistics, ("scale", "bias", "mean", "variance"), strict=True)
    ]
    graph.add("BatchNormalization", [*layer.inputs, *constants], *layer.outputs, epsilon=layer.eps)


@_spell.register
def _scale(layer: layers.Scale, graph: _Graph) -> None:
    after = len(layer.input_shapes[0]) - layer.axis - len(layer.factor_shape)
    # ONNX aligns shapes at the last axis, Caffe's factors start at `axis`.
    shape = (*layer.factor_shape, *(1 for _ in range(after)))
    learned = [array.reshape(shape) for array in graph.params.get(layer.name, ())]
    x, *rest = layer.inputs
    if rest:
        axes = graph.constant(range(len(layer.factor_shape), len(shape)))
        factors = graph.add("Unsqueeze", [*rest, axes])
    else:
        factors = graph.constant(learned.pop(0), f"{layer.name}.scale")
    if layer.bias:
        products = graph.add("Mul", [x, factors])
        graph.add("Add", [products, graph.constant(learned.pop(), f"{layer.name}.bias")], *layer.outputs)
    else:
        graph.add("Mul", [x, factors], *layer.outputs)


@_spell.register(layers.Flatten)
@_spell.register(layers.Reshape)
def _reshape(layer: layers.Flatten | layers.Reshape, graph: _Graph) -> None:
    graph.add("Reshape", [*layer.inputs, graph.constant(layer.target)], *layer.outputs)


@_spell.register
def _crop(layer: layers.Crop, graph: _Graph) -> None:
    sizes = layer.output_shapes[0][layer.axis :]
    starts = list(layer.offsets)
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    axes = range(layer.axis, layer.axis + len(sizes))
    graph.add("Slice", [layer.inputs[0], *map(graph.constant, (starts, ends, axes))], *layer.outputs)
