"""Translation of a `Net` into ONNX, which ONNX Runtime and OpenVINO run and `pycam net export` writes.

Values keep their names, so that an output has the name of its blob. Axis 0 is open: any batch size is possible.
`pycam.net.layers` defines what a layer computes; this module only writes it in operators that both runtimes compute
exactly and fast. To add a layer, write a function and an entry in `_TRANSLATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UnsupportedLayerError, UsageError
from pycam.formats import onnx_messages
from pycam.formats.onnx_messages import FLOAT, INT64, LARGE
from pycam.formats.schema import Message
from pycam.net import CamHead, Net, Params, head_weights, layers as L
from pycam.net.layers import Shape

# The oldest versions that have all operators below, so that old runtimes can read the files too.
OPSET = 13
IR_VERSION = 8

BATCH = "N"


def onnx_model(net: Net, outputs: Sequence[str], outside: dict[str, NDArray[np.float32]] | None = None) -> Message:
    """Translate the part of a net that computes some of its values.

    Parameters
    ----------
    net : Net
        A net with parameters.
    outputs : sequence of str
        Names of values.
    outside : dict of str to array, optional
        Gets the large constants by their names. The model then has them without their values, for a runtime that takes
        these beside the model; they are the parameters of the net, not copies.

    Returns
    -------
    ModelProto
        A model from those inputs of the net that `outputs` depend on to `outputs`. All are float32 with axis 0
        open. Images are (N, C, H, W), BGR, mean subtracted.

    Raises
    ------
    UnsupportedLayerError
        A layer has no translation to ONNX; the message names it.
    NetError
        The net has no parameters.
    """
    graph = _translated(net, outputs, outside)
    for output in outputs:
        graph.add_output(output, net.value_shapes[output])
    return graph.model(net.name)


def onnx_cam_model(net: Net, head: CamHead, top: int | None = 5) -> Message:
    """Translate a net together with its class activation maps, for use without pycam.

    Parameters
    ----------
    net : Net
        A net with parameters.
    head : CamHead
        The blobs and the layer that the maps are made of.
    top : int, optional
        Number of classes with a map; at most the number of all classes. None for the maps of all classes.

    Returns
    -------
    ModelProto
        A model from images, (N, C, H, W), BGR, mean subtracted (or the input of the net's own ONNX file), to these
        outputs, in this order:

        `scores`
            (N, T) float32, one score per class.
        `classes`
            (N, top) int64, the classes of the highest scores, in descending order.
        `maps`
            (N, top, h, w) float32, their maps at the features' size, neither rectified nor scaled.

        Without `top`, there is no output `classes`, and `maps` are those of all classes, in the net's order.

        If a blob of the net already has one of these names, the output gets an underscore at its end; scores of an
        ONNX file that have the name keep it.

    Raises
    ------
    UsageError
        `top` is less than 1.
    UnsupportedLayerError
        A layer has no translation to ONNX; the message names it.
    NetError
        The net has no parameters.
    """
    if top is not None and top < 1:
        raise UsageError(f"top={top}: expected 1 or more classes, or None for the maps of all classes")
    graph = _translated(net, [head.score_blob, head.feature_blob])
    scores, classes, maps = (_unused(name, net) for name in ("scores", "classes", "maps"))
    own = net.from_onnx and head.score_blob == "scores" and len(net.shapes["scores"]) == 2
    weights = head_weights(net, head)
    class_count = len(weights.bias)
    _, channels, height, width = net.value_shapes[head.feature_blob]

    if head.positions:
        places = graph.add("Reshape", [head.score_blob, graph.constant([0, class_count, -1])])
        graph.add("ReduceMean", [places], scores, axes=[2], keepdims=0)
    elif own:
        scores = head.score_blob
    else:
        graph.add("Flatten", [head.score_blob], scores)
    graph.add_output(scores, (1, class_count))
    features = head.feature_blob
    if weights.coverage is not None:
        features = graph.add("Mul", [features, graph.constant(weights.coverage)])
    matrix = weights.matrix
    if top is None:
        if matrix is None:
            graph.add("Identity", [features], maps)
        else:
            # A class activation map is a 1×1 convolution of the features with the class weights.
            graph.add("Conv", [features, graph.constant(matrix[:, :, None, None])], maps)
        graph.add_output(maps, (1, class_count, height, width))
        return graph.model(net.name)
    top = min(top, class_count)
    if graph.opset < 10:
        graph.add("TopK", [scores], graph.unused("TopK"), classes, k=top)
    else:
        graph.add("TopK", [scores, graph.constant([top])], graph.unused("TopK"), classes)
    if matrix is None and graph.opset < OPSET:
        matrix = np.eye(class_count, dtype=np.float32)
    if matrix is None:
        # (N, T, h, w) at (N, top, 1)
        chosen = graph.add("Unsqueeze", [classes, graph.constant([2])])
        graph.add("GatherND", [features, chosen], maps, batch_dims=1)
    else:
        chosen = graph.add("Gather", [graph.constant(matrix), classes])  # (N, top, K)
        columns = graph.add("Reshape", [features, graph.constant([0, channels, height * width])])
        rows = graph.add("MatMul", [chosen, columns])  # (N, top, h·w)
        graph.add("Reshape", [rows, graph.constant([0, top, height, width])], maps)

    graph.add_output(classes, (1, top), INT64)
    graph.add_output(maps, (1, top, height, width))
    return graph.model(net.name)


def _unused(name: str, net: Net) -> str:
    while name in net.value_shapes:
        name += "_"
    return name


def _translated(net: Net, wanted: Sequence[str], outside: dict[str, NDArray[np.float32]] | None = None) -> _Graph:
    """Return a graph with the layers that some values need, and their inputs."""
    path = net.layers_before(wanted)
    net.check_weights(path)
    graph = _Graph(net.params, path, outside)
    needed = {*wanted, *(value for layer in path for value in layer.inputs)}
    for layer in path:
        if isinstance(layer, L.Source):
            for value, shape in zip(layer.outputs, layer.output_shapes, strict=True):
                if value in needed:
                    graph.add_input(value, shape)
        elif isinstance(layer, L.OnnxNode):
            graph.add_made(layer)
        elif type(layer) in _TRANSLATIONS:
            if _TRANSLATIONS[type(layer)](layer, graph) not in layer.outputs:
                graph.rename_last(layer.outputs[0])
        else:
            raise UnsupportedLayerError(f"layer {layer.name!r}: the type {layer.type!r} has no translation to ONNX")
    return graph


def _names(layer: L.OnnxNode) -> tuple[str, ...]:
    return (*layer.inputs, *layer.outputs, *layer.param_inputs, *layer.constants)


class _Graph:
    """A graph under construction: nodes, and the constants that they read.

    Parameters
    ----------
    params : dict
        The parameters of the net.
    path : sequence of Layer
        The layers that will be added. Those that come from an ONNX file come from the same one.

    Attributes
    ----------
    params : dict
        As given.
    origin : OnnxOrigin, optional
        The ONNX file that some of the nodes come from: its versions are those of all nodes.
    taken : set of str
        The names of values, and those in that file, which nothing else may have.
    outside : dict of str to array, optional
        The values of the large constants, if the model is to be without them.
    """

    def __init__(
        self,
        params: Params,
        path: Sequence[L.Layer],
        outside: dict[str, NDArray[np.float32]] | None = None,
    ) -> None:
        made = [layer for layer in path if isinstance(layer, L.OnnxNode)]
        self.params = params
        self.outside = outside
        self.origin = made[0].origin if made else None
        self.taken = {value for layer in path for value in layer.outputs}.union(*map(_names, made))
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._numbers = count()

    @property
    def _batch(self) -> int | str:
        return 1 if self.origin is not None and self.origin.one_by_one else BATCH

    def add_input(self, name: str, shape: Shape) -> None:
        kind = FLOAT if self.origin is None else self.origin.input_type
        self._inputs.append(onnx_messages.value(name, kind, [self._batch, *shape[1:]]))

    def add_output(self, name: str, shape: Shape, kind: int = FLOAT) -> None:
        self._outputs.append(onnx_messages.value(name, kind, [self._batch, *shape[1:]]))

    def add(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Append a node, by default with one output of a new name, and return the name of its first output."""
        outputs = outputs or (self.unused(operator),)
        self._nodes.append(onnx_messages.node(operator, inputs, outputs, f"{operator}/{outputs[0]}", attributes))
        return outputs[0]

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return OPSET if self.origin is None else self.origin.opsets[""]

    def add_made(self, layer: L.OnnxNode) -> None:
        """Append the node of an ONNX file, and its constants unless another node has added them."""
        arrays = zip(layer.param_inputs, self.params[layer.name], strict=True) if layer.param_inputs else ()
        for name, array in arrays:
            if name not in self._constants:
                self._add_constant(array, name)
        for name, tensor in layer.constants.items():
            self._constants.setdefault(name, tensor)
        self._nodes.append(layer.node)

    def _add_constant(self, array: NDArray[Any], name: str) -> None:
        if self.outside is None or array.dtype != np.float32 or array.nbytes < LARGE:
            self._constants[name] = onnx_messages.tensor(array, name)
        else:
            self._constants[name] = onnx_messages.tensor_outside(array, name)
            self.outside[name] = array

    def rename_last(self, output: str) -> None:
        """Rename the last node's output."""
        self._nodes[-1].output[0] = output
        self._nodes[-1].name = f"{self._nodes[-1].op_type}/{output}"

    def constant(self, values: ArrayLike, name: str | None = None) -> str:
        """Add a constant, with integers unchanged and other numbers in single precision, and return its name."""
        array = np.asarray(values)
        if array.dtype.kind != "i":
            array = array.astype(np.float32, copy=False)
        if not name or name in self.taken or name in self._constants:
            name = self.unused(name or "constant")
        self._add_constant(array, name)
        return name

    def learned(self, layer: L.Layer, *roles: str) -> list[str]:
        """Add the parameters that a layer has as constants with the names of their roles, and return the names."""
        arrays = self.params[layer.name]
        return [self.constant(array, f"{layer.name}.{role}") for array, role in zip(arrays, roles, strict=False)]

    def unused(self, role: str) -> str:
        """Return a new name."""
        return next(name for number in self._numbers if (name := f"{role}#{number}") not in self.taken)

    def model(self, name: str) -> Message:
        """Return the finished model."""
        graph = {
            "name": name or "net",
            "node": self._nodes,
            "input": self._inputs,
            "output": self._outputs,
            "initializer": list(self._constants.values()),
        }
        if self.origin is None:
            return onnx_messages.model(graph, {"": OPSET}, IR_VERSION)
        ir_version = max(IR_VERSION, self.origin.ir_version)
        return onnx_messages.model(graph, self.origin.opsets, ir_version, self.origin.functions)


Translation = Callable[[Any, _Graph], str]


def _operator(name: str, *attributes: str) -> Translation:
    """Make the translation of a layer into one operator whose attributes have the names of the layer's."""
    return lambda layer, graph: graph.add(
        name, layer.inputs, **{attribute: getattr(layer, attribute) for attribute in attributes}
    )


def _filter(operator: str, layer: L.Convolution | L.Deconvolution, graph: _Graph) -> str:
    return graph.add(
        operator,
        [*layer.inputs, *graph.learned(layer, "weight", "bias")],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=layer.pad * 2,
        dilations=layer.dilation,
        group=layer.group,
    )


def _pooling(layer: L.Pooling, graph: _Graph) -> str:
    if layer.is_global:
        return graph.add({"MAX": "GlobalMaxPool", "AVE": "GlobalAveragePool"}[layer.method], layer.inputs)
    # Explicit pads, because Caffe and the runtimes treat the last window of ceil_mode in different ways.
    window: dict[str, Any] = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": (*layer.pad, *(max(0, beyond) for beyond in layer.overhang)),
    }
    if layer.method == "MAX":
        return graph.add("MaxPool", layer.inputs, **window)
    means = graph.add("AveragePool", layer.inputs, count_include_pad=1, **window)
    correction = np.prod(layer.kernel) / np.outer(*layer.covers)
    return means if np.all(correction == 1) else graph.add("Mul", [means, graph.constant(correction)])


