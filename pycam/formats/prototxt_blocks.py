"""Where the layers of a prototxt stand: a first pass over its braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import text_format

from pycam.errors import FormatError

MOST_LAYERS = 10_000
DEEPEST = 32
LONGEST_LINE = 1 << 20
"""More than any net has: reading it would take minutes, Python's whole stack, or half a gigabyte."""

Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

CLOSING = {"{": "}", "<": ">"}

ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\'"]|[0-3][0-7]{0,2}|[4-7][0-7]?(?![0-7])|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|)"""
)
"""A backslash in a string, and which escape of C it begins. At others Caffe stops, and protobuf in Python guesses."""


@dataclass
class LayerBlock:
    """A layer in the text: from its opening to its closing brace."""

    start: Place
    end: Place = (0, 0)
    name: str = ""
    type: str = ""


@dataclass(frozen=True)
class _Block:
    """Something in braces that is still open, and the layer that it is or is part of."""

    key: str
    closing: str
    start: Place
    layer: LayerBlock | None


def layer_blocks(text: str, name: str) -> list[LayerBlock]:
    """Find the layers of a prototxt, and check its braces.

    The parser of protobuf keeps no lines, and when a brace is missing it complains of the next layer.

    Parameters
    ----------
    text
        The prototxt.
    name
        The file, for messages.

    Raises
    ------
    FormatError
        A brace is missing or one too many, blocks are nested too deep, or there are too many layers.
    """
    layers: list[LayerBlock] = []
    opened: list[_Block] = []
    lines = text.split("\n")
    for number, content in enumerate(lines, 1):
        if len(content) >= LONGEST_LINE:
            raise FormatError(f"{name}:{number}:1: a line of {len(content)} characters: this is no net")
    tokens = text_format.Tokenizer(lines)
    key = previous = ""
    while not tokens.AtEnd():
        token = tokens.token
        outer = opened[-1] if opened else _Block("", "", (0, 0), None)
        if token.startswith(('"', "'")) and any(escape[1] is None for escape in ESCAPE.finditer(token)):
            line, column = _place(tokens)
            raise FormatError(f"{name}:{line}:{column}: unknown escape in {token[:80]}: write a backslash as \\\\")
        if token in CLOSING:
            place = _place(tokens)
            where = f"{name}:{place[0]}:{place[1]}"
            layer = outer.layer
            # V0 has a `layer` in each `layers`
            if key == "layers" or (key == "layer" and outer.key != "layers"):
                if layer is not None:
                    raise FormatError(
                        f"{where}: a layer begins inside layer {layer.name!r} of line {layer.start[0]}: "
                        "a closing brace is missing before it"
                    )
                layer = LayerBlock(place)
                layers.append(layer)
            opened.append(_Block(key, CLOSING[token], place, layer))
            if len(opened) > DEEPEST:
                raise FormatError(f"{where}: blocks are nested more than {DEEPEST} deep: this is no net")
            if len(layers) > MOST_LAYERS:
                raise FormatError(f"{where}: more than {MOST_LAYERS:,} layers: this is no net")
        elif token in CLOSING.values():
            place = _place(tokens)
            if token != outer.closing:
                expected = f"{outer.closing!r} for line {outer.start[0]}" if opened else "no block to close"
                raise FormatError(f"{name}:{place[0]}:{place[1]}: found {token!r}, expected {expected}")
            opened.pop()
            key = outer.key
            if outer.layer is not None:
                outer.layer.end = place
        elif previous == ":":
            if outer.layer is not None and outer.key in ("layer", "layers"):
                value = token.strip("\"'")
                if key == "name":
                    outer.layer.name = outer.layer.name or value
                elif key == "type":
                    outer.layer.type = outer.layer.type or value
        elif token.isidentifier():
            key = token
        previous = token
        tokens.NextToken()
    if opened:
        line, column = opened[-1].start
        raise FormatError(
            f"{name}:{line}:{column}: the block {opened[-1].key!r} that begins here is never closed: "
            "the file was cut off, or a brace is missing"
        )
    return layers


def _place(tokens: Any) -> Place:
    error = tokens.ParseError("")
    return error.GetLine() or 0, error.GetColumn() or 0
