"""ncnn: on a CPU, Winograd's transform makes 3×3 convolutions cheaper than direct ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import ncnn
import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.ncnn_graph import ncnn_model
from pycam.errors import EngineError
from pycam.net import Net

Result = TypeVar("Result")

_NO_MEMORY = -100
"""What ncnn returns if an allocation failed."""

_this_thread = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: setattr(_this_thread, "forked", True))


def _with_threads(work: Callable[[], Result]) -> Result:
    """Do some work that OpenMP divides among threads.

    After a fork, OpenMP would wait forever for the threads that this thread had before; a new thread gets its own.
    """
    if not getattr(_this_thread, "forked", False):
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


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
        model = ncnn_model(net, self.outputs)
        self._inputs = {name: model.inputs[value] for name, value in net.input_values.items() if value in model.inputs}
        self._blobs = model.outputs
        self._pools = threading.local()
        self._net = ncnn.Net()
        settings = self._net.opt
        settings.num_threads = self.options.threads_per_stream
        for setting in dir(settings):
            if setting.startswith(("use_fp16", "use_bf16", "use_int8")):
                setattr(settings, setting, False)
        # Of the transforms for tiles of 2, 4 and 6 values a side, the widest rounds too coarsely.
        settings.use_winograd63_convolution = False
        if self._net.load_param_mem(model.param):
            raise EngineError("ncnn cannot load the net")
        _with_threads(lambda: self._net.load_model_mem(model.weights))

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        batch, *others = sorted({len(inputs[name]) for name in self._inputs})
        if others:
            raise EngineError(f"the inputs have batches of {batch} and {others[0]}: give all the same")
        try:
            found = {output: np.empty((batch, *shape), np.float32) for output, shape in self._shapes.items()}
            _with_threads(lambda: self._run_images(inputs, found))
        except (MemoryError, RuntimeError) as error:
            raise failure("ncnn failed", error) from None
        return [found[output] for output in self.outputs]

    def _run_images(self, inputs: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]]) -> None:
        """Run the net for one image after another, and write its outputs to `found`."""
        pools = self._pools
        if not hasattr(pools, "blobs"):
            # Memory that a thread keeps from image to image: faster, and it does not grow.
            pools.blobs, pools.workspace = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
        for image in range(len(next(iter(found.values())))):
            with self._net.create_extractor() as extractor:
                extractor.set_blob_allocator(pools.blobs)
                extractor.set_workspace_allocator(pools.workspace)
                for name, blob in self._inputs.items():
                    values = np.ascontiguousarray(inputs[name][image], np.float32)
                    # ncnn would keep a reference to the values, and may overwrite them.
                    extractor.input(blob, ncnn.Mat(values).clone())
                for output, blob in self._blobs.items():
                    made = ncnn.Mat()
                    code = extractor.extract(blob, made)
                    if code == _NO_MEMORY:
                        raise MemoryError("it could not allocate a blob")
                    if code:
                        raise RuntimeError(f"error {code} in blob {output!r}")
                    found[output][image] = np.asarray(made).reshape(self._shapes[output])
