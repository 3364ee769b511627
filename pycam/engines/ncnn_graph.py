"""Translation of a `Net` into ncnn's format: the text of a `.param` file and the bytes of a `.bin` file, in memory.

ncnn computes one image at a time: its blobs have no batch axis, and one to four axes (w, h, c; or w, h, d, c). Blobs
have numbers here, because a name in the text ends at a space. `pycam.net.layers` defines what a layer computes; this
module writes it in ncnn's layers, and refuses what these cannot compute exactly. To add a layer, write a function and
an entry in `_TRANSLATIONS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycam.errors import EngineError
from pycam.net import Net, Params, layers as L
from pycam.net.layers import Pair, Shape, dims

MAGIC = 7767517

MAX_AXES = 4
"""The most axes of ncnn's blobs."""

Settings = Mapping[int, int | float | Sequence[int] | Sequence[float]]
"""The parameters of a layer of ncnn by their numbers: numbers and arrays."""

_NONE: Settings = MappingProxyType({})


class NcnnModel(NamedTuple):
    """A net for ncnn.

    Attributes
    ----------
    param : str
        The layers, as in a `.param` file.
    weights : bytes
        The parameters, as in a `.bin` file.
    inputs : dict
        Value that the user fills -> its blob in ncnn.
    outputs : dict
        Value that was asked for -> its blob in ncnn.
    """

    param: str
    weights: bytes
    inputs: dict[str, str]
    outputs: dict[str, str]


def ncnn_model(net: Net, outputs: Sequence[str]) -> NcnnModel:
    """Translate the part of a net that computes some of its values.

    Parameters
    ----------
    net : Net
        A net with parameters.
    outputs : sequence of str
        Names of values.

    Returns
    -------
    NcnnModel
        Its blobs are float32 and have the shapes of the values without the batch axis; a single number is a blob with
        one value.

    Raises
    ------
    EngineError
        ncnn cannot be exact on a layer; the message names it.
    """
    path = net.layers_before(outputs)
    readers = Counter([*outputs, *(value for layer in path for value in layer.inputs)])
    graph = _Graph(net.params, _rectified(path, readers))
    parts = {relu.outputs for relu in graph.rectified.values()}
    for layer in path:
        if not isinstance(layer, L.Source) and type(layer) not in _TRANSLATIONS:
            raise _inexact(layer, f"ncnn has no {layer.type}")
        needed = {
            value: shape for value, shape in zip(layer.outputs, layer.output_shapes, strict=True) if readers[value]
        }
        for value, shape in needed.items():
            if not shape or shape[0] != 1:
                raise _inexact(layer, f"ncnn computes one image at a time, and blob {value!r} mixes those of a batch")
            if len(shape) > MAX_AXES + 1:
                raise _inexact(layer, f"ncnn has at most {MAX_AXES} axes for an image, {value!r} is {dims(shape)}")
        if isinstance(layer, L.Source):
            for value, shape in needed.items():
                graph.add_input(value, shape[1:])
        elif layer.outputs not in parts:
            graph.name(layer, _TRANSLATIONS[type(layer)](layer, graph))
    return graph.model(outputs)


def _inexact(layer: L.Layer, reason: str) -> EngineError:
    others = "torch or caffe" if isinstance(layer, L.Comparison) else "onnxruntime"
    return EngineError(f"engine 'ncnn' cannot be exact on layer {layer.name!r}: {reason}; use {others}")


def _rectified(path: Sequence[L.Layer], readers: Mapping[str, int]) -> dict[str, L.ReLU]:
    """Return the ReLUs that ncnn computes together with the layer before: value that only the ReLU reads -> ReLU."""
    filters = (L.Convolution, L.Deconvolution, L.InnerProduct)
    values = {layer.outputs[0] for layer in path if isinstance(layer, filters) and readers[layer.outputs[0]] == 1}
    return {layer.inputs[0]: layer for layer in path if isinstance(layer, L.ReLU) and layer.inputs[0] in values}


class _Node(NamedTuple):
    """One layer of ncnn."""

    type: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    settings: Settings

    def line(self, name: str) -> str:
        words = [self.type, name, str(len(self.inputs)), str(len(self.outputs)), *self.inputs, *self.outputs]
        for key, value in self.settings.items():
            if isinstance(value, Sequence):
                words.append(",".join([f"{-23300 - key}={len(value)}", *map(_written, value)]))
            else:
                words.append(f"{key}={_written(value)}")
        return " ".join(words)


