"""Caffe's solvers: a training net, its test nets, and steps that update its parameters."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pycam.net.state import PHASES
from pycam.pycaffe import modes
from pycam.pycaffe.errors import WrongArguments
from pycam.pycaffe.net import Net
from pycam.training.snapshots import read_state, write_snapshot
from pycam.training.solver import HDF5, NamedNet, read_solver


class _Solver:
    """A solver and its nets.

    A script fills the inputs of `net` that no data layer fills, and may write its parameters, between steps.

    Parameters
    ----------
    solver_file : path
        A solver prototxt. Its `type` does not count: the class decides.

    Attributes
    ----------
    net : Net
        The training net. After a step, its blobs and their diffs are those of the last pass; the diffs of its
        parameters are what was subtracted.
    test_nets : list of Net
        They share the parameters of `net` after the first test, as in Caffe, which is before the first step unless the
        solver has `test_initialization: false`.
    iter : int
        The number of updates.
    lr : float
        The present learning rate.
    param : pycam.training.solver.Solver
        The content of the solver prototxt: `max_iter`, `base_lr`, `display` and others.

    Raises
    ------
    FormatError, NetError, TrainingError
        A file is missing or damaged, a field is not supported, the data of a data layer are missing.
    EngineError
        PyTorch is not installed.
    """

    type: ClassVar[str]

    def __init__(self, solver_file: str | os.PathLike[str]) -> None:
        self.param = solver = replace(read_solver(_path(solver_file)), type=self.type)
        self._seed = solver.random_seed or modes.next_seed()
        self.net = self._open(solver.training_net)
        for path in solver.weights:
            self.net.copy_from(path)
        self.test_nets = [self._open(named) for named in solver.test_nets]
        self._iteration = 0
        # Nets in phase TRAIN need PyTorch: if it is missing, the first of them has said so.
        from pycam.training.rules import Updater, learned_parameters

        self._learned = learned_parameters(self.net.as_net)
        self._updater = Updater(solver, self._learned)
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []

    def _open(self, named: NamedNet) -> Net:
        text = named.read()
        return Net.of_solver(text, PHASES[text.message.state.phase], (), text.message.state.level, self._seed)

    @property
    def iter(self) -> int:
        """The number of updates."""
        return self._iteration

    @property
    def lr(self) -> float:
        """The present learning rate."""
        return self.param.rate(self._iteration)

    def step(self, iterations: int) -> None:
        """Update the parameters `iterations` times, with the tests and snapshots that the solver asks for."""
        if not isinstance(iterations, int):
            raise WrongArguments(f"step({iterations!r}): give the number of iterations, an integer")
        for _ in range(iterations):
            self.net.clear_param_diffs()
            if self.param.tests_at(self._iteration):
                self._test()
            for before, _ in self._callbacks:
                before()
            for _ in range(self.param.iter_size):
                self.net.forward()
                self.net.backward()
            for _, ready in self._callbacks:
                ready()
            self.apply_update()
            if self.param.snapshots_at(self._iteration):
                self.snapshot()

    def apply_update(self) -> None:
        """Update the parameters by the gradients in their diffs."""
        import torch

        params = [self.net.params[each.layer][each.index] for each in self._learned]
        values = [torch.from_numpy(param.values) for param in params]
        gradients = [torch.from_numpy(param.diff) for param in params]
        changes = self._updater.update(values, gradients, self._iteration)
        for param, change in zip(params, changes, strict=True):
            param.diff[...] = change.numpy()
        self._iteration += 1

    def _test(self) -> None:
        for net, batches in zip(self.test_nets, self.param.test_iter, strict=True):
            net.share_with(self.net)
            for _ in range(batches):
                net.forward()

    def solve(self, resume_file: str | os.PathLike[str] | None = None) -> None:
        """Train up to the solver's `max_iter`, from a solverstate or from here."""
        if resume_file is not None:
            self.restore(resume_file)
        self.step(max(0, self.param.max_iter - self._iteration))
        if self.param.snapshot_after_train and not self.param.snapshots_at(self._iteration):
            self.snapshot()
        if self.param.tells_at(self._iteration):
            self.net.forward()
        if self.param.tests_after(self._iteration):
            self._test()

    def snapshot(self) -> None:
        """Write the parameters and the solver's state: `PREFIX_iter_N.caffemodel` and `.solverstate`."""
        write_snapshot(
            self.param.file(f"_iter_{self._iteration}"),
            self._iteration,
            self.net.as_net,
            self._updater.history,
            step=self.param.step(self._iteration - 1),
            in_hdf5=self.param.snapshot_format == HDF5,
        )

    def restore(self, state_file: str | os.PathLike[str]) -> None:
        """Continue from a solverstate of pycam or Caffe, and the caffemodel that it names."""
        from pycam.training.rules import Updater

        state = read_state(Path(_path(state_file)))
        self._updater = Updater(self.param, self._learned, state.history)
        self.net.copy_from(state.weights.path)
        self._iteration = state.iteration

    def share_weights(self, net: Net) -> None:
        """Let another net use the parameters of `self.net`."""
        net.share_with(self.net)

    def add_callback(self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]) -> None:
        """Call functions before each iteration, and when its gradients are in the diffs of the parameters."""
        self._callbacks.append((on_start, on_gradients_ready))


class SGDSolver(_Solver):
    """Stochastic gradient descent with momentum."""

    type = "SGD"


class NesterovSolver(_Solver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(_Solver):
    """AdaGrad."""

    type = "AdaGrad"


class RMSPropSolver(_Solver):
    """RMSProp."""

    type = "RMSProp"


class AdaDeltaSolver(_Solver):
    """AdaDelta."""

    type = "AdaDelta"


class AdamSolver(_Solver):
    """Adam."""

    type = "Adam"


_SOLVERS = (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)


def get_solver(solver_file: str | os.PathLike[str]) -> _Solver:
    """Read a solver prototxt and make the solver of its `type`."""
    kind = read_solver(_path(solver_file)).type
    return next(each for each in _SOLVERS if each.type == kind)(solver_file)


def _path(file: str | os.PathLike[str]) -> str | os.PathLike[str]:
    if not isinstance(file, str | os.PathLike):
        raise WrongArguments(f"expected the path of a file, found {file!r}")
    return file
