"""Nets for training: the layers of one phase of a prototxt, and the data of its data layers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pycam.errors import TrainingError
from pycam.formats import prototxt, schema
from pycam.net import Net, net_from_message, net_state, takes_part
from pycam.net.layers import Accuracy, SoftmaxWithLoss
from pycam.training.data import Batches, Floats, ImageFiles, open_batches
from pycam.training.solver import Solver, net_path

DATA_TYPES = ("Data", "ImageData")


@dataclass(frozen=True)
class FedNet:
    """A net and its data.

    Attributes
    ----------
    net : Net
        With inputs of the data's shapes in place of its data layers.
    batches : tuple of Batches
        One per data layer.
    """

    net: Net
    batches: tuple[Batches, ...]

    def stream(self, first: int, last: int) -> Iterator[dict[str, Floats]]:
        """Yield the inputs of the passes from `first` up to, not including, `last`."""
        for parts in zip(*(batches.stream(first, last) for batches in self.batches), strict=True):
            yield {blob: values for part in parts for blob, values in part.items()}


def open_net(solver: Solver, phase: str, data: str | os.PathLike[str] | None = None) -> FedNet:
    """Read a solver's net for a phase, and open its data.

    Parameters
    ----------
    solver : Solver
        Names the net.
    phase : str
        `TRAIN` or `TEST`.
    data : path, optional
        A list or folder of images in place of the net's own source.

    Raises
    ------
    FormatError, NetError, TrainingError
        The net or its data are damaged, or do not go together.
    """
    path = net_path(solver, phase)
    text = prototxt.read(path)
    message = schema.NetParameter()
    message.CopyFrom(text.message)
    message.ClearField("layer")
    lines, batches = [], []
    state = net_state(text.message, phase, (), text.message.state.level)
    for layer, line in zip(text.message.layer, text.lines, strict=True):
        if not takes_part(layer, state):
            continue
        lines.append(line)
        if layer.type in DATA_TYPES:
            batches.append(open_batches(layer, path, phase, solver.random_seed, None if data is None else Path(data)))
            shapes = [{"dim": shape} for shape in batches[-1].shapes]
            message.layer.add(name=layer.name, type="Input", top=layer.top, input_param={"shape": shapes})
        else:
            message.layer.add().CopyFrom(layer)
    if not batches:
        raise TrainingError(f"{path}: it has no data layer in phase {phase}: add one of type Data or ImageData")
    net = net_from_message(message, lines, text.path, phase, level=state.level)
    net = replace(net, forks=text.forks, notes=text.notes)
    fed = {top for each in batches for top in each.tops}
    if unfed := [blob for blob in net.inputs if blob not in fed]:
        raise TrainingError(
            f"{path}: nothing fills its input {unfed[0]!r} in training: only Data and ImageData layers do"
        )
    _check_labels(net, batches)
    return FedNet(net, tuple(batches))


def _check_labels(net: Net, batches: list[Batches]) -> None:
    judges = [layer for layer in net.layers if isinstance(layer, SoftmaxWithLoss | Accuracy)]
    for layer in judges:
        for each in batches:
            # A database is too large to be read before the start.
            if layer.bottoms[1] in each.tops and isinstance(each.source, ImageFiles):
                each.source.check_labels(layer.class_count)
