"""Caffe's old prototxt formats, converted to the current one as Caffe does when it reads them (its upgrade_proto).

V0 has `layers { layer { type: "conv" … } }`, V1 has `layers { type: CONVOLUTION … }`, the current format has
`layer { type: "Convolution" … }`. Inputs that are fields of the net become a layer of type Input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from pycam.errors import FormatError, UnsupportedLayerError
from pycam.formats import schema
from pycam.formats.schema import Message

Placed: TypeAlias = tuple[Message, int, str]
"""A layer, its line, and `file:line` for messages."""

_TYPES = """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data
    Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output HingeLoss
    Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData MultinomialLogisticLoss PReLU
    Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice
    Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
"""
CAFFE_TYPES = frozenset(_TYPES.split())
"""The layer types of Caffe 1.0."""

_BY_LETTERS = {name.upper(): name for name in CAFFE_TYPES} | {"NONE": "", "SOFTMAXLOSS": "SoftmaxWithLoss"}
V1_TYPES = {name: _BY_LETTERS[name.replace("_", "")] for name, _ in schema.V1LayerParameter.LayerType.items()}
"""Today's layer types by their V1 names: INNER_PRODUCT is InnerProduct."""

_LOWER_CASE = """
    accuracy bnll concat data dropout euclidean_loss flatten hdf5_data hdf5_output im2col infogain_loss lrn
    multinomial_logistic_loss relu sigmoid softmax softmax_loss split tanh window_data
"""
V0_TYPES = {name: name.upper() for name in _LOWER_CASE.split()} | {
    "conv": "CONVOLUTION",
    "images": "IMAGE_DATA",
    "innerproduct": "INNER_PRODUCT",
    "pool": "POOLING",
}
"""V1's layer types by their V0 names. V0's `padding` is no layer in V1."""

V0_NAMES = {
    "biasterm": "bias_term",
    "kernelsize": "kernel_size",
    "batchsize": "batch_size",
    "shuffle_images": "shuffle",
}
"""Today's names of the V0 fields that were renamed; others lost the prefix `det_`."""

V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
V0_KEPT = ("name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")

V1_PARAM_SPECS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
"""V1's lists with one entry per parameter blob: today's field of ParamSpec."""


def upgrade(net: Message, lines: Sequence[int], path: str) -> tuple[Message, tuple[int, ...]]:
    """Convert a net of any format to the current one.

    Parameters
    ----------
    net : NetParameter
        The net. It is changed.
    lines : sequence of int
        The line of each layer.
    path : str
        The file, for messages.

    Returns
    -------
    net : NetParameter
        The net in the current format.
    lines : tuple of int
        The lines of its layers; 0 for the layer made from the net's inputs.

    Raises
    ------
    FormatError
        The net has something that Caffe drops or reinterprets with a warning: two formats in one net, an input without
        a shape, a V0 field that its layer does not have, a padding layer before another layer than a convolution or
        pooling.
    UnsupportedLayerError
        A V0 layer of a type that Caffe does not know.
    """
    if net.layers:
        if net.layer:
            raise FormatError(f"{path}: mixes `layers` (old) and `layer` (current) blocks: use one of them")
        old = [(layer, line, f"{path}:{line}") for layer, line in zip(net.layers, lines, strict=True)]
        if any(layer.HasField("layer") for layer in net.layers):
            old = _merge_padding(old)
            for layer, _, place in old:
                _v0_to_v1(layer, place)
        for layer, _, _ in old:
            _v1_to_current(layer, net.layer.add())
        lines = [line for _, line, _ in old]
        net.ClearField("layers")
    if net.input and (net.input_dim or net.input_shape):
        _inputs_to_layer(net, path)
        lines = [0, *lines]
    else:
        _drop_inputs(net, path)
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            # Its three blobs are statistics, which old files would train.
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    return net, tuple(lines)


