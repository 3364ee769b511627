"""`caffe.proto.caffe_pb2`: the messages and enums of Caffe 1.0, without fields of forks.

Each message of Caffe is a class of this module: `Datum`, `BlobProto`, `NetParameter`, `SolverParameter` and others.
`Phase` with `TRAIN` and `TEST` is the enum outside of messages. `google.protobuf.text_format` reads and writes them.
Their `str` is that of Caffe's own messages, in which numbers are not rounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import text_encoding
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from pycam.errors import suggest
from pycam.formats.schema import Message, Schema, caffe_table


def _lines(message: Message, indent: str = "") -> Iterator[str]:
    for field, values in message.ListFields():
        is_message = field.message_type is not None
        # A repeated field holds values; every other value, also a string, is one.
        for value in values if hasattr(values, "extend") else [values]:
            if is_message:
                yield f"{indent}{field.name} {{\n"
                yield from _lines(value, f"{indent}  ")
                yield f"{indent}}}\n"
            else:
                yield f"{indent}{field.name}: {_text_of(field, value)}\n"


def _text_of(field: Any, value: Any) -> str:
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return f'"{text_encoding.CEscape(value, False)}"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _text(message: Message) -> str:
    """Write a message as Caffe's protobuf does, which newer protobufs write otherwise."""
    return "".join(_lines(message))


_SCHEMA = Schema(caffe_table())
_NAMES: dict[str, Any] = {**_SCHEMA.messages}
for _class in _SCHEMA.messages.values():
    _class.__str__ = _text
for _name, _descriptor in _SCHEMA.enums.items():
    _NAMES[_name] = EnumTypeWrapper(_descriptor)
    _NAMES |= {value.name: value.number for value in _descriptor.values}
_NAMES["DESCRIPTOR"] = _SCHEMA.messages["NetParameter"].DESCRIPTOR.file
globals().update(_NAMES)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"Caffe 1.0 has no message {name!r}: {suggest(name, _NAMES, 'see dir(caffe_pb2)')}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
