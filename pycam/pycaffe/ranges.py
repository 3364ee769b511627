"""Ranges of a net's layers, as nets of their own: what a forward run from one layer to another computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pycam.formats import schema
from pycam.net import Net, net_from_message
from pycam.net.layers import LAYER_TYPES, Layer, Shape, Source


@dataclass(frozen=True)
class Range:
    """Layers of a net that follow each other, without its sources.

    Attributes
    ----------
    net : Net
        The layers, behind an Input that has the blobs that they read. Without parameters.
    layers : dict of int to Layer
        The layers by their index in the whole net, in order.
    reads : dict of str to tuple of int
        The blobs that the layers read before they write them, with their shapes.
    writes : dict of str to tuple of int
        The blobs that the layers write, with their shapes, including the batch.
    """

    net: Net
    layers: dict[int, Layer]
    reads: dict[str, Shape]
    writes: dict[str, Shape]


def is_source(layer: Any) -> bool:
    """Return True if a layer's tops are filled from outside of the net."""
    return layer.type in LAYER_TYPES and issubclass(LAYER_TYPES[layer.type], Source)


def read_blobs(layers: Sequence[Any]) -> list[str]:
    """Return the blobs that layers read before they write them, in the order of reading."""
    written: set[str] = set()
    reads: dict[str, None] = {}
    for layer in layers:
        reads.update(dict.fromkeys(bottom for bottom in layer.bottom if bottom not in written))
        written.update(layer.top)
    return list(reads)


def link_range(layers: Mapping[int, tuple[Any, int]], shapes: Mapping[str, Shape], path: str, phase: str) -> Range:
    """Link the layers of a range.

    Parameters
    ----------
    layers : mapping of int to (LayerParameter, int)
        Index in the whole net -> a layer that is no source, and its line.
    shapes : mapping
        The blobs that the layers read -> their present shapes.
    path : str
        The name of the net in error messages.
    phase : str
        `TRAIN` or `TEST`.

    Raises
    ------
    NetError
        The layers cannot take these shapes.
    """
    if not layers:
        return Range(Net("", ()), {}, {}, {})
    message = schema.NetParameter()
    lines = [line for _, line in layers.values()]
    if shapes:
        given = [{"dim": shape} for shape in shapes.values()]
        message.layer.add(name="(read)", type="Input", top=list(shapes), input_param={"shape": given})
        lines.insert(0, 0)
    message.layer.extend(layer for layer, _ in layers.values())
    net = net_from_message(message, lines, path, phase)
    linked = [layer for layer in net.layers if not isinstance(layer, Source)]
    values = dict(shapes)
    for layer in linked:
        bottoms = tuple(values[bottom] for bottom in layer.bottoms)
        # The shapes of `net` are those of one image; these have the batch.
        tops = type(layer).resolve(layer.message, bottoms).get("output_shapes", bottoms[:1])
        values.update(zip(layer.tops, tops, strict=True))
    written = {top for layer in linked for top in layer.tops}
    return Range(
        net=net,
        layers=dict(zip(layers, linked, strict=True)),
        reads=dict(shapes),
        writes={blob: shape for blob, shape in values.items() if blob in written},
    )
