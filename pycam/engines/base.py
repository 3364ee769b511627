"""The abstract class of all engines: it runs a `Net` and returns the values of its blobs."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pycam.engines.options import Options, cores
from pycam.engines.processor import instruction_set
from pycam.engines.threads import Turn
from pycam.errors import EngineError, UnsupportedLayerError
from pycam.formats.onnx_messages import FLOAT
from pycam.net import Net
from pycam.net.layers import BatchNorm, Layer, OnnxNode, dims
from pycam.net.layers.base import count
from pycam.prefetch import prefetch

_NO_MEMORY = re.compile(r"allocate|alloc_failed|bad_alloc|out of memory", re.IGNORECASE)
"""Words of the libraries' out-of-memory errors; no library has one exception type that all its parts raise."""


BATCH_BYTES = 256 << 20
"""The memory of the largest layer's bottoms and tops in a batch of `Engine.batch_size` images, at most."""
LARGEST_BATCH = 64
"""The largest `Engine.batch_size`: larger batches are not faster."""


def not_finite(engine: str, what: str, image: str | None) -> EngineError:
    """Return the error for values of an image, such as "scores", that are infinite or not a number."""
    return EngineError(
        f"{engine} gave {what} that are not finite for {image or 'the image'}: "
        "are the weights damaged, or does the net expect another input_scale?"
    )


def failure(what: str, error: Exception) -> EngineError | MemoryError:
    """Return the error to raise when an engine's library failed.

    Parameters
    ----------
    what : str
        What failed, for the message.
    error : Exception
        The library's error.

    Returns
    -------
    MemoryError or EngineError
        `MemoryError` if the library ran out of memory.
    """
    kind = MemoryError if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) else EngineError
    return kind(f"{what}: {' '.join(str(error).split())}")