def _written(number: float) -> str:
    # A point or an exponent makes it a float.
    return str(number) if isinstance(number, int) else f"{number:.8e}"


class _Graph:
    """A graph under construction: ncnn's layers, what they load, and the blobs of the net's values."""

    def __init__(self, params: Params, rectified: dict[str, L.ReLU]) -> None:
        self.params = params
        self.rectified = rectified
        self._blobs: dict[str, str] = {}
        # ncnn chooses how to compute a convolution by the shapes that it knows: (channels, rows, columns).
        self._shapes: dict[str, Shape] = {}
        self._inputs: dict[str, str] = {}
        self._nodes: list[_Node] = []
        self._weights: list[bytes] = []
        self._numbers = count()

    def add_input(self, value: str, shape: Shape) -> None:
        (self._inputs[value],) = (self._blobs[value],) = self.add("Input", [], _sides(shape), shape=shape)

    def read(self, layer: L.Layer) -> list[str]:
        """Return the blobs of a layer's inputs."""
        return [self._blobs[value] for value in layer.inputs]

    def name(self, layer: L.Layer, blobs: Sequence[str]) -> None:
        """Give the blobs that a layer has computed to its outputs, or to that of its ReLU."""
        relu = self.rectified.get(layer.outputs[0]) if layer.outputs else None
        self._blobs.update(zip((relu or layer).outputs, blobs, strict=True))
        self._shapes.update((blob, shape[1:]) for blob, shape in zip(blobs, layer.output_shapes, strict=True))

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        settings: Settings = _NONE,
        weights: Sequence[NDArray[np.float32]] = (),
        *,
        outputs: int = 1,
        shape: Shape = (),
        tagged: bool = False,
    ) -> list[str]:
        """Append a layer of ncnn and return its outputs.

        `weights` are the arrays that it loads. `shape`: that of each output, if it is known. `tagged`: it loads the
        first of the arrays in several types, and reads from a tag in which.
        """
        made = [str(next(self._numbers)) for _ in range(outputs)]
        self._shapes.update((blob, shape) for blob in made)
        self._nodes.append(_Node(kind, inputs, made, settings))
        if tagged:
            self._weights.append(bytes(4))
        self._weights += [np.ascontiguousarray(array, np.float32).tobytes() for array in weights]
        return made

    def constant(self, values: NDArray[np.float32]) -> str:
        (blob,) = self.add("MemoryData", [], _sides(values.shape), [values])
        return blob

    def reshaped(self, blob: str, shape: Shape, new: Shape) -> list[str]:
        """Return a blob with another shape."""
        return [blob] if (shape or (1,)) == (new or (1,)) else self.add("Reshape", [blob], _sides(new))

    def linear(self, blob: str, factor: float, term: float = 0) -> list[str]:
        """Return a blob times a factor plus a term."""
        for operation, number, neutral in ((_MUL, factor, 1), (_ADD, term, 0)):
            if number != neutral:
                (blob,) = self.add("BinaryOp", [blob], {0: operation, 1: 1, 2: float(number)})
        return [blob]

    def model(self, outputs: Sequence[str]) -> NcnnModel:
        """Return the finished model."""
        wanted = list(dict.fromkeys(outputs))
        read = [*(self._blobs[value] for value in wanted), *(blob for node in self._nodes for blob in node.inputs)]
        readers = Counter(read)
        # One reader takes a blob, and may overwrite it: several get a copy each.
        copies: dict[str, list[str]] = {}
        nodes: list[_Node] = []
        for node in self._nodes:
            nodes.append(node._replace(inputs=[copies[blob].pop() for blob in node.inputs]))
            for blob in node.outputs:
                copies[blob] = [blob]
                if readers[blob] > 1:
                    copies[blob] = [f"{blob}_{number}" for number in range(readers[blob])]
                    self._shapes.update((copy, self._shapes[blob]) for copy in copies[blob])
                    nodes.append(_Node("Split", [blob], list(copies[blob]), {}))
        nodes = [node._replace(settings={**node.settings, **self._known(node.outputs)}) for node in nodes]
        blobs = {value: copies[self._blobs[value]].pop() for value in wanted}
        counts = f"{len(nodes)} {sum(len(node.outputs) for node in nodes)}"
        lines = [str(MAGIC), counts, *(node.line(str(number)) for number, node in enumerate(nodes)), ""]
        return NcnnModel("\n".join(lines), b"".join(self._weights), self._inputs, blobs)

    def _known(self, blobs: Sequence[str]) -> Settings:
        """Return the parameter that tells the shapes of a layer's outputs, if all are images."""
        shapes = [self._shapes[blob] for blob in blobs]
        return {_SHAPES: [n for shape in shapes for n in (3, *shape[::-1])]} if {len(s) for s in shapes} == {3} else {}