def _lrn(layer: L.LRN, graph: _Graph) -> str:
    squares = graph.add("Mul", layer.inputs * 2)
    size, near = layer.local_size, layer.local_size // 2
    if layer.within_channel:
        means = graph.add("AveragePool", [squares], count_include_pad=1, kernel_shape=(size,) * 2, pads=(near,) * 4)
        scaled = graph.add("Mul", [means, graph.constant(layer.alpha)])
        base = graph.add("Add", [scaled, graph.constant(1.0)])
    else:
        # The sum over neighbouring channels is a 1×1 convolution: faster than ONNX Runtime's own LRN.
        channels = np.arange(layer.input_shapes[0][1])
        band = np.abs(channels[:, None] - channels) <= near
        kernel = band[:, :, None, None] * (layer.alpha / size)
        base = graph.add("Conv", [squares, graph.constant(kernel), graph.constant(np.full(len(channels), layer.k))])
    if layer.beta == 0.75:
        # Two square roots are cheaper than a power.
        root = graph.add("Sqrt", [base])
        power = graph.add("Mul", [root, graph.add("Sqrt", [root])])
    else:
        power = graph.add("Pow", [base, graph.constant(layer.beta)])
    return graph.add("Div", [*layer.inputs, power])


def _inner_product(layer: L.InnerProduct, graph: _Graph) -> str:
    rows = graph.add("Flatten", layer.inputs, axis=layer.axis)
    factors = [rows, *graph.learned(layer, "weight", "bias")]
    products = graph.add("Gemm", factors, transB=int(not layer.transpose))
    if layer.axis == 1:
        return products
    return graph.add("Reshape", [products, graph.constant([-1, *layer.output_shapes[0][1:]])])


