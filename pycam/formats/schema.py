"""Caffe's messages as classes: `NetParameter`, `LayerParameter`, `SolverParameter`, `BlobProto` and others.

They are made at import from the table `messages.json`, in a private descriptor pool: no generated code, any protobuf
since 3.20, and no conflict with another Caffe in the same process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "caffe"
SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32")

Message: TypeAlias = Any
"""A protobuf message; its fields are known at run time only."""


def _file_descriptor(table: dict[str, Any]) -> Message:
    """Convert the table, whose fields are written `label type number [default]`, to a protobuf file."""
    file = descriptor_pb2.FileDescriptorProto(name="pycam/caffe.proto", package=PACKAGE, syntax="proto2")
    for enum, values in table["enums"].items():
        _add_enum(file.enum_type, enum, values)
    for name, entry in table["messages"].items():
        message = file.message_type.add(name=name)
        enums = entry.get("enums", {})
        for enum, values in enums.items():
            _add_enum(message.enum_type, enum, values)
        for field_name, spec in entry["fields"].items():
            label, kind, number, *default = spec.split()
            field = message.field.add(name=field_name, number=int(number))
            field.label = field.LABEL_OPTIONAL if label == "optional" else field.LABEL_REPEATED
            if label == "packed":
                field.options.packed = True
            if default:
                field.default_value = default[0]
            if kind in SCALARS:
                field.type = field.Type.Value(f"TYPE_{kind.upper()}")
            elif kind in table["messages"]:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                owner = f"{name}." if kind in enums else ""
                field.type, field.type_name = field.TYPE_ENUM, f".{PACKAGE}.{owner}{kind}"
    return file


def _add_enum(enums: Any, name: str, values: dict[str, int]) -> None:
    enums.add(name=name, value=[{"name": value, "number": number} for value, number in values.items()])


_TABLE = json.loads(Path(__file__).with_name("messages.json").read_text("utf-8"))
_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_file_descriptor(_TABLE).SerializeToString())

_FACTORY: Any = message_factory
# protobuf before 4.22 makes classes with a factory object.
_make_class = getattr(_FACTORY, "GetMessageClass", None) or _FACTORY.MessageFactory(_POOL).GetPrototype

MESSAGES = {name: _make_class(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _TABLE["messages"]}
"""Every message class by its name; each is also an attribute of this module."""


def enum_names(full_name: str) -> list[str]:
    """Return the value names of an enum: `caffe.PoolingParameter.PoolMethod` has MAX, AVE, STOCHASTIC."""
    return list(_POOL.FindEnumTypeByName(full_name).values_by_name)


def __getattr__(name: str) -> Any:
    try:
        return MESSAGES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
