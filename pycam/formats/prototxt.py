"""Prototxt, Caffe's text format: nets in any of its three dialects, and solvers, read; nets written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from pycam.errors import FormatError
from pycam.files import replacing
from pycam.formats import schema
from pycam.formats.opening import DOWNLOAD_AGAIN, HEAD, foreign, is_text, open_file, shown
from pycam.formats.schema import Message
from pycam.formats.text_blocks import LayerBlock, layer_blocks
from pycam.formats.text_errors import explained
from pycam.formats.upgrade import upgrade

LARGEST = 8 << 20
"""No prototxt has more bytes: ten thousand layers take three million."""


@dataclass(frozen=True)
class NetText:
    """A net as a prototxt says it.

    Attributes
    ----------
    message
        `NetParameter` in the current dialect, its inputs as layers of type Input.
    lines
        The line of each layer in the file, from 1; 0 for a layer that the file only implies.
    path
        The file, for messages.
    dialect
        What the file was written in: `V0`, `V1` or `current`.
    """

    message: Message
    lines: tuple[int, ...]
    path: str
    dialect: str


def read(path: str | os.PathLike[str]) -> NetText:
    """Read a net from a prototxt file.

    Raises
    ------
    FormatError
        The file is not there, not a prototxt, or damaged; with line and column where there are any.
    UnsupportedLayerError
        A layer with parameters that Caffe 1.0 does not have.
    """
    return parse(_read_text(path), shown(path))


def parse(text: str, name: str = "<text>") -> NetText:
    """Read a net from the text of a prototxt; `name` stands for the file in messages. Errors as in `read`."""
    message, blocks = _parse(text, name, schema.NetParameter)
    if not blocks:
        raise FormatError(f"{name}: has no layers: a net was expected")
    lines = tuple(block.start[0] for block in blocks)
    upgraded, lines, dialect = upgrade(message, lines, name)
    return NetText(upgraded, lines, name, dialect)


def read_solver(path: str | os.PathLike[str]) -> Message:
    """Read a `SolverParameter` from a prototxt file, its old `solver_type` as `type`. Errors as in `read`."""
    name = shown(path)
    message, _ = _parse(_read_text(path), name, schema.SolverParameter)
    if message.HasField("solver_type"):
        if message.HasField("type"):
            raise FormatError(f"{name}: has `type` and its old name `solver_type`: remove solver_type")
        number = message.solver_type
        message.type = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")[number]
        message.ClearField("solver_type")
    return message


def dumps(message: Message) -> str:
    """Spell a message as people write prototxt: `0.0001` and not `9.99999974737875e-05`, a shape on one line.

    Reading the text gives an equal message. The same message gives the same text everywhere.
    """
    text = text_format.MessageToString(message, as_utf8=True)
    text = re.sub(r"^( *\w+: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"shape \{((?:\n *dim: -?\d+)+)\n *\}", lambda dims: f"shape {{ {' '.join(dims[1].split())} }}", text)


def write(path: str | os.PathLike[str], message: Message) -> None:
    """Write a message as prototxt; the file is in place as a whole or not at all."""
    with replacing(path) as file:
        file.write(dumps(message).encode())


def _read_text(path: str | os.PathLike[str]) -> str:
    name = shown(path)
    with open_file(path, "a prototxt") as file:
        head = file.read(HEAD)
        if mistake := foreign(path, "a prototxt", head):
            raise mistake
        if not is_text(head):
            raise FormatError(f"{name}: expected a prototxt, found unknown binary data: {DOWNLOAD_AGAIN}")
        data = head + file.read(LARGEST)
    if len(data) > LARGEST:
        raise FormatError(f"{name}: more than {LARGEST >> 20} MiB: a prototxt is text of some kilobytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        byte = data[error.start]
        raise FormatError(
            f"{name}:{line}:{column}: byte 0x{byte:02X} is not UTF-8 text (Latin-1?): save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse(text: str, name: str, kind: Any) -> tuple[Message, list[LayerBlock]]:
    if not text.strip():
        raise FormatError(f"{name}: is empty: a prototxt was expected")
    blocks = layer_blocks(text, name)
    try:
        return text_format.Parse(text, kind()), blocks
    except text_format.ParseError as error:
        raise explained(error, text, name, kind, blocks) from None
