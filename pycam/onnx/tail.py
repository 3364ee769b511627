"""What stands between a global pooling and the logits, as class weights over maps.

The nodes are followed from the pooled values on. As long as they are linear, a value is a matrix times the pooled
channels, plus a bias. A node that is not linear scales or shifts the values by amounts that depend on the image, such
as the deviation in a layer normalization, or f(z)/z for an activation f with f(0) = 0. It is moved before the pooling:
the maps are scaled and shifted by those amounts, which the graph's own nodes compute from the pooled values of each
image. The mean of the new maps is then what the node gives, so that the class weights still turn means of maps into
logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.formats import onnx_messages
from pycam.formats.onnx_messages import BOOL, FLOAT
from pycam.formats.schema import Message
from pycam.net.layers import OnnxNode, Shape
from pycam.onnx.graph import Graph, attribute, run_node
from pycam.onnx.pooling import SAME_VALUES, Pooling

_AT_ZERO = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "PRelu", "ThresholdedRelu", "HardSwish", "Swish", "Mish"),
    *("Gelu", "QuickGelu", "FastGelu"),
    *("Tanh", "Atan", "Asinh", "Sin", "Sinh", "Erf", "Softsign", "Abs", "Sqrt", "LpNormalization"),
)
"""Operators that give 0 for 0: their value is a factor times what they get."""

_MOVING = ("Slice", "Split", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth")
"""Operators that only choose and move numbers of their first input."""

_SAME_RANGE = (
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice"),
)
"""Operators whose values lie in the range of their first input, if they add none at the border."""


@dataclass(frozen=True)
class Form:
    """A value as a linear function of the means of maps.

    Attributes
    ----------
    maps : str
        The tensor of the maps, (N, K, h, w) float32.
    weights : (…, K) float64
        One row per number of the value.
    bias : (…) float64
        The value where all means are 0.
    held : tuple of str
        Nodes whose amounts the maps hold at the values of each image.
    folded : tuple of str
        Nodes that are multiplied into the weights.
    class_node : str
        The last of these that multiplies with a matrix.
    """

    maps: str
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    held: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    class_node: str = ""

    @property
    def shape(self) -> Shape:
        """The shape of the value."""
        return self.bias.shape

    @property
    def is_pooled(self) -> bool:
        """Whether the numbers of the value are the means of the maps, in order."""
        count = self.bias.size
        if self.weights.size != count * count or self.bias.any():
            return False
        diagonal = self.weights.reshape(count, count).diagonal()
        return bool((diagonal == 1).all()) and np.count_nonzero(self.weights) == count

    def reshaped(self, shape: Shape) -> Form:
        """Return the same numbers in another shape."""
        return replace(self, weights=self.weights.reshape(*shape, -1), bias=self.bias.reshape(shape))

    def mapped(self, linear: Callable[[NDArray[np.float64]], NDArray[np.float64]], shift: Any = 0.0) -> Form:
        """Return a linear function of the value, plus a shift; the function takes values behind one more first axis."""
        columns = linear(np.moveaxis(self.weights, -1, 0))
        return replace(self, weights=np.moveaxis(columns, 0, -1), bias=linear(self.bias[None])[0] + shift)

    def times(self, factor: NDArray[np.float64], shift: Any = 0.0) -> Form:
        """Return the value times constants, plus a shift."""
        return self.mapped(lambda x: x * factor, shift)

    def plus(self, shift: NDArray[np.float64], sign: float = 1.0) -> Form:
        """Return `sign` times the value, plus constants."""
        return self.mapped(lambda x: sign * x + np.zeros(shift.shape), shift)

    def matmul(self, matrix: NDArray[np.float64], shift: Any = 0.0) -> Form:
        """Return the value times a matrix along its last axis, plus a shift."""
        if self.is_pooled and matrix.ndim == 2 and self.shape[-1] == len(matrix):  # spares the largest product
            shape = (*self.shape[:-1], matrix.shape[1])
            return replace(self, weights=matrix.T.reshape(*shape, -1), bias=np.zeros(shape) + shift)
        return self.mapped(lambda x: np.matmul(x, matrix), shift)

    def behind(self, matrix: NDArray[np.float64]) -> Form:
        """Return a matrix times the value."""
        return self.mapped(lambda x: np.matmul(matrix, x))


class Additions:
    """Nodes that are added to a graph, in single precision.

    Attributes
    ----------
    layers : list of OnnxNode
        The nodes.
    """

    def __init__(self, graph: Graph) -> None:
        self.layers: list[OnnxNode] = []
        self.shapes: dict[str, Shape] = {}
        self._graph = graph
        self._names = {*graph.values, *graph.names.values()}

    def unused(self, name: str) -> str:
        """Return a name that nothing has, and take it."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor for one image."""
        return self.shapes.get(tensor) or self._graph.shape(tensor)

    def add(
        self, operator: str, inputs: Sequence[str | NDArray[Any]], shape: Shape, name: str = "", **attributes: Any
    ) -> str:
        """Append a node whose output has a shape, and return the output; an array is a constant input."""
        output = self.unused(name or f"maps/{operator}")
        constants = {}
        names = []
        for number, each in enumerate(inputs):
            if isinstance(each, str):
                names.append(each)
            else:
                names.append(self.unused(f"{output}/{number}"))
                constants[names[-1]] = onnx_messages.tensor(each, names[-1])
        read = tuple(each for each in dict.fromkeys(names) if each not in constants)
        self.layers.append(
            OnnxNode(
                name=output,
                type=f"onnx.{operator}",
                bottoms=read,
                tops=(output,),
                inputs=read,
                outputs=(output,),
                input_shapes=tuple(map(self.shape, read)),
                output_shapes=(shape,),
                node=onnx_messages.node(operator, names, [output], output, attributes),
                origin=self._graph.origin,
                constants=constants,
            )
        )
        self.shapes[output] = shape
        return output

    def single(self, tensor: str, name: str = "") -> str:
        """Return a tensor of the graph in single precision."""
        if tensor in self.shapes or self._graph.values[tensor].dtype == np.float32:
            return tensor
        return self.add("Cast", [tensor], self.shape(tensor), name, to=FLOAT)

    def reduced_mean(self, tensor: str, axes: Sequence[int]) -> str:
        """Return the mean of a tensor along some axes, which stay."""
        shape = tuple(1 if axis in axes else side for axis, side in enumerate(self.shape(tensor)))
        if self._graph.origin.opsets[""] < 18:
            return self.add("ReduceMean", [tensor], shape, axes=tuple(axes), keepdims=1)
        return self.add("ReduceMean", [tensor, np.array(axes, np.int64)], shape, keepdims=1)


