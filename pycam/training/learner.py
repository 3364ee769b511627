"""The learning net: gradients by PyTorch, updates by Caffe's arithmetic (docs/caffe.md, "Training")."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pycam.engines.torch_graph import TorchNet
from pycam.errors import TrainingError
from pycam.net import Net, Params, layers as L
from pycam.training.solver import Solver

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Learned:
    """A parameter, its factors from the prototxt, and its history in the solver."""

    values: torch.nn.Parameter
    lr_mult: float
    decay_mult: float
    history: tuple[Tensor, ...]


class Learner:
    """A net that learns from batches.

    Parameters
    ----------
    net : Net
        With parameters and a loss; copied.
    solver : Solver
        Rates, momentum and decay.
    device : torch.device, optional
        By default the CPU.
    precision : str
        `fp32`, or `bf16`: convolutions and products in bfloat16, parameters and updates in float32.
    history : sequence of float32 arrays, optional
        An earlier `history`, to resume from.

    Raises
    ------
    TrainingError
        The net has no loss, or a layer that cannot be trained; the message names it.
    """

    def __init__(
        self,
        net: Net,
        solver: Solver,
        device: torch.device | None = None,
        precision: str = "fp32",
        history: Sequence[Floats] | None = None,
    ) -> None:
        self.net = net
        self._solver = solver
        self._device = device or torch.device("cpu")
        self._precision = precision
        self._terms = _loss_terms(net)
        self._module = _ready(net, self._device).train()
        self._learned = self._with_history(history)

    def _with_history(self, history: Sequence[Floats] | None) -> list[_Learned]:
        count = {"SGD": 1, "Adam": 2}[self._solver.type]
        names = Counter(name for layer in self.net.layers for name in layer.param_names if name)
        shared = {name for name, count in names.items() if count > 1}
        parameters = [
            (values, *factors)
            for name, blobs in self._module.blobs.items()
            for values, factors in zip(blobs, _factors(self.net.by_name[name], shared), strict=True)
        ]
        if history is not None and [h.shape for h in history] != [v.shape for v, *_ in parameters] * count:
            raise TrainingError("the solver's state belongs to another net or another type of solver")
        learned = []
        for number, (values, lr_mult, decay_mult) in enumerate(parameters):
            values.requires_grad_(lr_mult != 0)
            memory = tuple(torch.zeros_like(values, requires_grad=False) for _ in range(count))
            if history is not None:
                for tensor, array in zip(memory, history[number :: len(parameters)], strict=True):
                    tensor.copy_(torch.from_numpy(np.array(array)))
            learned.append(_Learned(values, lr_mult, decay_mult, memory))
        return learned

    def step(self, batches: Iterable[Mapping[str, Floats]], iteration: int) -> float:
        """Learn from the batches of one iteration.

        Parameters
        ----------
        batches : iterable of dict
            As many as the solver's `iter_size`: blob -> values.
        iteration : int
            From 0; decides the learning rate and the random numbers of dropout.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        TrainingError
            The loss is not finite; nothing was updated.
        """
        seeds = np.random.SeedSequence([self._solver.random_seed, iteration])
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
        loss = sum(self._backward(batch) for batch in batches) / self._solver.iter_size
        if not math.isfinite(loss):
            raise TrainingError(
                f"iteration {iteration}: the loss is {loss}, training diverged: "
                "try a smaller base_lr, or clip_gradients"
            )
        self._update(iteration)
        return loss

    def _backward(self, batch: Mapping[str, Floats]) -> float:
        """Add the gradients of a batch to the accumulated ones, and return its loss."""
        with _autocast(self._device, self._precision):
            values = self._module(_on(self._device, batch), [value for value, _ in self._terms])
            loss = sum(weight * values[value].sum() for value, weight in self._terms)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    @torch.no_grad()
    def _update(self, iteration: int) -> None:
        solver, rate = self._solver, self._solver.rate(iteration)
        moving = [each for each in self._learned if each.lr_mult]
        # A parameter that the loss does not depend on has no gradient; it still decays.
        gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in (each.values for each in moving)]
        if solver.clip_gradients >= 0:
            norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            if norm > solver.clip_gradients:
                for gradient in gradients:
                    gradient *= solver.clip_gradients / norm
        for each, gradient in zip(moving, gradients, strict=True):
            gradient /= solver.iter_size
            if decay := solver.weight_decay * each.decay_mult:
                gradient += decay * (each.values if solver.regularization_type == "L2" else each.values.sign())
            each.values.sub_(self._change(each, gradient, rate * each.lr_mult, iteration + 1))
            each.values.grad = None

    def _change(self, each: _Learned, gradient: Tensor, rate: float, count: int) -> Tensor:
        """Update the history with a gradient, and return what the `count`-th update subtracts."""
        solver = self._solver
        if solver.type == "SGD":
            (history,) = each.history
            # The rate belongs inside the history, unlike in torch.optim.SGD.
            return history.mul_(solver.momentum).add_(gradient, alpha=rate)
        mean, square = each.history
        mean.mul_(solver.momentum).add_(gradient, alpha=1 - solver.momentum)
        square.mul_(solver.momentum2).addcmul_(gradient, gradient, value=1 - solver.momentum2)
        correction = math.sqrt(1 - solver.momentum2**count) / (1 - solver.momentum**count)
        return rate * correction * mean / (square.sqrt() + solver.delta)

    @property
    def params(self) -> Params:
        """A copy of the current parameters."""
        return {name: tuple(map(_array, blobs)) for name, blobs in self._module.blobs.items()}

    @property
    def history(self) -> list[Floats]:
        """The solver's history in Caffe's order: one array per parameter; for Adam the means, then the squares."""
        parts = zip(*(each.history for each in self._learned), strict=True)
        return [_array(memory) for part in parts for memory in part]


def judge(
    net: Net, batches: Iterable[Mapping[str, Floats]], device: torch.device, precision: str = "fp32"
) -> dict[str, float]:
    """Run a test net over batches, and return the mean of each scalar output, such as loss and accuracy."""
    outputs = scalar_outputs(net)
    module = _ready(net, device).eval()
    found = []
    with torch.inference_mode(), _autocast(device, precision):
        for batch in batches:
            values = module(_on(device, batch), outputs)
            found.append([float(values[output]) for output in outputs])
    return dict(zip(outputs, np.mean(found, axis=0).tolist(), strict=True))


def scalar_outputs(net: Net) -> list[str]:
    """Return the names of a net's scalar outputs."""
    return [output for output in net.outputs if net.shapes[output] == ()]


