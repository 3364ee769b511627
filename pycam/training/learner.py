"""The learning net: gradients by PyTorch, updates by Caffe's arithmetic (docs/caffe.md, "Training")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pycam.engines.torch_graph import TorchNet
from pycam.errors import TrainingError
from pycam.net import Net, ParamKey, Params, layers as L
from pycam.net.layers import single
from pycam.training.rules import Updater, learned_parameters, named, param_specs
from pycam.training.solver import Solver

Floats = NDArray[np.float32]


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
        _check_gradients(net, [value for value, _ in self._terms])
        self._module = _ready(net, self._device).train()
        parameters = learned_parameters(net)
        self._updater = Updater(solver, parameters, history, device=self._device, memory_format=torch.channels_last)
        self._values = list(self._module.learned.values())
        trained = {each for layer in net.layers for each in _trained(layer)}
        for each, values in zip(parameters, self._values, strict=True):
            values.requires_grad_(not trained.isdisjoint([(each.layer, each.index), *each.shared_with]))

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
        self._seed(iteration)
        loss = sum(self._backward(batch) for batch in batches) / self._solver.iter_size
        if not math.isfinite(loss):
            raise TrainingError(
                f"iteration {iteration}: the loss is {loss}, training diverged: "
                "try a smaller base_lr, or clip_gradients"
            )
        self._update(iteration)
        return loss

    @torch.no_grad()
    def loss(self, batch: Mapping[str, Floats], iteration: int) -> float:
        """Return the loss of a batch, as in an iteration, without learning from it."""
        self._seed(iteration)
        return float(self._forward(batch))

    def _seed(self, iteration: int) -> None:
        seeds = np.random.SeedSequence([self._solver.random_seed, iteration])
        torch.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))

    def _backward(self, batch: Mapping[str, Floats]) -> float:
        """Add the gradients of a batch to the accumulated ones, and return its loss."""
        loss = self._forward(batch)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _forward(self, batch: Mapping[str, Floats]) -> Tensor:
        with _autocast(self._device, self._precision):
            values = self._module(_on(self._device, batch), [value for value, _ in self._terms])
            loss = sum(weight * values[value].sum() for value, weight in self._terms)
        assert isinstance(loss, Tensor)
        return loss

    def _update(self, iteration: int) -> None:
        # A parameter that the loss does not depend on has no gradient; it still decays.
        gradients = [torch.zeros_like(v) if v.grad is None else v.grad for v in self._values]
        self._updater.update(self._values, gradients, iteration)
        for values in self._values:
            values.grad = None

    @property
    def params(self) -> Params:
        """A copy of the current parameters."""
        return {name: tuple(map(_array, blobs)) for name, blobs in self._module.blobs.items()}

    @property
    def history(self) -> list[Floats]:
        """The solver's history; see `pycam.training.rules.Updater`."""
        return self._updater.history


def judge(
    net: Net, batches: Iterable[Mapping[str, Floats]], device: torch.device, precision: str = "fp32"
) -> dict[str, float]:
    """Run a test net over batches, and return the mean of each of its `measures`."""
    wanted = measures(net)
    module = _ready(net, device).eval()
    sums = np.zeros(len(wanted))
    count = 0
    with torch.inference_mode(), _autocast(device, precision):
        for batch in batches:
            values = module(_on(device, batch), list(dict.fromkeys(value for value, _ in wanted.values())))
            sums += [float(values[value].flatten()[index]) for value, index in wanted.values()]
            count += 1
    return dict(zip(wanted, (sums / count).tolist(), strict=True))


def measures(net: Net) -> dict[str, tuple[str, int]]:
    """Return what a test of a net measures: its scalar outputs, and the accuracy of each class, `name[3]`.

    Returns
    -------
    dict
        Name -> the value, and the index there.
    """
    found = {}
    for output in net.outputs:
        if net.shapes[output] == ():
            found[output] = (output, 0)
        elif isinstance(net.producer[output], L.Accuracy):
            found |= {f"{output}[{index}]": (output, index) for index in range(net.shapes[output][0])}
    return found


def _loss_terms(net: Net) -> list[tuple[str, float]]:
    """Return the values that make up the loss, with their weights."""
    terms = []
    for layer in net.layers:
        weights = L.loss_weights(layer.message, len(layer.outputs))
        terms += [(value, single(weight)) for value, weight in zip(layer.outputs, weights, strict=True) if weight]
    if not terms:
        raise TrainingError(f"net {net.name!r}: it has no loss: add a layer of type SoftmaxWithLoss at its end")
    return terms


def _check_gradients(net: Net, losses: Iterable[str]) -> None:
    """Raise a `TrainingError` for a layer that Caffe cannot compute a gradient of, but would have to."""
    changing: set[str] = set()
    for layer in net.layers:
        if not changing.isdisjoint(layer.inputs) or any(_trained(layer)):
            changing.update(layer.outputs)
    for layer in net.layers_before(losses):
        if changing.isdisjoint(layer.outputs):
            continue
        given = layer.message.propagate_down or [value in changing for value in layer.inputs]
        if isinstance(layer, L.Accuracy | L.ArgMax) and any(given):
            raise TrainingError(
                f"{named(layer)}: the loss depends on this {layer.type}, which has no gradient: remove its "
                "loss_weight, and the losses that read it, or set propagate_down: false for each of its bottoms"
            )
        if isinstance(layer, L.Comparison) and not isinstance(layer, L.EuclideanLoss | L.ContrastiveLoss) and given[1]:
            raise TrainingError(
                f"{named(layer)}: its labels {layer.bottoms[1]!r} cannot get a gradient: set propagate_down: true for "
                "its first bottom, and propagate_down: false for the labels"
            )


def _trained(layer: L.Layer) -> Iterator[ParamKey]:
    """Yield the parameters of a layer that get gradients from it."""
    return ((layer.name, index) for index, spec in enumerate(param_specs(layer)) if spec.lr_mult)


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
