"""Error messages for a prototxt that cannot be read: place, reason and fix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pycam.errors import FormatError, PycamError, UnsupportedLayerError, suggest
from pycam.formats import schema
from pycam.formats.fork_layers import TYPES
from pycam.formats.forks import fork_schema
from pycam.formats.layer_types import unknown_type
from pycam.formats.prototxt_blocks import LayerBlock
from pycam.formats.upgrade import CAFFE_TYPES, V1_TYPES

LONGEST = 80
"""The most characters of a line that a message quotes."""

_WARM_UP = (
    "it is of a fork whose rate rises at the start: train the first iterations with a solver of their own, with "
    "smaller rates, and --resume with this one without the field"
)
_STAGES = (
    "it is of a fork whose rates are listed: write lr_policy multistep, with a stepvalue for each change, if they fall "
    "by one factor (gamma)"
)
_DETECTIONS = "it is of SSD, which measures detections: remove it, pycam tests the outputs of the test net"
SOLVER_FIELDS = {
    "clip_norm": "in Caffe 1.0 it is clip_gradients, the largest norm of all gradients together",
    "batch_size": "it belongs in the data layers of the net; iter_size is the number of batches per iteration",
    "warmup_iter": _WARM_UP,
    "warmup_start_lr": _WARM_UP,
    "rampup_interval": _WARM_UP,
    "rampup_lr": _WARM_UP,
    "stagelr": _STAGES,
    "stageiter": _STAGES,
    "plateau_winsize": "it is of a fork whose rate follows the loss: write lr_policy multistep, with stepvalues",
    "eval_type": _DETECTIONS,
    "ap_version": _DETECTIONS,
    "show_per_class_result": _DETECTIONS,
}
"""Fields that only the solvers of forks have -> what to do instead."""


def explain(error: Any, text: str, name: str, kind: Any, layers: Iterable[LayerBlock]) -> PycamError:
    """Convert an error of protobuf's parser to one of ours.

    Parameters
    ----------
    error : text_format.ParseError
        Its wording is the same in every protobuf since 3.20.
    text : str
        The prototxt.
    name : str
        The file, for messages.
    kind : message class
        The class that was expected, `NetParameter` or `SolverParameter`.
    layers : iterable of LayerBlock
        The layers with their positions.

    Returns
    -------
    PycamError
        An `UnsupportedLayerError` if the error is in a layer of a type that Caffe 1.0 does not have, as in forks of
        Caffe; else a `FormatError`. It names line, column, layer, reason and fix.
    """
    line, column = error.GetLine() or 0, error.GetColumn() or 0
    layer = next((each for each in layers if each.start <= (line, column) <= each.end), LayerBlock((0, 0)))
    where = f"{name}:{line}:{column}: " + (f"layer {layer.name!r}: " if layer.name else "")

    if found := re.search(r'Message type "caffe\.(\w+)" has no field named "(.*)"\.$', str(error)):
        owner, field = found.groups()
        if layer.type and layer.type not in (*CAFFE_TYPES, *V1_TYPES, *TYPES):
            return UnsupportedLayerError(f"{where}unsupported layer type {layer.type!r}: {unknown_type(layer.type)}")
        return FormatError(f"{where}unknown field {field!r}: {_fix(field, owner, kind)}")

    if found := re.search(r'Enum type "([\w.]+)" has no value (?:named|with number) (.*)\.$', str(error)):
        enum, value = found.groups()
        if not enum.endswith(".LayerType"):
            return FormatError(f"{where}unknown value {value}: use one of {', '.join(_enum_names(enum))}")
        if value.startswith(('"', "'")):
            return FormatError(f"{where}a type in quotes, {value}, belongs in a `layer` block, not in `layers`")
        return UnsupportedLayerError(f"{where}unsupported layer type {value}: Caffe 1.0 has no such type")

    if found := re.search(r'should not have multiple "(\w+)" fields', str(error)):
        return FormatError(f"{where}the field {found[1]!r} is given twice: remove one")

    source = text.split("\n")[line - 1]
    reason = (
        str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{source}': ").removeprefix("'': ").rstrip(".")
    )
    return FormatError(f"{where}cannot read {_clip(source.strip())!r}: {_clip(reason)}")


def _fix(field: str, owner: str, kind: Any) -> str:
    other, meant = (
        (schema.SolverParameter, "this is a solver, give its net")
        if kind is schema.NetParameter
        else (schema.NetParameter, "this is a net, give its solver")
    )
    if owner == kind.DESCRIPTOR.name and field in other.DESCRIPTOR.fields_by_name:
        return meant
    if owner == "SolverParameter":
        unknown = (
            "no solver of Caffe 1.0 has it: ask where the file comes from, and remove it only if training without it "
            "is what you want"
        )
        return SOLVER_FIELDS.get(field) or suggest(field, schema.SolverParameter.DESCRIPTOR.fields_by_name, unknown)
    known = (schema.MESSAGES.get(owner) or fork_schema().messages[owner]).DESCRIPTOR.fields_by_name
    unknown = f"{owner} has no such field in Caffe 1.0, nor in a fork that pycam knows, so its effect is unknown"
    return suggest(field, known, f"{unknown}: ask where the file comes from, or remove it if it is for training only")


def _enum_names(enum: str) -> list[str]:
    try:
        return schema.enum_names(enum)
    except KeyError:
        return fork_schema().enum_names(enum)


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
