"""The names of pycaffe on top of pycam: a script for Caffe's Python runs after one change, its import.

    from pycam import pycaffe as caffe

in place of `import caffe`. It offers what a script needs to run a net: `Net` with its blobs and parameters, the modes,
and `caffe.io`. New programs are shorter with `pycam.load`.

Only the names and conventions of pycaffe belong here; what they do belongs to the rest of pycam.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

import pycam.net
from pycam import engines
from pycam.errors import UsageError
from pycam.net import net_from_message, read_net
from pycam.pycaffe import io, proto
from pycam.pycaffe.net_spec import NetSpec, layers, params, to_proto

if TYPE_CHECKING:
    from pycam.engines.base import Engine

Thing = TypeVar("Thing")

__all__ = [
    "TEST",
    "TRAIN",
    "Blob",
    "Net",
    "NetSpec",
    "io",
    "layers",
    "params",
    "proto",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "to_proto",
]

TRAIN, TEST = 0, 1

_mode = {"device": "cpu"}


def set_mode_cpu() -> None:
    """Run nets that are made from now on on the CPU."""
    _mode["device"] = "cpu"


def set_mode_gpu() -> None:
    """Run nets that are made from now on on the GPU, by an engine that supports it (docs/engines.md)."""
    _mode["device"] = "cuda"


def set_device(number: int) -> None:
    """Accept GPU 0; `CUDA_VISIBLE_DEVICES` chooses among several."""
    if number != 0:
        raise UsageError(f"set_device({number}): pycam uses one GPU; choose it with CUDA_VISIBLE_DEVICES={number}")


class Blob:
    """The values of a blob.

    Attributes
    ----------
    data : float32 array
        To read, and to write for inputs: `blob.data[...] = values`. The net's next run writes into the same array, as
        in Caffe: keep a `.copy()`.
    """

    def __init__(self, data: NDArray[np.float32]) -> None:
        self.data = data

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.data.shape

    def reshape(self, *shape: int) -> None:
        """Change the shape of the blob; after a change of an input, the next run reshapes the net. Values are lost."""
        self.data = np.zeros(shape, np.float32)


class Net:
    """A net and its weights: `Net(prototxt, caffemodel, TEST)` or `Net(prototxt, TEST, weights=caffemodel)`.

    Parameters
    ----------
    prototxt : path
        The net, in any of Caffe's formats.
    *arguments : path or int
        The caffemodel's path, and the phase, which must be `TEST`, in any order.
    weights : path, optional
        The caffemodel's path.
    engine : str
        Runs the net; Caffe has no such argument.

    Attributes
    ----------
    blobs : dict
        Name -> `Blob`, in the order in which they are computed.
    params : dict
        Layer -> its parameters as Blobs, weights first. They are read-only, because a net of pycam does not change.
    inputs, outputs : list of str
        Names of blobs.

    Raises
    ------
    UsageError
        The phase is TRAIN.
    FormatError, NetError
        As `pycam.read_net`.
    """

    def __init__(
        self,
        prototxt: str | os.PathLike[str],
        *arguments: str | os.PathLike[str] | int,
        weights: str | os.PathLike[str] | None = None,
        engine: str = engines.DEFAULT_ENGINE,
    ) -> None:
        if TRAIN in arguments:
            raise UsageError("a net in phase TRAIN: give TEST; `pycam train` trains nets")
        for argument in arguments:
            if not isinstance(argument, int):
                weights = argument
        self._net = read_net(prototxt, weights)
        self._engine: Engine | None = None
        self._engine_name, self._device = engine, _mode["device"]
        self.inputs, self.outputs = list(self._net.inputs), list(self._net.outputs)
        self.blobs = {name: Blob(np.zeros(shape, np.float32)) for name, shape in self._net.shapes.items()}
        self.params = {name: [Blob(_read_only(array)) for array in arrays] for name, arrays in self._net.params.items()}
        for name, shape in _input_shapes(self._net.message).items():
            self.blobs[name].reshape(*shape)
        self.reshape()

    def reshape(self) -> None:
        """Adapt the net and its blobs to the shapes of the inputs; `forward` does this by itself."""
        wanted = {name: self.blobs[name].shape for name in self.inputs}
        if any(self._net.shapes[name][1:] != shape[1:] for name, shape in wanted.items()):
            self._net = _with_inputs(self._net, wanted)
            self._engine = None
        batch = wanted[self.inputs[0]][0]
        for name, shape in self._net.shapes.items():
            if self.blobs[name].shape != (batch, *shape[1:]):
                self.blobs[name].reshape(batch, *shape[1:])

    def forward(
        self, blobs: Sequence[str] = (), start: str | None = None, end: str | None = None, **inputs: ArrayLike
    ) -> dict[str, NDArray[np.float32]]:
        """Run the net on the values of its inputs, and fill all other blobs.

        Parameters
        ----------
        blobs : sequence of str
            Blobs to return besides the outputs.
        start : str, optional
            Not supported: nets run from their beginning.
        end : str, optional
            Layer whose tops are returned in place of the outputs.
        **inputs : array
            Values of inputs, written into their blobs first.

        Returns
        -------
        dict
            Name -> the blob's `data`, which the next run overwrites.

        Raises
        ------
        UsageError
            `start` was given, or there is no such input, blob or layer.
        EngineError
            The run failed.
        """
        if start is not None:
            raise UsageError(f"forward(start={start!r}): pycam runs a net from its beginning, leave start out")
        ends = self.outputs if end is None else _named(end, self._net.by_name, "layer").tops
        asked = {name: _named(name, self.blobs, "blob") for name in (*ends, *blobs)}
        for name, values in inputs.items():
            _named(name, dict.fromkeys(self.inputs, self), "input")
            self.blobs[name].data[...] = values
        self.reshape()
        if self._engine is None:
            computed = [name for name in self.blobs if name not in self.inputs]
            self._engine = engines.make(self._engine_name, self._net, computed, engines.Options(self._device))
        for name, found in self._engine.forward({name: self.blobs[name].data for name in self.inputs}).items():
            self.blobs[name].data[...] = found
        return {name: blob.data for name, blob in asked.items()}


def _named(name: str, things: Mapping[str, Thing], kind: str) -> Thing:
    if name not in things:
        raise UsageError(f"the net has no {kind} {name!r}; there are {', '.join(things)}")
    return things[name]


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    view: NDArray[np.float32] = array.view()
    view.flags.writeable = False
    return view


def _input_shapes(message: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs in the file, including the batch."""
    return {
        top: tuple(layer.input_param.shape[min(i, len(layer.input_param.shape) - 1)].dim)
        for layer in message.layer
        if layer.type == "Input"
        for i, top in enumerate(layer.top)
    }


def _with_inputs(net: pycam.net.Net, shapes: Mapping[str, tuple[int, ...]]) -> pycam.net.Net:
    message = copy.deepcopy(net.message)
    for layer in message.layer:
        if layer.type == "Input":
            del layer.input_param.shape[:]
            for top in layer.top:
                layer.input_param.shape.add().dim.extend(shapes[top])
    return net_from_message(message).with_params(net.params)
