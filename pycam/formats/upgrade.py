"""Caffe's old dialects, turned into the current one as Caffe does on reading (its upgrade_proto).

V0 has `layers { layer { type: "conv" … } }`, V1 `layers { type: CONVOLUTION … }`, the current dialect
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

_OWN_SPELLINGS = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
V1_TYPES = {
    name: _OWN_SPELLINGS.get(name, name.title().replace("_", ""))
    for name, _ in schema.V1LayerParameter.LayerType.items()
}
"""Today's layer types by the names of V1: INNER_PRODUCT is InnerProduct."""

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
"""V1's layer types by the names of V0. V0's `padding` is no layer since V1."""

V0_FIELDS = {
    "num_output": ("num_output", ("conv", "innerproduct")),
    "biasterm": ("bias_term", ("conv", "innerproduct")),
    "weight_filler": ("weight_filler", ("conv", "innerproduct")),
    "bias_filler": ("bias_filler", ("conv", "innerproduct")),
    "pad": ("pad", ("conv", "pool")),
    "kernelsize": ("kernel_size", ("conv", "pool")),
    "group": ("group", ("conv",)),
    "stride": ("stride", ("conv", "pool")),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", ("data", "hdf5_data", "images", "infogain_loss", "window_data")),
    "batchsize": ("batch_size", ("data", "hdf5_data", "images", "window_data")),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
}
"""V0's fields: today's name, and the layer types that have it."""

V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
V0_KEPT = ("name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")

V1_PARAM_SPECS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
"""V1's lists with an entry a parameter blob: today's field of ParamSpec."""


def upgrade(net: Message, lines: Sequence[int], path: str) -> tuple[Message, tuple[int, ...]]:
    """Turn a net of any dialect into the current one.

    Parameters
    ----------
    net
        A `NetParameter`; it is used up.
    lines
        The line of each layer.
    path
        The file, for messages.

    Returns
    -------
    tuple
        The net in the current dialect, and the lines of its layers (0 for the one made of the net's inputs).

    Raises
    ------
    FormatError
        What Caffe drops or guesses at with a warning: dialects mixed in one net, an input without a shape, a
        V0 field that its layer does not have, a padding layer before anything but a convolution or pooling.
    UnsupportedLayerError
        A V0 layer of a type that Caffe does not know.
    """
    if net.layers:
        if net.layer:
            raise FormatError(f"{path}: mixes `layers` (old) and `layer` (current) blocks: use one of them")
        places = [f"{path}:{line}" for line in lines]
        old = list(zip(net.layers, lines, places, strict=True))
        if any(layer.HasField("layer") for layer in net.layers):
            old = _merge_padding(old)
            for layer, _, place in old:
                _v0_to_v1(layer, place)
        for layer, _, _ in old:
            _v1_to_current(layer, net.layer.add())
        lines = [line for _, line, _ in old]
        net.ClearField("layers")
    if net.input or net.input_dim or net.input_shape:
        _inputs_to_layer(net, path)
        lines = [0, *lines]
    for layer in net.layer:
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            # its three blobs are statistics: files from before BatchNorm knew that would train them
            for spec in layer.param:
                spec.lr_mult = spec.decay_mult = 0
    return net, tuple(lines)


def _merge_padding(layers: list[Placed]) -> list[Placed]:
    """Give the width of each V0 padding layer to the convolution or pooling that reads it."""
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
    """Move what V0 keeps in the inner `layer` block to where V1 keeps it."""
    old = schema.V0LayerParameter()
    old.CopyFrom(layer.layer)
    layer.ClearField("layer")
    if old.type not in V0_TYPES:
        raise UnsupportedLayerError(f"{place}: layer {old.name!r} has type {old.type!r}, which Caffe does not know")
    layer.type = schema.V1LayerParameter.LayerType.Value(V0_TYPES[old.type])
    for field, value in old.ListFields():
        new, types = V0_FIELDS.get(field.name, ("", ()))
        if field.name in V0_KEPT:
            _set(layer, field.name, value)
        elif field.name in V0_TRANSFORM:
            _set(layer.transform_param, V0_TRANSFORM[field.name], value)
        elif old.type in types:
            _set(_block(layer, V0_TYPES[old.type]), new, value)
        elif field.name != "type":
            raise FormatError(f"{place}: layer {old.name!r} of type {old.type!r} has no {field.name!r}: remove it")


def _v1_to_current(old: Message, layer: Message) -> None:
    """Copy a V1 layer into a fresh one of today."""
    type_name = schema.V1LayerParameter.LayerType.Name(old.type)
    if type_name in ("DATA", "IMAGE_DATA", "WINDOW_DATA"):
        data = _block(old, type_name)
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


def _block(layer: Message, type_name: str) -> Message:
    """Give the parameters of a V1 layer: INNER_PRODUCT has them in `inner_product_param`."""
    return getattr(layer, f"{type_name.lower()}_param")


def _inputs_to_layer(net: Message, path: str) -> None:
    """Turn the net's `input` fields into a layer of type Input before all others."""
    if net.input_shape:
        shapes = [list(shape.dim) for shape in net.input_shape]
    else:
        shapes = [list(net.input_dim[start : start + 4]) for start in range(0, len(net.input_dim), 4)]
    if len(shapes) != len(net.input) or (not net.input_shape and len(net.input_dim) % 4):
        raise FormatError(
            f"{path}: {len(net.input)} `input`, {len(net.input_dim)} `input_dim`, {len(net.input_shape)} "
            "`input_shape`: each input needs four input_dim or one input_shape"
        )
    layers = list(net.layer)
    entry = schema.LayerParameter(name="input", type="Input", top=net.input)
    for dims in shapes:
        entry.input_param.shape.add(dim=dims)
    upgraded = schema.NetParameter(layer=[entry, *layers])
    for field in ("input", "input_dim", "input_shape", "layer"):
        net.ClearField(field)
    net.MergeFrom(upgraded)


def _set(message: Message, name: str, value: Any) -> None:
    """Set a field of any kind: a single value for a repeated field becomes its only entry."""
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "extend"):
        target.extend(value if hasattr(value, "extend") else [value])
    else:
        setattr(message, name, value)
