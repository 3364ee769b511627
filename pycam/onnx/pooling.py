"""The global pooling of a graph: which tensor it pools, and where in that tensor rows, columns and channels are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pycam.formats.schema import Message
from pycam.net.layers import Shape, dims
from pycam.net.linear_path import NO_POOLING
from pycam.onnx.graph import Graph, attribute

_REDUCTIONS = {"ReduceMean": "AVE", "ReduceMax": "MAX", "ReduceSum": "AVE"}
_GLOBAL = {"GlobalAveragePool": "AVE", "GlobalMaxPool": "MAX"}
_WINDOWED = {"AveragePool": "AVE", "MaxPool": "MAX"}

SAME_VALUES = ("Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Expand")
"""Operators that change no value, and keep their order, where they keep their number."""


@dataclass(frozen=True)
class Pooling:
    """A pooling over all positions.

    Attributes
    ----------
    same : tuple of str
        The pooled values; several tensors if several nodes compute them.
    node : NodeProto
        The node that computes them.
    features : str
        The tensor that is pooled.
    layout : str
        Its axes: `NCHW` or `NHWC`, or with the positions along one axis `NCL` or `NLC`.
    grid : (int, int)
        Rows and columns.
    method : str
        `AVE` or `MAX`.
    factor : float
        The pooled values in units of the mean or the maximum: 1, or the number of positions for a sum.
    """

    same: tuple[str, ...]
    node: Message
    features: str
    layout: str
    grid: tuple[int, int]
    method: str
    factor: float = 1.0

    @property
    def what(self) -> tuple[str, str, str, float]:
        """What is pooled, and how: equal for poolings that give the same values."""
        return self.features, self.layout, self.method, self.factor

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in the pooled tensor's source."""
        return self.layout.index("C")


def pooling_at(graph: Graph, tensor: str) -> Pooling | str | None:
    """Return the global pooling that computes a tensor; None for another node, a reason for one that is not global."""
    node = graph.producer.get(tensor)
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    source = node.input[0]
    shape = graph.shape(source)
    method = {**_REDUCTIONS, **_GLOBAL, **_WINDOWED}.get(node.op_type)
    if method is None or source not in graph.of_image or len(shape) < 3:
        return None
    factor = 1.0
    if node.op_type in _REDUCTIONS:
        axes = _axes(graph, node)
        source, axes = _merged(graph, node, source, axes)
        shape = graph.shape(source)
        if node.op_type == "ReduceSum":
            factor = float(math.prod(shape[axis] for axis in axes))
        layout = {(4, (2, 3)): "NCHW", (4, (1, 2)): "NHWC", (3, (1,)): "NLC", (3, (2,)): "NCL"}.get((len(shape), axes))
        if layout is None:
            return None
    else:
        layout = {4: "NCHW", 3: "NCL"}.get(len(shape))
        if layout is None:
            return None
        if node.op_type in _WINDOWED and not _covers(node, shape):
            if graph.shape(tensor)[2:] == (1,) * (len(shape) - 2):
                return f"{graph.about(node)} does not take each of the {dims(shape[2:])} positions once"
            return None
    positions = math.prod(side for side, name in zip(shape, layout, strict=True) if name in "HWL")
    if positions == 1:
        return None
    if len(shape) == 4:
        grid = shape[layout.index("H")], shape[layout.index("W")]
        return Pooling((tensor,), node, source, layout, grid, method, factor)
    return _along_tokens(graph, Pooling((tensor,), node, source, layout, (1, positions), method, factor))