def _relu(layer: L.ReLU, graph: _Graph) -> str:
    if layer.negative_slope == 0:
        return graph.add("Relu", layer.inputs)
    return graph.add("LeakyRelu", layer.inputs, alpha=layer.negative_slope)


def _prelu(layer: L.PReLU, graph: _Graph) -> str:
    (slopes,) = graph.params[layer.name]
    # ONNX aligns shapes at the last axis, Caffe's slopes are along axis 1.
    slopes = slopes.reshape(*slopes.shape, *(1 for _ in layer.input_shapes[0][2:]))
    return graph.add("PRelu", [*layer.inputs, graph.constant(slopes, f"{layer.name}.slope")])


def _power(layer: L.Power, graph: _Graph) -> str:
    scaled = graph.add("Mul", [*layer.inputs, graph.constant(layer.scale)])
    linear = graph.add("Add", [scaled, graph.constant(layer.shift)])
    return linear if layer.power == 1 else graph.add("Pow", [linear, graph.constant(layer.power)])


def _scaled(value: str, factor: float, graph: _Graph) -> str:
    return value if factor == 1 else graph.add("Mul", [value, graph.constant(factor)])


def _exp(layer: L.Exp, graph: _Graph) -> str:
    return _scaled(graph.add("Exp", [_scaled(layer.inputs[0], layer.inner, graph)]), layer.outer, graph)


