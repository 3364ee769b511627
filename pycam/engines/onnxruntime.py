"""ONNX Runtime: the default engine, on the CPU, and on CUDA if its build supports CUDA."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.onnx_graph import onnx_model
from pycam.engines.processor import gpus
from pycam.errors import EngineError
from pycam.formats.schema import Message
from pycam.net import Net

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# Errors are exceptions; the additional output of ONNX Runtime is for its developers.
_FATAL_ONLY = 4
onnxruntime.set_default_logger_severity(_FATAL_ONLY)


class OnnxRuntimeEngine(Engine):
    """The ONNX translation of a net, run by ONNX Runtime."""

    name = "onnxruntime"
    library = f"ONNX Runtime {onnxruntime.__version__}"
    precisions = ("fp32", "tf32")
    concurrent = True
    runs_onnx = True
    batch_invariant = True

    def _load(self, net: Net) -> None:
        self._device = self.options.device or "cpu"
        provider = _provider(self._device, self.precision)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = self.options.threads_per_stream
        # Threads that spin while they wait would take the cores from the threads that decode and draw.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        weights: dict[str, NDArray[np.float32]] = {}
        model = onnx_model(net, self.outputs, weights)
        try:
            self._session = session(model, weights, options, provider)
        except Exception as error:  # ONNX Runtime's exceptions have no other common base class
            raise failure("ONNX Runtime cannot load the net", error) from None
        # If ONNX Runtime cannot reach a GPU, it computes on the CPU without an error.
        if provider[0] not in self._session.get_providers():
            raise EngineError("ONNX Runtime cannot use a GPU or the CUDA libraries on this machine: omit --device")
        self.device_model = gpus() if self._device == "cuda" else ""
        read = {value.name for value in self._session.get_inputs()}
        self._inputs = {value: blob for blob, value in net.input_values.items() if value in read}

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        given = {value: inputs[blob] for value, blob in self._inputs.items()}
        try:
            values: list[NDArray[np.float32]] = self._session.run(self.outputs, given)
        except Exception as error:  # as above
            raise failure(f"ONNX Runtime failed on {self._device}", error) from None
        return values


def session(
    model: Message,
    weights: Mapping[str, NDArray[np.float32]],
    options: onnxruntime.SessionOptions,
    provider: tuple[str, dict[str, str]] = (_PROVIDERS["cpu"], {}),
) -> onnxruntime.InferenceSession:
    """Make a session of ONNX Runtime.

    Parameters
    ----------
    model : ModelProto
        A model; constants that are in `weights` are without their values.
    weights : mapping of str to array
        The values of these constants. Serialising them with the model would copy each several times.
    options : SessionOptions
        Get the weights.
    provider : (str, dict)
        The provider of ONNX Runtime, and its options.
    """
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(each)) for each in weights.values()]
        options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])


def _provider(device: str, precision: str) -> tuple[str, dict[str, str]]:
    if device not in _PROVIDERS:
        raise EngineError(f"ONNX Runtime has no device {device!r}: use {' or '.join(_PROVIDERS)}")
    provider, available = _PROVIDERS[device], onnxruntime.get_available_providers()
    if provider not in available:
        raise EngineError(
            f"this ONNX Runtime has no {provider} for device {device!r}: uninstall onnxruntime, "
            "then pip install onnxruntime-gpu"
        )
    if device == "cuda":
        # The default of ONNX Runtime is tf32.
        return provider, {"use_tf32": str(int(precision == "tf32"))}
    if precision == "tf32":
        raise EngineError("ONNX Runtime has tf32 only on CUDA: use fp32, or --device cuda")
    return provider, {}
