"""What computes the layers of a `Net`: an engine, many at once; `torch_runner` computes them one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycam import engines
from pycam.engines.base import Engine
from pycam.net.layers import Layer, Shape
from pycam.pycaffe.blob import Blob, Memory, Parameter, any_changed
from pycam.pycaffe.ranges import Range
from pycam.pycaffe.structure import Backward


@dataclass
class Step:
    """A layer among the blobs of its net.

    Attributes
    ----------
    name, type : str
        As in the prototxt.
    bottoms, tops : list of Blob
        What the layer reads and writes.
    bottom_names, top_names : list of str
        Their names.
    params : list of Parameter
        Its learned blobs.
    backward : Backward
        What it computes in a backward run.
    """

    name: str
    type: str
    bottoms: list[Blob]
    tops: list[Blob]
    bottom_names: list[str]
    top_names: list[str]
    params: list[Parameter]
    backward: Backward


class EngineRunner:
    """An engine runs all layers of a part at once.

    Parameters
    ----------
    name : str
        A key of `engines.ENGINES`.
    device : str
        As in `engines.Options`.
    """

    def __init__(self, name: str, device: str) -> None:
        self._name, self._options = name, engines.Options(device)
        self._made: dict[tuple[int, ...], tuple[dict[str, Shape], Engine | None]] = {}

    def forward(self, part: Range, steps: Sequence[Step], blobs: Mapping[str, Blob]) -> None:
        """Compute the layers of a part of the net from the present values of the blobs that it reads.

        Raises
        ------
        EngineError, UnsupportedLayerError
            The engine cannot run the layers, or the run failed.
        """
        # All are asked: a change of another part's parameters must not be forgotten.
        if any_changed([param for step in steps for param in step.params]):
            self.close()
        key = tuple(part.layers)
        shapes, engine = self._made.get(key, (None, None))
        if shapes != part.reads:
            if engine is not None:
                engine.close()
            engine = self._make(part, steps, blobs)
            self._made[key] = part.reads, engine
        if engine is None:
            return
        for name, values in engine.forward({name: blobs[name].values for name in part.reads}).items():
            blobs[name].values[...] = values.reshape(blobs[name].shape)

    def _make(self, part: Range, steps: Sequence[Step], blobs: Mapping[str, Blob]) -> Engine | None:
        """Make the engine of a part; None if its layers compute nothing."""
        params = {steps[i].name: [param.values for param in steps[i].params] for i in part.layers if steps[i].params}
        net = part.net.with_params(params, "the net's parameters")
        # Of blobs that share their memory, the one that is written last counts; most are only read.
        last: dict[Memory, str] = {}
        for layer in part.layers.values():
            last.update({blobs[top].data_memory: top for top in layer.tops if _computes(layer)})
        if not last:
            return None
        return engines.make(self._name, net, list(last.values()), self._options)

    def close(self) -> None:
        """Release the engines."""
        for _, engine in self._made.values():
            if engine is not None:
                engine.close()
        self._made.clear()


def _computes(layer: Layer) -> bool:
    """Return False if the tops of a layer have the memory of its bottom."""
    return not shares_memory(layer.type, len(layer.bottoms), len(layer.tops))


def shares_memory(kind: str, bottoms: int, tops: int) -> bool:
    """Return True if the tops of a layer have the memory of its bottom, as in Caffe."""
    return kind in ("Split", "Flatten", "Reshape") or (kind in ("Concat", "Slice") and bottoms == tops == 1)