def _sides(shape: Shape) -> Settings:
    """Return the parameters of Input, Reshape and MemoryData for a shape."""
    numbers = ((0,), (0,), (1, 0), (2, 1, 0), (2, 11, 1, 0))[len(shape)]
    return dict(zip(numbers, shape or (1,), strict=True))


def _pair(number: int, sides: Pair) -> dict[int, int]:
    """Return the two parameters for (rows, columns); that of the rows is ten higher."""
    return {number: sides[1], number + 10: sides[0]}


_FEATURES, _DIRECT, _ONE_THREAD = 31, 1 << 5 | 1 << 6, 1 << 7
"""The parameter of what a layer does without: matrix products and Winograd's transform; threads."""

_SHAPES = 30
"""The parameter of the outputs' shapes: 3, columns, rows and channels of each."""

_ADD, _MUL, _DIV = 0, 2, 3
"""Operations of BinaryOp."""

_SQUARE, _SQRT = 4, 5
"""Operations of UnaryOp."""

_E = -1.0
"""What stands for e as the base of Exp and Log."""

Translation = Callable[[Any, _Graph], list[str]]


def _layer(kind: str, settings: Callable[[Any], Settings] = lambda _: _NONE) -> Translation:
    """Make the translation of a layer into one layer of ncnn with its inputs and one output."""
    return lambda layer, graph: graph.add(kind, graph.read(layer), settings(layer))


def _activation(layer: L.Layer, graph: _Graph) -> Settings:
    relu = graph.rectified.get(layer.outputs[0])
    if relu is None:
        return _NONE
    return {9: 2, 10: [relu.negative_slope]} if relu.negative_slope else {9: 1}


