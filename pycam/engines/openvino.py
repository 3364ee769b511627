"""OpenVINO: the engine with the shortest time per image on a CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.onnx_graph import onnx_model
from pycam.errors import EngineError
from pycam.net import Net

_TELEMETRY = "openvino_telemetry"


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide the package with which OpenVINO reports its import to Google Analytics; OpenVINO does without it, too.

    No variable switches it off. Users who have agreed to it with OpenVINO's `opt_in_out --opt_in` keep it.
    """
    try:
        from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult, OptInChecker

        agreed = OptInChecker().check(enable_opt_in_dialog=False) == ConsentCheckResult.ACCEPTED
    except ImportError:
        agreed = False
    if agreed:
        yield
        return
    package = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if package is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = package


with _without_telemetry():
    import openvino

# A run has few batch sizes: its batch, the last batch, and single images.
_KEPT_BATCHES = 3


class OpenVinoEngine(Engine):
    """The ONNX translation of a net, run by OpenVINO."""

    name = "openvino"
    library = f"OpenVINO {openvino.get_version().partition('-')[0]}"
    precisions = ("fp32", "bf16")
    batch_invariant = True

    def _load(self, net: Net) -> None:
        self._core = openvino.Core()
        self._device = (self.options.device or "cpu").upper()
        if self._device not in self._core.available_devices:
            known = ", ".join(self._core.available_devices).lower()
            raise EngineError(f"OpenVINO has no device {self.options.device!r} on this machine: use one of {known}")
        self.device_model = "" if self._device == "CPU" else self._core.get_property(self._device, "FULL_DEVICE_NAME")
        precision = self.precision
        if precision == "bf16" and "BF16" not in self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("OpenVINO has no bf16 on this processor: use fp32")
        self._settings: dict[str, str | bool | int] = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if self._device == "CPU":
            # With pinning, the threads of all processes on a machine would share its first cores.
            self._settings["ENABLE_CPU_PINNING"] = False
            if self.options.threads is not None:
                self._settings["INFERENCE_NUM_THREADS"] = self.options.threads
        try:
            self._model = self._core.read_model(onnx_model(net, self.outputs).SerializeToString())
        except RuntimeError as error:
            raise failure("OpenVINO cannot load the net", error) from None
        for operator in self._model.get_ops():
            # ONNX's TopK puts the lowest of equal positions first; OpenVINO's only where it is asked to.
            if operator.get_type_name() == "TopK":
                operator.set_attribute("stable", True)
        read = {name for port in self._model.inputs for name in port.names}
        self._inputs = {value: blob for blob, value in net.input_values.items() if value in read}
        # A net compiled for one batch size is up to 10 % faster than one compiled for any.
        self._request = lru_cache(_KEPT_BATCHES)(self._compile)

    def _compile(self, batch: int) -> openvino.InferRequest:
        self._model.reshape({port: [batch, *list(port.partial_shape)[1:]] for port in self._model.inputs})
        return self._core.compile_model(self._model, self._device, self._settings).create_infer_request()

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        given = {value: inputs[blob] for value, blob in self._inputs.items()}
        try:
            values = self._request(len(next(iter(given.values())))).infer(given)
        except RuntimeError as error:
            raise failure(f"OpenVINO failed on {self._device.lower()}", error) from None
        return [values[output] for output in self.outputs]
