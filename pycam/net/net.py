"""Nets: a prototxt and its weights, read, checked and made explicit once, for every engine.

A `Net` holds typed layers (`pycam.net.layers`) in the order in which Caffe runs them, the shape of every blob, and the
parameters. `read_net` makes a net from files; errors name the file, the line and the layer.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError, PycamError, UnsupportedLayerError, suggest
from pycam.formats import caffemodel, prototxt, schema
from pycam.formats.fork_layers import ForkLayer, distribute
from pycam.formats.layer_types import unknown_type
from pycam.formats.upgrade import CAFFE_TYPES
from pycam.net.layers import (
    LAYER_TYPES,
    MAX_BLOB_COUNT,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    InnerProduct,
    Layer,
    Reshape,
    Shape,
    Source,
    dims,
)
from pycam.net.state import describe, describe_rules, net_state, stages_of, takes_part

Params = dict[str, tuple[NDArray[np.float32], ...]]

AUTOMATIC = "(automatic)"
"""Caffe's name of the top that it adds to a loss without one. No layer can read it, and it is no output of the net."""


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
        Those of the two that Caffe 1.0 cannot read: files of forks, and HDF5.
    """

    prototxt: str
    caffemodel: str | None = None
    foreign: tuple[str, ...] = ()


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
        What was changed to read the file of a fork, one line for each kind of change.
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
        """Layers by name; of several with one name, the last, as in Caffe."""
        return {layer.name: layer for layer in self.layers}

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

    @cached_property
    def fixed_batch(self) -> int | None:
        """The only batch size that Caffe can run the net with, because of a Reshape; None for any. pycam runs any."""
        fixed = (layer.fixed_batch for layer in self.layers if isinstance(layer, Reshape))
        return next((batch for batch in fixed if batch is not None), None)

    @property
    def param_count(self) -> int:
        """The number of learned values; shared ones count once."""
        shapes: dict[tuple[str | int, ...], Shape] = {}
        for number, layer in enumerate(self.layers):
            for index, (name, shape) in enumerate(zip(layer.param_names, layer.param_shapes, strict=True)):
                shapes.setdefault((name,) if name else (number, index), shape)
        return sum(int(np.prod(shape)) for shape in shapes.values())

    @property
    def multiply_adds(self) -> int:
        """The number of multiplications with a weight for one image."""
        return sum(layer.multiply_adds for layer in self.layers)

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
        fitting = _fit_params(self.layers, params, path, allow_nonfinite=True)
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
    text = prototxt.read(prototxt_path)
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
    params = _fit_params(net.layers, given, weights.path, allow_nonfinite)
    return replace(
        net,
        params=params,
        ignored_weights=tuple(name for name in given if name not in params),
        sources=Sources(text.path, weights.path, (*foreign, weights.path) if weights.foreign else foreign),
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
        known = stages_of(message)
        raise NetError(
            f"{path}: no layers in {describe(state)}: is this a net?"
            + (f" It has the stages {', '.join(known)}: select one with --stage" if known else "")
        )
    others = [each for each in numbered if not takes_part(each[0], state)]
    return Net(message.name, _link(wanted, others, state, path), message=message, state=state)


def _link(
    messages: Sequence[tuple[Any, int]], others: Sequence[tuple[Any, int]], state: Any, path: str
) -> tuple[Layer, ...]:
    """Turn messages into layers whose values are each written once; `others` are layers of other states."""
    tops_of = [_tops(message) for message, _ in messages]
    last_writer = {top: index for index, tops in enumerate(tops_of) for top in tops}
    makers = {top: (message.name, line) for message, line in reversed(messages) for top in message.top}
    current: dict[str, str] = {}  # blob -> the value that it holds
    readers: Counter[str] = Counter()  # how often each value is read
    shapes: dict[str, Shape] = {}
    batches: dict[str, int] = {}  # value -> the batch size in the file
    memory = _Memory()
    sharing = _Sharing()
    layers: list[Layer] = []
    for index, ((message, line), tops) in enumerate(zip(messages, tops_of, strict=True)):
        where = f"{path}:{line}: layer {message.name!r}" if line else f"{path}: layer {message.name!r}"
        if not message.name:
            raise NetError(f"{where} (type {message.type!r}) has no name")
        if "" in message.top:
            raise NetError(f"{where} (type {message.type!r}) has a top without a name")
        kind = _layer_class(message, where)
        _check_counts(kind, message, len(tops), where)

        for bottom in message.bottom:
            if bottom not in current:
                raise NetError(f"{where} reads blob {bottom!r}, {_why_missing(bottom, makers, current, others, state)}")
            if changer := memory.changer.get(current[bottom]):
                raise NetError(
                    f"{where} reads blob {bottom!r}, which in Caffe shares memory with a blob that {changer!r} changed "
                    "in place before: give that layer a top of its own"
                )
        inputs = tuple(current[bottom] for bottom in message.bottom)
        readers.update(inputs)
        own: set[str] = set()
        for i, top in enumerate(message.top):
            in_place = i < len(message.bottom) and message.bottom[i] == top
            if top in own or (top in current and not in_place):
                raise NetError(f"{where} writes blob {top!r}, which {makers[top][0]!r} already writes: rename the top")
            own.add(top)
            if in_place and not kind.works_in_place:
                raise NetError(
                    f"{where} writes its own bottom {top!r}, but Caffe cannot compute a layer of type "
                    f"{message.type!r} in place: give the layer a top of its own"
                )
            if in_place and readers[current[top]] > 1:
                raise NetError(
                    f"{where} changes blob {top!r} in place, but another layer reads its values from before "
                    "(Caffe refuses this as well): give the layer a top of its own"
                )
        input_shapes = tuple(shapes[value] for value in inputs)
        try:
            batch = batches[inputs[0]] if inputs else 1
            resolved = {
                "output_shapes": input_shapes[:1],
                **kind.resolve(kind.for_any_batch(message, input_shapes, batch), input_shapes),
            }
            param_names = sharing.names(message, resolved.get("param_shapes", ()))
        except PycamError as error:
            raise NetError(f"{where} ({message.type}): {error}") from None
        outputs = []
        for top, shape in zip(tops, resolved["output_shapes"], strict=True):
            if int(np.prod(shape, dtype=object)) > MAX_BLOB_COUNT:
                raise NetError(
                    f"{where}: blob {top!r} of {dims(shape)} has more values than Caffe can count (2^31 − 1)"
                )
            value = top if last_writer[top] == index else f"{top}@{message.name}"
            while value in shapes:
                value += "'"  # an earlier layer of that name wrote that blob, too
            outputs.append(value)
            shapes[value] = shape
            batches[value] = resolved.get("batch", batch)
            if top in message.top:
                current[top] = value
        memory.write(message, tops, inputs, outputs)
        layers.append(
            kind(
                name=message.name,
                bottoms=tuple(message.bottom),
                tops=tops,
                inputs=inputs,
                outputs=tuple(outputs),
                input_shapes=input_shapes,
                param_names=param_names,
                line=line,
                message=message,
                **resolved,
            )
        )
    return tuple(layers)


def _tops(message: Any) -> tuple[str, ...]:
    """Return the tops of a layer, with those that Caffe adds."""
    least = LAYER_TYPES[message.type].auto_tops if message.type in LAYER_TYPES else 0
    return (*message.top, *[AUTOMATIC] * (least - len(message.top)))


class _Sharing:
    """The parameters that layers share by the names of their `param`."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[str, Shape, Any]] = {}

    def names(self, message: Any, shapes: Sequence[Shape]) -> tuple[str, ...]:
        """Return the names of a layer's parameters, or raise a `NetError` for one that cannot be shared."""
        specs = [message.param[i] if i < len(message.param) else schema.ParamSpec() for i in range(len(shapes))]
        for spec, shape in zip(specs, shapes, strict=True):
            owner, owned, first = self._owners.setdefault(spec.name, (message.name, shape, spec))
            if not spec.name or first is spec:
                continue
            permissive = spec.share_mode == schema.ParamSpec.PERMISSIVE
            if shape != owned and not (permissive and np.prod(shape) == np.prod(owned)):
                raise NetError(
                    f"its parameter {spec.name!r} of {dims(shape)} is that of layer {owner!r}, of {dims(owned)}: both "
                    "need one shape, or with share_mode: PERMISSIVE the same number of values"
                )
            for factor in ("lr_mult", "decay_mult"):
                if spec.HasField(factor) and first.HasField(factor) and getattr(spec, factor) != getattr(first, factor):
                    raise NetError(f"its parameter {spec.name!r} has another {factor} than in layer {owner!r}")
        return tuple(spec.name for spec in specs)


