"""What forks of Caffe added to its messages: one table of fields, and what pycam does with each.

A prototxt that Caffe 1.0's parser refuses is parsed again with these fields. Afterwards they are dropped or converted,
so that outside `pycam.formats` there are Caffe 1.0's messages only. `pycam.formats.fork_layers` converts layers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pycam.errors import FormatError
from pycam.formats import schema
from pycam.formats.schema import Message, Schema

FIRST_NUMBER = 10_000
"""The number of the first field of a fork in each message: no number of Caffe's is as high."""

ENGINES = {"MKL2017": 3, "MKLDNN": 4, "LIBDNN": 5, "INTEL_SPATIAL": 6}
"""Values that forks added to each enum `Engine`, which in Caffe 1.0 has DEFAULT, CAFFE and CUDNN."""

ENUMS = {
    "Type": {"DOUBLE": 0, "FLOAT": 1, "FLOAT16": 2, "INT": 3, "UINT": 4},
    "ForkEngine": {"DEFAULT": 0, "CAFFE": 1, "CUDNN": 2, **ENGINES},
    "AlgorithmSeeker": {"GET": 0, "FINDEX": 1},
    "BatchNormMode": {"LEARN": 0, "INFERENCE": 1},
    "Precision": {"DYNAMIC_FIXED_POINT": 0, "MINIFLOAT": 1, "INTEGER_POWER_OF_2_WEIGHTS": 2},
    "Rounding": {"NEAREST": 0, "STOCHASTIC_ROUNDING": 1},
}

MESSAGES: dict[str, dict[str, str]] = {
    "BNParameter": {
        **dict.fromkeys(("slope_filler", "bias_filler", "scale_filler", "shift_filler"), "optional FillerParameter"),
        **dict.fromkeys(("momentum", "eps"), "optional float"),
        "frozen": "optional bool",
        "engine": "optional ForkEngine",
        "bn_mode": "optional BatchNormMode",
    },
    "MemoryParameter": {
        **dict.fromkeys(("optimize_train", "optimize_test"), "optional bool"),
        "exclude_blob": "repeated string",
    },
    "QuantizationParameter": {
        "precision": "optional Precision",
        "rounding_scheme": "optional Rounding",
        **dict.fromkeys(("bw_layer_in", "bw_layer_out", "bw_params"), "optional uint32"),
        **dict.fromkeys(("fl_layer_in", "fl_layer_out", "fl_params"), "repeated int32"),
        **dict.fromkeys(("scale_in", "scale_out", "scale_params"), "repeated float"),
        **dict.fromkeys(("mant_bits", "exp_bits", "exp_min", "exp_max"), "optional int32"),
        "is_negative_input": "optional bool",
    },
}
"""Messages that only forks have: field -> label and type."""

DROPPED, CONVERTED, REFUSED = "dropped", "converted", "refused"


@dataclass(frozen=True)
class Field:
    """A field that a fork added to a message of Caffe.

    Attributes
    ----------
    owner, name : str
        The message of Caffe 1.0, and the field in it.
    kind : str
        Label and type, as in `messages.json`.
    fork : str
        Forks that have the field.
    meaning : str
        What it does there.
    treatment : str
        `dropped` if the field does not change what a net computes, `converted`, or `refused`.
    advice : str
        How to get the same results without a refused field.
    harmless : object
        A value that changes nothing: with it, a field of any treatment is dropped.
    """

    owner: str
    name: str
    kind: str
    fork: str
    meaning: str
    treatment: str
    advice: str = ""
    harmless: Any = None


def _rows(owner: str, names: str, kind: str, fork: str, meaning: str, treatment: str, *refused: Any) -> list[Field]:
    return [Field(owner, name, f"optional {kind}", fork, meaning, treatment, *refused) for name in names.split()]


_LIBRARY = "it chooses the library that computes the layer"
_PRECISION = "it is the precision of the arithmetic; pycam computes in single precision"
_GPU = "it chooses the algorithm on a GPU"
_TRAINING = "it is for training"
_IMAGES = "it changes images for training, which pycam does not do"
_READING = "it is about reading the database"
_FUSED = "it is a ReLU behind the layer"
_LOSS = "it changes the loss"
_NO_LOSS = "remove the loss layer, which inference does not need"
_WRITE_RELU = "put a ReLU layer behind this layer, and remove the field"
_NV, _INTEL = "NVIDIA", "Intel"

