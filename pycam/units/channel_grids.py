"""Channel grids: the activations of all channels of a layer, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.drawing import channel_grid
from pycam.engines import Options
from pycam.engines.base import not_finite
from pycam.errors import NetError, suggest
from pycam.images.read import Image
from pycam.images.views import net_input, view_of
from pycam.model import Model
from pycam.net import Net
from pycam.net.layers import dims
from pycam.protocols import Protocol


def activation_grids(
    model: Model, layers: Sequence[str], images: Iterable[Image], *, engine: str, protocol: Protocol, options: Options
) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Draw the channels of layers, for one image after the other.

    Parameters
    ----------
    model : Model
        The model. Its net does not need class activation maps.
    layers : sequence of str
        Blobs, with their values after the whole net has run in Caffe, or layers, with the values that they output.
    images : iterable of Image
        The images, read with the channels of the model. If the view has several crops, only the first one is used.
    engine, protocol, options
        The same as for `pycam.load`.

    Yields
    ------
    dict
        For each image, the grid of each blob: (H, W, 3) uint8 BGR.

    Raises
    ------
    NetError
        A layer does not exist, or its blob has no rows and columns.
    EngineError
        A value is not finite; the message names the blob and the image.
    """
    view = view_of(protocol.for_view(model.view).view, model.input_size)
    blobs = _blobs_of(model.net, layers)
    with engines.make(engine, model.net, blobs, options) as runner:
        mean = model.preprocessing.mean_values(protocol.mean)
        scale = model.preprocessing.scale(protocol.input_scale)
        for image in images:
            crops = net_input(image.values, view, mean, protocol.resizer, scale)
            values = runner.forward({model.image_input: crops[:1]})
            if wrong := next((blob for blob in blobs if not np.isfinite(values[blob]).all()), None):
                raise not_finite(engine, f"values of {wrong!r}", image.path)
            yield {blob: channel_grid(values[blob][0]) for blob in blobs}


def _blobs_of(net: Net, names: Sequence[str]) -> tuple[str, ...]:
    blobs = []
    for name in names:
        blob = name if name in net.value_shapes or name not in net.by_name else net.by_name[name].outputs[0]
        shape = net.value_shapes.get(blob)
        if shape is None:
            near = suggest(name, {**net.by_name, **net.value_shapes}, "give another;")
            raise NetError(f"the net has no layer {name!r}: {near} `pycam net show` lists all")
        if len(shape) != 4:
            raise NetError(f"the output of layer {name!r} is {dims(shape)}; channels need rows and columns, N×K×h×w")
        blobs.append(blob)
    return tuple(blobs)
