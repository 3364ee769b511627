"""Reading an ONNX file as a net: the nodes up to the features as they are, and the head as Caffe's layers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.errors import EngineError, NetError
from pycam.formats import schema
from pycam.formats.onnx_file import read_onnx_file
from pycam.formats.onnx_messages import FLOAT
from pycam.formats.schema import Message
from pycam.net import Net, Params, Sources, net_from_message
from pycam.net.layers import Layer, OnnxNode, Shape, Source
from pycam.net.spec import NetSpec
from pycam.onnx.graph import Graph, attribute, graph_of, key_of, layer_of, random_image, read_by
from pycam.onnx.pooling import SAME_VALUES, find_pooling
from pycam.onnx.tail import Additions, Form, follow

DEFAULT_SIZE = 224
"""Height and width of the images of a model that leaves them open."""

_LAST = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh", "Clip", "Relu")
"""Operators that can be the last activation of scores."""

_TOLERANCE = {np.dtype(np.float16): 0.03}
"""How much scores may differ from those of the graph, as a fraction of the largest, by the type of the latter."""


@dataclass(frozen=True)
class _Scores:
    """An output of a graph that can hold class scores.

    Attributes
    ----------
    output : str
        The output.
    logits : str
        The scores before the last activation.
    activation : NodeProto, optional
        The last activation.
    form : Form or str
        The logits as a linear function of the means of maps, or the reason why there is none.
    method : str
        The pooling: `AVE` or `MAX`.
    pooling : str
        The name of the pooling.
    """

    output: str
    logits: str
    activation: Message | None
    form: Form | str
    method: str = "AVE"
    pooling: str = ""


def read_onnx(
    path: str | os.PathLike[str],
    *,
    rgb: bool = True,
    size: tuple[int, int] | None = None,
    own_input: bool = False,
) -> Net:
    """Read an ONNX file as a net.

    The global pooling, the features in front of it and the class weights behind it are found from the graph, and become
    Caffe's layers; all nodes in front of them stay what they are.

    Parameters
    ----------
    path : path
        The file; files with external data lie in its folder.
    rgb : bool
        Whether the model expects red, green, blue. The net takes three channels as blue, green, red.
    size : (int, int), optional
        Height and width of the images, if the model leaves them open; 224×224 without it.
    own_input : bool
        Keep the model's own input, with its axes, channels, type and name.

    Returns
    -------
    Net
        With parameters. Its input is (N, C, H, W) float32 without `own_input`. Notes say what was decided.

    Raises
    ------
    FormatError
        The file is no ONNX model, or is damaged.
    NetError
        The model does not take images, or ONNX Runtime cannot run it.
    """
    shown = os.fspath(path)
    model, files = read_onnx_file(path)
    graph, note = graph_of(model, shown, size, DEFAULT_SIZE)
    if own_input:
        graph = replace(graph, origin=replace(graph.origin, input_type=graph.input_type))
    with np.errstate(all="ignore"):  # what is not finite shows in the scores
        net = _net(graph, rgb, own_input)
    notes = [f"{shown}: {each}" for each in (note, *net.notes) if each]
    sources = Sources(shown, shown, (shown,), data=tuple(map(os.fspath, files)))
    return replace(net, name=net.name or Path(path).stem, notes=tuple(notes), sources=sources)


def _net(graph: Graph, rgb: bool, own_input: bool) -> Net:
    added = Additions(graph)
    source = _input(graph, added, rgb, own_input)
    before = added.layers
    added.layers = []
    scores = [_scores(graph, output, added) for output in _final_outputs(graph)]
    heads = [each for each in scores if isinstance(each.form, Form)]
    without = [each for each in scores if isinstance(each.form, str) and not heads]
    reasons = {name: str(each.form) for each in without for name in (each.output, each.logits)}
    last = [key_of(each.activation) for each in without if each.activation is not None]
    nodes = [
        layer_of(graph, node, no_maps=_reason(node, reasons), activation=key_of(node) in last) for node in graph.nodes
    ]
    body = _pruned(
        [source, *before, *nodes, *added.layers], [_maps(each) for each in heads] or [each.output for each in without]
    )
    params: Params = {
        layer.name: tuple(np.asarray(graph.values[name], np.float32) for name in layer.param_inputs)
        for layer in body
        if isinstance(layer, OnnxNode) and layer.param_inputs
    }
    tail: list[Layer] = []
    if heads:
        tail, weights = _tail(graph, added, body, heads)
        params |= weights
    net = Net(graph.name, (*body, *tail), params, schema.NetParameter(name=graph.name))
    held = dict.fromkeys(name for each in heads if isinstance(each.form, Form) for name in each.form.held)
    notes = [f"output {output!r} is left out: {reason}" for output, reason in graph.left_out.items()]
    if held:
        notes.append(f"maps hold the factors of {', '.join(held)} at the values of each image")
    return _checked(replace(net, notes=tuple(notes)), graph, rgb, own_input, [each.output for each in scores])


def _maps(scores: _Scores) -> str:
    assert isinstance(scores.form, Form)
    return scores.form.maps


def _final_outputs(graph: Graph) -> list[str]:
    """Return the outputs that can be scores: numbers that no other output's numbers are computed from."""
    numbers = [name for name in graph.outputs if graph.is_float(name) and name in graph.of_image]
    numbers = [name for name in numbers if not _is_choice(graph.producer.get(name))]
    read = {name for output in numbers for name in _computed_from(graph, output)}
    found = [name for name in numbers if name not in read]
    if not found:
        raise NetError(
            f"{graph.path}: no output ({', '.join(graph.outputs)}) has class scores: expected one with real numbers, "
            "those of all classes"
        )
    return found


