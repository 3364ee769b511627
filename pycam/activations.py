"""Channel grids: what every channel of a layer makes of an image, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.drawing import channel_grid
from pycam.engines import Options
from pycam.engines.base import Engine
from pycam.errors import NetError
from pycam.images.read import Image
from pycam.images.views import View, net_input, view_of
from pycam.model import load_model
from pycam.net import Net
from pycam.net.layers import dims
from pycam.protocols import Protocol, protocol


@dataclass(frozen=True, eq=False)
class Activations:
    """A net made ready to show its channels: call it with an image.

    Attributes
    ----------
    net, engine
        The net, and what runs it for the blobs.
    blobs
        What is shown, in this order.
    protocol, view, mean
        What lies between an image and the net's input; of a view with several crops the first is shown.
    """

    net: Net
    engine: Engine
    blobs: tuple[str, ...]
    protocol: Protocol
    view: View
    mean: NDArray[np.float32]

    def __call__(self, image: Image) -> dict[str, NDArray[np.uint8]]:
        """Give a grid a blob: (H, W, 3) uint8 BGR."""
        (images,) = self.net.inputs
        row = self.protocol
        crops = net_input(image.pixels, self.view, self.mean, row.resizer, input_scale=row.input_scale)
        values = self.engine.forward({images: crops[:1]})
        return {blob: channel_grid(values[blob][0]) for blob in self.blobs}


def load_activations(
    layers: Sequence[str],
    model: str | None = None,
    *,
    engine: str = engines.DEFAULT_ENGINE,
    protocol: Protocol = protocol("default"),
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    mean: str | os.PathLike[str] | None = None,
    options: Options = Options(),
) -> Activations:
    """Make a model ready to show its channels; any net will do, with class activation maps or without.

    Parameters
    ----------
    layers
        Blobs, as Caffe has them once the net has run, or layers, right behind which values are taken.
    model, engine, protocol, prototxt, weights, mean, options
        As for `pycam.load`.

    Raises
    ------
    NetError
        There is no such layer, or its blob has no rows and columns.
    """
    loaded = load_model(model, prototxt=prototxt, weights=weights, mean=mean)
    view = view_of(protocol.view, loaded.input_size)
    blobs = _blobs_of(loaded.net, layers)
    made = engines.make(engine, loaded.net, blobs, options)
    return Activations(loaded.net, made, blobs, protocol, view, loaded.preprocessing.mean_values(protocol.mean))


def _blobs_of(net: Net, names: Sequence[str]) -> tuple[str, ...]:
    blobs = []
    for name in names:
        blob = name if name in net.value_shapes or name not in net.by_name else net.by_name[name].outputs[0]
        shape = net.value_shapes.get(blob)
        if shape is None:
            raise NetError(f"the net has no layer {name!r} to show channels of; there are {', '.join(net.by_name)}")
        if len(shape) != 4:
            raise NetError(f"layer {name!r} gives {dims(shape)}: channels are shown where there are rows and columns")
        blobs.append(blob)
    return tuple(blobs)