FIELDS = [
    *_rows("NetParameter", "engine", "string", _INTEL, _LIBRARY, DROPPED),
    *_rows(
        "NetParameter",
        "default_forward_type default_backward_type default_forward_math default_backward_math",
        "Type",
        _NV,
        _PRECISION,
        DROPPED,
    ),
    *_rows("NetParameter", "global_grad_scale", "float", _NV, _TRAINING, DROPPED),
    *_rows("NetParameter", "global_grad_scale_adaptive", "bool", _NV, _TRAINING, DROPPED),
    *_rows("NetParameter", "reduce_buckets", "int32", _NV, _TRAINING, DROPPED),
    *_rows("NetParameter", "default_conv_algos_override", "string", _NV, _GPU, DROPPED),
    *_rows("NetParameter", "default_cudnn_math_override", "int32", _NV, _GPU, DROPPED),
    *_rows("NetParameter", "bn_stats_batch_size", "uint32", _INTEL, _TRAINING, DROPPED),
    *_rows("NetParameter", "mem_param", "MemoryParameter", "yjxiong", "it saves memory", DROPPED),
    *_rows("LayerParameter", "engine", "string", _INTEL, _LIBRARY, DROPPED),
    *_rows("LayerParameter", "forward_type backward_type forward_math backward_math", "Type", _NV, _PRECISION, DROPPED),
    *_rows("LayerParameter", "debug", "bool", _NV, "it prints values", DROPPED),
    *_rows("LayerParameter", "cudnn_math_override", "int32", _NV, _GPU, DROPPED),
    *_rows("LayerParameter", "quantization_param", "QuantizationParameter", "Intel, Ristretto", _PRECISION, DROPPED),
    *_rows(
        "LayerParameter", "bn_param", "BNParameter", "yjxiong, PSPNet, SegNet", "parameters of a BN layer", CONVERTED
    ),
    *_rows("PoolingParameter", "ceil_mode", "bool", "DenseNet and others", "whether sizes round up", CONVERTED),
    *_rows("ConvolutionParameter", "hole hole_h hole_w", "uint32", "DeepLab, PSPNet", "the dilation", CONVERTED),
    *_rows("ConvolutionParameter", "cudnn_convolution_algo_seeker", "AlgorithmSeeker", _NV, _GPU, DROPPED),
    *_rows("ConvolutionParameter", "conv_algos_override", "string", _NV, _GPU, DROPPED),
    *_rows("ConvolutionParameter", "conv_algorithm", "string", _INTEL, _LIBRARY, DROPPED),
    *_rows("ConvolutionParameter", "relu", "bool", _INTEL, _FUSED, REFUSED, _WRITE_RELU, False),
    *_rows("ConvolutionParameter", "negative_slope", "float", _INTEL, _FUSED, REFUSED, _WRITE_RELU, 0.0),
    *_rows("BatchNormParameter", "scale_bias", "bool", _NV, "whether a scale and a bias follow", CONVERTED, "", False),
    *_rows(
        "BatchNormParameter", "scale_filler bias_filler", "FillerParameter", _NV, "a scale and a bias follow", CONVERTED
    ),
    *_rows("BatchNormParameter", "engine", "ForkEngine", "NVIDIA, Intel", _LIBRARY, DROPPED),
    *_rows("BatchNormParameter", "update_global_stats", "bool", _NV, _TRAINING, DROPPED),
    *_rows("BatchNormParameter", "stats_batch_size", "uint32", _INTEL, _TRAINING, DROPPED),
    *_rows("BatchNormParameter", "relu", "bool", _INTEL, _FUSED, REFUSED, _WRITE_RELU, False),
    *_rows(
        "BatchNormParameter",
        "use_weight_bias",
        "bool",
        _INTEL,
        "a scale and a bias follow",
        REFUSED,
        "if the file with the weights has five blobs for this layer, write `scale_bias: true` in its place; if it has "
        "three, remove the field",
        False,
    ),
    *_rows("DropoutParameter", "engine", "ForkEngine", _NV, _LIBRARY, DROPPED),
    *_rows("DropoutParameter", "random_seed", "int64", _NV, _TRAINING, DROPPED),
    *_rows(
        "DropoutParameter",
        "scale_train",
        "bool",
        "PVANet and others",
        "without it the layer multiplies by 1 − dropout_ratio in inference",
        REFUSED,
        "make this a layer of type Power with `power_param { scale: … }`, 1 − dropout_ratio",
        True,
    ),
    *_rows(
        "DropoutParameter",
        "sample_weights_test",
        "bool",
        "Bayesian SegNet",
        "the layer drops values in inference, so that each run has other results",
        REFUSED,
        "remove it to get the mean net, which has other results",
        False,
    ),
    *_rows("InnerProductParameter", "engine", "ForkEngine", _INTEL, _LIBRARY, DROPPED),
    *_rows("ConcatParameter", "engine", "ForkEngine", _INTEL, _LIBRARY, DROPPED),
    *_rows("EltwiseParameter", "engine", "ForkEngine", _INTEL, _LIBRARY, DROPPED),
    *_rows("DataParameter", "threads parser_threads", "uint32", _NV, _READING, DROPPED),
    *_rows("DataParameter", "cache shuffle", "bool", _NV, _READING, DROPPED),
    *_rows("TransformationParameter", "use_gpu_transform", "bool", _NV, _GPU, DROPPED),
    *_rows("TransformationParameter", "random_seed", "int64", _NV, _TRAINING, DROPPED),
    *_rows("TransformationParameter", "img_rand_resize_lower img_rand_resize_upper", "uint32", _NV, _IMAGES, DROPPED),
    *_rows("TransformationParameter", "resize_to_square", "bool", _NV, _IMAGES, DROPPED),
    *_rows("TransformationParameter", "fix_crop more_fix_crop multi_scale", "bool", "yjxiong", _IMAGES, DROPPED),
    *_rows("TransformationParameter", "max_distort", "int32", "yjxiong", _IMAGES, DROPPED),
    Field("TransformationParameter", "scale_ratios", "repeated float", "yjxiong", _IMAGES, DROPPED),
    *_rows("LossParameter", "weight_by_label_freqs", "bool", "SegNet", _LOSS, REFUSED, _NO_LOSS, False),
    Field("LossParameter", "class_weighting", "repeated float", "SegNet", _LOSS, REFUSED, _NO_LOSS),
    *_rows("LossParameter", "label_smoothing", "float", _INTEL, _LOSS, REFUSED, _NO_LOSS, 0.0),
]