def _is_choice(node: Message | None) -> bool:
    """Return whether a node chooses classes by their scores."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in ("TopK", "ArgMax", "ArgMin")


def _computed_from(graph: Graph, tensor: str) -> set[str]:
    """Return the tensors that a tensor is computed from; what a choice of classes reads does not count."""
    found: set[str] = set()
    waiting = [tensor]
    while waiting:
        node = graph.producer.get(waiting.pop())
        names = [] if node is None or _is_choice(node) else [*read_by(node)]
        waiting += [name for name in names if name not in found]
        found.update(names)
    return found


def _reason(node: Message, reasons: Mapping[str, str]) -> str:
    return next((reasons[output] for output in node.output if output in reasons), "")


def _input(graph: Graph, added: Additions, rgb: bool, own_input: bool) -> Source:
    """Return the input of the net; `added` gets the nodes that make the graph's own input from it."""
    n, *sides = graph.input_shape
    last = _channels_last(graph)
    if own_input:
        return _source(graph.input, graph.input_shape)
    channels = sides[2] if last else sides[0]
    shape = (n, channels, sides[0], sides[1]) if last else graph.input_shape
    flip = rgb and channels == 3
    if not last and not flip and graph.input_type == FLOAT:
        return _source(graph.input, shape)
    name = added.unused("data")
    value = name
    added.shapes[name] = shape
    if flip:
        value = added.add("Gather", [value, np.array([2, 1, 0])], shape, "data/rgb", axis=1)
    if last:
        value = added.add("Transpose", [value], graph.input_shape, "data/nhwc", perm=(0, 2, 3, 1))
    if graph.input_type != FLOAT:
        value = added.add("Cast", [value], graph.input_shape, "data/cast", to=graph.input_type)
    made = added.layers[-1]
    node = type(made.node)()
    node.CopyFrom(made.node)
    node.output[0] = graph.input
    added.layers[-1] = replace(made, node=node, tops=(graph.input,), outputs=(graph.input,))
    return _source(name, shape)


def _channels_last(graph: Graph) -> bool:
    return graph.input_shape[3] in (1, 3, 4) and graph.input_shape[1] not in (1, 3, 4)


