"""The positions of the layers in a prototxt, found in a first pass over its braces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf import text_format

from pycam.errors import FormatError

MOST_LAYERS = 10_000
DEEPEST = 32
LONGEST_LINE = 1 << 20
"""Limits above any net: reading more would take minutes, Python's whole stack, or half a gigabyte."""

Place: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

CLOSING = {"{": "}", "<": ">"}

ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\'"]|[0-3][0-7]{0,2}|[4-7][0-7]?(?![0-7])|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|)"""
)
"""A backslash in a string, and the escape of C that it begins. Caffe refuses others; protobuf in Python does not."""


@dataclass
class LayerBlock:
    """A layer in the text.

    Attributes
    ----------
    start, end : tuple of int
        Line and column of its opening and of its closing brace.
    name, type : str
        The values of these fields, empty if they are missing.
    """

    start: Place
    end: Place = (0, 0)
    name: str = ""
    type: str = ""


@dataclass(frozen=True)
class _Block:
    """A pair of braces that is still open.

    Attributes
    ----------
    key : str
        The field before the opening brace.
    closing : str
        The closing brace that it needs.
    start : tuple of int
        Line and column of the opening brace.
    layer : LayerBlock or None
        The layer that it is or that it is part of.
    """

    key: str
    closing: str
    start: Place
    layer: LayerBlock | None


def layer_blocks(text: str, name: str) -> list[LayerBlock]:
    """Find the layers of a prototxt, and check its braces.

    protobuf's parser keeps no lines, and if a brace is missing, it reports an error in the next layer.

    Parameters
    ----------
    text : str
        The prototxt.
    name : str
        The file, for messages.

    Returns
    -------
    list of LayerBlock
        In the order of the file.

    Raises
    ------
    FormatError
        A brace is missing or superfluous, blocks are nested too deep, or there are too many layers.
    """
    layers: list[LayerBlock] = []
    opened: list[_Block] = []
    lines = text.split("\n")
    for number, content in enumerate(lines, 1):
        if len(content) >= LONGEST_LINE:
            raise FormatError(f"{name}:{number}:1: a line of {len(content)} characters: this is not a net")
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
            # V0 has a `layer` in each `layers`.
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
                raise FormatError(f"{where}: blocks are nested more than {DEEPEST} deep: this is not a net")
            if len(layers) > MOST_LAYERS:
                raise FormatError(f"{where}: more than {MOST_LAYERS:,} layers: this is not a net")
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
            if outer.layer is not None and outer.key in ("layer", "layers") and key in ("name", "type"):
                setattr(outer.layer, key, getattr(outer.layer, key) or token.strip("\"'"))
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
