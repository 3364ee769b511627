"""What the page must know to make a net's input and to show its outputs, as values for JSON."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pycam.errors import UsageError
from pycam.images.views import mean_on_canvas, view_of
from pycam.maps.methods import METHODS
from pycam.maps.placement import Placement
from pycam.model import Model
from pycam.protocols import Protocol
from pycam.report.viewer_data import placement_choices, run_facts, view_record

CHANNELS = {3: "bgr", 1: "grey"}
"""Numbers of channels that a page makes of an image, and their names in `browser/pixels.js`."""

LARGEST = 50_000_000
"""Maximal number of pixels of an image, which telephones can hold several times."""

LARGEST_FILE = 4 * LARGEST
"""Maximal number of bytes of its file."""

BOX_RULE = "paper"
"""The rule by which the viewer finds boxes."""


def check_protocol(protocol: Protocol) -> None:
    """Refuse a protocol that needs what only Python has.

    Raises
    ------
    UsageError
        The method is not `cam`, or the box rule is not the paper's.
    """
    if protocol.method != "cam":
        raise UsageError(
            f"protocol {protocol.name!r}: a page makes class activation maps only, and no maps by "
            f"{METHODS[protocol.method].title}: choose another protocol, such as default"
        )
    if protocol.box_rule != BOX_RULE:
        raise UsageError(
            f"protocol {protocol.name!r}: a page finds boxes by the rule {BOX_RULE!r} only, not {protocol.box_rule!r}: "
            f"give --box-rule {BOX_RULE}"
        )


def input_record(model: Model, protocol: Protocol) -> dict[str, Any]:
    """Return how `netInput` in `browser/pixels.js` makes the input of a net from the pixels of an image.

    Parameters
    ----------
    model : Model
        The net and its preprocessing.
    protocol : Protocol
        The view, the resizer, the mean and the scale.

    Returns
    -------
    dict
        `view`: its `name`, the sizes of its `canvas` and of its crops, `size`, and the `crops`; `resizer`; `channels`,
        one of `CHANNELS`; `mean`: one number per channel, or its `shape`, (C, height, width) of the canvas, and its
        `values`, base64 of float32; `scale`: one number per channel; `exif`; and the
        `limits` of `decoded` in `browser/decode.js`.

    Raises
    ------
    UsageError
        A page cannot make the input of the net, or the mean does not fit.
    """
    if model.channels not in CHANNELS:
        raise UsageError(
            f"{model.name}: the net takes {model.channels} channels, but a page makes one (grey) or three (BGR) of an "
            "image: use another model"
        )
    row = protocol.for_view(model.view)
    view = view_of(row.view, model.input_size)
    mean = model.preprocessing.mean_values(row.mean)
    return {
        "view": {"name": view.name, **view_record(view)},
        "resizer": row.resizer,
        "channels": CHANNELS[model.channels],
        "mean": mean.tolist() if mean.ndim == 1 else _encoded(mean_on_canvas(mean, view, model.channels)),
        "scale": model.preprocessing.scale(row.input_scale).tolist(),
        "exif": row.exif,
        "limits": {"pixels": LARGEST, "bytes": LARGEST_FILE},
    }


def output_record(model: Model, protocol: Protocol, engine: str) -> dict[str, Any]:
    """Return how `imageRecord` in `browser/record.js` shows the outputs of a net.

    Parameters
    ----------
    model : Model
        The net.
    protocol : Protocol
        The choices from the maps to their boxes.
    engine : str
        What runs the net, for the reader.

    Returns
    -------
    dict
        The run of an image's record, without what depends on the image.

    Raises
    ------
    UsageError
        The page cannot make maps by the method, or boxes by the rule of the protocol.
    """
    row = protocol.for_view(model.view)
    check_protocol(row)
    placement = Placement(view_of(row.view, model.input_size), row.map_resizer, row.merge, row.placement)
    return run_facts(model.name, engine, row) | {"placement": placement_choices(placement)}


def _encoded(mean: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, Any]:
    return {"shape": mean.shape, "values": base64.b64encode(mean.astype("<f4").tobytes()).decode()}
