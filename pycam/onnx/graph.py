"""The graph of an ONNX model: its nodes and constants, and the value of every tensor for one random image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pycam.engines.onnxruntime import session as make_session
from pycam.errors import NetError, UnsupportedLayerError
from pycam.formats import onnx_messages
from pycam.formats.onnx_file import float_array
from pycam.formats.onnx_messages import DOUBLE, FLOAT, FLOAT16, LARGE, MESSAGES, UINT8
from pycam.formats.schema import Message
from pycam.net.layers import OnnxNode, OnnxOrigin, Shape, dims

OLDEST, IR_VERSION = 7, 8
"""The oldest version of ONNX's operators that is read, and the oldest version of the format that is written."""

IMAGE_TYPES = {FLOAT: np.float32, FLOAT16: np.float16, DOUBLE: np.float64, UINT8: np.uint8}
"""The types of an image's values that are converted to: number in ONNX -> NumPy's type."""

OWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training")
"""The domains of the operators that ONNX Runtime has."""

_SIZE_ONLY = ("Shape", "Size")
"""Operators that read the shape of a tensor, not its values."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph with one image as its input.

    Attributes
    ----------
    path : str
        The file, for messages.
    name : str
        The name of the graph.
    origin : OnnxOrigin
        The versions of the operators.
    nodes : tuple of NodeProto
        Those that the outputs need, in order.
    tensors : mapping of str to TensorProto
        The constants.
    input : str
        The name of the image.
    input_type : int
        The type of its values, a key of `IMAGE_TYPES`.
    input_shape : tuple of int
        Its shape at batch 1.
    batch : int, optional
        The batch size in the file, None if it is open.
    outputs : tuple of str
        The outputs that ONNX Runtime can compute.
    left_out : mapping of str to str
        The other outputs, and why they are left out.
    values : mapping of str to array
        The value of each tensor for one image of random numbers.
    """

    path: str
    name: str
    origin: OnnxOrigin
    nodes: tuple[Message, ...]
    tensors: Mapping[str, Message]
    input: str
    input_type: int
    input_shape: Shape
    batch: int | None
    outputs: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def producer(self) -> dict[str, Message]:
        """Tensor -> the node that computes it."""
        return {output: node for node in self.nodes for output in node.output if output}

    @cached_property
    def of_image(self) -> frozenset[str]:
        """The tensors whose values depend on the image, not only on its size."""
        found = {self.input}
        for node in self.nodes:
            if node.op_type not in _SIZE_ONLY and found.intersection(read_by(node)):
                found.update(output for output in node.output if output)
        return frozenset(found)

    @cached_property
    def names(self) -> dict[str, str]:
        """The first output of each node -> a name for the node that no other node has."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        for number, node in enumerate(self.nodes):
            name = node.name or self._by_weights(node) or f"{node.op_type}_{number}"
            while name in taken:
                name += f"_{number}"
            taken.add(name)
            names[key_of(node)] = name
        return names

    def _by_weights(self, node: Message) -> str:
        """Return the name of a node's weights without its end: `fc` of `fc.weight`."""
        weights = [name for name in node.input[1:2] if name in self.tensors]
        return weights[0].rpartition(".")[0] if weights else ""

    def name_of(self, node: Message) -> str:
        """Return the name of a node."""
        return self.names[key_of(node)]

    def about(self, node: Message) -> str:
        """Return the name and the operator of a node, for messages."""
        return f"{self.name_of(node)!r} ({node.op_type})"

    def shape(self, tensor: str) -> Shape:
        """Return the shape of a tensor for one image; that of a single number for what is no tensor."""
        return tuple(self.values[tensor].shape) if tensor in self.values else ()

    def is_float(self, tensor: str) -> bool:
        """Return whether the values of a tensor are real numbers."""
        return tensor in self.values and self.values[tensor].dtype.kind == "f"

    def is_blob(self, tensor: str) -> bool:
        """Return whether a tensor has float32 values of each image, with the images along its first axis."""
        value = self.values.get(tensor)
        return value is not None and tensor in self.of_image and value.dtype == np.float32 and value.shape[:1] == (1,)

    def constant(self, tensor: str) -> NDArray[np.float64] | None:
        """Return the values of a tensor that no image changes, None for another one."""
        value = self.values.get(tensor)
        if value is None or tensor in self.of_image or value.dtype.kind not in "fiub":
            return None
        return value.astype(np.float64)


