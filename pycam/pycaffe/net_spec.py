"""Writing nets in Python as with pycaffe: `NetSpec`, `layers` and `params`.

from pycam.pycaffe import NetSpec, layers as L, params as P

n = NetSpec()
n.data = L.Input(shape=[dict(dim=[1, 3, 227, 227])])
n.conv1 = L.Convolution(n.data, num_output=64, kernel_size=3)
n.relu1 = L.ReLU(n.conv1, in_place=True)
n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
print(n.to_proto())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pycam.errors import suggest
from pycam.formats.schema import Message
from pycam.formats.upgrade import CAFFE_TYPES
from pycam.pycaffe.absent import missing
from pycam.pycaffe.errors import SpecError, UnknownTop
from pycam.pycaffe.proto import caffe_pb2

__all__ = [
    "Function",
    "Layers",
    "NetSpec",
    "Parameters",
    "Top",
    "layer_type_list",
    "layers",
    "params",
    "to_proto",
]

PARAMS = {
    field.message_type.name.removesuffix("Parameter"): field.name
    for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
    if field.name.endswith("_param")
}
"""Layer type -> the field of a layer that has the parameters of that type alone."""


class Top:
    """An output of a layer.

    Attributes
    ----------
    fn : Function
        The layer.
    n : int
        Which of its outputs.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Message:
        """Write the layers that this top needs, as `to_proto`."""
        return to_proto(self)


class Function:
    """A layer.

    Parameters
    ----------
    type_name : str
        Its type.
    inputs : sequence of Top
        Its bottoms.
    params : dict
        Its fields. `ntop` is the number of tops, 1 by default; with `in_place`, the tops are the bottoms.

    Attributes
    ----------
    type_name, inputs, ntop, in_place
        As given.
    params : dict
        The other fields.
    tops : tuple of Top
        Its outputs.

    Raises
    ------
    SpecError
        An input is not a `Top`.
    """

    def __init__(self, type_name: str, inputs: tuple[Top, ...], params: Mapping[str, Any]) -> None:
        for index, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise SpecError(
                    f"{type_name}: input {index} is {top!r:.80}, not a top: give what a layer function returned; of a "
                    "layer with several tops, one of them"
                )
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))


class _Writer:
    """Writes layers behind the layers that they need, each once."""

    def __init__(self, names: Mapping[Top | Function, str]) -> None:
        self.names = dict(names)
        self.layers: dict[Function, Message] = {}
        self._counts: Counter[str] = Counter()

    def net(self) -> Message:
        """Return the layers as a NetParameter."""
        return caffe_pb2.NetParameter(layer=self.layers.values())

    def add(self, fn: Function) -> None:
        """Write a layer."""
        if fn in self.layers:
            return
        for top in fn.inputs:
            self.add(top.fn)
        bottoms = [self.layers[top.fn].top[top.n] for top in fn.inputs]
        tops = bottoms if fn.in_place else [self._name(top, fn) for top in fn.tops]
        name = self._name(fn.tops[0] if fn.tops else fn, fn)
        layer = caffe_pb2.LayerParameter(name=name, type=fn.type_name, bottom=bottoms, top=tops)
        for field, value in fn.params.items():
            _assign(_owner(layer, fn, field), field, value, f"layer {name!r} of type {fn.type_name}")
        self.layers[fn] = layer

    def _name(self, named: Top | Function, fn: Function) -> str:
        if named not in self.names:
            self._counts[fn.type_name] += 1
            self.names[named] = f"{fn.type_name}{self._counts[fn.type_name]}"
        return self.names[named]


def _owner(layer: Message, fn: Function, field: str) -> Message:
    """Return the message that a field belongs to: the parameters of the layer's type, or the layer."""
    own = PARAMS.get(fn.type_name)
    if own and not field.endswith("param") and field in _fields(getattr(layer, own)):
        return getattr(layer, own)
    if field in _fields(layer):
        return layer
    others = [other for other in PARAMS.values() if field in _fields(getattr(layer, other))]
    known = [*_fields(layer), *(_fields(getattr(layer, own)) if own else ())]
    hint = suggest(field, known, "see the fields of LayerParameter in pycam.pycaffe.proto.caffe_pb2")
    if others and not own:
        hint = f"give it within the parameters that the type has: {', '.join(f'{o}=dict({field}=…)' for o in others)}"
    raise SpecError(f"layer {layer.name!r} of type {fn.type_name} has no field {field!r}: {hint}")


def _fields(message: Message) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    return fields


