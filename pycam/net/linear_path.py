"""The path between scores and a global pooling: which layers keep scores a linear function of the pooled features."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pycam.net import layers as L
from pycam.net.layers import Shape, dims
from pycam.net.net import Net

ACTIVATIONS = (L.Softmax, L.Sigmoid, L.TanH)
"""Types of a last activation: scores before it are the logits."""

RENAMING = (L.Dropout, L.Flatten, L.Reshape, L.Split)
"""Types that change no value at test time."""

NO_POOLING = "there is no global pooling before the scores"


@dataclass
class Trace:
    """The layers between scores and the global pooling.

    Attributes
    ----------
    pooling : Layer, optional
        The pooling that the scores come from.
    path : list of Layer
        The layers behind it, in the order of the net.
    several : bool
        Whether the pooling has several positions.
    reason : str
        Why the scores are no linear function of the pooled features; empty if they are.
    """

    pooling: L.Layer | None
    path: list[L.Layer]
    several: bool = False
    reason: str = ""


def logits_of(net: Net, score_blob: str) -> str:
    """Return the value of the scores before the last activation: what gradients are taken of.

    Parameters
    ----------
    net : Net
        With or without parameters.
    score_blob : str
        The blob of the scores.

    Returns
    -------
    str
        The input of the Softmax, Sigmoid or TanH that the scores come from; the scores themselves without one.
    """
    layer = net.producer[score_blob]
    while isinstance(layer, RENAMING):
        layer = net.producer[layer.inputs[0]]
    last = isinstance(layer, ACTIVATIONS) or (isinstance(layer, L.OnnxNode) and layer.activation)
    return layer.inputs[0] if last else score_blob


def positions_of(shape: Shape) -> tuple[int, int] | None:
    """Return rows and columns of scores that have more than one position, or None: (1, T, h, w) -> (h, w)."""
    return (shape[2], shape[3]) if len(shape) == 4 and shape[2:] != (1, 1) else None


def width(shape: Shape, several: bool) -> int:
    """Return the number of values per position."""
    return shape[1] if several else math.prod(shape[1:])


def trace(net: Net, logits: str) -> Trace:
    """Follow scores back to a global pooling, and check each layer between them."""
    poolings: dict[str, L.Layer] = {}
    path: dict[str, L.Layer] = {}
    others: dict[str, L.Layer] = {}
    waiting = [logits]
    while waiting:
        layer = net.producer[waiting.pop()]
        key = layer.outputs[0]
        if pools(layer):
            poolings[key] = layer
        elif _linear_type(layer):
            if key not in path:
                path[key] = layer
                waiting += layer.inputs
        else:
            others[key] = layer
    ordered = [layer for layer in net.layers if layer.outputs and layer.outputs[0] in path]
    if unknown := [layer.no_maps for layer in others.values() if isinstance(layer, L.OnnxNode) and layer.no_maps]:
        return Trace(None, ordered, reason=unknown[0])
    if others:
        behind = any(_pools_globally(layer) for other in others.values() for layer in net.layers_before(other.outputs))
        if not behind:
            return Trace(None, ordered, reason=NO_POOLING)
        nearest = list(others.values())[-1]
        return Trace(
            None, ordered, reason=f"{obstacle(net, nearest, several=False)}, between the pooling and the scores"
        )
    if len(poolings) > 1:
        names = " and ".join(repr(layer.name) for layer in net.layers if layer in poolings.values())
        return Trace(None, ordered, reason=f"the scores combine several poolings, {names}")
    (pooling,) = poolings.values()
    several = positions_of(pooling.output_shapes[0]) is not None
    if several and isinstance(pooling, L.Pooling) and pooling.method == "MAX":
        return Trace(None, ordered, reason=NO_POOLING)
    if isinstance(pooling, L.Pooling) and _leaves_out(pooling):
        size = dims(pooling.input_shapes[0][2:])
        return Trace(None, ordered, reason=f"layer {pooling.name!r} (Pooling) leaves out some of its {size} positions")
    for layer in ordered:
        if reason := obstacle(net, layer, several):
            return Trace(pooling, ordered, several, f"{reason}, between the pooling and the scores")
    return Trace(pooling, ordered, several)


def pools(layer: L.Layer) -> bool:
    """Return whether a layer pools rows and columns (of which there are more than one)."""
    if not isinstance(layer, L.Pooling | L.Reduction) or positions_of(layer.input_shapes[0]) is None:
        return False
    return isinstance(layer, L.Pooling) or (layer.operation, layer.axis) == ("SUM", 2)


def pooled_share(layer: L.Layer) -> float:
    """Return the factor of a pooled value in units of the mean of its channel: 1, or h·w for a sum."""
    if not isinstance(layer, L.Reduction):
        return 1.0
    share = layer.coefficient * math.prod(layer.input_shapes[0][2:])
    return 1.0 if math.isclose(share, 1, rel_tol=1e-6) else share


def _leaves_out(pooling: L.Pooling) -> bool:
    """Return whether no window covers some positions."""
    gaps = zip(pooling.stride, pooling.kernel, pooling.output_shapes[0][2:], strict=True)
    return min(pooling.overhang) < 0 or any(step > side and count > 1 for step, side, count in gaps)


def _pools_globally(layer: L.Layer) -> bool:
    return pools(layer) and positions_of(layer.output_shapes[0]) is None


def _linear_type(layer: L.Layer) -> bool:
    """Return whether a layer of this type may be a linear function; `obstacle` says whether this one is."""
    linear = (
        L.InnerProduct,
        L.Convolution,
        L.BatchNorm,
        L.Scale,
        L.Power,
        L.ReLU,
        L.Concat,
        L.Slice,
        L.Eltwise,
        L.Pooling,
    )
    return isinstance(layer, (*linear, *RENAMING))


def obstacle(net: Net, layer: L.Layer, several: bool) -> str:
    """Return why a layer is no linear function of each position's channels, or an empty string if it is."""
    about = f"layer {layer.name!r} ({layer.type})"
    shape = layer.input_shapes[0] if layer.input_shapes else ()
    match layer:
        case L.Dropout() | L.Split():
            return ""
        case L.Flatten() | L.Reshape() | L.InnerProduct() if several:
            return f"{about} mixes the {dims(shape[2:])} positions of its bottom"
        case L.InnerProduct() if math.prod(shape[1 : layer.axis]) != 1:
            return f"{about} does not combine all values of its bottom"
        case L.Flatten() | L.Reshape() | L.InnerProduct() | L.Pooling():
            return ""
        case L.Power() if layer.power != 1:
            return f"{about} is not linear: its power is {layer.power:g}"
        case L.ReLU() if not _nonnegative(net, layer.inputs[0]):
            return f"{about} is not linear: it cuts off negative values"
        case L.Power() | L.ReLU() | L.BatchNorm():
            return ""
        case L.Scale() if len(layer.inputs) == 2:
            return f"{about} is not linear: it multiplies two blobs"
        case L.Scale() if several and (layer.axis != 1 or len(layer.factor_shape) > 1):
            return f"{about} scales each of the {dims(shape[2:])} positions by itself"
        case L.Convolution() if several and (layer.kernel, layer.stride, layer.pad) != ((1, 1), (1, 1), (0, 0)):
            return f"{about} mixes the {dims(shape[2:])} positions of its bottom: it is no 1×1 convolution"
        case L.Convolution() if not several and layer.output_shapes[0][2:] != (1, 1):
            return f"{about} makes {dims(layer.output_shapes[0][2:])} positions out of one"
        case L.Concat() | L.Slice() if layer.axis == 0 or (several and layer.axis != 1):
            return f"{about} works along axis {layer.axis}, not along the channels"
        case L.Eltwise() if layer.operation != "SUM":
            return f"{about} is not linear: its operation is {layer.operation}"
        case L.Scale() | L.Convolution() | L.Concat() | L.Slice() | L.Eltwise():
            return ""
    return f"{about} is not linear"


def _nonnegative(net: Net, value: str) -> bool:
    """Return whether no value of a blob can be negative, so that a ReLU changes nothing."""
    seen: set[str] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        layer = net.producer[value]
        match layer:
            case L.ReLU() if layer.negative_slope == 0:
                pass
            case L.Sigmoid() | L.Softmax() | L.AbsVal() | L.Exp():
                pass
            case L.Pooling() | L.Dropout() | L.Flatten() | L.Reshape() | L.Split() | L.Slice() | L.LRN() | L.Concat():
                waiting += layer.inputs
            case L.Eltwise() if min(layer.coefficients) >= 0:
                waiting += layer.inputs
            case _:
                return False
    return True