@dataclass(frozen=True)
class Note:
    """What was changed in a layer.

    Attributes
    ----------
    text : str
        What, the same for all layers with the same change.
    line : int
        The layer's line in the file; 0 for the net itself.
    layer : str
        The layer's name, empty for the net itself.
    """

    text: str
    line: int = 0
    layer: str = ""


@cache
def fork_schema() -> Schema:
    """Return Caffe's messages with the fields of forks."""
    table = schema.table()
    table["enums"] |= ENUMS
    for name, fields in MESSAGES.items():
        numbered = {field: f"{kind} {number}" for number, (field, kind) in enumerate(fields.items(), 1)}
        table["messages"][name] = {"fields": numbered}
    for entry in table["messages"].values():
        if "Engine" in entry.get("enums", {}):
            entry["enums"]["Engine"] |= ENGINES
    for number, field in enumerate(FIELDS, FIRST_NUMBER):
        table["messages"][field.owner]["fields"][field.name] = f"{field.kind} {number}"
    return Schema(table)


def drop_fork_fields(net: Message, lines: Sequence[int], path: str) -> tuple[Message, list[Note]]:
    """Drop or convert the fields of forks in a net.

    Parameters
    ----------
    net : NetParameter of `fork_schema`
        The net; it is changed. `pycam.formats.fork_layers` has converted its layers.
    lines : sequence of int
        The line of each layer.
    path : str
        The file, for messages.

    Returns
    -------
    net : NetParameter of Caffe 1.0
        The same net without fields of forks.
    notes : list of Note
        What was changed.

    Raises
    ------
    FormatError
        A field changes what the net computes, in a way that pycam does not have.
    """
    notes: list[Note] = []
    layers = [*net.layer, *net.layers]
    for layer, line in zip(layers, lines, strict=True):
        # The name of a V0 layer is in its inner block.
        name = layer.name or getattr(layer, "layer", layer).name
        notes += [Note(text, line, name) for text in _drop(layer, f"{path}:{line}: layer {name!r}")]
    frame = [Note(text) for text in _drop(net, path, without=("layer", "layers"))]
    plain = schema.NetParameter()
    plain.ParseFromString(net.SerializePartialToString())
    return plain, frame + notes


