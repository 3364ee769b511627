"""Engines: programs that run a `Net`. Each is one module, imported when it is made.

A new engine is a module with a subclass of `Engine`, and a line in `ENGINES`. What turns a `Net` into the form of
another library belongs here too (`onnx_graph`, `torch_graph`). What a layer means belongs to `pycam.net`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pycam.engines.options import Options as Options
from pycam.engines.options import cores as cores
from pycam.errors import EngineError, NetError, UsageError, suggest

if TYPE_CHECKING:
    from pycam.engines.base import Engine
    from pycam.net import Net


class _Home(NamedTuple):
    module: str
    kind: str
    cure: str


ENGINES = {
    "onnxruntime": _Home("pycam.engines.onnxruntime", "OnnxRuntimeEngine", "pip install onnxruntime"),
    "openvino": _Home("pycam.engines.openvino", "OpenVinoEngine", "pip install 'caffe-cam[openvino]'"),
    "torch": _Home("pycam.engines.torch", "TorchEngine", "pip install 'caffe-cam[torch]'"),
    "opencv": _Home("pycam.engines.opencv", "OpenCvEngine", "pip install 'caffe-cam[opencv]'"),
    "caffe": _Home("pycam.engines.caffe", "CaffeEngine", "set PYCAM_CAFFE, or run `make caffe-root`"),
}

DEFAULT_ENGINE = "onnxruntime"


def engine_class(name: str) -> type[Engine]:
    """Import an engine.

    Raises
    ------
    UsageError
        No engine has that name.
    EngineError
        What the engine needs is not installed.
    """
    if name not in ENGINES:
        names = ", ".join(ENGINES)
        raise UsageError(f"no engine is called {name!r}: {suggest(name, ENGINES, f'there are {names}')}")
    home = ENGINES[name]
    try:
        found: type[Engine] = getattr(importlib.import_module(home.module), home.kind)
    except ImportError as error:
        raise EngineError(f"engine {name!r} is not installed ({error}): {home.cure}") from None
    return found


def make(name: str, net: Net, outputs: Sequence[str], options: Options = Options()) -> Engine:
    """Make an engine by name, ready to give `outputs` of `net`.

    Raises
    ------
    UsageError
        No such engine, or no such precision.
    NetError
        The net has no parameters or no such blob.
    EngineError
        The engine is not installed, or cannot be exact on the net.
    """
    kind = engine_class(name)
    if options.precision is not None and options.precision not in kind.precisions:
        raise UsageError(f"engine {name!r} has no precision {options.precision!r}: it has {', '.join(kind.precisions)}")
    for output in outputs:
        if output not in net.value_shapes:
            hint = suggest(output, net.value_shapes, "`pycam net show` lists its blobs")
            raise NetError(f"the net has no blob {output!r}: {hint}")
    bare = next((layer.name for layer in net.layers if layer.param_shapes and layer.name not in net.params), None)
    if bare is not None:
        raise NetError(f"the net has no weights (layer {bare!r}): read it together with its caffemodel")
    return kind(net, outputs, options if kind.concurrent else replace(options, streams=1))