def _log(layer: L.Log, graph: _Graph) -> str:
    linear = _scaled(layer.inputs[0], layer.scale, graph)
    if layer.shift:
        linear = graph.add("Add", [linear, graph.constant(layer.shift)])
    return _scaled(graph.add("Log", [linear]), layer.factor, graph)


def _same(layer: L.Dropout | L.Split, graph: _Graph) -> str:
    for output in layer.outputs:
        graph.add("Identity", layer.inputs, output)
    return layer.outputs[0]


def _concat(layer: L.Concat, graph: _Graph) -> str:
    # OpenVINO computes a wrong result if an input occurs twice, and removes an Identity: each repetition gets a copy.
    copies: dict[str, str] = {}
    parts = []
    for value in layer.inputs:
        copies[value] = graph.add("Max", [copies[value]] * 2) if value in copies else value
        parts.append(copies[value])
    return graph.add("Concat", parts, axis=layer.axis)


def _slice(layer: L.Slice, graph: _Graph) -> str:
    sizes = graph.constant([shape[layer.axis] for shape in layer.output_shapes])
    return graph.add("Split", [*layer.inputs, sizes], *layer.outputs, axis=layer.axis)


def _eltwise(layer: L.Eltwise, graph: _Graph) -> str:
    terms = [_scaled(value, factor, graph) for value, factor in zip(layer.inputs, layer.coefficients, strict=True)]
    if layer.operation == "PROD":
        return reduce(lambda a, b: graph.add("Mul", [a, b]), terms)
    return graph.add({"SUM": "Sum", "MAX": "Max"}[layer.operation], terms)


def _tile(layer: L.Tile, graph: _Graph) -> str:
    repeats = [layer.tiles if axis == layer.axis else 1 for axis in range(len(layer.input_shapes[0]))]
    return graph.add("Tile", [*layer.inputs, graph.constant(repeats)])


def _reduction(layer: L.Reduction, graph: _Graph) -> str:
    (value,), axes = layer.inputs, range(layer.axis, len(layer.input_shapes[0]))
    if layer.operation != "SUM":
        value = graph.add(
            {"ASUM": "Abs", "SUMSQ": "Mul"}[layer.operation], [value] * (1 + (layer.operation == "SUMSQ"))
        )
    total = graph.add("ReduceSum", [value, graph.constant(list(axes))], keepdims=0)
    return _scaled(total, layer.coefficient, graph)