def features_of(pooling: Pooling, added: Additions) -> str:
    """Return the tensor of the features, (N, K, h, w) float32; it is the graph's own if that is such a tensor."""
    height, width = pooling.grid
    tensor = added.single(pooling.features, f"{pooling.features}/float")
    channels = added.shape(tensor)[pooling.channel_axis]
    name = f"{pooling.features}/nchw"
    match pooling.layout:
        case "NCL":
            target = np.array([-1, channels, height, width])
            return added.add("Reshape", [tensor, target], (1, channels, height, width), name)
        case "NLC":
            target = np.array([-1, height, width, channels])
            tensor = added.add("Reshape", [tensor, target], (1, height, width, channels))
    if pooling.layout == "NCHW":
        return tensor
    return added.add("Transpose", [tensor], (1, channels, height, width), name, perm=(0, 3, 1, 2))


def follow(graph: Graph, pooling: Pooling, logits: str, added: Additions) -> Form | str:
    """Return logits as a linear function of the means (or maxima) of maps; or the reason why they are none.

    Parameters
    ----------
    graph : Graph
    pooling : Pooling
        The global pooling that the logits depend on.
    logits : str
        The tensor of the scores before the last activation.
    added : Additions
        Takes the nodes that make the maps.
    """
    return _Tail(graph, pooling, added).follow(logits)