def _source(name: str, shape: Shape) -> Source:
    spec = NetSpec()
    spec.input(name, *shape)
    (layer,) = net_from_message(spec.message).layers
    assert isinstance(layer, Source)
    return layer


def _scores(graph: Graph, output: str, added: Additions) -> _Scores:
    """Follow an output back to its logits, and these to a global pooling."""
    logits, activation = _before_activation(graph, output)
    pooling = find_pooling(graph, logits)
    if isinstance(pooling, str):
        return _Scores(output, logits, activation, pooling)
    form = follow(graph, pooling, logits, added)
    name = graph.name_of(pooling.node)
    kept = activation is None or activation.op_type in ("Softmax", "Sigmoid", "Tanh")
    if not kept and graph.values[logits].dtype != np.float32:
        assert activation is not None
        form = f"{graph.about(activation)}, the last activation, is not in single precision"
    return _Scores(output, logits, activation, form, pooling.method, name)


def _before_activation(graph: Graph, output: str) -> tuple[str, Message | None]:
    tensor, activation = output, None
    while (node := graph.producer.get(tensor)) is not None and node.domain in ("", "ai.onnx"):
        source = node.input[0]
        same_size = source in graph.of_image and math.prod(graph.shape(source)) == math.prod(graph.shape(tensor))
        if node.op_type in SAME_VALUES and same_size:
            tensor = source
        elif activation is None and node.op_type in _LAST and same_size and _along_classes(graph, node):
            tensor, activation = source, node
        else:
            break
    return tensor, activation


def _along_classes(graph: Graph, node: Message) -> bool:
    """Return whether an activation works on each number by itself, or a softmax along all numbers of an image."""
    if node.op_type not in ("Softmax", "LogSoftmax"):
        return True
    shape = graph.shape(node.input[0])
    newest = graph.origin.opsets[""] >= 13
    axis = attribute(node, "axis", -1 if newest else 1) % len(shape)
    along = shape[axis : axis + 1] if newest else shape[axis:]
    return math.prod(along) == math.prod(shape)


def _pruned(layers: Sequence[Layer], wanted: Sequence[str]) -> list[Layer]:
    needed = set(wanted)
    kept: list[Layer] = []
    for layer in reversed(layers):
        if needed.intersection(layer.outputs) or isinstance(layer, Source):
            needed.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def _tail(
    graph: Graph, added: Additions, body: Sequence[Layer], heads: Sequence[_Scores]
) -> tuple[list[Layer], Params]:
    """Return the layers from the maps to the scores, as Caffe's, and their parameters."""
    values = {value for layer in body for value in layer.outputs}
    names = {layer.name for layer in body}

    def unused(name: str, taken: set[str]) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    spec = NetSpec()
    params: Params = {}
    for maps in dict.fromkeys(map(_maps, heads)):
        spec.input(maps, *added.shape(maps))
    last: dict[str, tuple[str, Message]] = {}
    for head in heads:
        form = head.form
        assert isinstance(form, Form)
        matrix = form.weights.reshape(form.bias.size, -1)
        layer = spec.message.layer.add(
            name=unused(head.pooling, names),
            type="Pooling",
            bottom=[form.maps],
            top=[unused(f"{head.pooling}/pooled", values)],
            pooling_param={"pool": head.method, "global_pooling": True},
        )
        output = unused(head.output, values)
        logits = output if head.activation is None else unused(head.logits, values)
        if not form.class_node and form.is_pooled:
            spec.message.layer.add(
                name=unused(f"{head.pooling}/flat", names), type="Flatten", bottom=layer.top, top=[logits]
            )
        else:
            name = unused(form.class_node or (form.folded[-1] if form.folded else "class_weights"), names)
            spec.message.layer.add(
                name=name,
                type="InnerProduct",
                bottom=layer.top,
                top=[logits],
                inner_product_param={"num_output": len(matrix)},
            )
            params[name] = (matrix.astype(np.float32), form.bias.ravel().astype(np.float32))
        if head.activation is not None:
            kind = {"Softmax": "Softmax", "Sigmoid": "Sigmoid", "Tanh": "TanH"}.get(head.activation.op_type)
            name = unused(graph.name_of(head.activation), names)
            if kind is None:
                last[output] = (logits, head.activation)
            else:
                spec.message.layer.add(name=name, type=kind, bottom=[logits], top=[output])
    layers = [layer for layer in net_from_message(spec.message).layers if not isinstance(layer, Source)]
    shapes = {value: shape for each in layers for value, shape in zip(each.outputs, each.output_shapes, strict=True)}
    activations = [_activation(graph, node, logits, output, shapes) for output, (logits, node) in last.items()]
    params |= {
        layer.name: tuple(np.asarray(graph.values[name], np.float32) for name in layer.param_inputs)
        for layer in activations
        if layer.param_inputs
    }
    return [*layers, *activations], params


