"""PyTorch computes the layers of a `Net` one by one, forward and backward, as Caffe does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pycam.engines.torch import at_work, torch_device
from pycam.engines.torch_graph import run_layer
from pycam.net.layers import BatchNorm, Layer
from pycam.pycaffe.blob import Blob, Floats
from pycam.pycaffe.ranges import Range
from pycam.pycaffe.runners import Step


@dataclass
class _Run:
    """A layer's last forward run."""

    inputs: list[Tensor]
    params: list[Tensor]
    outputs: list[Tensor]


class TorchRunner:
    """PyTorch runs layer by layer, and remembers each layer's last run for the way back.

    Parameters
    ----------
    device : str
        `cpu` or `cuda`.
    training : bool
        As in phase TRAIN.
    seed : int
        Decides the random numbers of Dropout.
    """

    def __init__(self, device: str, training: bool, seed: int) -> None:
        self._device = torch_device(device)
        self._training = training
        self._random = torch.Generator().manual_seed(seed).get_state()
        self._runs: dict[int, _Run] = {}

    def forward(self, part: Range, steps: Sequence[Step], blobs: Mapping[str, Blob]) -> None:
        """Compute the layers of a part of the net from the present values of the blobs that it reads."""
        with at_work(self._device, None), torch.random.fork_rng([]):
            torch.set_rng_state(self._random)
            for index, layer in part.layers.items():
                step = steps[index]
                self._runs[index] = run = self._run(layer, step, [self._leaf(blob.values) for blob in step.bottoms])
                for blob, output in zip(step.tops, run.outputs, strict=True):
                    blob.values[...] = _array(output).reshape(blob.shape)
            self._random = torch.get_rng_state()

    def recall(self, part: Range, steps: Sequence[Step], blobs: Mapping[str, Blob]) -> None:
        """Remember the runs of layers that something else computed, or nothing yet; the blobs keep their values.

        A layer takes what its bottoms hold now; where a later layer changed a bottom in place, what was there before
        is computed again.
        """
        values = {layer_input: self._leaf(blobs[name].values) for name, layer_input in part.net.input_values.items()}
        with at_work(self._device, None):
            for index, layer in part.layers.items():
                inputs = [values[name].detach().requires_grad_() for name in layer.inputs]
                self._runs[index] = run = self._run(layer, steps[index], inputs)
                for name, top, output in zip(layer.outputs, layer.tops, run.outputs, strict=True):
                    values[name] = self._leaf(blobs[top].values) if name == top else output.detach()

    def knows(self, indices: Sequence[int]) -> bool:
        """Return True if the last run of each layer is remembered."""
        return self._runs.keys() >= set(indices)

    def forget(self) -> None:
        """Forget all runs."""
        self._runs.clear()

    def _run(self, layer: Layer, step: Step, inputs: list[Tensor]) -> _Run:
        # The statistics of a BatchNorm are no gradient's business, and a run may change them in place.
        learned = step.backward.params if layer.type != BatchNorm.type else [False] * len(step.params)
        params = [
            torch.from_numpy(param.values).to(self._device).requires_grad_(needed)
            for param, needed in zip(step.params, learned, strict=True)
        ]
        with torch.set_grad_enabled(step.backward.runs):
            outputs = run_layer(layer, inputs, params, self._training)
        if self._device.type != "cpu" and self._training and layer.type == BatchNorm.type:
            for param, tensor in zip(step.params, params, strict=True):
                param.assign(_array(tensor))
        return _Run(inputs, params, outputs)

    def _leaf(self, values: Floats) -> Tensor:
        """Return a copy, which later layers do not change in place, with a gradient."""
        return torch.from_numpy(values.copy()).to(self._device).requires_grad_()

    def backward(self, indices: Sequence[int], steps: Sequence[Step]) -> None:
        """Go backward through layers: read the gradients of tops, write those of bottoms, add those of parameters."""
        with at_work(self._device, None):
            for index in indices:
                if steps[index].backward.runs:
                    self._layer_backward(steps[index], self._runs[index])

    def _layer_backward(self, step: Step, run: _Run) -> None:
        wanted = [
            (tensor, blob, False)
            for tensor, blob, needed in zip(run.inputs, step.bottoms, step.backward.bottoms, strict=True)
            if needed
        ]
        wanted += [
            (tensor, blob, True) for tensor, blob in zip(run.params, step.params, strict=True) if tensor.requires_grad
        ]
        given = [
            (output, torch.from_numpy(top.diff.reshape(tuple(output.shape))).to(self._device))
            for output, top in zip(run.outputs, step.tops, strict=True)
            if output.requires_grad
        ]
        if not wanted or not given:
            return
        gradients = torch.autograd.grad(
            [output for output, _ in given],
            [tensor for tensor, _, _ in wanted],
            [gradient for _, gradient in given],
            retain_graph=True,
            allow_unused=True,
        )
        for (_, blob, adds), gradient in zip(wanted, gradients, strict=True):
            values = 0 if gradient is None else _array(gradient).reshape(blob.shape)
            if adds:
                blob.diff[...] += values
            else:
                blob.diff[...] = values


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