def _filter(layer: L.Convolution | L.Deconvolution, graph: _Graph, how: Settings = _NONE) -> list[str]:
    weights, *bias = graph.params[layer.name]
    if layer.transposed:
        # channels × num_output/group × kernel -> group × num_output/group × channels/group × kernel
        weights = weights.reshape(layer.group, -1, layer.num_output // layer.group, *layer.kernel).swapaxes(1, 2)
    settings = {
        0: layer.num_output,
        **_pair(1, layer.kernel),
        **_pair(2, layer.dilation),
        **_pair(3, layer.stride),
        **_pair(4, layer.pad),
        5: int(layer.bias),
        6: weights.size,
        **_activation(layer, graph),
        **how,
    }
    kind = layer.type
    if layer.group > 1:
        kind, settings[7] = f"{layer.type}DepthWise", layer.group
    return graph.add(kind, graph.read(layer), settings, [weights, *bias], tagged=True)


def _convolution(layer: L.Convolution, graph: _Graph) -> list[str]:
    step = layer.stride[0]
    if layer.group in range(2, 5) and (layer.kernel, layer.stride, layer.dilation) == ((3, 3), (1, 1), (1, 1)):
        return _grouped(layer, graph)
    if layer.stride == (step, step) and layer.dilation == (1, 1) and layer.group == 1:
        if step > 1 and all(2 * step < side <= 3 * step for side in layer.kernel):
            return _strided(layer, graph)
        if step == 1 and layer.kernel == (3, 3) and layer.input_shapes[0][1] < 4:
            # The three channels of an image are too few for Winograd's transform or a matrix product to be worth it.
            return _filter(layer, graph, {_FEATURES: _DIRECT})
    return _filter(layer, graph)


def _grouped(layer: L.Convolution, graph: _Graph) -> list[str]:
    """Write a few large groups as convolutions of their own, of whose shapes ncnn can be told."""
    (weights, *bias), groups = graph.params[layer.name], layer.group
    channels, *sides = layer.input_shapes[0][1:]
    share = (channels // groups, *sides)
    parts = graph.add("Slice", graph.read(layer), {0: [share[0]] * groups, 1: 0}, outputs=groups, shape=share)
    made = (layer.num_output // groups, *layer.output_shapes[0][2:])
    settings = {
        0: made[0],
        1: 3,
        **_pair(4, layer.pad),
        5: int(layer.bias),
        6: weights.size // groups,
        **_activation(layer, graph),
    }
    found = []
    for part, *arrays in zip(parts, *(np.split(array, groups) for array in (weights, *bias)), strict=True):
        found += graph.add("Convolution", [part], settings, arrays, shape=made, tagged=True)
    return graph.add("Concat", found, {0: 0})


def _strided(layer: L.Convolution, graph: _Graph) -> list[str]:
    """Write a kernel that is up to three steps wide as a 3×3 kernel without a stride, for Winograd's transform.

    The positions that lie within one step become channels.
    """
    (blob,), (weights, *bias), step = graph.read(layer), graph.params[layer.name], layer.stride[0]
    outputs, channels, *kernel = weights.shape
    pads = []
    for side, output, pad in zip(layer.input_shapes[0][2:], layer.output_shapes[0][2:], layer.pad, strict=True):
        pads += [pad, max(0, step * (output + 2) - side - pad)]
    (blob,) = graph.add("Padding", [blob], dict(enumerate(pads)))
    (blob,) = graph.add("Reorg", [blob], {0: step})
    # (T, C, h, w) -> (T, C, 3, step, 3, step) -> (T, C, step, step, 3, 3)
    wide = np.pad(weights, ((0, 0), (0, 0), *((0, 3 * step - side) for side in kernel)))
    wide = wide.reshape(outputs, channels, 3, step, 3, step).transpose(0, 1, 3, 5, 2, 4)
    settings = {0: outputs, 1: 3, 5: int(layer.bias), 6: wide.size, **_activation(layer, graph)}
    return graph.add("Convolution", [blob], settings, [wide, *bias], tagged=True)


def _pooling(layer: L.Pooling, graph: _Graph) -> list[str]:
    (blob,), method = graph.read(layer), {"MAX": 0, "AVE": 1}[layer.method]
    if layer.is_global:
        (blob,) = graph.add("Pooling", [blob], {0: method, 4: 1})
        channels, *sides = layer.output_shapes[0][1:]
        return graph.reshaped(blob, (channels,), (channels, *sides))
    (top, left), (bottom, right) = layer.pad, (max(0, beyond) for beyond in layer.overhang)
    count_padding = 1
    if method and (bottom > top or right > left):
        # Caffe's divisor counts its padding, and not what the window covers beyond; ncnn's counts both or neither.
        pads = (top, min(bottom, top), left, min(right, left))
        if any(pads):
            (blob,) = graph.add("Padding", [blob], dict(enumerate(pads)))
        top, bottom, left, right = 0, bottom - pads[1], 0, right - pads[3]
        count_padding = 0
    window = {**_pair(1, layer.kernel), **_pair(2, layer.stride), **_pair(3, (top, left)), 14: right, 15: bottom}
    return graph.add("Pooling", [blob], {0: method, **window, 5: 1, 6: count_padding})


def _lrn(layer: L.LRN, graph: _Graph) -> list[str]:
    (x,), channels, near = graph.read(layer), layer.input_shapes[0][1], layer.local_size // 2
    if layer.within_channel or layer.beta != 0.75 or layer.k <= 0 or layer.alpha < 0 or channels % 16 or near > 8:
        k = 1.0 if layer.within_channel else layer.k
        settings = {0: int(layer.within_channel), 1: layer.local_size, 2: layer.alpha, 3: layer.beta, 4: k}
        return graph.add("LRN", [x], settings)
    # Faster than ncnn's LRN, which computes a logarithm and an exponential of every value: a 1×1 convolution of 16
    # channels and their neighbours adds the squares up, and the power is that of two roots.
    (squares,) = graph.add("UnaryOp", [x], {0: _SQUARE})
    sums = []
    for start in range(0, channels, 16):
        first, end = max(0, start - 8), min(channels, start + 24)
        part = graph.add("Crop", [squares], {9: [first], 10: [end], 11: [0]})
        band = np.abs(np.arange(start, start + 16)[:, None] - np.arange(first, end)) <= near
        arrays = [band * np.float32(layer.alpha / layer.local_size), np.full(16, layer.k, np.float32)]
        sums += graph.add("Convolution", part, {0: 16, 1: 1, 5: 1, 6: band.size}, arrays, tagged=True)
    (base,) = graph.add("Concat", sums, {0: 0})
    (root,) = graph.add("UnaryOp", [base], {0: _SQRT})
    roots = [root, *graph.add("UnaryOp", [root], {0: _SQRT})]
    return graph.add("BinaryOp", [x, *graph.add("BinaryOp", roots, {0: _MUL})], {0: _DIV})


def _inner_product(layer: L.InnerProduct, graph: _Graph) -> list[str]:
    (blob,), (weights, *bias) = graph.read(layer), graph.params[layer.name]
    (shape,), (output,) = layer.input_shapes, layer.output_shapes
    # (1, …, inputs) -> (rows, inputs)
    rows, inputs = int(np.prod(shape[: layer.axis])), int(np.prod(shape[layer.axis :]))
    before: Shape = (rows,) if rows > 1 else ()
    (blob,) = graph.reshaped(blob, shape[1:], (*before, inputs))
    settings = {0: layer.num_output, 1: int(layer.bias), 2: weights.size, **_activation(layer, graph)}
    arrays = [weights.T if layer.transpose else weights, *bias]
    (blob,) = graph.add("InnerProduct", [blob], settings, arrays, tagged=True)
    return graph.reshaped(blob, (*before, layer.num_output), output[1:])


def _prelu(layer: L.PReLU, graph: _Graph) -> list[str]:
    (slopes,) = graph.params[layer.name]
    return graph.add("PReLU", graph.read(layer), {0: slopes.size}, [slopes])


def _power(layer: L.Power, graph: _Graph) -> list[str]:
    (blob,) = graph.read(layer)
    if layer.power == 1:
        return graph.linear(blob, layer.scale, layer.shift)
    return graph.add("Power", [blob], {0: layer.power, 1: layer.scale, 2: layer.shift})


def _exp(layer: L.Exp, graph: _Graph) -> list[str]:
    (blob,) = graph.add("Exp", graph.read(layer), {0: _E, 1: layer.inner})
    return graph.linear(blob, layer.outer)


def _log(layer: L.Log, graph: _Graph) -> list[str]:
    (blob,) = graph.add("Log", graph.read(layer), {0: _E, 1: layer.scale, 2: layer.shift})
    return graph.linear(blob, layer.factor)


def _softmax(layer: L.Softmax, graph: _Graph) -> list[str]:
    if layer.axis == 0:
        raise _inexact(layer, "ncnn computes one image at a time, and the layer adds those of a batch up")
    # 1: the axis is counted as it should be. The bits of what several threads compute depend on their number.
    return graph.add("Softmax", graph.read(layer), {0: layer.axis - 1, 1: 1, _FEATURES: _ONE_THREAD})


def _same(layer: L.Dropout | L.Split, graph: _Graph) -> list[str]:
    return graph.read(layer) * len(layer.outputs)


def _slice(layer: L.Slice, graph: _Graph) -> list[str]:
    sizes = [shape[layer.axis] for shape in layer.output_shapes]
    return graph.add("Slice", graph.read(layer), {0: sizes, 1: layer.axis - 1}, outputs=len(sizes))


def _eltwise(layer: L.Eltwise, graph: _Graph) -> list[str]:
    operation = {0: {"PROD": 0, "SUM": 1, "MAX": 2}[layer.operation]}
    weighted = {1: layer.coefficients} if set(layer.coefficients) != {1} else {}
    return graph.add("Eltwise", graph.read(layer), {**operation, **weighted})


def _reduction(layer: L.Reduction, graph: _Graph) -> list[str]:
    (blob,), (shape,), (output,) = graph.read(layer), layer.input_shapes, layer.output_shapes
    rows, columns = int(np.prod(shape[: layer.axis])), int(np.prod(shape[layer.axis :]))
    (blob,) = graph.reshaped(blob, shape[1:], (rows, columns))
    operation = {"SUM": 0, "ASUM": 1, "SUMSQ": 2}[layer.operation]
    # Along axis 1, which disappears; 5: axes are counted as they should be.
    (blob,) = graph.add("Reduction", [blob], {0: operation, 1: 0, 2: layer.coefficient, 3: [1], 4: 0, 5: 1})
    return graph.reshaped(blob, (rows,), output[1:])


def _batch_norm(layer: L.BatchNorm, graph: _Graph) -> list[str]:
    mean, variance, factor = graph.params[layer.name]
    share = 1 / factor[0] if factor[0] else 0
    slope_to_bias = [np.ones_like(mean), mean * share, variance * share, np.zeros_like(mean)]
    return graph.add("BatchNorm", graph.read(layer), {0: mean.size, 1: layer.eps}, slope_to_bias)


def _scale(layer: L.Scale, graph: _Graph) -> list[str]:
    blob, *factors = graph.read(layer)
    shape = layer.input_shapes[0][1:]

    def aligned(own: Shape) -> Shape:
        """Return the shape of factors along the axes from the layer's axis on, with all axes of an image."""
        before = (1,) * max(0, layer.axis - 1)
        own = own if layer.axis else own[1:]
        return (*before, *own, *(1 for _ in shape[len(before) + len(own) :]))

    if factors:
        if layer.axis > 0:
            raise _inexact(layer, "ncnn computes one image at a time, and the factors are not those of an image")
        factors = graph.reshaped(factors[0], layer.factor_shape[1:], aligned(layer.factor_shape))
    # The parameters are the factors, unless these are the second input, and the bias.
    for array in graph.params[layer.name] if layer.param_shapes else ():
        factors.append(graph.constant(array.reshape(aligned(array.shape))))
    (blob,) = graph.add("BinaryOp", [blob, factors[0]], {0: _MUL})
    return graph.add("BinaryOp", [blob, factors[1]], {0: _ADD}) if layer.bias else [blob]


def _reshape(layer: L.Flatten | L.Reshape, graph: _Graph) -> list[str]:
    (blob,), (shape,), (new,) = graph.read(layer), layer.input_shapes, layer.output_shapes
    return graph.reshaped(blob, shape[1:], new[1:])


def _shuffle_channel(layer: L.ShuffleChannel, graph: _Graph) -> list[str]:
    (blob,), shape = graph.read(layer), layer.input_shapes[0][1:]
    image = (shape[0], 1, int(np.prod(shape[1:])))
    (blob,) = graph.add("ShuffleChannel", graph.reshaped(blob, shape, image), {0: layer.group})
    return graph.reshaped(blob, image, shape)


def _crop(layer: L.Crop, graph: _Graph) -> list[str]:
    sizes = layer.output_shapes[0][layer.axis :]
    ends = [start + size for start, size in zip(layer.offsets, sizes, strict=True)]
    axes = [axis - 1 for axis in range(layer.axis, layer.axis + len(sizes))]
    return graph.add("Crop", graph.read(layer)[:1], {9: layer.offsets, 10: ends, 11: axes})


_TRANSLATIONS: dict[type[L.Layer], Translation] = {
    L.Convolution: _convolution,
    L.Deconvolution: _filter,
    L.Pooling: _pooling,
    L.LRN: _lrn,
    L.InnerProduct: _inner_product,
    L.ReLU: _layer("ReLU", lambda layer: {0: layer.negative_slope}),
    L.PReLU: _prelu,
    L.ELU: _layer("ELU", lambda layer: {0: layer.alpha}),
    L.Sigmoid: _layer("Sigmoid"),
    L.TanH: _layer("TanH"),
    L.AbsVal: _layer("AbsVal"),
    L.Power: _power,
    L.Exp: _exp,
    L.Log: _log,
    L.Softmax: _softmax,
    L.Dropout: _same,
    L.Split: _same,
    L.Concat: _layer("Concat", lambda layer: {0: layer.axis - 1}),
    L.Slice: _slice,
    L.Tile: _layer("Tile", lambda layer: {0: layer.axis - 1, 1: layer.tiles}),
    L.Eltwise: _eltwise,
    L.Reduction: _reduction,
    L.BatchNorm: _batch_norm,
    L.Scale: _scale,
    L.Flatten: _reshape,
    L.Reshape: _reshape,
    L.ShuffleChannel: _shuffle_channel,
    L.Crop: _crop,
}
"""Layer type -> function that adds its equivalent in ncnn and returns the blobs of its outputs."""
