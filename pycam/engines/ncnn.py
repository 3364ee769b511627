"""ncnn: Winograd's transform makes 3×3 convolutions cheaper than direct ones, on a CPU."""

from __future__ import annotations

from collections.abc import Mapping

import ncnn
import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.ncnn_graph import ncnn_model
from pycam.errors import EngineError
from pycam.net import Net

_NO_MEMORY = -100
"""What ncnn's functions return when an allocation failed."""


class NcnnEngine(Engine):
    """The translation of a net for ncnn, run image by image."""

    name = "ncnn"
    library = f"ncnn {ncnn.__version__}"
    concurrent = True
    batch_invariant = True

    def _load(self, net: Net) -> None:
        if self.options.device not in (None, "cpu"):
            raise EngineError(f"engine 'ncnn' has no device {self.options.device!r}: it runs on the CPU")
        self._shapes = {output: net.value_shapes[output][1:] for output in self.outputs}
        self._model = ncnn_model(net, self.outputs)
        self._values = net.input_values
        self._net = ncnn.Net()
        settings = self._net.opt
        settings.num_threads = self.options.threads_per_stream
        for setting in dir(settings):
            if setting.startswith(("use_fp16", "use_bf16", "use_int8")):
                setattr(settings, setting, False)
        # Of the transforms for tiles of 2, 4 and 6 values a side, the widest rounds too coarsely.
        settings.use_winograd63_convolution = False
        if self._net.load_param_mem(self._model.param):
            raise EngineError("ncnn cannot load the net")
        self._net.load_model_mem(self._model.weights)

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        given = {
            blob: np.ascontiguousarray(inputs[name], np.float32)
            for name, value in self._values.items()
            if (blob := self._model.inputs.get(value))
        }
        batch, *others = {len(values) for values in given.values()}
        if others:
            raise EngineError("the inputs differ in their batch size")
        try:
            found = {output: np.empty((batch, *shape), np.float32) for output, shape in self._shapes.items()}
            for image in range(batch):
                self._run_image(
                    {blob: values[image] for blob, values in given.items()},
                    {output: values[image : image + 1] for output, values in found.items()},
                )
        except (MemoryError, RuntimeError) as error:
            raise failure("ncnn failed", error) from None
        return [found[output] for output in self.outputs]

    def _run_image(self, given: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]]) -> None:
        with self._net.create_extractor() as extractor:
            for blob, values in given.items():
                # ncnn may write to its input.
                extractor.input(blob, ncnn.Mat(np.atleast_1d(values)).clone())
            for output, values in found.items():
                blob = ncnn.Mat()
                code = extractor.extract(self._model.outputs[output], blob)
                if code == _NO_MEMORY:
                    raise MemoryError("it could not allocate a blob")
                if code:
                    raise EngineError(f"ncnn failed: error {code} for blob {output!r}")
                values[0] = np.asarray(blob).reshape(values.shape[1:])
