"""Real Caffe as a trainer: what tests compare pycam's training with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pycam.engines.caffe import Array, CaffeProcess

# In the syntax of Python 2.7, as all of the worker.
COMMANDS = """
class Trainer(Worker):
    def load_solver(self, arrays):
        with _as_file(arrays[1]) as prototxt:
            text = arrays[0].tobytes() + ('\\nnet: "%s"\\n' % _path(prototxt)).encode("ascii")
            with _as_file(np.frombuffer(text, np.uint8)) as solver:
                self.solver = self.caffe.get_solver(_path(solver))
        self.net = self.solver.net
        return {}, []

    def describe(self, arrays):
        blobs = list(self.net._blob_names)
        structure = {
            "layers": [
                [name, layer.type, [blobs[top] for top in self.net._top_ids(i)]]
                for i, (name, layer) in enumerate(zip(self.net._layer_names, self.net.layers))
            ],
            "blobs": [[name, list(blob.data.shape)] for name, blob in self.net.blobs.items()],
            "params": [[name, [list(blob.data.shape) for blob in blobs]] for name, blobs in self.net.params.items()],
        }
        return structure, []

    def get_params(self, arrays):
        counts = [[name, len(blobs)] for name, blobs in self.net.params.items()]
        return {"counts": counts}, [blob.data for blobs in self.net.params.values() for blob in blobs]

    def step(self, arrays, inputs, wanted):
        if self.net.layers[0].type == "MemoryData":
            self.net.set_input_arrays(*arrays)
        else:
            self._fill_inputs(inputs, arrays)
        self.solver.step(1)
        return {}, [self._blob(blob).data.copy() for _, _, blob in wanted]

    def snapshot(self, arrays):
        self.solver.snapshot()
        return {}, []

    def restore(self, arrays, path):
        self.solver.restore(str(path))
        return {}, []

    def gradients(self, arrays, inputs, blobs):
        self.forward(arrays, inputs, [])
        self.net._forward(0, len(self.net.layers) - 1)
        self.net._backward(len(self.net.layers) - 1, 0)
        return {}, [self._blob(blob).diff.copy() for blob in blobs]


Worker = Trainer
"""


class Structure(NamedTuple):
    """A net as Caffe built it, with the `Split` layers that it adds where a blob has several readers."""

    layers: list[tuple[str, str, list[str]]]
    """Name, type and tops, in order."""
    blobs: dict[str, tuple[int, ...]]
    params: dict[str, list[tuple[int, ...]]]


class CaffeTrainer(CaffeProcess):
    """A process with pycaffe that can train, too, and tell how it built a net."""

    @staticmethod
    def _worker() -> str:
        worker, main = CaffeProcess._worker().rsplit('if __name__ == "__main__":', 1)
        return f'{worker}{COMMANDS}\n\nif __name__ == "__main__":{main}'

    def load_solver(self, solver: bytes, text: bytes, name: str) -> None:
        """Build a solver and its training net.

        Parameters
        ----------
        solver
            A solver prototxt that names no net.
        text
            The training net's prototxt.
        name
            What to call it in errors.
        """
        files = [np.frombuffer(data, np.uint8) for data in (solver, text)]
        self._ask(f"building the solver {name}", "load_solver", files)

    def describe(self) -> Structure:
        """Give the structure of the net."""
        reply, _ = self._ask("describing the net", "describe")
        return Structure(
            [(name, kind, tops) for name, kind, tops in reply["layers"]],
            {name: tuple(shape) for name, shape in reply["blobs"]},
            {name: [tuple(shape) for shape in shapes] for name, shapes in reply["params"]},
        )

    def get_params(self) -> dict[str, list[Array]]:
        """Give every parameter: layer -> arrays."""
        reply, arrays = self._ask("reading parameters", "get_params")
        values = iter(arrays)
        return {layer: [next(values) for _ in range(count)] for layer, count in reply["counts"]}

    def snapshot(self) -> None:
        """Write a snapshot to the solver's `snapshot_prefix`."""
        self._ask("writing a snapshot", "snapshot")

    def restore(self, path: Path) -> None:
        """Go on from a solverstate."""
        self._ask(f"restoring {path}", "restore", path=str(path))

    def gradients(self, inputs: Mapping[str, Array], blobs: Sequence[str]) -> dict[str, Array]:
        """Give the gradients of blobs in the net of `load`, which needs `force_backward: true` for its inputs."""
        arrays = [np.asarray(array, np.float32) for array in inputs.values()]
        _, found = self._ask("computing gradients", "gradients", arrays, inputs=list(inputs), blobs=list(blobs))
        return dict(zip(blobs, found, strict=True))

    def step(self, inputs: Mapping[str, Array], blobs: Sequence[str]) -> dict[str, Array]:
        """Train for one iteration.

        Parameters
        ----------
        inputs
            Blobs of the net's `Input` layers -> values. For a net that begins with `MemoryData`, its two tops
            in order -> as many samples as the iteration takes (batch size times `iter_size`).
        blobs
            To be given back, such as the loss.
        """
        return dict(zip(blobs, self._run("step", inputs, [(None, 0, blob) for blob in blobs]), strict=True))
