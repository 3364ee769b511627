"""Nodes of an ONNX graph, which stand in a net between its input and the layers of its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pycam.net.layers.base import Layer, count


@dataclass(frozen=True, eq=False)
class OnnxOrigin:
    """What all nodes of one ONNX file share.

    Attributes
    ----------
    opsets : mapping of str to int
        Domain of operators -> version; the domain of ONNX's own is "".
    ir_version : int
        The version of the file's format.
    functions : tuple of FunctionProto
        Operators that the file itself defines.
    one_by_one : bool
        Whether the graph computes one image at a time: its batch size is fixed.
    input_type : int
        ONNX's number of the type of the net's input, 1 for float32.
    """

    opsets: Mapping[str, int]
    ir_version: int
    functions: tuple[Any, ...] = ()
    one_by_one: bool = False
    input_type: int = 1


class OnnxNode(Layer):
    """A node of an ONNX graph. What it computes is known to ONNX's runtimes only.

    Its float32 weights are parameters of the net; other constants are part of the layer. No prototxt has this type.

    Attributes
    ----------
    type : str
        The operator, as in `onnx.Conv`.
    node : NodeProto
        The node, with the names of its inputs and outputs.
    origin : OnnxOrigin
        What the nodes of its file share.
    param_inputs : tuple of str
        The inputs of the node that the layer's parameters are, in their order.
    constants : mapping of str to TensorProto
        The other constant inputs.
    activation : bool
        Whether the node is the last activation of scores: its input holds the logits.
    no_maps : str
        Why scores that come from this node have no class activation maps.
    """

    of_caffe = False
    bottom_count = (0, None)
    top_count = (1, None)

    type: str  # type: ignore[misc]  # of each node, not of the class
    node: Any = field(compare=False, repr=False)
    origin: OnnxOrigin = field(compare=False, repr=False)
    param_inputs: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    activation: bool = False
    no_maps: str = ""

    @property
    def multiply_adds(self) -> int:
        if not self.param_shapes or self.node.op_type not in ("Conv", "Gemm", "MatMul"):
            return 0
        weights, outputs = self.param_shapes[0], self.output_shapes[0]
        # A convolution has one kernel per output channel, a matrix one column or row per output.
        return count(outputs) * (count(weights) // max(1, weights[0] if self.node.op_type == "Conv" else outputs[-1]))