def _loss_terms(net: Net) -> list[tuple[str, float]]:
    """Return the values that make up the loss, with their weights."""
    terms = []
    for layer in net.layers:
        default = [1.0] if isinstance(layer, L.SoftmaxWithLoss) else []
        weights = list(layer.message.loss_weight) or default
        # A second top without a weight does not count.
        terms += [(value, weight) for value, weight in zip(layer.outputs, weights, strict=False) if weight]
    if not terms:
        raise TrainingError(f"net {net.name!r}: it has no loss: add a layer of type SoftmaxWithLoss at its end")
    return terms


def _factors(layer: L.Layer, shared: Collection[str]) -> Iterator[tuple[float, float]]:
    """Yield lr_mult and decay_mult of each parameter of a layer."""
    where = f"layer {layer.name!r}" + (f" (line {layer.line})" if layer.line else "")
    if names := [name for name in layer.param_names if name in shared]:
        raise TrainingError(f"{where}: parameter {names[0]!r} is shared with another layer, which cannot be trained")
    frozen = isinstance(layer, L.BatchNorm)
    if frozen and not layer.message.batch_norm_param.use_global_stats:
        raise TrainingError(f"{where}: batch statistics cannot be trained: set use_global_stats: true")
    for _, given in zip_longest(layer.param_shapes, layer.message.param[: len(layer.param_shapes)]):
        if frozen:
            yield 0.0, 0.0
        else:
            yield (1.0, 1.0) if given is None else (L.single(given.lr_mult), L.single(given.decay_mult))


def _ready(net: Net, device: torch.device) -> TorchNet:
    # Channels last is twice as fast on CPUs, and equally exact.
    module: TorchNet = TorchNet(net).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def _on(device: torch.device, batch: Mapping[str, Floats]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values).to(device) for name, values in batch.items()}


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _array(tensor: Tensor) -> Floats:
    return np.array(tensor.detach().cpu().numpy(), np.float32, order="C")
