"""ONNX Runtime, the default engine: CPU, and CUDA where its build has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pycam.engines.base import Engine
from pycam.errors import EngineError
from pycam.net import Net
from pycam.onnx_graph import onnx_model

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Errors come as exceptions; what ONNX Runtime would print besides is no news to a user.
_SILENT = 4


class OnnxRuntimeEngine(Engine):
    """Runs a net through ONNX Runtime."""

    name: ClassVar[str] = "onnxruntime"

    def __init__(
        self,
        net: Net,
        outputs: Sequence[str],
        *,
        device: str | None = None,
        threads: int | None = None,
        precision: str = "fp32",
    ) -> None:
        self._device = device or "cpu"
        self._outputs = list(outputs)
        self._session = onnxruntime.InferenceSession(
            onnx_model(net, self._outputs).SerializeToString(),
            _options(threads),
            providers=[_provider(self._device)],
        )

    def forward(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run the net; see `Engine.forward`."""
        feed = {value.name: np.ascontiguousarray(inputs[value.name]) for value in self._session.get_inputs()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    @property
    def description(self) -> str:
        """Runtime, version, device and precision."""
        return f"ONNX Runtime {onnxruntime.__version__}, {self._device}, fp32"


def _options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads or 0
    return options


def _provider(device: str) -> str | tuple[str, dict[str, str]]:
    if device not in PROVIDERS:
        raise EngineError(f"engine 'onnxruntime' has no device {device!r}: it has {', '.join(PROVIDERS)}")
    provider = PROVIDERS[device]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise EngineError(
            f"this ONNX Runtime cannot use {device!r} (it has {', '.join(available)}): "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return provider
