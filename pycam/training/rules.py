"""Caffe's update rules: what a solver subtracts from each parameter, given its gradient (docs/caffe.md, "Training")."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pycam.errors import TrainingError
from pycam.formats import schema
from pycam.net import Net, ParamKey
from pycam.net.layers import BatchNorm, Layer, Shape, single
from pycam.training.solver import Solver

Floats = NDArray[np.float32]
Memory = tuple[Tensor, ...]
"""What a solver remembers of one parameter, in the order of Caffe's history."""


@dataclass(frozen=True)
class LearnedParameter:
    """A parameter that a solver updates; one that several layers share counts once.

    Attributes
    ----------
    layer : str
        The first layer that has it, its owner.
    index : int
        Its index there.
    shape : tuple of int
        Its shape there.
    lr_mult, decay_mult : float
        What the solver's rate and its weight decay are multiplied by.
    shared_with : tuple of (str, int)
        The other layers that have it, each with the index there.
    """

    layer: str
    index: int
    shape: Shape
    lr_mult: float
    decay_mult: float
    shared_with: tuple[ParamKey, ...] = ()


def learned_parameters(net: Net) -> list[LearnedParameter]:
    """Return the parameters of a net that a solver updates, in Caffe's order.

    Raises
    ------
    TrainingError
        A layer has more `param` than parameters, or one that would train the statistics of a BatchNorm.
    """
    given = {(layer.name, index): spec for layer in net.layers for index, spec in enumerate(param_specs(layer))}
    sharing: dict[ParamKey, list[ParamKey]] = {}
    for key, owner in net.param_owners.items():
        sharing.setdefault(owner, []).append(key)

    def factor(name: str, keys: list[ParamKey]) -> float:
        # Linking has checked that all layers that give a factor give the same one.
        return single(next((getattr(given[key], name) for key in keys if given[key].HasField(name)), 1.0))

    return [
        LearnedParameter(
            layer,
            index,
            net.by_name[layer].param_shapes[index],
            factor("lr_mult", keys),
            factor("decay_mult", keys),
            tuple(keys[1:]),
        )
        for (layer, index), keys in sharing.items()
    ]


def param_specs(layer: Layer) -> list[Any]:
    """Return the `param` of each parameter of a layer, with the multipliers for training.

    Raises
    ------
    TrainingError
        There are too many, or one would train the statistics of a BatchNorm.
    """
    specs, count = list(layer.message.param), len(layer.param_shapes)
    if len(specs) > count:
        has = f"only {count} parameter{'s' * (count > 1)}" if count else "no parameters"
        raise TrainingError(f"{named(layer)} has {len(specs)} `param`, but the layer has {has}: remove the rest")
    if not isinstance(layer, BatchNorm):
        return specs + [schema.ParamSpec()] * (count - len(specs))
    if any(spec.lr_mult for spec in specs):
        raise TrainingError(
            f"{named(layer)}: the parameters of a BatchNorm are statistics: set lr_mult: 0 in each `param`"
        )
    return specs + [schema.ParamSpec(lr_mult=0)] * (count - len(specs))