def summarise(notes: Sequence[Note], path: str) -> tuple[str, ...]:
    """Write one line per change, which names the layers that have it."""
    places: defaultdict[tuple[str, bool], list[Note]] = defaultdict(list)
    for note in notes:
        places[note.text, bool(note.layer)].append(note)
    lines = []
    for (text, _), found in places.items():
        first, others = found[0], len(found) - 1
        if not first.layer:
            lines.append(f"{path}: {text}")
        elif others:
            names = ", ".join(note.layer for note in found[:4]) + (", …" if others > 3 else "")
            lines.append(f"{path}: {text} in {len(found)} layers: {names}")
        else:
            lines.append(f"{path}:{first.line}: {first.layer}: {text}")
    return tuple(lines)


_ROWS = {(field.owner, field.name): field for field in FIELDS}


def _drop(message: Message, where: str, without: Sequence[str] = ()) -> list[str]:
    """Drop or convert the fields of forks in a message and its parts; return what was done."""
    done: list[str] = []
    owner = message.DESCRIPTOR.name
    for descriptor, value in message.ListFields():
        name = descriptor.name
        row = _ROWS.get((owner, name))
        if row is not None:
            done.append(_treat(message, row, value, where))
            message.ClearField(name)
        elif descriptor.enum_type is not None and descriptor.enum_type.name == "Engine" and value in ENGINES.values():
            chosen = next(engine for engine, number in ENGINES.items() if number == value)
            done.append(f"{name}: {chosen} was dropped: {_LIBRARY}")
            message.ClearField(name)
        elif descriptor.message_type is not None and name not in without:
            parts = value if hasattr(value, "add") else [value]
            done += [text for part in parts for text in _drop(part, where)]
    return done


def _treat(message: Message, row: Field, value: Any, where: str) -> str:
    """Convert a field, or check that it may be dropped; return what was done."""
    if row.name == "ceil_mode":
        mode = "CEIL" if value else "FLOOR"
        if message.HasField("round_mode") and message.round_mode != message.RoundMode.Value(mode):
            raise FormatError(f"{where}: its ceil_mode and its round_mode contradict each other: remove one")
        message.round_mode = message.RoundMode.Value(mode)
        return f"ceil_mode: {str(value).lower()} was read as round_mode: {mode}"
    if row.name in ("hole", "hole_h", "hole_w"):
        return _dilate(message, row.name, value, where)
    if row.harmless is not None and value == row.harmless:
        return f"{row.name} was dropped: with this value it changes nothing"
    if row.treatment == CONVERTED:
        raise FormatError(f"{where}: {row.name!r} belongs to a layer of another type: it has no effect here, remove it")
    if row.treatment == REFUSED:
        raise FormatError(
            f"{where}: {row.name!r} is a field of forks of Caffe ({row.fork}): {row.meaning}: {row.advice}"
        )
    return f"{row.name} was dropped: {row.meaning}"


def _dilate(message: Message, name: str, value: int, where: str) -> str:
    """Convert `hole`, `hole_h` or `hole_w` to `dilation`."""
    given = list(message.dilation)
    # hole_w follows hole_h, which has set both sides.
    sides = {"hole": [value], "hole_h": [value, 1], "hole_w": [(given or [1])[0], value]}[name]
    if name != "hole_w" and given and given != sides:
        raise FormatError(f"{where}: its dilation and its {name} contradict each other: remove one")
    message.dilation[:] = sides
    return f"{name}: {value} was read as dilation"
