"""The messages of an ONNX file, as far as pycam reads or writes them, as classes of protobuf.

The package `onnx` has all of them, and takes as long to import as ONNX Runtime itself. What a file has besides these
fields is kept. The numbers are those of ONNX's published format, which only grows:
https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.formats.schema import Message, Schema

FLOAT, INT64 = 1, 7
UINT8, BOOL, FLOAT16, DOUBLE = 2, 9, 10, 11
"""Types of elements."""

LARGE = 1024
"""The fewest bytes of a constant whose values a runtime gets beside the model."""

EXTERNAL = 1
"""The place of a tensor whose values are not in the message."""

_TABLE: dict[str, Any] = {
    "enums": {},
    "messages": {
        "ModelProto": {
            "fields": {
                "ir_version": "optional int64 1",
                "producer_name": "optional string 2",
                "graph": "optional GraphProto 7",
                "opset_import": "repeated OperatorSetIdProto 8",
                "functions": "repeated FunctionProto 25",
            }
        },
        "OperatorSetIdProto": {"fields": {"domain": "optional string 1", "version": "optional int64 2"}},
        "FunctionProto": {"fields": {"name": "optional string 1", "domain": "optional string 10"}},
        "GraphProto": {
            "fields": {
                "node": "repeated NodeProto 1",
                "name": "optional string 2",
                "initializer": "repeated TensorProto 5",
                "input": "repeated ValueInfoProto 11",
                "output": "repeated ValueInfoProto 12",
                "sparse_initializer": "repeated SparseTensorProto 15",
            }
        },
        "NodeProto": {
            "fields": {
                "input": "repeated string 1",
                "output": "repeated string 2",
                "name": "optional string 3",
                "op_type": "optional string 4",
                "attribute": "repeated AttributeProto 5",
                "domain": "optional string 7",
            }
        },
        "AttributeProto": {
            "fields": {
                "name": "optional string 1",
                "f": "optional float 2",
                "i": "optional int64 3",
                "s": "optional bytes 4",
                "t": "optional TensorProto 5",
                "g": "optional GraphProto 6",
                "floats": "repeated float 7",
                "ints": "repeated int64 8",
                "graphs": "repeated GraphProto 11",
                "type": "optional AttributeType 20",
            },
            "enums": {
                "AttributeType": {
                    "UNDEFINED": 0,
                    "FLOAT": 1,
                    "INT": 2,
                    "STRING": 3,
                    "TENSOR": 4,
                    "GRAPH": 5,
                    "FLOATS": 6,
                    "INTS": 7,
                    "STRINGS": 8,
                    "TENSORS": 9,
                    "GRAPHS": 10,
                }
            },
        },
        "TensorProto": {
            "fields": {
                "dims": "repeated int64 1",
                "data_type": "optional int32 2",
                "float_data": "packed float 4",
                "name": "optional string 8",
                "raw_data": "optional bytes 9",
                "external_data": "repeated StringStringEntryProto 13",
                "data_location": "optional int32 14",
            }
        },
        "StringStringEntryProto": {"fields": {"key": "optional string 1", "value": "optional string 2"}},
        "SparseTensorProto": {"fields": {"values": "optional TensorProto 1"}},
        "ValueInfoProto": {"fields": {"name": "optional string 1", "type": "optional TypeProto 2"}},
        "TypeProto": {"fields": {"tensor_type": "optional TensorTypeProto 1"}},
        "TensorTypeProto": {"fields": {"elem_type": "optional int32 1", "shape": "optional TensorShapeProto 2"}},
        "TensorShapeProto": {"fields": {"dim": "repeated DimensionProto 1"}},
        "DimensionProto": {"fields": {"dim_value": "optional int64 1", "dim_param": "optional string 2"}},
    },
}

MESSAGES = Schema(_TABLE).messages
"""Every message class by its name; ONNX nests some in others, which files do not show."""


def model(
    graph: Mapping[str, Any], opsets: Mapping[str, int], ir_version: int, functions: Sequence[Message] = ()
) -> Message:
    """Make a model.

    Parameters
    ----------
    graph : mapping of str to Any
        The fields of the graph; a graph as a message would be copied once more.
    opsets : mapping of str to int
        Domain of operators -> version.
    ir_version : int
        The version of the format.
    functions : sequence of FunctionProto
        Operators that the model defines.

    Returns
    -------
    ModelProto
    """
    made = MESSAGES["ModelProto"](ir_version=ir_version, producer_name="pycam", graph=graph, functions=functions)
    for domain, version in opsets.items():
        made.opset_import.add(domain=domain, version=version)
    return made


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: dict[str, Any]
) -> Message:
    """Make a node; an attribute is a float, an integer or a sequence of integers."""
    made = MESSAGES["NodeProto"](op_type=operator, input=inputs, output=outputs, name=name)
    for key, value in sorted(attributes.items()):
        if isinstance(value, float):
            made.attribute.add(name=key, type="FLOAT", f=value)
        elif np.ndim(value):
            made.attribute.add(name=key, type="INTS", ints=value)
        else:
            made.attribute.add(name=key, type="INT", i=value)
    return made


def tensor(array: NDArray[Any], name: str) -> Message:
    """Make a constant: float32 or int64."""
    kind, dtype = (INT64, "<i8") if array.dtype.kind == "i" else (FLOAT, "<f4")
    return MESSAGES["TensorProto"](
        dims=array.shape, data_type=kind, name=name, raw_data=array.astype(dtype, copy=False).tobytes()
    )


def tensor_outside(array: NDArray[np.float32], name: str) -> Message:
    """Make a float32 constant without its values, which a runtime gets beside the model."""
    made = MESSAGES["TensorProto"](dims=array.shape, data_type=FLOAT, name=name, data_location=EXTERNAL)
    made.external_data.add(key="location", value="memory")
    return made


def value(name: str, kind: int, shape: Sequence[int | str]) -> Message:
    """Make an input or output of a graph; a side is a number, or the name of an open one."""
    made = MESSAGES["ValueInfoProto"](name=name)
    made.type.tensor_type.elem_type = kind
    sides = made.type.tensor_type.shape
    for side in shape:
        sides.dim.add(**{"dim_param" if isinstance(side, str) else "dim_value": side})
    return made
