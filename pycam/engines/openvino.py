"""OpenVINO: the engine with the shortest time per image on a CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.onnx_graph import onnx_model
from pycam.engines.threads import Turn
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


@dataclass(frozen=True)
class _Compiled:
    """The requests of a net that was compiled for one batch size, one per stream: those that never ran, the others."""

    fresh: list[openvino.InferRequest]
    free: SimpleQueue[openvino.InferRequest] = field(default_factory=SimpleQueue)


class OpenVinoEngine(Engine):
    """The ONNX translation of a net, run by OpenVINO."""

    name = "openvino"
    library = f"OpenVINO {openvino.get_version().partition('-')[0]}"
    precisions = ("fp32", "bf16")
    concurrent = True
    runs_onnx = True
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
            "NUM_STREAMS": self.options.streams,
        }
        if self._device == "CPU":
            # With pinning, the threads of all processes on a machine would share its first cores.
            self._settings["ENABLE_CPU_PINNING"] = False
            if self.options.threads is not None or self.options.streams > 1:
                self._settings["INFERENCE_NUM_THREADS"] = self.options.threads_per_stream * self.options.streams
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
        self._compiled = lru_cache(_KEPT_BATCHES)(self._compile)
        self._first = Turn()

    def _compile(self, batch: int, process: int) -> _Compiled:
        """Compile the net for a process: a forked one does not have the threads of its parent's streams."""
        self._model.reshape({port: [batch, *list(port.partial_shape)[1:]] for port in self._model.inputs})
        compiled = self._core.compile_model(self._model, self._device, self._settings)
        return _Compiled([compiled.create_infer_request() for _ in range(self.options.streams)])

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        given = {value: inputs[blob] for value, blob in self._inputs.items()}
        try:
            # Requests that prepare their first runs at the same time can wait for one another forever.
            with self._first:
                compiled = self._compiled(len(next(iter(given.values()))), os.getpid())
                if compiled.fresh:
                    return self._answer(compiled.fresh.pop(), compiled, given)
            return self._answer(compiled.free.get(), compiled, given)
        except RuntimeError as error:
            raise failure(f"OpenVINO failed on {self._device.lower()}", error) from None

    def _answer(
        self, request: openvino.InferRequest, compiled: _Compiled, given: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        try:
            # Not `infer`: it computes in the calling thread, beside the streams.
            request.start_async(given)
            request.wait()
            values = request.results
            return [values[output] for output in self.outputs]
        finally:
            compiled.free.put(request)