def _merge_padding(layers: list[Placed]) -> list[Placed]:
    """Move the width of each V0 padding layer to the convolution or pooling that reads it."""
    kept = []
    writers: dict[str, Message] = {}
    for placed in layers:
        layer, _, place = placed
        for index, bottom in enumerate(layer.bottom):
            source = writers.get(bottom)
            if source is None or source.layer.type != "padding":
                continue
            if layer.layer.type not in ("conv", "pool") or not len(layer.bottom) == len(source.bottom) == 1:
                raise FormatError(
                    f"{place}: layer {layer.layer.name!r} of type {layer.layer.type!r} reads a "
                    "padding layer: only a `conv` or `pool` with one bottom can"
                )
            layer.layer.pad = source.layer.pad
            layer.bottom[index] = source.bottom[0]
        writers.update(dict.fromkeys(layer.top, layer))
        if layer.layer.type != "padding":
            kept.append(placed)
    return kept


def _v0_to_v1(layer: Message, place: str) -> None:
    """Move the fields of the inner `layer` block of V0 to their places in V1."""
    old = schema.V0LayerParameter()
    old.CopyFrom(layer.layer)
    layer.ClearField("layer")
    if old.type not in V0_TYPES:
        raise UnsupportedLayerError(f"{place}: layer {old.name!r} has type {old.type!r}, which Caffe does not know")
    layer.type = schema.V1LayerParameter.LayerType.Value(V0_TYPES[old.type])
    block = getattr(layer, f"{V0_TYPES[old.type].lower()}_param", None)
    for field, value in old.ListFields():
        new = V0_NAMES.get(field.name, field.name.removeprefix("det_"))
        if field.name in V0_KEPT:
            _set(layer, field.name, value)
        elif field.name in V0_TRANSFORM:
            _set(layer.transform_param, V0_TRANSFORM[field.name], value)
        elif block is not None and new in block.DESCRIPTOR.fields_by_name:
            _set(block, new, value)
        elif field.name != "type":
            raise FormatError(f"{place}: layer {old.name!r} of type {old.type!r} has no {field.name!r}: remove it")


def _v1_to_current(old: Message, layer: Message) -> None:
    """Copy a V1 layer into an empty layer of the current format."""
    type_name = schema.V1LayerParameter.LayerType.Name(old.type)
    if type_name in ("DATA", "IMAGE_DATA", "WINDOW_DATA"):
        data = getattr(old, f"{type_name.lower()}_param")
        for name in V0_TRANSFORM.values():
            if data.HasField(name):
                _set(old.transform_param, name, getattr(data, name))
                data.ClearField(name)
    for field, value in old.ListFields():
        if field.name == "type":
            layer.type = V1_TYPES[type_name]
        elif field.name in V1_PARAM_SPECS:
            for index, entry in enumerate(value):
                if index == len(layer.param):
                    layer.param.add()
                setattr(layer.param[index], V1_PARAM_SPECS[field.name], entry)
        else:
            _set(layer, field.name, value)


def _inputs_to_layer(net: Message, path: str) -> None:
    """Convert the net's `input` fields to a layer of type Input before all others."""
    if net.input_shape:
        shapes = [{"dim": shape.dim} for shape in net.input_shape]
    else:
        shapes = [{"dim": net.input_dim[start : start + 4]} for start in range(0, len(net.input_dim) - 3, 4)]
    if len(shapes) < len(net.input):
        raise FormatError(
            f"{path}: {len(net.input)} `input`, {len(net.input_dim)} `input_dim`, {len(net.input_shape)} "
            "`input_shape`: each input needs four input_dim or one input_shape"
        )
    del shapes[len(net.input) :]
    entry = schema.LayerParameter(name="input", type="Input", top=net.input, input_param={"shape": shapes})
    upgraded = schema.NetParameter(layer=[entry, *net.layer])
    for field in ("input", "input_dim", "input_shape", "layer"):
        net.ClearField(field)
    net.MergeFrom(upgraded)


def _drop_inputs(net: Message, path: str) -> None:
    """Remove `input` fields that have no effect in Caffe: names without shapes, or shapes without names."""
    written = {top for layer in net.layer for top in layer.top}
    read = {bottom for layer in net.layer for bottom in layer.bottom}
    for name in net.input:
        if name in read - written:
            raise FormatError(
                f"{path}: input {name!r} has no shape: each input needs four input_dim or one input_shape"
            )
    for field in ("input", "input_dim", "input_shape"):
        net.ClearField(field)


def _set(message: Message, name: str, value: Any) -> None:
    """Set a field of any kind: a single value for a repeated field becomes its only entry."""
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend(value if hasattr(value, "extend") else [value])
    else:
        setattr(message, name, value)
