"""Nets: a prototxt and its weights, read, checked and made explicit once, for every engine.

A `Net` holds typed layers (`pycam.net.layers`) in the order in which Caffe runs them, the shape of every blob, and the
parameters. `read_net` makes a net from files; errors name the file, the line and the layer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.formats import caffemodel, prototxt, schema
from pycam.formats.fork_layers import ForkLayer, distribute
from pycam.net.layers import Convolution, InnerProduct, Layer, OnnxNode, Reshape, Shape, Source
from pycam.net.linking import AUTOMATIC, link
from pycam.net.params import Params, fit_params, matrix_notes
from pycam.net.state import describe, describe_rules, net_state, takes_part

ParamKey: TypeAlias = tuple[str, int]
"""A parameter: the name of its layer, and its index there."""


@dataclass(frozen=True)
class Sources:
    """The user's own files of a net.

    Attributes
    ----------
    prototxt : str
        Path of the prototxt.
    caffemodel : str or None
        Path of the weights.
    foreign : tuple of str
        Those of the two that Caffe 1.0 cannot read: files of forks, HDF5, and weights of other shapes than its own.
    data : tuple of str
        Further files with weights: the external data of an ONNX file, which is both the net and its weights.
    """

    prototxt: str
    caffemodel: str | None = None
    foreign: tuple[str, ...] = ()
    data: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Net:
    """A net: layers in order, and their parameters if weights were given.

    Two nets are equal if their layers and parameters are; names, line numbers and files do not count.

    Attributes
    ----------
    name : str
        The name in the prototxt, often empty.
    layers : tuple of Layer
        In the order in which Caffe runs them.
    params : dict
        Layer name -> float32 arrays of the shapes in `layer.param_shapes`. Empty without weights.
    message : NetParameter
        The net in the current format, without weights.
    state : NetState
        The state in which `layers` were selected from the message.
    sources : Sources or None
        The user's files, None for a net made in memory.
    ignored_weights : tuple of str
        Layers of the weights file that the net does not have (Caffe ignores them, too).
    forks : tuple of ForkLayer
        Layers of forks of Caffe in the prototxt, and the layers of the net that they were converted to.
    notes : tuple of str
        What was changed to read the files of a fork, one line for each kind of change. Each begins with its file.
    """

    name: str
    layers: tuple[Layer, ...]
    params: Params = field(default_factory=dict, repr=False)
    message: Any = field(default=None, repr=False)
    state: Any = field(default_factory=schema.NetState, repr=False)
    sources: Sources | None = None
    ignored_weights: tuple[str, ...] = field(default=(), repr=False)
    forks: tuple[ForkLayer, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        with_params = f"{len(self.params)} with parameters" if self.params else "without weights"
        return f"<Net {self.name[:60]!r}, {len(self.layers)} layers, {with_params}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Net):
            return NotImplemented
        return (
            self.layers == other.layers
            and self.params.keys() == other.params.keys()
            and all(all(map(np.array_equal, self.params[name], other.params[name])) for name in self.params)
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Layers by name, in order; of several with one name, that with weights, else the last."""
        with_weights = {layer.name: layer for layer in self.layers if layer.param_shapes}
        return {layer.name: layer for layer in self.layers} | with_weights

    @cached_property
    def fork_types(self) -> dict[str, str]:
        """Layers that Caffe 1.0 lacks in this form, by name -> their type in the file of a fork."""
        return {layer: fork.type for fork in self.forks for layer in fork.layers if layer in self.by_name}

    @cached_property
    def value_shapes(self) -> dict[str, Shape]:
        """Shape of every value at batch 1, in the order of computation."""
        return {
            value: shape
            for layer in self.layers
            for value, shape in zip(layer.outputs, layer.output_shapes, strict=True)
        }

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every blob at batch 1, as Caffe reports it after the net has run."""
        return {top: self.value_shapes[top] for layer in self.layers for top in layer.tops}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The blobs that are filled before the net runs."""
        return tuple(self.input_values)

    @cached_property
    def input_values(self) -> dict[str, str]:
        """Input blob -> the value that it fills; the names differ if a layer changes the blob in place."""
        return {
            top: value
            for layer in self.layers
            if isinstance(layer, Source)
            for top, value in zip(layer.tops, layer.outputs, strict=True)
        }

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The blobs that no layer reads."""
        read = {value for layer in self.layers for value in layer.inputs}
        return tuple(blob for blob in self.shapes if blob not in read and blob != AUTOMATIC)

    @cached_property
    def producer(self) -> dict[str, Layer]:
        """Value -> the layer that writes it."""
        return {value: layer for layer in self.layers for value in layer.outputs}

    def layers_before(self, values: Iterable[str]) -> tuple[Layer, ...]:
        """Return the layers that some values depend on, in order; the layers that write them are the last."""
        needed = set(values)
        layers: list[Layer] = []
        for layer in reversed(self.layers):
            if needed.intersection(layer.outputs):
                needed.update(layer.inputs)
                layers.append(layer)
        return tuple(reversed(layers))

    def inputs_before(self, values: Iterable[str]) -> tuple[str, ...]:
        """Return the input blobs that some values depend on, or are, in the net's order."""
        values = tuple(values)
        read = {*values, *(value for layer in self.layers_before(values) for value in layer.inputs)}
        return tuple(blob for blob, value in self.input_values.items() if value in read)

    @property
    def from_onnx(self) -> bool:
        """Whether the net was read from an ONNX file, so that only some engines run it."""
        return any(isinstance(layer, OnnxNode) for layer in self.layers)

    @cached_property
    def fixed_batch(self) -> int | None:
        """The only batch size that Caffe can run the net with, because of a Reshape; None for any. pycam runs any."""
        fixed = (layer.fixed_batch for layer in self.layers if isinstance(layer, Reshape))
        return next((batch for batch in fixed if batch is not None), None)

    @cached_property
    def param_owners(self) -> dict[ParamKey, ParamKey]:
        """Every parameter, a layer's name and an index, in order -> the first one that shares its values, often itself.

        Layers share the parameters that have one name in their `param`.
        """
        first: dict[str, ParamKey] = {}
        return {
            (layer.name, index): first.setdefault(name, (layer.name, index)) if name else (layer.name, index)
            for layer in self.layers
            for index, name in enumerate(layer.param_names)
        }

    @property
    def param_count(self) -> int:
        """The number of learned values; shared ones count once."""
        owners = set(self.param_owners.values())
        return sum(int(np.prod(self.by_name[layer].param_shapes[index])) for layer, index in owners)

    @property
    def multiply_adds(self) -> int:
        """The number of multiplications with a weight for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    def check_weights(self, layers: Iterable[Layer]) -> None:
        """Raise a `NetError` that names the first of some layers whose weights are missing."""
        bare = next((layer.name for layer in layers if layer.param_shapes and layer.name not in self.params), None)
        if bare is not None:
            raise NetError(f"the net has no weights (layer {bare!r}): read the net together with its caffemodel")

    def class_weights(self, layer_name: str) -> NDArray[np.float32]:
        """Return the weights of the class-weight layer.

        Parameters
        ----------
        layer_name : str
            A fully connected layer or a 1×1 convolution that has weights.

        Returns
        -------
        (T, K) float32
            Classes × channels.

        Raises
        ------
        NetError
            The net has no such layer, the layer is of another type, or it has no weights.
        """
        layer = self.by_name.get(layer_name)
        if not isinstance(layer, InnerProduct | Convolution):
            what = f"is of type {layer.type!r}" if layer else "is not in the net"
            raise NetError(f"class-weight layer {layer_name!r} {what}: name an InnerProduct or a 1×1 Convolution")
        if layer_name not in self.params:
            raise NetError(f"the net has no weights for {layer_name!r}: read it together with its caffemodel")
        weights = self.params[layer_name][0]
        if isinstance(layer, InnerProduct) and layer.transpose:
            weights = weights.T
        return weights.reshape(layer.num_output, -1)

    def with_params(self, params: Mapping[str, Sequence[NDArray[np.float32]]], path: str = "the parameters") -> Net:
        """Return the same net with other parameters, checked against its shapes; `path` names them in errors."""
        fitting = fit_params(self.layers, params, path, allow_nonfinite=True)
        sources = None if self.sources is None else replace(self.sources, caffemodel=None)
        return replace(self, params=fitting, sources=sources)


def read_net(
    prototxt_path: str | os.PathLike[str],
    caffemodel_path: str | os.PathLike[str] | None = None,
    *,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
    allow_nonfinite: bool = False,
) -> Net:
    """Read a net and, if given, its weights.

    Parameters
    ----------
    prototxt_path : path
        A net in any of Caffe's three formats: V0, V1, current.
    caffemodel_path : path or None
        Its weights. They are matched to layers by name.
    phase : str
        `"TEST"` or `"TRAIN"`. Phase, stages and level select the layers with `include` and `exclude` rules.
    stages : sequence of str
        Stages, in addition to those of the net's own state.
    level : int
        The level.
    allow_nonfinite : bool
        Accept weights that are infinite or not a number.

    Returns
    -------
    Net
        With parameters if a caffemodel was given.

    Raises
    ------
    FormatError
        A file is missing, damaged, or of another kind.
    NetError
        The net contradicts itself, or the weights belong to another net.
    UnsupportedLayerError
        A layer type that pycam does not have.
    UsageError
        No rule of the net names the phase, a stage or the level.
    """
    text = prototxt.read(prototxt_path, alone=caffemodel_path is None)
    foreign = (text.path,) if text.forks or text.notes else ()
    net = replace(
        net_from_message(text.message, text.lines, text.path, phase, stages, level),
        sources=Sources(text.path, foreign=foreign),
        forks=text.forks,
        notes=text.notes,
    )
    if caffemodel_path is None:
        return net
    weights = caffemodel.read(caffemodel_path)
    given = distribute(weights.layers, net.forks, weights.path)
    params = fit_params(net.layers, given, weights.path, allow_nonfinite)
    changed = matrix_notes(net.layers, given, weights.path)
    return replace(
        net,
        params=params,
        ignored_weights=tuple(name for name in given if name not in params),
        sources=Sources(text.path, weights.path, (*foreign, weights.path) if weights.foreign or changed else foreign),
        notes=(*net.notes, *changed),
    )


def net_from_message(
    message: Any,
    lines: Sequence[int] = (),
    path: str = "the net",
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
) -> Net:
    """Make a net from a `NetParameter` in the current format.

    Parameters
    ----------
    message : NetParameter
        Learned blobs in its layers are ignored.
    lines : sequence of int
        The line of each of its layers, for error messages.
    path : str
        The name of the net in error messages.
    phase, stages, level
        As for `read_net`.

    Returns
    -------
    Net
        Without parameters.

    Raises
    ------
    NetError
        The net contradicts itself, or has no layer in this phase.
    UnsupportedLayerError
        A layer type that pycam does not have.
    """
    state = net_state(message, phase, stages, level)
    numbered = list(zip(message.layer, lines or [0] * len(message.layer), strict=True))
    wanted = [each for each in numbered if takes_part(each[0], state)]
    if not wanted:
        if not numbered:
            raise NetError(f"{path}: no layers: is this a net?")
        first, line = numbered[0]
        at = f" (line {line})" if line else ""
        raise NetError(
            f"{path}: no layers in {describe(state)}: all are for other states, {first.name!r}{at} for "
            f"{describe_rules(first)}: choose with --phase, --stage or --level"
        )
    others = [each for each in numbered if not takes_part(each[0], state)]
    return Net(message.name, link(wanted, others, state, path), message=message, state=state)