class Engine(ABC):
    """A net that is ready to run. Make one with `pycam.engines.make`.

    `forward` keeps no state: two calls return the same as the first calls of two new engines. Any thread may call it.

    Parameters
    ----------
    net : Net
        A net with parameters.
    outputs : sequence of str
        Names of values (`pycam.net.layers.Layer`). A blob's name stands for the values that Caffe's blob has at the
        end of the run, after all in-place layers.
    options : Options
        Device, threads, streams and precision.

    Attributes
    ----------
    name : str
        The name for `--engine`.
    precisions : tuple of str
        The precisions that the engine can compute in; the first one is the default.
    concurrent : bool
        Whether the library computes several `forward` calls at the same time. If not, they wait for one another.
    runs_onnx : bool
        Whether the engine runs the nodes of an ONNX file.
    batch_invariant : bool
        Whether an image's results have the same bits in any batch and with any number of threads.
    batch_size : int
        A number of images that the engine runs on well together, with bounded memory; for many images.
    library : str
        Library and version.
    note : str
        An addition to `description`.
    device_model : str
        The model of a device other than the CPU.

    Raises
    ------
    EngineError
        The engine cannot be exact on the net; the message names the layer.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    concurrent: ClassVar[bool] = False
    runs_onnx: ClassVar[bool] = False
    batch_invariant: ClassVar[bool] = False
    library: str
    note = ""
    device_model = ""

    def __repr__(self) -> str:
        return f"<engine {self.description}>"

    def __init__(self, net: Net, outputs: Sequence[str], options: Options = Options()) -> None:
        self.outputs = tuple(outputs)
        self.options = options
        self.precision = options.precision or self.precisions[0]
        self._turn = nullcontext() if self.concurrent else Turn()
        self._closed = False
        self._input_shapes = {
            blob: net.value_shapes[net.input_values[blob]] for blob in net.inputs_before(self.outputs)
        }
        self._one_by_one, self._takes_floats = False, True
        path = net.layers_before(self.outputs)
        for layer in path:
            if isinstance(layer, OnnxNode):
                self._one_by_one = layer.origin.one_by_one
                self._takes_floats = layer.origin.input_type == FLOAT
                if not self.runs_onnx:
                    raise UnsupportedLayerError(
                        f"engine {self.name!r} does not run nodes of an ONNX file ({layer.name!r}, {layer.type}): use "
                        "--engine onnxruntime or openvino"
                    )
            if isinstance(layer, BatchNorm) and layer.use_global_stats is False:
                raise EngineError(
                    f"layer {layer.name!r} (BatchNorm) has use_global_stats: false: the statistics of a batch are for "
                    "training only; with --phase TEST, or without the field, the stored ones are used"
                )
        largest = max(map(_values, path), default=1)
        self.batch_size = net.fixed_batch or max(1, min(LARGEST_BATCH, BATCH_BYTES // (4 * largest)))
        self._load(net)

    @classmethod
    def best_streams(cls, options: Options) -> int:
        """Return the number of streams with the most images per second; the number in `options` does not matter.

        It is one per core on a CPU if the engine is concurrent, never more than threads, and otherwise one.
        """
        on_cpu = options.device in (None, "cpu")
        return min(options.threads or cores(), cores()) if cls.concurrent and on_cpu else 1

    def forward(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the net.

        Parameters
        ----------
        inputs : mapping of str to float32 array
            Input blob -> values of its shape (`net.shapes`), with any batch size N on axis 0. Images are
            (N, C, H, W), BGR. Other numbers are converted. Inputs that no output depends on may be left out.

        Returns
        -------
        dict of str to float32 array
            Output -> values, N on axis 0.

        Raises
        ------
        EngineError
            An input is missing or has another shape, the engine is closed, or the run failed. The engine can still be
            used after a failure, if possible.
        MemoryError
            The memory is too small for this batch size.
        """
        for blob, expected in self._input_shapes.items():
            shape = inputs[blob].shape if blob in inputs else ()
            if len(shape) != len(expected) or shape[0] == 0 or shape[1:] != expected[1:]:
                found = dims(shape) if blob in inputs else "nothing"
                raise EngineError(
                    f"input {blob!r}: expected shape {dims(expected)}, or more along the first axis, found {found}"
                )
        needed = {blob: inputs[blob] for blob in self._input_shapes}
        if self._takes_floats:
            # ONNX Runtime would take the bytes of another machine's numbers for its own.
            needed = {blob: np.asarray(values, np.float32) for blob, values in needed.items()}
        with self._turn:
            if self._closed:
                raise EngineError(f"this engine {self.name!r} was closed: make a new one")
            values = self._run_one_by_one(needed) if self._one_by_one else self._run(needed)
            return dict(zip(self.outputs, values, strict=True))

    def _run_one_by_one(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        batch = len(next(iter(inputs.values())))
        each = [self._run({blob: values[row : row + 1] for blob, values in inputs.items()}) for row in range(batch)]
        return [np.concatenate(values) for values in zip(*each, strict=True)]

    def forward_many(
        self, batches: Iterable[Mapping[str, NDArray[np.float32]]]
    ) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Run the net on many batches, as many at the same time as the engine has streams.

        Parameters
        ----------
        batches : iterable
            Inputs as for `forward`. They are taken shortly before they are needed.

        Yields
        ------
        dict of str to float32 array
            As from `forward`, in the order of the batches.
        """
        streams = self.options.streams
        if streams == 1:
            yield from map(self.forward, batches)
            return
        with ThreadPoolExecutor(streams, "pycam-stream") as pool:
            yield from prefetch(lambda inputs: pool.submit(self.forward, inputs), batches, streams + 1)

    @abstractmethod
    def _load(self, net: Net) -> None:
        """Prepare `net` to compute the values in `self.outputs`."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Iterable[NDArray[np.float32]]:
        """Return the values of `self.outputs`, in their order; the inputs are those needed, in the net's shapes."""

    @property
    def description(self) -> str:
        """Library, version, device and precision in a few words, for reports."""
        return f"{self.library}, {self.options.device or 'cpu'}, {self.precision}{self.note}"

    @property
    def processor(self) -> str:
        """The instruction set of the CPU, and the model of another device: they decide the last bits of results."""
        return ", ".join(filter(None, (instruction_set(), self.device_model)))

    def close(self) -> None:
        """Release processes and memory. The engine cannot be used afterwards."""
        # Without a turn: a run that takes long must not keep its process alive.
        self._closed = True
        self._release()

    def _release(self) -> None:  # noqa: B027 - most engines have nothing to release
        """End what the engine has started."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _values(layer: Layer) -> int:
    """Return the number of values in the bottoms and tops of a layer, at batch 1."""
    return sum(map(count, (*layer.input_shapes, *layer.output_shapes)))