def key_of(node: Message) -> str:
    """Return a name by which a node is known: its first output."""
    return next((str(output) for output in node.output if output), "")


def read_by(node: Message) -> Iterator[str]:
    """Yield the tensors that a node reads, those of the graphs inside it too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            own = {each.name for each in (*inner.input, *inner.initializer)}
            for each in inner.node:
                yield from (name for name in read_by(each) if name not in own)
                own.update(each.output)
            yield from (each.name for each in inner.output if each.name not in own)


def attribute(node: Message, name: str, default: Any = None) -> Any:
    """Return an attribute of a node: a number, a list of numbers, bytes or a tensor."""
    for each in node.attribute:
        if each.name == name:
            kind = each.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[each.type].name
            found = {"FLOAT": each.f, "INT": each.i, "STRING": each.s, "TENSOR": each.t}
            return found.get(kind, list(each.floats) if kind == "FLOATS" else list(each.ints))
    return default


def needed(nodes: Sequence[Message], outputs: Iterable[str]) -> list[Message]:
    """Return the nodes that some tensors depend on, in order."""
    wanted = set(outputs)
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(read_by(node))
            found.append(node)
    return found[::-1]


def constant_tensor(node: Message) -> Message | None:
    """Return the value of a Constant node as a tensor with the name of its output; None for another node."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    name = node.output[0]
    if (tensor := attribute(node, "value")) is not None:
        named = MESSAGES["TensorProto"]()
        named.CopyFrom(tensor)
        named.name = name
        return named
    for key, kind in (("value_int", int), ("value_ints", int), ("value_float", float), ("value_floats", float)):
        if (number := attribute(node, key)) is not None:
            return onnx_messages.tensor(np.array(number, np.int64 if kind is int else np.float32), name)
    return None


def session(model: Message, weights: Mapping[str, NDArray[np.float32]] | None = None) -> onnxruntime.InferenceSession:
    """Make a session of ONNX Runtime that computes as the graph says, without optimisation.

    `weights` are the values of the constants that the model has without them.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return make_session(model, weights or {}, options)


def graph_of(model: Message, path: str, size: tuple[int, int] | None, default_size: int) -> tuple[Graph, str]:
    """Check a model, and compute all its tensors for one image.

    Parameters
    ----------
    model : ModelProto
        From `pycam.formats.onnx_file`.
    path : str
        The file, for messages.
    size : (int, int), optional
        Height and width, for a model that leaves them open.
    default_size : int
        The height and width of such a model if no size is given.

    Returns
    -------
    graph : Graph
    note : str
        What was decided about the size; empty if the model says it.

    Raises
    ------
    NetError
        The model does not take one image, or ONNX Runtime cannot run it; the message has the reason.
    UnsupportedLayerError
        All its outputs need operators that ONNX Runtime does not have.
    """
    opsets = {"" if each.domain == "ai.onnx" else each.domain: int(each.version) for each in model.opset_import}
    if opsets.get("", 0) < OLDEST:
        raise NetError(
            f"{path}: operators of version {opsets.get('', 'none')}; expected {OLDEST} or later: export the model "
            "with a newer opset"
        )
    origin = OnnxOrigin(opsets, max(IR_VERSION, model.ir_version), tuple(model.functions))
    graph = model.graph
    if graph.sparse_initializer:
        raise NetError(
            f"{path}: sparse constants ({graph.sparse_initializer[0].values.name!r}): save them as dense ones"
        )
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if (constant := constant_tensor(node)) is not None:
            tensors[constant.name] = constant
        else:
            nodes.append(node)
    outputs, left_out = _computable(nodes, list(dict.fromkeys(output.name for output in graph.output)), origin, path)
    nodes = needed(nodes, outputs)
    read = {name for node in nodes for name in read_by(node)}
    images = [each for each in graph.input if each.name in read and each.name not in tensors]
    if len(images) != 1:
        names = ", ".join(each.name for each in images) or "none"
        raise NetError(f"{path}: {len(images)} inputs ({names}); expected one, for images")
    (image,) = images
    shape, note = _shape(image, nodes, path, size, default_size)
    if any(each.HasField("g") or each.graphs for node in nodes for each in node.attribute):
        # A condition can depend on all images of a batch.
        origin = replace(origin, one_by_one=True)
    kind = int(image.type.tensor_type.elem_type)
    if kind not in IMAGE_TYPES:
        raise NetError(
            f"{path}: input {image.name!r} has values of ONNX's type {kind}; expected float, float16, double or uint8"
        )
    made = Graph(
        path,
        graph.name,
        origin,
        tuple(nodes),
        {name: tensor for name, tensor in tensors.items() if name in read},
        image.name,
        kind,
        shape,
        max(0, int(image.type.tensor_type.shape.dim[0].dim_value)) or None,
        tuple(outputs),
        left_out,
    )
    return replace(made, values=_values(made)), note


def _computable(
    nodes: Sequence[Message], outputs: Sequence[str], origin: OnnxOrigin, path: str
) -> tuple[list[str], dict[str, str]]:
    """Return the outputs that ONNX Runtime's operators compute, and the others with the reason."""
    own = {(function.domain, function.name) for function in origin.functions}
    left_out = {}
    for output in outputs:
        for node in needed(nodes, [output]):
            if node.domain not in OWN_DOMAINS and (node.domain, node.op_type) not in own:
                left_out[output] = (
                    f"node {node.name or key_of(node)!r} has the operator {node.op_type} of {node.domain!r}, which "
                    "ONNX Runtime does not have"
                )
    if not outputs:
        raise NetError(f"{path}: the graph has no outputs: is this a model?")
    if len(left_out) == len(outputs):
        raise UnsupportedLayerError(f"{path}: {next(iter(left_out.values()))}: export the model without it")
    return [output for output in outputs if output not in left_out], left_out