def _axes(graph: Graph, node: Message) -> tuple[int, ...]:
    """Return the axes that a reduction works along, counted from the front."""
    rank = len(graph.shape(node.input[0]))
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        values = graph.constant(node.input[1])
        axes = [] if values is None else [int(axis) for axis in values.ravel()]
    if not axes:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def _merged(graph: Graph, node: Message, source: str, axes: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the tensor and the axes of two reductions behind one another, one axis each, as of one."""
    before = graph.producer.get(source)
    if before is None or before.op_type != node.op_type or len(axes) != 1:
        return source, axes
    first = _axes(graph, before)
    if len(first) != 1:
        return source, axes
    (axis,), (earlier,) = axes, first
    if not attribute(before, "keepdims", 1) and axis >= earlier:
        axis += 1
    return before.input[0], tuple(sorted((axis, earlier)))


def _covers(node: Message, shape: Shape) -> bool:
    """Return whether the only window of a pooling is the whole map."""
    kernel = attribute(node, "kernel_shape", [])
    pads = attribute(node, "pads", [0])
    auto = attribute(node, "auto_pad", b"NOTSET")
    steps = attribute(node, "dilations", [1])
    return tuple(kernel) == shape[2:] and not any(pads) and auto in (b"NOTSET", b"VALID") and set(steps) == {1}


def _along_tokens(graph: Graph, pooling: Pooling) -> Pooling | str:
    """Return a pooling over positions along one axis with their rows and columns."""
    count = pooling.grid[1]
    if unfolded := _unfolded(graph, pooling):
        return unfolded
    grids: dict[tuple[int, int], str] = {}
    seen: set[str] = set()
    waiting = [pooling.features]
    while waiting:
        tensor = waiting.pop()
        node = graph.producer.get(tensor)
        if node is None or tensor in seen or tensor not in graph.of_image:
            continue
        seen.add(tensor)
        for name in node.input:
            shape = graph.shape(name)
            for sides in (shape[2:], shape[1:3]) if len(shape) == 4 and name in graph.of_image else ():
                if math.prod(sides) == count and len(graph.shape(tensor)) == 3:
                    grids.setdefault((sides[0], sides[1]), graph.about(node))
            waiting.append(name)
    if len(grids) != 1:
        found = f"they could be {' or '.join(map(dims, grids))}" if grids else "no rows and columns with so many"
        return f"{graph.about(pooling.node)} pools {count} positions along one axis, and {found}: their grid is unknown"
    return replace(pooling, grid=next(iter(grids)))


def _unfolded(graph: Graph, pooling: Pooling) -> Pooling | None:
    """Return a pooling over the rows and columns that were made one axis just before it."""
    tensor, layout = pooling.features, pooling.layout
    node = graph.producer.get(tensor)
    if node is not None and node.op_type == "Transpose" and attribute(node, "perm") == [0, 2, 1]:
        tensor, layout = node.input[0], {"NLC": "NCL", "NCL": "NLC"}[layout]
        node = graph.producer.get(tensor)
    if node is None or node.op_type not in ("Reshape", "Flatten", "Squeeze"):
        return None
    shape, folded = graph.shape(node.input[0]), graph.shape(tensor)
    whole = {"NCL": "NCHW", "NLC": "NHWC"}[layout]
    if len(shape) != 4 or shape[whole.index("C")] != folded[layout.index("C")]:
        return None
    grid = shape[whole.index("H")], shape[whole.index("W")]
    return replace(pooling, features=node.input[0], layout=whole, grid=grid)


def find_pooling(graph: Graph, logits: str) -> Pooling | str:
    """Return the global pooling that a tensor depends on, and on nothing else of the image; or why there is none."""
    found: dict[str, Pooling] = {}
    reasons: list[str] = []
    seen: set[str] = set()
    waiting = [logits]
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or tensor not in graph.of_image:
            continue
        seen.add(tensor)
        if tensor == graph.input:
            reasons.append(NO_POOLING)
            continue
        match pooling_at(graph, tensor):
            case Pooling() as pooling:
                found[tensor] = pooling
                continue
            case str() as reason:
                return reason
        node = graph.producer[tensor]
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            reasons.append(f"{graph.about(node)} stands in the way, whose branches or steps are not followed")
        read = [name for name in node.input if name in graph.of_image]
        if obstacle := _leaves(graph, node, read[:1]):
            reasons.append(obstacle)
        waiting += read
    if reasons:
        return reasons[0] if len(reasons) == 1 else _first(reasons)
    if not found:
        return NO_POOLING
    first = next(iter(found.values()))
    if any(each.what != first.what for each in found.values()):
        names = " and ".join(graph.about(pooling.node) for pooling in found.values())
        return f"the scores combine several poolings, {names}"
    return replace(first, same=tuple(found))


def _first(reasons: Sequence[str]) -> str:
    return next((reason for reason in reasons if reason != NO_POOLING), reasons[0])


def _leaves(graph: Graph, node: Message, read: Sequence[str]) -> str:
    """Return what a node does in place of a global pooling, if it makes one vector of several positions."""
    for tensor in read:
        shape, made = graph.shape(tensor), graph.shape(key) if (key := node.output[0]) else ()
        if len(shape) == 3 and node.op_type in ("Gather", "Slice") and math.prod(made) * 2 <= math.prod(shape):
            return (
                f"{graph.about(node)} takes one of {max(shape[1:2])} tokens, as of a transformer with a class token: "
                "there is no global pooling"
            )
        if len(shape) == 4 and min(shape[2:]) > 1 and len(made) == 2 and made[1] == math.prod(shape[1:]):
            return (
                f"{graph.about(node)} makes one vector of all {dims(shape[1:])} values: there is no global pooling "
                "before the scores"
            )
    return ""
