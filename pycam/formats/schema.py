"""Caffe's messages as classes: `NetParameter`, `LayerParameter`, `SolverParameter`, `BlobProto` and others.

They are made at import from the table `messages.json`, in a private descriptor pool: no generated code, any protobuf
since 3.20, and no conflict with another Caffe in the same process.

Two fields are not Caffe 1.0's: `shuffle_channel_param`, which the layer type ShuffleChannel of forks needs
(`pycam.formats.forks`), and `learned_net_sha256`, by which a solver's state knows its weights, and which Caffe ignores.
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

Table: TypeAlias = dict[str, Any]
"""Enums and messages; a field is written `label type number [default]`."""


class Schema:
    """The classes of a table of messages.

    Attributes
    ----------
    messages : dict
        Every message class by its name.
    enums : dict
        The descriptor of every enum that belongs to no message, by its name.
    """

    def __init__(self, table: Table) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.AddSerializedFile(_file_descriptor(table).SerializeToString())
        factory: Any = message_factory
        # protobuf before 4.22 makes classes with a factory object.
        make_class = getattr(factory, "GetMessageClass", None) or factory.MessageFactory(self._pool).GetPrototype
        self.messages = {
            name: make_class(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in table["messages"]
        }
        self.enums = {name: self._pool.FindEnumTypeByName(f"{PACKAGE}.{name}") for name in table["enums"]}

    def enum_names(self, full_name: str) -> list[str]:
        """Return the value names of an enum: `caffe.PoolingParameter.PoolMethod` has MAX, AVE, STOCHASTIC."""
        return list(self._pool.FindEnumTypeByName(full_name).values_by_name)


def caffe_table() -> Table:
    """Return Caffe 1.0's messages."""
    messages: Table = json.loads(Path(__file__).with_name("messages.json").read_text("utf-8"))
    return messages


def table() -> Table:
    """Return Caffe 1.0's messages, and two fields of other origin."""
    messages = caffe_table()
    messages["messages"]["LayerParameter"]["fields"]["shuffle_channel_param"] = "optional ShuffleChannelParameter 164"
    messages["messages"]["SolverState"]["fields"]["learned_net_sha256"] = "optional string 1000"
    messages["messages"]["ShuffleChannelParameter"] = {"fields": {"group": "optional uint32 1 1"}}
    return messages


def _file_descriptor(table: Table) -> Message:
    """Convert a table to a protobuf file."""
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


CAFFE = Schema(table())
MESSAGES = CAFFE.messages
"""Every message class by its name; each is also an attribute of this module."""

enum_names = CAFFE.enum_names


def __getattr__(name: str) -> Any:
    try:
        return MESSAGES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
