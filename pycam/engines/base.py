"""What every engine is: something that runs a `Net` and gives the values of its blobs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pycam.net import Net


class Engine(ABC):
    """A net made ready to run. Make one with `pycam.engines.make`.

    Calling `forward` changes nothing: two calls give what two fresh engines give.

    Attributes
    ----------
    name
        As in `--engine`.
    precisions
        What the engine can compute in; the first is the default.
    steady
        Whether a picture's results have the same bits in any batch and with any number of threads.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    steady: ClassVar[bool] = False

    @abstractmethod
    def __init__(
        self,
        net: Net,
        outputs: Sequence[str],
        *,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "fp32",
    ) -> None:
        """Make `net` ready to give the values named in `outputs`.

        Parameters
        ----------
        net
            With parameters.
        outputs
            Names of values (`pycam.layers.Layer`); a blob's name gives what Caffe's blob holds in the end, after any
            in-place layer.
        device
            `"cpu"`, `"cuda"` or what else the engine knows; None for the CPU.
        threads
            None for as many as there are cores.
        precision
            One of `precisions`.

        Raises
        ------
        EngineError
            When the engine cannot be exact on the net, naming the layer.
        """

    @abstractmethod
    def forward(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the net.

        Parameters
        ----------
        inputs
            Input blob -> values of its shape (`net.shapes`) with any batch N on axis 0. Pictures are N×C×H×W, BGR.

        Returns
        -------
        dict
            Output -> float32 values, N on axis 0.

        Raises
        ------
        EngineError
            When the run fails; the engine stays usable where that is possible.
        """

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