class _Memory:
    """The memory that values share in Caffe.

    Attributes
    ----------
    changer : dict
        Value -> the first layer that changed the value's memory after the value was written.
    """

    def __init__(self) -> None:
        self.changer: dict[str, str] = {}
        self._place: dict[str, str] = {}  # value -> the value that its memory was made for
        self._intact: dict[str, list[str]] = {}  # place -> the values that it still holds

    def write(self, message: Any, tops: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Record the values that a layer writes."""
        alone = len(inputs) == len(outputs) == 1
        shares = message.type in ("Flatten", "Reshape", "Split") or (alone and message.type in ("Concat", "Slice"))
        for i, output in enumerate(outputs):
            in_place = i < len(message.bottom) and message.bottom[i] == tops[i]
            place = self._place[inputs[0]] if shares or in_place else output
            # Dropout changes values only in training.
            if in_place and message.type != "Dropout":
                self.changer.update(dict.fromkeys(self._intact.pop(place), message.name))
            self._place[output] = place
            self._intact.setdefault(place, []).append(output)


def _layer_class(message: Any, where: str) -> type[Layer]:
    if message.type in LAYER_TYPES:
        return LAYER_TYPES[message.type]
    if message.type not in CAFFE_TYPES:
        raise UnsupportedLayerError(f"{where} has the unsupported type {message.type!r}: {unknown_type(message.type)}")
    advice = (
        "replace it by a layer of type Input, which gives the shapes of its tops"
        if not message.bottom and message.type != "Parameter"
        else "pycam reads the net without this layer and the layers that depend on it"
    )
    raise UnsupportedLayerError(f"{where} has the type {message.type!r}: Caffe has it, pycam does not; {advice}")


def _check_counts(kind: type[Layer], message: Any, tops: int, where: str) -> None:
    for what, count, (least, most) in (
        ("bottoms", len(message.bottom), kind.bottom_count),
        ("tops", tops, kind.top_count),
    ):
        if count < least or (most is not None and count > most):
            wanted = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
            raise NetError(f"{where} ({message.type}) has {count} {what}, the type takes {wanted}")
    # A loss has a weight for its first top by itself.
    weights = len(message.loss_weight) or kind.auto_tops
    if weights not in (0, tops):
        raise NetError(f"{where} ({message.type}) has {tops} tops and {weights} loss_weight: give one per top")


def _why_missing(
    bottom: str,
    makers: Mapping[str, tuple[str, int]],
    current: Mapping[str, str],
    others: Sequence[tuple[Any, int]],
    state: Any,
) -> str:
    if bottom in makers:
        name, line = makers[bottom]
        at = f" (line {line})" if line else ""
        return f"which only a later layer, {name!r}{at}, writes: the net has a cycle, or its layers are out of order"
    if writers := [(layer, line) for layer, line in others if bottom in layer.top]:
        when = "; ".join(
            f"{layer.name!r}{f' (line {line})' if line else ''}: {describe_rules(layer)}" for layer, line in writers
        )
        return f"which no layer writes in {describe(state)} ({when}): choose with --phase, --stage or --level"
    return f"which no layer writes: {suggest(bottom, current, 'check its name')}"


def _fit_params(
    layers: Sequence[Layer],
    given: Mapping[str, Sequence[NDArray[np.float32]]],
    path: str,
    allow_nonfinite: bool,
) -> Params:
    """Match parameters to layers by name, as Caffe does, and check their shapes against the net's."""
    learned = [layer for layer in layers if layer.param_shapes]
    _check_names(layers, path)
    shared: dict[str, NDArray[np.float32]] = {}
    # Caffe copies the arrays of the file, in its order, into the memory that layers share: the last one counts.
    by_name = {layer.name: layer for layer in learned}
    for name, arrays in given.items():
        if name in by_name:
            _check_arrays(by_name[name], arrays, layers, path, allow_nonfinite)
            shared.update((key, a) for key, a in zip(by_name[name].param_names, arrays, strict=True) if key)
    params: Params = {}
    for layer in learned:
        if layer.name not in given and not shared.keys() >= set(layer.param_names):
            present = sum(other.name in given for other in learned)
            raise NetError(
                f"{path}: no weights for layer {layer.name!r}{_at(layer)}; the file has {present} of the net's "
                f"{len(learned)} layers with weights: "
                f"{'is it cut off?' if present else 'are these the weights of another net?'}"
            )
        own = given.get(layer.name, [None] * len(layer.param_shapes))
        params[layer.name] = tuple(
            np.asarray(shared[key] if key else array, dtype=np.float32).reshape(shape)
            for key, array, shape in zip(layer.param_names, own, layer.param_shapes, strict=True)
        )
    return params


def _why_misfit(layer: Layer, found: Sequence[Shape], layers: Sequence[Layer]) -> str:
    """Return why a layer's weights do not fit it, and what to do."""
    if isinstance(layer, BatchNorm) and len(found) == 5:
        return (
            "these are mean, variance, factor, scale and bias, as in NVIDIA's Caffe: write `scale_bias: true` in the "
            "layer's batch_norm_param"
        )
    channels = _channels_before(layer, layers)
    if isinstance(layer, InnerProduct) and channels and len(found) == len(layer.param_shapes):
        count, expected = found[0][-2:], layer.param_shapes[0]
        outputs, inputs = (1, 0) if layer.transpose else (0, 1)
        if len(count) == 2 and count[outputs] == expected[outputs] and count[inputs] % channels == 0:
            sizes = ", ".join(
                dims(shape[1:]) for each in layers if isinstance(each, Source) for shape in each.output_shapes[:1]
            )
            return (
                f"with inputs of {sizes} the layer reads {expected[inputs]:,} values, and its weights are for "
                f"{count[inputs]:,}, so the net was probably trained with inputs of another size: write that size in "
                "the net"
            )
    return "are these the weights of another net?"


def _channels_before(layer: Layer, layers: Sequence[Layer]) -> int:
    """Return the number of channels of the maps that a layer reads, also through a Flatten; 0 if it reads none."""
    producers = {value: each for each in layers for value in each.outputs}
    while len(layer.input_shapes[0]) != 4:
        layer = producers[layer.inputs[0]]
        if not isinstance(layer, Flatten | Reshape | Dropout):
            return 0
    return layer.input_shapes[0][1]


def _check_names(layers: Sequence[Layer], path: str) -> None:
    """Raise a `NetError` if several layers have one name, so that Caffe gives weights to the first one only."""
    named: dict[str, list[Layer]] = {}
    for layer in layers:
        named.setdefault(layer.name, []).append(layer)
    for name, (first, *others) in named.items():
        same = all(
            (other.param_names, other.param_shapes) == (first.param_names, first.param_shapes) for other in others
        )
        if not (same and all(first.param_names)) and others:
            lines = " and ".join(str(layer.line) for layer in (first, *others))
            raise NetError(
                f"{path}: layers with weights share the name {name!r} (lines {lines} of the net): Caffe fills only the "
                "first one; give each a name of its own, in the net and in its weights"
            )


def _check_arrays(
    layer: Layer,
    arrays: Sequence[NDArray[np.float32]],
    layers: Sequence[Layer],
    path: str,
    allow_nonfinite: bool,
) -> None:
    """Raise a `NetError` for arrays that do not fit a layer."""
    found = tuple(tuple(array.shape) for array in arrays)
    if len(found) != len(layer.param_shapes) or not all(map(_same_shape, found, layer.param_shapes)):
        raise NetError(
            f"{path}: layer {layer.name!r}{_at(layer)} has weights of {_list_shapes(found)}, the net expects "
            f"{_list_shapes(layer.param_shapes)}: {_why_misfit(layer, found, layers)}"
        )
    if not allow_nonfinite:
        _check_finite(layer.name, arrays, path)


def _at(layer: Layer) -> str:
    return f" (line {layer.line} of the net)" if layer.line else ""


def _same_shape(found: Shape, expected: Shape) -> bool:
    """Compare shapes as Caffe does for old files: N×K is the same as 1×1×N×K."""
    axes = max(len(found), len(expected))
    return (1,) * (axes - len(found)) + found == (1,) * (axes - len(expected)) + expected


def _list_shapes(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(dims, shapes)) or "no shape"


def _check_finite(name: str, arrays: Sequence[NDArray[np.float32]], path: str) -> None:
    # A finite sum proves that all values are finite, and costs far less than a test of each value.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = [array for array in arrays if not np.isfinite(array.sum())]
    if bad := sum(int(np.count_nonzero(~np.isfinite(array))) for array in suspects):
        raise NetError(
            f"{path}: layer {name!r} has {bad} weights that are infinite or not a number: the file is damaged, or "
            "training diverged; `pycam heatmap`, `compare` and `net show` accept them with --allow-nonfinite"
        )
