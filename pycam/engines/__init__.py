"""Engines: programs that run a `Net`. Each engine is one module, imported when the engine is made.

To add an engine, write a module with a subclass of `Engine`, and an entry in `ENGINES`. The translations of a `Net` for
other libraries belong here too (`onnx_graph`, `torch_graph`, `ncnn_graph`). What a layer computes belongs to
`pycam.net`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pycam.engines.options import Options as Options, cores as cores
from pycam.errors import EngineError, NetError, UsageError, suggest

if TYPE_CHECKING:
    from pycam.engines.base import Engine
    from pycam.net import Net


class _Entry(NamedTuple):
    module: str
    class_name: str
    install_hint: str


ENGINES = {
    "onnxruntime": _Entry("pycam.engines.onnxruntime", "OnnxRuntimeEngine", "pip install onnxruntime"),
    "openvino": _Entry("pycam.engines.openvino", "OpenVinoEngine", "pip install 'caffe-cam[openvino]'"),
    "ncnn": _Entry("pycam.engines.ncnn", "NcnnEngine", "pip install 'caffe-cam[ncnn]'"),
    "torch": _Entry("pycam.engines.torch", "TorchEngine", "pip install 'caffe-cam[torch]'"),
    "opencv": _Entry("pycam.engines.opencv", "OpenCvEngine", "pip install 'caffe-cam[opencv]'"),
    "caffe": _Entry(
        "pycam.engines.caffe", "CaffeEngine", "set PYCAM_CAFFE, or run `make caffe-root` in pycam's repository"
    ),
}

DEFAULT_ENGINE = "onnxruntime"


def engine_class(name: str) -> type[Engine]:
    """Import an engine and return its class.

    Parameters
    ----------
    name : str
        A key of `ENGINES`.

    Returns
    -------
    subclass of Engine

    Raises
    ------
    UsageError
        No engine has this name.
    EngineError
        A library that the engine needs is not installed.
    """
    if name not in ENGINES:
        names = ", ".join(ENGINES)
        raise UsageError(f"no engine is called {name!r}: {suggest(name, ENGINES, f'there are {names}')}")
    module, class_name, install_hint = ENGINES[name]
    try:
        found: type[Engine] = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise EngineError(f"engine {name!r} is not installed ({error}): {install_hint}") from None
    return found


def best_streams(name: str, options: Options = Options()) -> int:
    """Return the number of streams with which an engine computes the most images per second on this machine.

    Parameters
    ----------
    name : str
        A key of `ENGINES`.
    options : Options
        Device and threads of the engine; the number of streams in it does not matter.

    Raises
    ------
    UsageError, EngineError
        As `engine_class`.
    """
    return engine_class(name).best_streams(options)


def make(name: str, net: Net, outputs: Sequence[str], options: Options = Options()) -> Engine:
    """Make an engine that computes some values of a net.

    Parameters
    ----------
    name : str
        A key of `ENGINES`.
    net : Net
        A net with parameters.
    outputs : sequence of str
        Names of values, see `Engine`.
    options : Options
        Device, threads, streams and precision.

    Returns
    -------
    Engine

    Raises
    ------
    UsageError
        There is no such engine, or the engine has no such precision, or not several streams.
    NetError
        The net has no parameters or no such blob.
    EngineError
        The engine is not installed, or cannot be exact on the net.
    """
    kind = engine_class(name)
    if options.precision is not None and options.precision not in kind.precisions:
        raise UsageError(f"engine {name!r} has no precision {options.precision!r}: it has {', '.join(kind.precisions)}")
    if options.streams > 1 and not kind.concurrent:
        raise UsageError(f"{options.streams} streams: engine {name!r} computes one image after another: use one stream")
    for output in outputs:
        if output not in net.value_shapes:
            hint = suggest(output, net.value_shapes, "`pycam net show` lists its blobs")
            raise NetError(f"the net has no blob {output!r}: {hint}")
    net.check_weights(net.layers)
    return kind(net, outputs, options)
