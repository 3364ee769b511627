"""Layers of forks of Caffe, converted to layers of Caffe 1.0 that compute the same, with their weights.

ShuffleChannel, which no layers of Caffe 1.0 replace, keeps its type: `pycam.net.layers.shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, NetError
from pycam.formats.forks import ENUMS, Note
from pycam.formats.schema import Message

Blobs: TypeAlias = Sequence[NDArray[np.float32]]

BATCH_NORM_MODES = ENUMS["BatchNormMode"]


@dataclass(frozen=True)
class ForkLayer:
    """A layer of a fork of Caffe.

    Attributes
    ----------
    name, type : str
        As in the file; NVIDIA's BatchNorm has the type of Caffe's.
    line : int
        The line of the layer, 0 if it is not known.
    layers : tuple of str
        The layers that it was converted to, in order.
    """

    name: str
    type: str
    line: int
    layers: tuple[str, ...]

    def distribute(self, blobs: Blobs, path: str) -> dict[str, Blobs]:
        """Give the layer's blobs to the layers that it was converted to.

        Parameters
        ----------
        blobs : sequence of float32 arrays
            The blobs under the layer's name in a file of the fork.
        path : str
            The file, for messages.

        Returns
        -------
        dict
            Layer name -> its blobs.

        Raises
        ------
        NetError
            There are too many or too few blobs, or they are in another order than pycam knows.
        """
        share = _SHARES.get(self.type)
        if share is None:
            return {self.name: blobs}
        where = f"{path}: layer {self.name!r}" + (f" (line {self.line} of the net)" if self.line else "")
        return dict(zip(self.layers, share([blob.reshape(-1) for blob in blobs], where, len(self.layers)), strict=True))


def convert_layers(net: Message, lines: Sequence[int], path: str) -> tuple[list[int], list[ForkLayer], list[Note]]:
    """Convert the layers of forks in a net.

    Parameters
    ----------
    net : NetParameter
        A net of Caffe 1.0, or of `pycam.formats.forks.fork_schema`. Its layers in the current format are replaced.
    lines : sequence of int
        The line of each layer.
    path : str
        The file, for messages.

    Returns
    -------
    lines : list of int
        The lines of the new layers.
    converted : list of ForkLayer
        The layers that were replaced.
    notes : list of Note
        What was changed.

    Raises
    ------
    FormatError
        A layer has parameters that pycam cannot convert.
    """
    layers = list(net.layer)
    if not any(_converter(layer) for layer in layers):
        return list(lines), [], []
    taken = {layer.name for layer in layers} | {top for layer in layers for top in layer.top}
    new_layers: list[Message] = []
    new_lines: list[int] = []
    converted: list[ForkLayer] = []
    notes: list[Note] = []
    for layer, line in zip(layers, lines, strict=True):
        convert, made = _converter(layer), [layer]
        if convert is not None:
            where, kind = f"{path}:{line}: layer {layer.name!r} ({layer.type})", layer.type
            _check(layer, where)
            for name in ("blobs", "propagate_down", "loss_weight"):
                layer.ClearField(name)
            made = convert(layer, where, taken)
            converted.append(ForkLayer(layer.name, kind, line, tuple(each.name for each in made)))
            if layer.type != kind or len(made) > 1:
                names = " and ".join(", ".join(each.type for each in made).rsplit(", ", 1))
                notes.append(Note(f"{_TITLES.get(kind, kind)} was read as {names}", line, layer.name))
        new_layers += made
        new_lines += [line] * len(made)
    copies = [type(each).FromString(each.SerializePartialToString()) for each in new_layers]
    net.ClearField("layer")
    net.layer.extend(copies)
    return new_lines, converted, notes


def distribute(weights: Mapping[str, Blobs], converted: Iterable[ForkLayer], path: str) -> dict[str, Blobs]:
    """Give the blobs of forks' layers to the layers that these were converted to.

    Parameters
    ----------
    weights : mapping
        Layer name -> its blobs, as in a file. A file that was written for the converted net is unchanged.
    converted : iterable of ForkLayer
        The layers that were converted.
    path : str
        The file, for messages.

    Returns
    -------
    dict
        Layer name -> its blobs.
    """
    shared = dict(weights)
    for fork in converted:
        if fork.name in weights and not any(name in weights for name in fork.layers if name != fork.name):
            shared |= fork.distribute(weights[fork.name], path)
    return shared


_Converter: TypeAlias = Callable[[Any, str, set[str]], list[Any]]


def _converter(layer: Message) -> _Converter | None:
    if layer.type == "BatchNorm" and _has_scale_and_bias(layer.batch_norm_param):
        return _nvidia_batch_norm
    return _CONVERTERS.get(layer.type)


def _has_scale_and_bias(param: Message) -> bool:
    fields = {field.name: value for field, value in param.ListFields()}
    return bool(fields.get("scale_bias")) or "scale_filler" in fields or "bias_filler" in fields


def _check(layer: Message, where: str) -> None:
    bottoms, tops = 3 if layer.type == "Axpy" else 1, 1
    for what, found, wanted in (("bottoms", len(layer.bottom), bottoms), ("tops", len(layer.top), tops)):
        if found != wanted:
            raise FormatError(f"{where}: {found} {what}, the type takes {wanted}")
    if any(spec.name for spec in layer.param) and layer.type in ("BN", "BatchNorm"):
        raise FormatError(f"{where}: it shares parameters by name, which pycam does not convert for this type")


def _like(layer: Message, kind: str, name: str, bottoms: Sequence[str], top: str) -> Message:
    """Make a layer of Caffe 1.0 that is part of the net under the same rules as a fork's layer."""
    made = type(layer)(name=name, type=kind, bottom=bottoms, top=[top], include=layer.include, exclude=layer.exclude)
    if layer.HasField("phase"):
        made.phase = layer.phase
    return made


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _axpy(layer: Message, where: str, taken: set[str]) -> list[Message]:
    """Convert a · x + y, with one factor a per image and channel, N×C or N×C×1×1."""
    factors, x, y = layer.bottom
    flat, scaled = (_unused(f"{layer.name}/{part}", taken) for part in ("factors", "scaled"))
    before = [_like(layer, "Flatten", flat, [factors], flat), _like(layer, "Scale", scaled, [x, flat], scaled)]
    before[1].scale_param.axis = 0
    layer.type = "Eltwise"
    layer.bottom[:] = [scaled, y]
    return [*before, layer]


