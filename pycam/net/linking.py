"""Linking: layer messages become layers whose values are each written once, as Caffe would run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pycam.errors import NetError, PycamError, UnsupportedLayerError, suggest
from pycam.formats import schema
from pycam.formats.layer_types import unknown_type
from pycam.formats.upgrade import CAFFE_TYPES
from pycam.net.layers import LAYER_TYPES, MAX_BLOB_COUNT, Layer, Shape, dims
from pycam.net.layers.base import need
from pycam.net.state import PHASES, describe, describe_rules

AUTOMATIC = "(automatic)"
"""Caffe's name of the top that it adds to a loss without one. No layer can read it, and it is no output of the net."""


def link(
    messages: Sequence[tuple[Any, int]], others: Sequence[tuple[Any, int]], state: Any, path: str
) -> tuple[Layer, ...]:
    """Turn messages into layers whose values are each written once.

    Parameters
    ----------
    messages : sequence of (LayerParameter, int)
        The layers that take part, in the current format, each with its line, 0 if it has none.
    others : sequence of (LayerParameter, int)
        The layers that take part in other states only, for messages.
    state : NetState
        The state of the net.
    path : str
        The name of the net in messages.

    Returns
    -------
    tuple of Layer
        In the order of `messages`. Shapes are those at batch 1.

    Raises
    ------
    NetError
        A layer reads what no layer before it writes, its parameters or the shapes of its bottoms are impossible, or
        Caffe would refuse it or compute garbage.
    UnsupportedLayerError
        A layer type that pycam does not have.
    """
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
        if message.HasField("phase") and message.phase != state.phase:
            raise NetError(
                f"{where} has phase: {PHASES[message.phase]}, but the net is in {describe(state)}: use include "
                "{ phase: … } to choose when a layer is part of the net, or remove the field"
            )

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
            need(
                state.phase == PHASES.index("TRAIN") or resolved.get("use_global_stats") is not False,
                "use_global_stats is false: the statistics of a batch are for training only: remove the field, and "
                "phase TEST has the stored ones, as an image's scores must not depend on the others in its batch",
            )
        except PycamError as error:
            raise NetError(f"{where} ({message.type}): {error}") from None
        if "shapes_in_file" in resolved:  # a source
            batch = resolved["shapes_in_file"][0][0]
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
            batches[value] = batch
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
    if not message.type:
        raise NetError(f'{where} has no type: write it, as in type: "Convolution"')
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
    bottoms, given = len(message.bottom), len(message.propagate_down)
    if given not in (0, bottoms):
        raise NetError(
            f"{where} ({message.type}) has {bottoms} bottoms and {given} propagate_down: give one per bottom"
        )
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
