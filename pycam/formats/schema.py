"""Caffe's messages as classes: `NetParameter`, `LayerParameter`, `SolverParameter`, `BlobProto`, `Datum` and the others.

They are made at import from the table `messages.json`, in a descriptor pool of their own, so that pycam needs no
generated code and lives beside any other Caffe in the same process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

PACKAGE = "caffe"
SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32")


def _file_descriptor(table: dict[str, Any]) -> Any:
    """Spell the table, whose fields read `label type number [default]`, as a protobuf file."""
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
            field = message.field.add(
                name=field_name, number=int(number), default_value=(default or [None])[0]
            )
            field.label = field.LABEL_OPTIONAL if label == "optional" else field.LABEL_REPEATED
            if label == "packed":
                field.options.packed = True
            if kind in SCALARS:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
            elif kind in table["messages"]:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                owner = f"{name}." if kind in enums else ""
                field.type, field.type_name = field.TYPE_ENUM, f".{PACKAGE}.{owner}{kind}"
    return file


def _add_enum(enums: Any, name: str, values: dict[str, int]) -> None:
    enum = enums.add(name=name)
    for value, number in values.items():
        enum.value.add(name=value, number=number)


def _message_class(name: str) -> Any:
    descriptor = _POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return _FACTORY.GetPrototype(descriptor)


_TABLE = json.loads(Path(__file__).with_name("messages.json").read_text("utf-8"))
_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_file_descriptor(_TABLE).SerializeToString())
_FACTORY = None if hasattr(message_factory, "GetMessageClass") else message_factory.MessageFactory(_POOL)

MESSAGES: dict[str, Any] = {name: _message_class(name) for name in _TABLE["messages"]}
"""Every message class by its name; each is also an attribute of this module."""

Phase = EnumTypeWrapper(_POOL.FindEnumTypeByName(f"{PACKAGE}.Phase"))


def __getattr__(name: str) -> Any:
    try:
        return MESSAGES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