def _activation(graph: Graph, node: Message, logits: str, output: str, shapes: Mapping[str, Shape]) -> OnnxNode:
    """Return the last activation of a graph behind the net's own logits."""
    renamed = type(node)()
    renamed.CopyFrom(node)
    renamed.input[0], renamed.output[0] = logits, output
    layer = layer_of(graph, node, activation=True)
    return replace(
        layer,
        node=renamed,
        bottoms=(logits,),
        inputs=(logits,),
        tops=(output,),
        outputs=(output,),
        input_shapes=(shapes[logits],),
        output_shapes=(shapes[logits],),
    )


def _checked(net: Net, graph: Graph, rgb: bool, own_input: bool, outputs: Sequence[str]) -> Net:
    """Run the net on two images, alone and together; compare it with the graph, and find out whether it takes both."""
    blobs = [blob for blob in outputs if blob in net.shapes]
    first = random_image(graph)
    second = first[:, ::-1, ::-1] if _channels_last(graph) else first[:, :, ::-1, ::-1]
    if not own_input:
        first, second = (_as_net_input(image, graph, rgb) for image in (first, second))
    (name,) = net.inputs
    try:
        with engines.make("onnxruntime", net, blobs) as engine:
            alone = [engine.forward({name: image}) for image in (first, second)]
            try:
                both = engine.forward({name: np.concatenate([first, second])})
                together = all(
                    len(both[blob]) == 2 and _same(both[blob], np.concatenate([each[blob] for each in alone]), 1e-3)
                    for blob in blobs
                )
            except (EngineError, ValueError):
                together = False
    except EngineError as error:
        raise NetError(f"{graph.path}: its scores cannot be computed for each image by itself: {error}") from None
    for blob in blobs:
        expected = graph.values[blob]
        if not _same(alone[0][blob].ravel(), expected.ravel(), _TOLERANCE.get(expected.dtype, 1e-3)):
            raise NetError(
                f"{graph.path}: the scores {blob!r} of the net that pycam made differ from those of the model: "
                "please report this, with the model"
            )
    if together or graph.origin.one_by_one:
        return net
    origin = replace(graph.origin, one_by_one=True)
    layers = [replace(each, origin=origin) if isinstance(each, OnnxNode) else each for each in net.layers]
    return replace(net, layers=tuple(layers))


def _as_net_input(image: NDArray[np.generic], graph: Graph, rgb: bool) -> NDArray[np.float32]:
    """Return an input of the graph as the net takes it: (1, C, H, W) float32, BGR."""
    values = image.astype(np.float32)
    if _channels_last(graph):
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values[:, ::-1] if rgb and values.shape[1] == 3 else values)


def _same(found: NDArray[np.generic], expected: NDArray[np.generic], tolerance: float) -> bool:
    """Return whether two arrays differ by a fraction of the largest value at most."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if a.shape != b.shape or not np.isfinite(b).all():
        return a.shape == b.shape
    return bool(np.abs(a - b).max(initial=0) <= tolerance * max(float(np.abs(b).max(initial=0)), 1e-6))