def _assign(message: Message, name: str, value: Any, where: str) -> None:
    """Set a field: dictionaries become messages, and one value becomes a list where the field is repeated."""
    kind = message.DESCRIPTOR.name
    if name not in _fields(message):
        raise SpecError(f"{where}: {kind} has no field {name!r}: {suggest(name, _fields(message), 'remove it')}")
    field = getattr(message, name)
    is_repeated = hasattr(field, "extend")
    values = value if isinstance(value, (list, tuple)) and is_repeated else [value]
    for each in values:
        if isinstance(each, dict) and _fields(message)[name].message_type is not None:
            part = field.add() if is_repeated else field
            for key, inner in each.items():
                _assign(part, key, inner, where)
            continue
        try:
            if is_repeated:
                field.extend([each])
            else:
                setattr(message, name, each)
        except (TypeError, ValueError, AttributeError) as error:
            raise SpecError(f"{where}: {kind} cannot have {name}={each!r:.80} ({error})") from None


def to_proto(*tops: Top) -> Message:
    """Write the layers that tops need, with names made from their types: `Convolution1` and so on.

    Parameters
    ----------
    *tops : Top
        What layer functions returned.

    Returns
    -------
    NetParameter
        Its `str` is a prototxt.

    Raises
    ------
    SpecError
        An argument is not a top, or a layer has a field that Caffe does not have, or a value that does not fit.
    """
    writer = _Writer({})
    for top in tops:
        if not isinstance(top, (Top, Function)):
            raise SpecError(f"to_proto takes tops, not {top!r:.80}: give them one by one")
        writer.add(top if isinstance(top, Function) else top.fn)
    return writer.net()


class NetSpec:
    """A net under construction: each top that is assigned to an attribute gets its name.

    Attributes
    ----------
    tops : dict
        Name -> `Top`, or `Function` of a layer without tops.
    """

    tops: dict[str, Top | Function]

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    def __setattr__(self, name: str, value: Top | Function) -> None:
        if not isinstance(value, (Top, Function)):
            raise SpecError(
                f"{name} = {value!r:.80}: assign what a layer function returned; of a layer with several tops, each to "
                "a name"
            )
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("tops", ()):
            return self.tops[name]
        known = self.__dict__.get("tops", ())
        raise UnknownTop(f"no top {name!r}: {suggest(name, known, f'the NetSpec has {len(known)} others')}")

    __setitem__ = __setattr__
    __getitem__ = __getattr__

    def to_proto(self) -> Message:
        """Write the assigned tops, and all layers that they need.

        Returns
        -------
        NetParameter
            Its `str` is a prototxt. A layer has the name of its first top.

        Raises
        ------
        SpecError
            As `to_proto`.
        """
        writer = _Writer({top: name for name, top in self.tops.items()})
        for top in self.tops.values():
            writer.add(top if isinstance(top, Function) else top.fn)
        return writer.net()


class Layers:
    """Layer functions by type: `layers.Convolution(bottom, kernel_size=3)` returns a `Top`.

    Arguments are the bottoms, and the fields of the layer or of the parameters of its type. A function of a layer
    with several tops, `ntop`, returns all of them; one with none returns the `Function`.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"no layer type begins with an underscore: {name}")

        def layer(*inputs: Top, **params: Any) -> Any:
            fn = Function(name, inputs, params)
            return fn.tops[0] if fn.ntop == 1 else fn.tops or fn

        layer.__name__ = name
        return layer


class Parameters:
    """Values of enums by layer type: `params.Pooling.MAX`."""

    def __getattr__(self, name: str) -> Any:
        try:
            message = getattr(caffe_pb2, f"{name}Parameter")
        except AttributeError:
            kinds = [kind.removesuffix("Parameter") for kind in dir(caffe_pb2) if kind.endswith("Parameter")]
            hint = suggest(name, kinds, "give a layer type, as in params.Pooling.MAX")
            raise AttributeError(f"Caffe has no parameters {name!r}: {hint}") from None
        return _Values(message)


class _Values:
    """The values of the enums of a message."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Any:
        values = [value.name for enum in self._message.DESCRIPTOR.enum_types for value in enum.values]
        if name not in values:
            raise AttributeError(
                f"{self._message.DESCRIPTOR.name} has no value {name!r}; it has {', '.join(values) or 'none'}"
            )
        return getattr(self._message, name)


layers = Layers()
params = Parameters()


def layer_type_list() -> list[str]:
    """Return the layer types of Caffe 1.0."""
    return sorted(CAFFE_TYPES)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, globals())
