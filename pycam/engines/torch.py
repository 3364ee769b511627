"""PyTorch: an engine for CUDA, and the base of gradients and training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.threads import Turn
from pycam.engines.torch_graph import TorchNet
from pycam.errors import EngineError
from pycam.net import Net

_SETTINGS = Turn()
"""PyTorch's settings are those of the whole process."""


class TorchEngine(Engine):
    """The PyTorch translation of a net, on the CPU or on CUDA."""

    name = "torch"
    library = f"torch {torch.__version__}"
    precisions = ("fp32", "tf32", "bf16")

    def _load(self, net: Net) -> None:
        self._device = torch_device(self.options.device)
        if self.precision == "tf32" and self._device.type != "cuda":
            raise EngineError("torch has tf32 only on CUDA: use fp32, or --device cuda")
        self._type = torch.bfloat16 if self.precision == "bf16" else torch.float32
        if self._device.type == "cuda":
            self.device_model = torch.cuda.get_device_name(self._device)
        with at_work(self._device, self.options.threads):
            self._module = TorchNet(net).eval().requires_grad_(False).to(self._device, self._type)

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        with torch.inference_mode(), at_work(self._device, self.options.threads, tf32=self.precision == "tf32"):
            given = {
                name: torch.from_numpy(np.ascontiguousarray(values)).to(self._device, self._type)
                for name, values in inputs.items()
            }
            found = self._module(given, self.outputs)
            return [found[output].float().cpu().numpy() for output in self.outputs]


def torch_device(device: str | None) -> torch.device:
    """Return a PyTorch device by name.

    Parameters
    ----------
    device : str or None
        `cpu`, `cuda`, `cuda:1` and so on; None for the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    EngineError
        There is no such device on this machine.
    """
    try:
        found = torch.device(device or "cpu")
    except RuntimeError:
        raise EngineError(f"torch has no device {device!r}: use cpu or cuda") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            "torch finds no CUDA device on this machine: omit --device, or install a CUDA build of PyTorch"
        )
    try:
        torch.empty(0, device=found)
    # PyTorch knows the names of devices that this build, or this machine, does not have.
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise EngineError(f"torch cannot use device {device!r} here: {reason}: use cpu or cuda") from None
    return found


@contextmanager
def at_work(device: torch.device, threads: int | None, tf32: bool = False) -> Iterator[None]:
    """Set PyTorch's process-wide threads and tf32 mode inside the block, and restore them after it.

    One thread at a time is inside; others wait.

    Parameters
    ----------
    device : torch.device
        The device in use, for messages.
    threads : int or None
        Threads on the CPU; None leaves their number unchanged.
    tf32 : bool
        Compute in tf32 on CUDA.

    Raises
    ------
    EngineError or MemoryError
        PyTorch failed inside the block, or this process was forked from one that has computed with PyTorch.
    """
    # The threads that PyTorch has started are not in a forked process, and it would wait for them forever.
    if _SETTINGS.first not in (None, os.getpid()) and (threads or torch.get_num_threads()) > 1:
        raise EngineError(
            f"PyTorch has computed in process {_SETTINGS.first}, from which this process was forked, and would hang "
            "here: use one thread (threads=1), or start processes with 'spawn'"
        )
    with _SETTINGS:
        before = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            yield
        except RuntimeError as error:
            raise failure(f"torch failed on {device}", error) from None
        finally:
            torch.set_num_threads(before[0])
            torch.backends.cuda.matmul.allow_tf32 = before[1]
            torch.backends.cudnn.allow_tf32 = before[2]
