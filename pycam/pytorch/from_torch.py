"""Other people's PyTorch modules as models with class activation maps, through an ONNX file."""

from __future__ import annotations

import inspect
import io
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycam.engines.base import failure
from pycam.errors import EngineError, UsageError
from pycam.formats.files import atomic_write
from pycam.net.layers import dims
from pycam.predict import Cam, load

if TYPE_CHECKING:
    from torch import Tensor, nn


def from_torch(
    module: nn.Module, example: Tensor, *, onnx: str | os.PathLike[str] | None = None, **choices: Any
) -> Cam:
    """Return a PyTorch module as a model that is ready for images.

    `torch.onnx` traces the module in evaluation mode, and `pycam.load` reads the result: the global pooling, the
    features and the class weights are found in the graph. The weights are copied; what the module learns later does not
    change them. The module keeps its modes, hooks and gradients.

    Parameters
    ----------
    module : nn.Module
        Takes images and returns the scores of classes, with or without a softmax. Of several outputs in a dictionary,
        `head` is the name of one.
    example : (N, C, H, W) float32 Tensor
        Images of the module's input size; their values do not matter. The model takes any number of images, if the
        module does.
    onnx : path, optional
        The ONNX file to write. Without it, the file is temporary, and is deleted with the `Cam`.
    **choices
        Other arguments of `pycam.load`: labels, preprocess, mean, std, head, engine, protocol, view and so on. Of three
        channels, `preprocess` is `imagenet` unless you say otherwise.

    Returns
    -------
    Cam

    Raises
    ------
    UsageError
        It is no module, or the example does not have this shape or type.
    EngineError
        PyTorch or the package onnx is not installed, or the module cannot be traced.
    NetError
        No class activation maps are found in the graph; the message has the reason.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineError(f"from_torch needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"from_torch: the module is of type {type(module).__name__}; expected a torch.nn.Module")
    if not isinstance(example, torch.Tensor):
        raise UsageError(
            f"from_torch: the example is of type {type(example).__name__}; expected a tensor N×C×H×W, such as "
            "torch.zeros(1, 3, 224, 224)"
        )
    if example.ndim != 4 or not example.numel() or example.dtype not in (torch.float32, torch.float16):
        raise UsageError(
            f"from_torch: the example is {dims(tuple(example.shape)) or 'a number'} of type {example.dtype}; expected "
            "float32 images N×C×H×W, such as torch.zeros(1, 3, 224, 224), and a module of that type, module.float()"
        )
    module = _unwrapped(module)
    data = _exported(module, example)
    if onnx is not None:
        atomic_write(onnx, data)
        return load(onnx=onnx, **choices)
    folder = tempfile.mkdtemp(prefix="pycam-")
    try:
        path = Path(folder, f"{type(module).__name__}.onnx")
        atomic_write(path, data)
        cam = load(onnx=path, **choices)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(cam, shutil.rmtree, folder, ignore_errors=True)
    return cam


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile` and `DataParallel`, which compute the same and cannot be traced."""
    from torch import nn

    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module


def _exported(module: nn.Module, example: Tensor) -> bytes:
    """Return the ONNX file of a module."""
    import torch

    if find_spec("onnx") is None:
        raise EngineError("from_torch needs the package onnx, as torch.onnx does: pip install onnx")
    name, written = type(module).__name__, io.BytesIO()
    # The newer of PyTorch's exporters needs more packages.
    older = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    options: dict[str, Any] = {"input_names": ["images"], "dynamic_axes": {"images": {0: "N"}}, **older}
    with _evaluating(module), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = module(example)
        except Exception as error:
            raise failure(f"{name} fails on the example of {dims(tuple(example.shape))}", error) from None
        options["output_names"] = list(found) if isinstance(found, Mapping) else ["scores"]
        try:
            torch.onnx.export(module, (example,), written, **options)  # type: ignore[arg-type]
        except Exception as error:
            raise failure(f"torch.onnx cannot export {name}", error) from None
    return written.getvalue()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode inside the block, and every part of it to its own mode after it."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for part, training in modes.items():
            part.training = training
