"""Prototxt, Caffe's text format: read nets in any of the three formats (V0, V1, current) and solvers; write nets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from pycam.errors import FormatError
from pycam.formats import schema
from pycam.formats.files import atomic_write
from pycam.formats.fork_layers import ForkLayer, convert_layers
from pycam.formats.forks import drop_fork_fields, fork_schema, summarise
from pycam.formats.opening import NET_FIRST, SWAPPED, read_text
from pycam.formats.prototxt_blocks import LayerBlock, layer_blocks
from pycam.formats.prototxt_errors import explain
from pycam.formats.schema import Message
from pycam.formats.upgrade import upgrade

LARGEST = 8 << 20
"""The most bytes of a prototxt: ten thousand layers take three million."""


@dataclass(frozen=True)
class NetText:
    """The content of a prototxt of a net.

    Attributes
    ----------
    message : NetParameter
        The net in the current format. Its inputs are layers of type Input.
    lines : tuple of int
        The line of each layer in the file, from 1; 0 for a layer that the file only implies.
    path : str
        The file, for messages.
    forks : tuple of ForkLayer
        The layers of forks of Caffe that were converted to those in `message`.
    notes : tuple of str
        One line for each kind of change that made the net of a fork one of Caffe 1.0.
    """

    message: Message
    lines: tuple[int, ...]
    path: str
    forks: tuple[ForkLayer, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: str | os.PathLike[str], *, alone: bool = False) -> NetText:
    """Read a net from a prototxt file.

    Parameters
    ----------
    path : path
        The file.
    alone : bool
        Whether no file of weights is given with it, which may be in its place.

    Raises
    ------
    FormatError
        The file is missing, damaged, or no prototxt; the message has line and column if they are known. Or it has a
        field of a fork of Caffe that changes results in a way that pycam does not have.
    UnsupportedLayerError
        A layer with parameters that Caffe 1.0 does not have.
    """
    swapped = NET_FIRST if alone else SWAPPED
    return parse(read_text(path, "a prototxt", LARGEST, swapped=swapped), os.fspath(path))


def parse(text: str, name: str = "<text>") -> NetText:
    """Read a net from the text of a prototxt; `name` is the file in messages. Errors are those of `read`."""
    message, blocks = _parse(text, name, schema.NetParameter)
    return _convert(message, [block.start[0] for block in blocks], name)


def from_message(message: Message, name: str) -> NetText:
    """Read a net from a `NetParameter` in any format, which is changed. Errors are those of `read`."""
    return _convert(message, [0] * (len(message.layer) or len(message.layers)), name)


def _convert(message: Message, block_lines: list[int], name: str) -> NetText:
    if not block_lines:
        raise FormatError(f"{name}: has no layers: expected a net")
    lines, forks, notes = convert_layers(message, block_lines, name)
    if not isinstance(message, schema.NetParameter):
        message, dropped = drop_fork_fields(message, lines, name)
        notes += dropped
    upgraded, upgraded_lines = upgrade(message, lines, name)
    for layer, line in zip(upgraded.layer, upgraded_lines, strict=True):
        _check_layer(layer, f"{name}:{line}: layer {layer.name!r}")
    return NetText(upgraded, upgraded_lines, name, tuple(forks), summarise(notes, name))


def read_solver(path: str | os.PathLike[str]) -> Message:
    """Read a `SolverParameter` from a prototxt file; `solver_type` becomes `type`. Errors are those of `read`."""
    name = os.fspath(path)
    message, _ = _parse(read_text(path, "a prototxt", LARGEST), name, schema.SolverParameter)
    if message.HasField("solver_type"):
        if message.HasField("type"):
            raise FormatError(f"{name}: has `type` and its old name `solver_type`: remove solver_type")
        message.type = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")[message.solver_type]
        message.ClearField("solver_type")
    return message


def dumps(message: Message) -> str:
    """Convert a message to prototxt as people write it: `0.0001`, not `9.99999974737875e-05`; a shape on one line.

    Reading the text gives an equal message. The same message gives the same text on every machine.
    """
    text = text_format.MessageToString(message, as_utf8=True)
    text = re.sub(r"^( *\w+: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"shape \{((?:\n *dim: -?\d+)+)\n *\}", lambda dims: f"shape {{ {' '.join(dims[1].split())} }}", text)


def write(path: str | os.PathLike[str], message: Message, comment: str = "") -> None:
    """Write a message as prototxt, after a line with a comment if one is given; the file is complete or absent."""
    atomic_write(path, (f"# {comment}\n" if comment else "") + dumps(message))


def _check_layer(layer: Message, where: str) -> None:
    """Raise a `FormatError` for what would change results and that pycam does not carry out."""
    if layer.include and layer.exclude:
        raise FormatError(f"{where} has include and exclude rules: use one of the two, as Caffe demands")
    if layer.blobs:
        raise FormatError(
            f"{where} has learned parameters in its text (blobs): Caffe would start from them, pycam reads parameters "
            "from a caffemodel only: move them there, and remove the blobs"
        )


def _parse(text: str, name: str, kind: Any) -> tuple[Message, list[LayerBlock]]:
    if not text.strip():
        raise FormatError(f"{name}: is empty: expected a prototxt")
    blocks = layer_blocks(text, name)
    try:
        return text_format.Parse(text, kind()), blocks
    except text_format.ParseError as error:
        if kind is not schema.NetParameter:
            raise explain(error, text, name, kind, blocks) from None
    # Caffe 1.0 cannot read it; forks, which have more fields, perhaps can.
    try:
        return text_format.Parse(text, fork_schema().messages[kind.DESCRIPTOR.name]()), blocks
    except text_format.ParseError as error:
        raise explain(error, text, name, kind, blocks) from None