def _depthwise(layer: Message, where: str, taken: set[str]) -> list[Message]:
    """Convert a convolution with one group per channel."""
    layer.type = "Convolution"
    if not layer.convolution_param.HasField("group"):
        layer.convolution_param.group = layer.convolution_param.num_output
    return [layer]


def _bn(layer: Message, where: str, taken: set[str]) -> list[Message]:
    """Convert (x − mean) / sqrt(variance + eps) · slope + bias, or SegNet's form for inference, x · scale + shift."""
    fields: dict[str, Any] = {}
    if "bn_param" in layer.DESCRIPTOR.fields_by_name:
        fields = {field.name: value for field, value in layer.bn_param.ListFields()}
        layer.ClearField("bn_param")
    specs = list(layer.param)[:2]
    if fields.keys() & {"bn_mode", "scale_filler", "shift_filler"}:
        if fields.get("bn_mode") != BATCH_NORM_MODES["INFERENCE"]:
            raise FormatError(
                f"{where}: SegNet's BN without `bn_mode: INFERENCE` uses the statistics of the batch, which pycam does "
                "not: give the net and the weights that SegNet's compute_bn_statistics.py writes for inference"
            )
        layer.type = "Scale"
        layer.scale_param.bias_term = True
        del layer.param[2:]
        return [layer]
    if "eps" in fields:
        layer.batch_norm_param.eps = fields["eps"]
    return _batch_norm_and_scale(layer, specs, taken)


def _nvidia_batch_norm(layer: Message, where: str, taken: set[str]) -> list[Message]:
    """Convert a BatchNorm that is followed by a scale and a bias of its own."""
    param = layer.batch_norm_param
    for name in ("scale_bias", "scale_filler", "bias_filler"):
        param.ClearField(name)
    if not param.use_global_stats:
        # In inference NVIDIA's layer uses the stored statistics in any case.
        param.ClearField("use_global_stats")
    return _batch_norm_and_scale(layer, (), taken)


def _batch_norm_and_scale(layer: Message, specs: Sequence[Message], taken: set[str]) -> list[Message]:
    top = layer.top[0]
    scale = _like(layer, "Scale", _unused(f"{layer.name}/scale", taken), [top], top)
    scale.scale_param.bias_term = True
    scale.param.extend(specs)
    layer.type = "BatchNorm"
    layer.ClearField("param")
    for _ in range(3):
        layer.param.add(lr_mult=0, decay_mult=0)
    return [layer, scale]


def _shuffle(layer: Message, where: str, taken: set[str]) -> list[Message]:
    return [layer]


_CONVERTERS: dict[str, _Converter] = {
    "Axpy": _axpy,
    "BN": _bn,
    "ConvolutionDepthwise": _depthwise,
    "DepthwiseConvolution": _depthwise,
    "ShuffleChannel": _shuffle,
}

TYPES = tuple(_CONVERTERS)
"""Layer types of forks that are converted."""

_TITLES = {"BatchNorm": "BatchNorm with scale and bias"}
"""Names in notes for types that Caffe 1.0 has, too."""


def _share_bn(blobs: Blobs, where: str, count: int) -> list[Blobs]:
    """Share slope, bias, mean and variance; or scale and shift if the layer became a Scale."""
    wanted = "scale and shift" if count == 1 else "slope, bias, mean and variance"
    if len(blobs) != (2 if count == 1 else 4):
        other = {2: ": give SegNet's net for inference, with `bn_mode: INFERENCE`", 4: ": remove its bn_mode"}
        raise NetError(
            f"{where}: {len(blobs)} blobs, expected {wanted} of a BN layer"
            + other.get(len(blobs), ": are these the weights of another net?")
        )
    if count == 1:
        return [blobs]
    slope, bias, mean, variance = blobs
    return [(mean, _checked(variance, where), np.ones(1, np.float32)), (slope, bias)]


def _share_batch_norm(blobs: Blobs, where: str, count: int) -> list[Blobs]:
    """Share mean, variance, factor, scale and bias."""
    if len(blobs) == 3:
        raise NetError(
            f"{where}: three blobs, which is a BatchNorm without scale and bias: remove scale_bias, scale_filler and "
            "bias_filler from the layer"
        )
    if len(blobs) != 5:
        raise NetError(
            f"{where}: {len(blobs)} blobs, expected mean, variance, factor, scale and bias of NVIDIA's BatchNorm: are "
            "these the weights of another net?"
        )
    mean, variance, factor, scale, bias = blobs
    # NVIDIA's Caffe writes 1, in early versions 0, and does not divide. Another factor is that of Caffe's sums.
    if not factor.any():
        factor = np.ones_like(factor)
    return [(mean, _checked(variance, where), factor), (scale, bias)]


def _checked(variance: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    if (variance < 0).any():
        raise NetError(
            f"{where}: its variance has negative values: the blobs are in another order, that of a version of the fork "
            "that pycam does not know"
        )
    return variance


_SHARES: dict[str, Callable[[Blobs, str, int], list[Blobs]]] = {"BN": _share_bn, "BatchNorm": _share_batch_norm}
