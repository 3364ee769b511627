"""What the data layers of a net say about the mean and the scale of its input: `transform_param`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycam.formats.files import exists
from pycam.net.net import Net
from pycam.net.state import takes_part


@dataclass(frozen=True)
class StatedInput:
    """The transformation of images in a data layer.

    Attributes
    ----------
    layer : str
        Name of the data layer.
    mean : str
        The values or the file of the mean, as for `--mean`; empty without one.
    scale : str
        The factor for pixels minus the mean, as for `--input-scale`; empty for 1.
    has_mean : bool
        Whether `mean` is there: values always are, a file may be missing.
    """

    layer: str
    mean: str
    scale: str
    has_mean: bool

    def advice(self, *, mean: bool = True, scale: bool = True) -> str:
        """Return what the layer says and the options that follow it, in one line; `""` if there is nothing to say.

        Parameters
        ----------
        mean, scale : bool
            Whether to speak of the mean, and of the scale: not if the user has given them.
        """
        mean, scale = mean and bool(self.mean), scale and bool(self.scale)
        says = [f"mean {self.mean}"] * mean + [f"scale {self.scale}"] * scale
        if not says:
            return ""
        values = self.mean if self.has_mean else "FILE (that file is not here)"
        give = [f"--mean {values}"] * mean + [f"--input-scale {self.scale}"] * scale
        return f"data layer {self.layer!r} says {' and '.join(says)}: give {' '.join(give)}"


def stated_input(net: Net) -> StatedInput | None:
    """Return the transformation that a net's own data layer says; that of the net's own state if there are several.

    Parameters
    ----------
    net : Net
        The net. A deploy net usually has no data layer, and says nothing.
    """
    found = []
    for layer in net.message.layer if net.message is not None else ():
        param = layer.transform_param
        if param.mean_value or param.mean_file or param.scale != 1:
            found.append((not takes_part(layer, net.state), layer))
    if not found:
        return None
    _, layer = min(found, key=lambda each: each[0])
    param = layer.transform_param
    scale = "" if param.scale == 1 else _decimal(param.scale)
    if param.mean_value or not param.mean_file:
        return StatedInput(layer.name, ",".join(map(_decimal, param.mean_value)), scale, True)
    folder = Path(net.sources.prototxt).parent if net.sources else Path()
    # As Caffe: from the current folder; else beside the net.
    places = [Path(param.mean_file), folder / param.mean_file]
    here = next((str(place) for place in places if exists(place)), "")
    return StatedInput(layer.name, here or param.mean_file, scale, bool(here))


def _decimal(value: float) -> str:
    """Write a number as in the prototxt, where it has single precision."""
    return np.format_float_positional(np.float32(value), trim="-")
