"""What is wrong with a prototxt, told so that it can be put right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pycam.errors import FormatError, PycamError, UnsupportedLayerError, suggest
from pycam.formats import schema
from pycam.formats.prototxt_blocks import LayerBlock
from pycam.formats.upgrade import V1_TYPES

LATE_TYPES = """
    BatchNorm BatchReindex Bias Clip Crop ELU Embed Filter Input LSTM LSTMUnit Log PReLU Parameter Python RNN
    Reduction Reshape SPP Scale Swish Tile
"""
CAFFE_TYPES = frozenset([*V1_TYPES.values(), *LATE_TYPES.split()])
"""The layer types of Caffe 1.0."""

LONGEST = 80
"""More of a line of the file does not go into a message."""


def explained(error: Any, text: str, name: str, kind: Any, layers: Iterable[LayerBlock]) -> PycamError:
    """Turn an error of protobuf's parser into one of ours.

    Parameters
    ----------
    error
        A `text_format.ParseError`; its words are the same in every protobuf since 3.20.
    text, name
        The prototxt, and its file for messages.
    kind
        The message class that was expected, `NetParameter` or `SolverParameter`.
    layers
        Where the layers stand.

    Returns
    -------
    PycamError
        An `UnsupportedLayerError` when the trouble stands in a layer of a type that Caffe 1.0 does not know,
        as forks of Caffe have them; else a `FormatError`. It names line, column, layer, cause and cure.
    """
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    layer = next((each for each in layers if each.start <= (line, column) <= each.end), LayerBlock((0, 0)))
    where = f"{name}:{line}:{column}: " + (f"layer {layer.name!r}: " if layer.name else "")

    if found := re.search(r'Message type "caffe\.(\w+)" has no field named "(.*)"\.$', str(error)):
        owner, field = found.groups()
        if layer.type and layer.type not in CAFFE_TYPES and layer.type not in V1_TYPES:
            return UnsupportedLayerError(
                f"{where}unsupported layer type {layer.type!r}: {field!r} is not part of Caffe 1.0"
            )
        return FormatError(f"{where}unknown field {field!r}: {_cure(field, owner, kind)}")

    if found := re.search(r'Enum type "([\w.]+)" has no value (?:named|with number) (.*)\.$', str(error)):
        enum, value = found.groups()
        if not enum.endswith(".LayerType"):
            return FormatError(f"{where}unknown value {value}: use one of {', '.join(schema.enum_names(enum))}")
        if value.startswith(('"', "'")):
            return FormatError(f"{where}a type in quotes, {value}, belongs in a `layer` block, not in `layers`")
        return UnsupportedLayerError(f"{where}unsupported layer type {value}: Caffe 1.0 has none of that name")

    if found := re.search(r'should not have multiple "(\w+)" fields', str(error)):
        return FormatError(f"{where}the field {found[1]!r} is given twice: remove one")

    source = text.split("\n")[line - 1]
    reason = (
        str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{source}': ").removeprefix("'': ").rstrip(".")
    )
    return FormatError(f"{where}cannot read {_clip(source.strip())!r}: {_clip(reason)}")


def _cure(field: str, owner: str, kind: Any) -> str:
    other, meant = (
        (schema.SolverParameter, "this is a solver, give its net")
        if kind is schema.NetParameter
        else (schema.NetParameter, "this is a net, give its solver")
    )
    if owner == kind.DESCRIPTOR.name and field in other.DESCRIPTOR.fields_by_name:
        return meant
    return suggest(field, schema.MESSAGES[owner].DESCRIPTOR.fields_by_name, f"{owner} has none like it, remove it")


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