def _shape(
    image: Message, nodes: Sequence[Message], path: str, size: tuple[int, int] | None, default_size: int
) -> tuple[Shape, str]:
    """Return the shape of the input at batch 1, with a note if the model leaves it open."""
    about = f"{path}: input {image.name!r}"
    if not image.type.tensor_type.HasField("shape"):
        raise NetError(f"{about} has no shape; expected four axes, as N×3×H×W: export the model with the shape")
    # An axis without a number, or with one below 1, is open.
    sides = [int(dim.dim_value) if dim.dim_value > 0 else None for dim in image.type.tensor_type.shape.dim]
    if len(sides) != 4:
        found = "×".join("?" if side is None else str(side) for side in sides) or "a single number"
        raise NetError(f"{about} is {found}; images need four axes, N×C×H×W or N×H×W×C")
    channels, rows, columns = (3, 1, 2) if _channels_last(sides, image.name, nodes) else (1, 2, 3)
    if sides[channels] is None:
        sides[channels] = 3
    note = ""
    given = (sides[rows], sides[columns])
    if size is not None:
        if any(side not in (None, wanted) for side, wanted in zip(given, size, strict=True)):
            raise NetError(
                f"{about} has the fixed size {'×'.join(map(str, given))}, not {dims(size)}: leave out --input-size"
            )
        sides[rows], sides[columns] = size
    elif None in given:
        known = next((side for side in given if side is not None), default_size)
        sides[rows], sides[columns] = (side or known for side in given)
        note = f"the size of the input is open: {known}×{known} is taken, --input-size gives another"
    return (1, *(int(side or 1) for side in sides[1:])), note


def _channels_last(sides: Sequence[int | None], image: str, nodes: Sequence[Message]) -> bool:
    """Return whether an input of these sides is N×H×W×C."""
    few = (1, 3, 4)
    if sides[1] in few or sides[3] not in (*few, None):
        return False
    if sides[3] in few:
        return True
    turned = (node for node in nodes if node.op_type == "Transpose" and list(node.input) == [image])
    return any(attribute(node, "perm") == [0, 3, 1, 2] for node in turned)


def random_image(graph: Graph) -> NDArray[Any]:
    """Return one image of random numbers, of the shape and the type of the input."""
    values = np.random.default_rng(0).standard_normal(graph.input_shape)
    if graph.input_type == UINT8:
        values = 128 + 64 * values.clip(-2, 1.9)
    return values.astype(IMAGE_TYPES[graph.input_type])


