"""Channel grids: the activations of all channels of a layer, side by side."""

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
    """A net that is ready to draw the channels of its blobs: call it with an image.

    Attributes
    ----------
    net : Net
        The net.
    engine : Engine
        The engine that computes the blobs.
    blobs : tuple of str
        The blobs, in their order.
    protocol : Protocol
        The choices for the steps from an image to the input of the net.
    view : View
        The view; of several crops, only the first is used.
    mean : (3,) or (3, H, W) float32
        The mean that is subtracted, BGR.
    """

    net: Net
    engine: Engine
    blobs: tuple[str, ...]
    protocol: Protocol
    view: View
    mean: NDArray[np.float32]

    def __call__(self, image: Image) -> dict[str, NDArray[np.uint8]]:
        """Return one grid per blob: (H, W, 3) uint8 BGR."""
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
    """Load a model and prepare it to draw channels. The net does not need class activation maps.

    Parameters
    ----------
    layers : sequence of str
        Blobs, with their values after the whole net has run in Caffe, or layers, with the values that they output.
    model, engine, protocol, prototxt, weights, mean, options
        The same as for `pycam.load`.

    Raises
    ------
    NetError
        A layer does not exist, or its blob has no rows and columns.
    """
    loaded = load_model(model, prototxt=prototxt, weights=weights, mean=mean)
    view = view_of(protocol.view, loaded.input_size)
    blobs = _blobs_of(loaded.net, layers)
    runner = engines.make(engine, loaded.net, blobs, options)
    return Activations(loaded.net, runner, blobs, protocol, view, loaded.preprocessing.mean_values(protocol.mean))


def _blobs_of(net: Net, names: Sequence[str]) -> tuple[str, ...]:
    blobs = []
    for name in names:
        blob = name if name in net.value_shapes or name not in net.by_name else net.by_name[name].outputs[0]
        shape = net.value_shapes.get(blob)
        if shape is None:
            raise NetError(f"the net has no layer {name!r}; expected one of {', '.join(net.by_name)}")
        if len(shape) != 4:
            raise NetError(f"the output of layer {name!r} is {dims(shape)}; channels need rows and columns, N×K×h×w")
        blobs.append(blob)
    return tuple(blobs)