class _Tail:
    def __init__(self, graph: Graph, pooling: Pooling, added: Additions) -> None:
        self.graph = graph
        self.pooling = pooling
        self.added = added
        features = features_of(pooling, added)
        channels = added.shape(features)[1]
        start = Form(features, pooling.factor * np.eye(channels), np.zeros(channels))
        self.forms: dict[str, Form] = {name: start.reshaped(graph.shape(name)) for name in pooling.same}
        self.lost: dict[str, str] = {}

    def follow(self, logits: str) -> Form | str:
        dependent = set(self.pooling.same)
        for node in self.graph.nodes:
            if not dependent.intersection(node.input) or node.op_type in ("Shape", "Size"):
                continue
            dependent.update(node.output)
            for index, output in enumerate(node.output):
                if output in self.forms or not self.graph.is_float(output):
                    continue
                form = self._applied(node) if index == 0 else None
                if node.op_type in _MOVING:
                    form = self._moved(node, index)
                if form is not None and form.bias.shape == self.graph.shape(output):
                    self.forms[output] = form
                else:
                    self.lost[output] = self._to_blame(node)
            if logits in node.output:
                break
        if logits in self.forms:
            return self.forms[logits]
        return f"{self.lost.get(logits, 'a node')} is not linear, between the pooling and the scores"

    def _to_blame(self, node: Message) -> str:
        earlier = (self.lost[name] for name in node.input if name in self.lost)
        return next(earlier, self.graph.about(node))

    def _applied(self, node: Message) -> Form | None:
        """Return the first output of a node as a linear function of the means of maps; None if it is none."""
        if node.domain not in ("", "ai.onnx", "com.microsoft"):
            return None
        name = self.graph.name_of(node)
        forms = [self.forms.get(each) for each in node.input]
        form = forms[0]
        shape = self.graph.shape(node.output[0])
        match node.op_type:
            case "Add" | "Sub" | "Mul" | "Div" | "Sum" if len(node.input) == 2:
                return self._combined(node)
            case "Concat":
                return self._concatenated(node)
            case "Einsum" if len(node.input) == 2 and form is not None:
                return self._summed(node, form)
            case "MatMul" if len(node.input) == 2 and form is None and forms[1] is not None:
                matrix = self.graph.constant(node.input[0])
                return None if matrix is None else _weighted(forms[1].behind(matrix), name)
        if form is None:
            return None
        constants = [self.graph.constant(each) if each else None for each in node.input[1:]]
        match node.op_type:
            case operator if operator in SAME_VALUES and math.prod(shape) == form.bias.size:
                return form.reshaped(shape)
            case "Transpose":
                order = attribute(node, "perm", list(range(len(form.shape)))[::-1])
                return form.mapped(lambda x: x.transpose(0, *(axis + 1 for axis in order)))
            case "Neg":
                return form.mapped(np.negative)
            case "MatMul" if constants[0] is not None:
                return _weighted(form.matmul(constants[0]), name)
            case "Gemm" if constants[0] is not None and not attribute(node, "transA", 0):
                matrix = constants[0].T if attribute(node, "transB", 0) else constants[0]
                matrix = attribute(node, "alpha", 1.0) * matrix
                shift: Any = 0.0
                if len(node.input) > 2 and node.input[2]:
                    if constants[1] is None:
                        return None
                    shift = attribute(node, "beta", 1.0) * constants[1]
                return _weighted(form.matmul(matrix, shift), name)
            case "Conv" if constants[0] is not None and shape[2:] == (1,) * (len(shape) - 2):
                matrix = _center(node, constants[0], form.bias.size)
                if matrix is None:
                    return None
                bias = constants[1] if len(constants) > 1 and constants[1] is not None else np.zeros(len(matrix))
                flat = form.reshaped((form.bias.size,)).matmul(matrix.T, bias)
                return _weighted(flat.reshaped(shape), name)
            case "BatchNormalization" if all(each is not None for each in constants):
                gamma, beta, mean, variance = (each.reshape(1, -1, *(1,) * (len(shape) - 2)) for each in constants)  # type: ignore[union-attr]
                scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
                return _folded(form.times(scale, beta - mean * scale), name)
            case "LayerNormalization" if constants[0] is not None:
                return self._normalized(node, form, constants)
            case "Relu" | "Clip" if self._is_idle(node, form):
                return form
            case "Clip" | "Pow" if self._keeps_zero(node):
                return self._scaled(node, form)
            case operator if operator in _AT_ZERO:
                return self._scaled(node, form)
        return None

    def _combined(self, node: Message) -> Form | None:
        """Return a sum, a difference, a product or a quotient of two values."""
        name = self.graph.name_of(node)
        operator = "Add" if node.op_type == "Sum" else node.op_type
        first, second = node.input
        a, b = self.forms.get(first), self.forms.get(second)
        sign = -1.0 if operator == "Sub" else 1.0
        if operator in ("Add", "Sub") and a is not None and b is not None:
            if a.maps != b.maps:
                return None
            return replace(a, weights=a.weights + sign * b.weights, bias=a.bias + sign * b.bias)
        if a is not None and b is not None:
            # The value with fewer held amounts has the maps, the other one is held.
            if operator == "Div" or len(a.held) <= len(b.held):
                b = None
            else:
                a = None
        if a is not None:
            constant = self.graph.constant(second)
            if constant is None:
                return self._shifted_or_scaled(node, a, second)
            if constant.ndim > len(a.shape):
                return None
            match operator:
                case "Add" | "Sub":
                    return a.plus(sign * constant)
                case "Mul":
                    return _folded(a.times(constant), name)
                case "Div":
                    return _folded(a.times(1 / constant), name)
        if b is not None:
            constant = self.graph.constant(first)
            if constant is None:
                return None if operator == "Div" else self._shifted_or_scaled(node, b, first)
            if constant.ndim > len(b.shape):
                return None
            match operator:
                case "Add" | "Sub":
                    return b.plus(constant, sign)
                case "Mul":
                    return _folded(b.times(constant), name)
        return None

    def _concatenated(self, node: Message) -> Form | None:
        forms = [form for name in node.input if (form := self.forms.get(name)) is not None]
        if len(forms) < len(node.input) or len({form.maps for form in forms}) > 1:
            return None
        axis = attribute(node, "axis") % len(forms[0].shape)
        weights, bias = ([getattr(form, name) for form in forms] for name in ("weights", "bias"))
        folded = tuple(dict.fromkeys(name for form in forms for name in form.folded))
        return replace(
            forms[0],
            weights=np.concatenate(weights, axis),
            bias=np.concatenate(bias, axis),
            folded=folded,
            class_node=forms[-1].class_node,
        )

    def _summed(self, node: Message, form: Form) -> Form | None:
        """Return an Einsum of a value and a constant."""
        matrix = self.graph.constant(node.input[1])
        sides, _, result = attribute(node, "equation", b"").decode().replace(" ", "").partition("->")
        first, _, second = sides.partition(",")
        free = next((letter for letter in ascii_letters if letter not in sides), "")
        if matrix is None or not result or not free or "." in sides:
            return None
        equation = f"{free}{first},{second}->{free}{result}"
        return _weighted(form.mapped(lambda x: np.einsum(equation, x, matrix)), self.graph.name_of(node))

    def _moved(self, node: Message, index: int) -> Form | None:
        """Return what a node that only moves numbers makes of a value: it is run on their places."""
        form = self.forms.get(node.input[0])
        if form is None or any(name in self.graph.of_image for name in node.input[1:]):
            return None
        places = np.arange(form.bias.size, dtype=np.float32).reshape(form.shape)
        moved = run_node(self.graph, node, places)[index].astype(np.int64)
        weights = form.weights.reshape(form.bias.size, -1)
        return replace(form, weights=weights[moved], bias=form.bias.ravel()[moved])

    def _shifted_or_scaled(self, node: Message, form: Form, held: str) -> Form | None:
        """Return a value combined with one that is held at its values for each image."""
        if not self._average() or not self.graph.is_float(held):
            return None
        maps = self._maps(form)
        amount = self._per_channel(held, form.bias.size)
        if amount is None or self.graph.shape(node.output[0]) != form.shape:
            return None
        operator = {"Sum": "Add"}.get(node.op_type, node.op_type)
        if operator == "Sub" and self.forms.get(node.input[0]) is not form:
            operands = [amount, maps]
        else:
            operands = [maps, amount]
        made = self.added.add(operator, operands, self.added.shape(maps), self._named(node))
        return self._made(made, form, node)

    def _scaled(self, node: Message, form: Form) -> Form | None:
        """Return f(z) for an f with f(0) = 0: the maps of z, times f(z)/z."""
        if not self._average() or self.graph.shape(node.output[0]) != form.shape:
            return None
        maps = self._maps(form)
        before, after = (self._per_channel(each, form.bias.size) for each in (node.input[0], node.output[0]))
        assert before is not None and after is not None
        shape = self.added.shape(before)
        # z + (z == 0): ONNX compares real numbers only since version 11.
        nonzero = self.added.add("Cast", [before], shape, to=BOOL)
        zero = self.added.add("Cast", [self.added.add("Not", [nonzero], shape)], shape, to=FLOAT)
        divisor = self.added.add("Add", [before, zero], shape)
        ratio = self.added.add("Div", [after, divisor], shape)
        made = self.added.add("Mul", [maps, ratio], self.added.shape(maps), self._named(node))
        return self._made(made, form, node)

    def _normalized(self, node: Message, form: Form, constants: Sequence[NDArray[np.float64] | None]) -> Form | None:
        """Return a layer normalization over all channels: the maps less the mean, over the deviation, of the values."""
        axes = range(attribute(node, "axis", -1) % len(form.shape), len(form.shape))
        if not self._average() or math.prod(form.shape[axis] for axis in axes) != form.bias.size:
            return None
        value = self.added.single(node.input[0])
        mean = self.added.reduced_mean(value, axes)
        apart = self.added.add("Sub", [value, mean], form.shape)
        squares = self.added.add("Mul", [apart, apart], form.shape)
        variance = self.added.reduced_mean(squares, axes)
        epsilon = np.array(attribute(node, "epsilon", 1e-5), np.float32)
        ones = self.added.shape(variance)
        deviation = self.added.add("Sqrt", [self.added.add("Add", [variance, epsilon], ones)], ones)
        maps = self._maps(form)
        less, over = (self._per_channel(each, form.bias.size) for each in (mean, deviation))
        assert less is not None and over is not None
        shape = self.added.shape(maps)
        apart = self.added.add("Sub", [maps, less], shape)
        maps = self.added.add("Div", [apart, over], shape, self._named(node))
        gamma, *beta = constants
        shift = beta[0] if beta and beta[0] is not None else 0.0
        assert gamma is not None
        return self._made(maps, form, node).times(gamma, shift)

    def _named(self, node: Message) -> str:
        return f"{self.graph.name_of(node)}/maps"

    def _average(self) -> bool:
        return self.pooling.method == "AVE"

    def _maps(self, form: Form) -> str:
        """Return maps whose means are a value: a matrix at each position."""
        if form.is_pooled:
            return form.maps
        count = form.bias.size
        weights = form.weights.reshape(count, -1)
        shape = (1, count, *self.added.shape(form.maps)[2:])
        kernel, bias = weights[:, :, None, None].astype(np.float32), form.bias.ravel().astype(np.float32)
        return self.added.add("Conv", [form.maps, kernel, bias], shape, kernel_shape=(1, 1))

    def _per_channel(self, tensor: str, channels: int) -> str | None:
        """Return a value of the graph, (N, K, 1, 1), or (N, 1, 1, 1) if it is one number; None for other sizes."""
        size = math.prod(self.added.shape(tensor))
        if size not in (1, channels):
            return None
        target = np.array([-1, size, 1, 1], np.int64)
        return self.added.add("Reshape", [self.added.single(tensor), target], (1, size, 1, 1))

    def _made(self, maps: str, form: Form, node: Message) -> Form:
        count = form.bias.size
        made = Form(maps, np.eye(count), np.zeros(count)).reshaped(form.shape)
        return replace(made, held=(*form.held, self.graph.about(node)))

    def _keeps_zero(self, node: Message) -> bool:
        if node.op_type == "Clip":
            low, high = bounds(self.graph, node)
            return low <= 0 <= high
        exponent = self.graph.constant(node.input[1])
        return exponent is not None and bool((exponent > 0).all())

    def _is_idle(self, node: Message, form: Form) -> bool:
        """Return whether a Relu or a Clip changes nothing: the values are the pooled features, whose range is known."""
        if not form.is_pooled or form.held:
            return False
        low, high = bounds(self.graph, node)
        least, most = range_of(self.graph, self.pooling.features)
        return low <= least and most <= high