def _values(graph: Graph) -> dict[str, NDArray[Any]]:
    """Return the value of each tensor for one image of random numbers."""
    names = [name for node in graph.nodes for name in node.output if name]
    constants = _constants(graph)
    weights = {name: array for name, array in constants.items() if array.dtype == np.float32 and array.nbytes >= LARGE}
    made = {
        "name": "net",
        "node": graph.nodes,
        "input": [onnx_messages.value(graph.input, graph.input_type, graph.input_shape)],
        "output": [MESSAGES["ValueInfoProto"](name=name) for name in names],
        "initializer": [
            onnx_messages.tensor_outside(weights[name], name) if name in weights else tensor
            for name, tensor in graph.tensors.items()
        ],
    }
    model = onnx_messages.model(made, graph.origin.opsets, graph.origin.ir_version, graph.origin.functions)
    image = random_image(graph)
    try:
        found = session(model, weights).run(names, {graph.input: image})
    except Exception as error:  # ONNX Runtime's exceptions have no other common base class
        if graph.input_type == DOUBLE:
            raise NetError(
                f"{graph.path}: ONNX Runtime cannot run the model in double precision: export it in float32"
            ) from None
        fixed = "" if graph.batch in (None, 1) else f", its batch size {graph.batch}; export it with an open one, or 1"
        raise NetError(
            f"{graph.path}: ONNX Runtime cannot run the model on one image of {dims(graph.input_shape[1:])}{fixed}: "
            f"{' '.join(str(error).split())}"
        ) from None
    values = dict(zip(names, found, strict=True))
    values = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    return {graph.input: image} | constants | values


def _constants(graph: Graph) -> dict[str, NDArray[Any]]:
    """Return the values of the constants, as far as a head can need them: float32 ones are read, others computed."""
    found: dict[str, NDArray[Any]] = {}
    others = []
    for name, tensor in graph.tensors.items():
        array = float_array(tensor, graph.path)
        if array is None:
            others.append(tensor)
        else:
            found[name] = array
    if others:
        names = [f"{tensor.name}/value" for tensor in others]
        nodes = [
            onnx_messages.node("Identity", [tensor.name], [name], "", {})
            for tensor, name in zip(others, names, strict=True)
        ]
        made = {
            "name": "constants",
            "node": nodes,
            "output": [MESSAGES["ValueInfoProto"](name=name) for name in names],
            "initializer": others,
        }
        model = onnx_messages.model(made, graph.origin.opsets, graph.origin.ir_version)
        try:
            found.update(zip((tensor.name for tensor in others), session(model).run(names, {}), strict=True))
        except Exception as error:  # as above
            raise NetError(f"{graph.path}: its constants are damaged: {' '.join(str(error).split())}") from None
    return found


def run_node(graph: Graph, node: Message, value: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Run a node on a value in place of its first input; its others are constants, or follow from the image's size."""
    renamed = type(node)()
    renamed.CopyFrom(node)
    renamed.input[0] = "value"
    others = {name: graph.values[name] for name in node.input[1:] if name}
    made = {
        "name": "node",
        "node": [renamed],
        "input": [onnx_messages.value("value", FLOAT, value.shape)],
        "output": [MESSAGES["ValueInfoProto"](name=name) for name in node.output],
        "initializer": [onnx_messages.tensor(array, name) for name, array in others.items()],
    }
    model = onnx_messages.model(made, graph.origin.opsets, graph.origin.ir_version)
    found: list[NDArray[Any]] = session(model).run(None, {"value": value})
    return found


def layer_of(graph: Graph, node: Message, **more: Any) -> OnnxNode:
    """Return a node as a layer of a net; its shapes are those for one image."""
    read = list(dict.fromkeys(read_by(node)))
    constants = {name: graph.tensors[name] for name in read if name in graph.tensors}
    weights = {
        name: graph.shape(name) for name, tensor in constants.items() if tensor.data_type == FLOAT and len(tensor.dims)
    }
    inputs = tuple(name for name in read if name not in constants)
    outputs = tuple(name for name in node.output if name)
    return OnnxNode(
        name=graph.name_of(node),
        type=f"onnx.{node.op_type}",
        bottoms=inputs,
        tops=tuple(name for name in outputs if graph.is_blob(name)),
        inputs=inputs,
        outputs=outputs,
        input_shapes=tuple(graph.shape(name) for name in inputs),
        output_shapes=tuple(graph.shape(name) for name in outputs),
        param_shapes=tuple(weights.values()),
        param_names=tuple(weights),
        node=node,
        origin=graph.origin,
        param_inputs=tuple(weights),
        constants={name: tensor for name, tensor in constants.items() if name not in weights},
        **more,
    )
