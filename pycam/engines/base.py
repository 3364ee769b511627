"""What every engine is: something that runs a `Net` and gives the values of its blobs."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pycam.engines.options import Options
from pycam.errors import EngineError
from pycam.net import Net
from pycam.net.layers import dims

_NO_MEMORY = re.compile(r"allocate|alloc_failed|bad_alloc|out of memory", re.IGNORECASE)
"""How libraries say that memory ran out; none of them has an error of its own for it that all its parts raise."""


def failure(what: str, error: Exception) -> EngineError | MemoryError:
    """Give the error to raise when an engine's library failed: `MemoryError` if that is why, `EngineError` else."""
    kind = MemoryError if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) else EngineError
    return kind(f"{what}: {' '.join(str(error).split())}")


class Engine(ABC):
    """A net made ready to run. Make one with `pycam.engines.make`.

    Calling `forward` changes nothing: two calls give what two fresh engines give.

    Parameters
    ----------
    net
        With parameters.
    outputs
        Names of values (`pycam.net.layers.Layer`); a blob's name gives what Caffe's blob holds in the end, after any
        in-place layer.
    options
        Device, threads, streams and precision.

    Attributes
    ----------
    name
        As in `--engine`.
    precisions
        What the engine can compute in; the first is the default.
    concurrent
        Whether several threads may call `forward` at the same time.
    batch_invariant
        Whether an image's results have the same bits in any batch and with any number of threads.

    Raises
    ------
    EngineError
        When the engine cannot be exact on the net, naming the layer.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    concurrent: ClassVar[bool] = False
    batch_invariant: ClassVar[bool] = False

    def __init__(self, net: Net, outputs: Sequence[str], options: Options = Options()) -> None:
        self.outputs = tuple(outputs)
        self.options = options
        self.precision = options.precision or self.precisions[0]
        self._input_shapes = {blob: net.value_shapes[value] for blob, value in net.input_values.items()}
        self._load(net)

    def forward(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the net.

        Parameters
        ----------
        inputs
            Input blob -> values of its shape (`net.shapes`) with any batch N on axis 0. Images are N×C×H×W, BGR.

        Returns
        -------
        dict
            Output -> float32 values, N on axis 0.

        Raises
        ------
        EngineError
            An input is missing or of another shape, or the run fails; the engine stays usable where that is possible.
        MemoryError
            There is not enough for a batch of this size.
        """
        for blob, expected in self._input_shapes.items():
            came = inputs[blob].shape if blob in inputs else None
            if came is None or len(came) != len(expected) or came[0] == 0 or came[1:] != expected[1:]:
                raise EngineError(
                    f"input {blob!r}: {'nothing' if came is None else dims(came)} came, expected {dims(expected)}, "
                    "or more along the first axis"
                )
        return dict(zip(self.outputs, self._run(inputs), strict=True))

    @abstractmethod
    def _load(self, net: Net) -> None:
        """Make `net` ready to give the values named in `outputs`."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Iterable[NDArray[np.float32]]:
        """Give the values of `outputs`, in their order; inputs have the shapes of the net."""

    @property
    @abstractmethod
    def description(self) -> str:
        """Engine, version, device and precision in a few words, for outputs and reports."""

    def close(self) -> None:  # noqa: B027 - most engines hold nothing that must be let go
        """Let go of processes and memory. The engine cannot be used afterwards."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