class Updater:
    """The updates of a solver, with what it remembers.

    Parameters
    ----------
    solver : Solver
        The rule, its rates, momentum and decay.
    parameters : sequence of LearnedParameter
        From `learned_parameters`.
    history : sequence of float32 arrays, optional
        An earlier `history`, to resume from.
    device : torch.device, optional
        Where the parameters are; by default the CPU.
    memory_format : torch.memory_format
        The layout of parameters with four axes.

    Raises
    ------
    TrainingError
        The history belongs to other parameters, or to another type of solver.
    """

    def __init__(
        self,
        solver: Solver,
        parameters: Sequence[LearnedParameter],
        history: Sequence[Floats] | None = None,
        *,
        device: torch.device | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._solver = solver
        self._rule = _RULES[solver.type]
        self._parameters = tuple(parameters)
        shapes = [each.shape for each in parameters] * self._rule.memories
        if history is None:
            history = [np.zeros(shape, np.float32) for shape in shapes]
        if list(map(_without_ones, (array.shape for array in history))) != list(map(_without_ones, shapes)):
            raise TrainingError("the solver's state belongs to another net or another type of solver")
        tensors = [
            torch.tensor(array, device=device)
            .reshape(shape)
            .contiguous(memory_format=memory_format if len(shape) == 4 else torch.contiguous_format)
            for array, shape in zip(history, shapes, strict=True)
        ]
        count = len(self._parameters)
        self._memories: list[Memory] = [tuple(tensors[number::count]) for number in range(count)]

    @property
    def history(self) -> list[Floats]:
        """A copy of what is remembered in Caffe's order: one array per parameter; a second set follows the first."""
        parts = zip(*self._memories, strict=True)
        return [np.array(tensor.cpu().numpy(), np.float32, order="C") for part in parts for tensor in part]

    @torch.no_grad()
    def update(self, values: Sequence[Tensor], gradients: Sequence[Tensor], iteration: int) -> list[Tensor]:
        """Update the parameters in place.

        Parameters
        ----------
        values : sequence of float32 Tensor
            The parameters.
        gradients : sequence of float32 Tensor
            Their gradients, summed over the solver's `iter_size` passes; zeros where there is none. They are changed.
        iteration : int
            From 0; decides the learning rate.

        Returns
        -------
        list of Tensor
            What was subtracted from each parameter, to be read before the next update.
        """
        solver, rate = self._solver, self._solver.rate(iteration)
        if solver.clip_gradients >= 0:
            norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            if norm > solver.clip_gradients:
                for gradient in gradients:
                    gradient.mul_(solver.clip_gradients / norm)
        changes = []
        for each, value, gradient, memory in zip(self._parameters, values, gradients, self._memories, strict=True):
            if solver.iter_size > 1:
                gradient.div_(solver.iter_size)
            if decay := solver.weight_decay * each.decay_mult:
                gradient.add_(value if solver.regularization_type == "L2" else value.sign(), alpha=decay)
            change = self._rule.change(solver, rate * each.lr_mult, iteration, gradient, memory)
            value.sub_(change)
            changes.append(change)
        return changes


def named(layer: Layer) -> str:
    """Name a layer in messages, with its line in the prototxt."""
    return f"layer {layer.name!r}" + (f" (line {layer.line})" if layer.line else "")


# The rules. Each updates the memory with a gradient, and returns what is subtracted from the parameter.


def _sgd(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    (history,) = memory
    # The rate belongs inside the history, unlike in torch.optim.SGD.
    return history.mul_(solver.momentum).add_(gradient, alpha=rate)


def _nesterov(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    (history,) = memory
    before = history.clone()
    history.mul_(solver.momentum).add_(gradient, alpha=rate)
    return before.mul_(-solver.momentum).add_(history, alpha=1 + solver.momentum)


def _adagrad(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    (squares,) = memory
    squares.addcmul_(gradient, gradient)
    return gradient.div_(squares.sqrt().add_(solver.delta)).mul_(rate)


def _rmsprop(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    (squares,) = memory
    squares.mul_(solver.rms_decay).addcmul_(gradient, gradient, value=1 - solver.rms_decay)
    return gradient.div_(squares.sqrt().add_(solver.delta)).mul_(rate)


def _adadelta(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    squares, changes = memory
    squares.mul_(solver.momentum).addcmul_(gradient, gradient, value=1 - solver.momentum)
    change = gradient.mul_(((changes + solver.delta) / (squares + solver.delta)).sqrt_())
    changes.mul_(solver.momentum).addcmul_(change, change, value=1 - solver.momentum)
    return change.mul_(rate)


def _adam(solver: Solver, rate: float, iteration: int, gradient: Tensor, memory: Memory) -> Tensor:
    means, squares = memory
    means.mul_(solver.momentum).add_(gradient, alpha=1 - solver.momentum)
    squares.mul_(solver.momentum2).addcmul_(gradient, gradient, value=1 - solver.momentum2)
    correction = math.sqrt(1 - solver.momentum2 ** (iteration + 1)) / (1 - solver.momentum ** (iteration + 1))
    return (means / squares.sqrt().add_(solver.delta)).mul_(rate * correction)


@dataclass(frozen=True)
class _Rule:
    """How many arrays a solver remembers per parameter, and what it subtracts."""

    memories: int
    change: Callable[[Solver, float, int, Tensor, Memory], Tensor]


_RULES = {
    "SGD": _Rule(1, _sgd),
    "Nesterov": _Rule(1, _nesterov),
    "AdaGrad": _Rule(1, _adagrad),
    "RMSProp": _Rule(1, _rmsprop),
    "AdaDelta": _Rule(2, _adadelta),
    "Adam": _Rule(2, _adam),
}


def _without_ones(shape: Shape) -> Shape:
    """Return a shape without sides of 1 in front: old files have 1×1×N×K for N×K."""
    return shape[next((i for i, side in enumerate(shape) if side != 1), len(shape)) :]