def _weighted(form: Form, name: str) -> Form:
    return replace(form, folded=(*form.folded, name), class_node=name)


def _folded(form: Form, name: str) -> Form:
    return replace(form, folded=(*form.folded, name))


def _center(node: Message, weights: NDArray[np.float64], inputs: int) -> NDArray[np.float64] | None:
    """Return the (outputs, inputs) weights of a convolution that meet its bottom of one row and one column."""
    if any(side != 1 for side in weights.shape[2:]):
        return None
    group = attribute(node, "group", 1)
    outputs = len(weights) // group
    matrix = np.zeros((len(weights), inputs))
    each = inputs // group
    for number in range(group):
        own = slice(number * outputs, (number + 1) * outputs)
        matrix[own, number * each : (number + 1) * each] = weights[own].reshape(outputs, each)
    return matrix


def bounds(graph: Graph, node: Message) -> tuple[float, float]:
    """Return the least and the largest value that a Relu or a Clip gives."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    found = [attribute(node, "min", -math.inf), attribute(node, "max", math.inf)]
    for index, name in enumerate(node.input[1:3]):
        if name and (value := graph.constant(name)) is not None:
            found[index] = float(value.ravel()[0])
        elif name:
            found[index] = math.nan
    return found[0], found[1]


def range_of(graph: Graph, tensor: str) -> tuple[float, float]:
    """Return a range that holds all values of a tensor, whatever the image is."""
    least, most = math.inf, -math.inf
    seen: set[str] = set()
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        low, high = -math.inf, math.inf
        node = graph.producer.get(name)
        match node.op_type if node is not None and node.domain in ("", "ai.onnx") else "":
            case "Relu" | "Abs" | "Exp" | "Softplus" | "Sqrt":
                low = 0.0
            case "Clip":
                low, high = bounds(graph, node)
            case "Sigmoid" | "HardSigmoid" | "Softmax":
                low, high = 0.0, 1.0
            case "Concat":
                waiting += node.input  # type: ignore[union-attr]
                continue
            case operator if operator in _SAME_RANGE and not any(attribute(node, "pads", [0])):
                waiting.append(node.input[0])  # type: ignore[union-attr]
                continue
        least, most = min(least, low), max(most, high)
    return least, most