def _argmax(layer: L.ArgMax, graph: _Graph) -> str:
    (value,), shape, axis = layer.inputs, layer.input_shapes[0], layer.axis
    if axis is None:
        value, axis, shape = graph.add("Flatten", [value]), 1, (1, int(np.prod(shape[1:])))
    # TopK gives the lowest of equal positions first, Caffe the highest: the values are reversed.
    last = shape[axis] - 1
    reversed_ = graph.add("Gather", [value, graph.constant(np.arange(last, -1, -1))], axis=axis)
    values, places = graph.unused("TopK"), graph.unused("TopK")
    graph.add("TopK", [reversed_, graph.constant([layer.top_k])], values, places, axis=axis)
    positions = graph.add("Sub", [graph.constant(np.float32(last)), graph.add("Cast", [places], to=FLOAT)])
    if layer.gives == "both":
        positions = graph.add("Concat", [positions, values], axis=1)
    found = values if layer.gives == "values" else positions
    return graph.add("Reshape", [found, graph.constant([-1, *layer.output_shapes[0][1:]])])


def _batch_norm(layer: L.BatchNorm, graph: _Graph) -> str:
    if layer.use_global_stats is False:
        raise UnsupportedLayerError(f"layer {layer.name!r}: use_global_stats: false has no translation to ONNX")
    mean, variance, factor = graph.params[layer.name]
    share = 1 / factor[0] if factor[0] else 0
    statistics = (np.ones_like(mean), np.zeros_like(mean), mean * share, variance * share)
    roles = ("scale", "bias", "mean", "variance")
    constants = [graph.constant(array, f"{layer.name}.{role}") for role, array in zip(roles, statistics, strict=True)]
    return graph.add("BatchNormalization", [*layer.inputs, *constants], epsilon=layer.eps)


def _scale(layer: L.Scale, graph: _Graph) -> str:
    x, *factors = layer.inputs
    # ONNX aligns shapes at the last axis, Caffe's factors start at `axis`.
    rank = len(layer.factor_shape)
    behind = (1,) * (len(layer.input_shapes[0]) - layer.axis - rank)
    if factors and behind:
        factors = [graph.add("Unsqueeze", [*factors, graph.constant(range(rank, rank + len(behind)))])]
    # The parameters are the factors, unless these are the second input, and the bias.
    for array in graph.params[layer.name] if layer.param_shapes else ():
        role = "bias" if factors else "scale"
        factors.append(graph.constant(array.reshape(*array.shape, *behind), f"{layer.name}.{role}"))
    scaled = graph.add("Mul", [x, factors[0]])
    return graph.add("Add", [scaled, factors[1]]) if layer.bias else scaled


def _reshape(layer: L.Flatten | L.Reshape, graph: _Graph) -> str:
    return graph.add("Reshape", [*layer.inputs, graph.constant(layer.target)])


def _shuffle_channel(layer: L.ShuffleChannel, graph: _Graph) -> str:
    channels, *sides = layer.output_shapes[0][1:]
    groups = [0, layer.group, channels // layer.group, int(np.prod(sides))]
    split = graph.add("Reshape", [*layer.inputs, graph.constant(groups)])
    turned = graph.add("Transpose", [split], perm=[0, 2, 1, 3])
    return graph.add("Reshape", [turned, graph.constant([0, channels, *sides])])


def _crop(layer: L.Crop, graph: _Graph) -> str:
    sizes = layer.output_shapes[0][layer.axis :]
    ends = [start + size for start, size in zip(layer.offsets, sizes, strict=True)]
    axes = range(layer.axis, layer.axis + len(sizes))
    bounds = [graph.constant(numbers) for numbers in (layer.offsets, ends, axes)]
    return graph.add("Slice", [layer.inputs[0], *bounds])


_TRANSLATIONS: dict[type[L.Layer], Translation] = {
    L.Convolution: partial(_filter, "Conv"),
    L.Deconvolution: partial(_filter, "ConvTranspose"),
    L.Pooling: _pooling,
    L.LRN: _lrn,
    L.InnerProduct: _inner_product,
    L.ReLU: _relu,
    L.PReLU: _prelu,
    L.ELU: _operator("Elu", "alpha"),
    L.Sigmoid: _operator("Sigmoid"),
    L.TanH: _operator("Tanh"),
    L.AbsVal: _operator("Abs"),
    L.Power: _power,
    L.Exp: _exp,
    L.Log: _log,
    L.Softmax: _operator("Softmax", "axis"),
    L.Dropout: _same,
    L.Split: _same,
    L.Concat: _concat,
    L.Slice: _slice,
    L.Tile: _tile,
    L.Eltwise: _eltwise,
    L.Reduction: _reduction,
    L.ArgMax: _argmax,
    L.BatchNorm: _batch_norm,
    L.Scale: _scale,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.ShuffleChannel: _shuffle_channel,
    L.Crop: _crop,
}
"""Layer type -> function that adds a layer's nodes and returns the name of the (first) output."""
