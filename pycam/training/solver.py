"""Solvers: the checked content of a solver prototxt, and the learning rate that follows from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pycam.errors import TrainingError
from pycam.formats import prototxt
from pycam.formats.files import exists, is_file
from pycam.net.layers import single

RENAMED = {"train_val_imagenet_googlenetCAM.prototxt": "train_val_googlenetCAM.prototxt"}
"""The released solver names its net by another name than the file has."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How a net is trained, by the fields of Caffe's `SolverParameter`; docs/caffe.md, "Training".

    Attributes
    ----------
    path
        The solver's file.
    net, train_net, test_net
        The net's file; or one for training and one for testing.
    test_iter, test_interval, test_initialization
        How many batches a test takes, how many iterations lie between two, and whether there is one before the first.
    base_lr, lr_policy, gamma, power, stepsize, stepvalue
        The learning rate; see `rate`.
    max_iter, iter_size
        Iterations, and batches whose gradients are summed in each.
    momentum, momentum2, rms_decay, delta
        The memory of gradients; see `pycam.training.rules`.
    weight_decay, regularization_type, clip_gradients
        Decay by `L2` or `L1`; the largest norm of all gradients together, negative for none.
    display, average_loss
        Iterations between two lines of the log, and over how many the loss in it is averaged.
    snapshot, snapshot_prefix, snapshot_after_train
        Iterations between two snapshots (0: none), how their names begin, and whether there is one at the end.
    solver_mode, device_id
        CPU or GPU, and which.
    random_seed
        From which every random number follows; unlike in Caffe, where none means another run each time, 0 by default.
    """

    path: Path
    net: str = ""
    train_net: str = ""
    test_net: tuple[str, ...] = ()
    test_iter: tuple[int, ...] = ()
    test_interval: int = 0
    test_initialization: bool = True
    base_lr: float
    lr_policy: str
    gamma: float = 0.0
    power: float = 0.0
    stepsize: int = 0
    stepvalue: tuple[int, ...] = ()
    max_iter: int
    iter_size: int = 1
    momentum: float = 0.0
    momentum2: float = 0.999
    rms_decay: float = 0.99
    delta: float = 1e-8
    weight_decay: float = 0.0
    regularization_type: str = "L2"
    clip_gradients: float = -1.0
    display: int = 0
    average_loss: int = 1
    snapshot: int = 0
    snapshot_prefix: str = ""
    snapshot_after_train: bool = True
    solver_mode: int = 1
    device_id: int = 0
    random_seed: int = 0
    type: str = "SGD"

    def __post_init__(self) -> None:
        self._need(bool(self.net) != bool(self.train_net), "give `net`, or `train_net` and `test_net`")
        self._need(len(self.test_net) <= 1, "more than one test_net: pycam tests one")
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            self._need(value in known, f"{name} {value!r}: pycam has {', '.join(known)}")
        self._need(self.lr_policy != "step" or self.stepsize > 0, "lr_policy step needs a positive stepsize")
        self._need(self.gamma >= 0, f"gamma {self.gamma:g} must not be negative")
        for name in ("max_iter", "iter_size", "average_loss"):
            self._need(getattr(self, name) > 0, f"{name} must be positive")
        self._need(
            self.test_interval == 0 or len(self.test_iter) == 1,
            f"test_interval needs one test_iter, there are {len(self.test_iter)}",
        )
        self._need(bool(self.snapshot_prefix), "snapshot_prefix is missing: it names the files of the trained net")
        for field in fields(self):
            value = getattr(self, field.name)
            self._need(not isinstance(value, float) or math.isfinite(value), f"{field.name} must be finite")
        for iteration in (0, self.max_iter - 1):
            try:
                self.rate(iteration)
            except (OverflowError, ZeroDivisionError):
                self._need(False, f"the learning rate of iteration {iteration} cannot be computed: it is too large")

    def _need(self, condition: bool, message: str) -> None:
        if not condition:
            raise TrainingError(f"{self.path}: {message}")

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration, from 0."""
        return self.base_lr * _POLICIES[self.lr_policy](self, iteration)

    def tests_at(self, iteration: int) -> bool:
        """Return True if the net is tested before this iteration or, at `max_iter`, after the last one."""
        due = self.test_interval > 0 and iteration % self.test_interval == 0
        return due and (iteration > 0 or self.test_initialization)

    def tells_at(self, iteration: int) -> bool:
        """Return True if the log has a row for this iteration."""
        return self.display > 0 and iteration % self.display == 0

    def snapshots_at(self, iteration: int) -> bool:
        """Return True if there is a snapshot after this many iterations."""
        due = self.snapshot > 0 and iteration % self.snapshot == 0
        return due or (self.snapshot_after_train and iteration == self.max_iter)

    @property
    def prefix(self) -> Path:
        """The prefix of the names of snapshots and logs."""
        return Path(self.snapshot_prefix)


# What the base rate is multiplied by at iteration t.
_POLICIES: dict[str, Callable[[Solver, int], float]] = {
    "fixed": lambda s, t: 1.0,
    "step": lambda s, t: s.gamma ** (t // s.stepsize),
    "exp": lambda s, t: s.gamma**t,
    "inv": lambda s, t: (1 + s.gamma * t) ** -s.power,
    "multistep": lambda s, t: s.gamma ** sum(value <= t for value in s.stepvalue),
    "poly": lambda s, t: (1 - t / s.max_iter) ** s.power,
    "sigmoid": lambda s, t: 1 / (1 + math.exp(-s.gamma * (t - s.stepsize))),
}

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
"""The types of solvers; `pycam.training.rules` has their arithmetic."""

_CHOICES = {"lr_policy": tuple(_POLICIES), "type": TYPES, "regularization_type": ("L2", "L1")}


def read_solver(path: str | os.PathLike[str]) -> Solver:
    """Read a solver prototxt.

    Raises
    ------
    FormatError
        The file is not a solver.
    TrainingError
        A field is not supported, or fields contradict each other; the message names the field.
    """
    message = prototxt.read_solver(path)
    known = {field.name: field for field in fields(Solver)}
    default = type(message)()
    for field, value in message.ListFields():
        if field.name not in known and field.name not in _WITHOUT_EFFECT and value != getattr(default, field.name):
            if field.name == "snapshot_format":
                raise TrainingError(f"{path}: snapshot_format HDF5 is not supported: remove it, for BINARYPROTO")
            raise TrainingError(f"{path}: the solver's field {field.name!r} is not supported: remove it")
    missing = [name for name in ("base_lr", "lr_policy", "max_iter") if not message.HasField(name)]
    if missing:
        raise TrainingError(f"{path}: the solver has no {', '.join(missing)}")
    given = {field.name: _plain(value) for field, value in message.ListFields() if field.name in known}
    if given.get("random_seed", 0) < 0:
        del given["random_seed"]
    return Solver(path=Path(path), **given)


# The exchange of gradients between GPUs and the amount of output do not change the result.
_WITHOUT_EFFECT = ("layer_wise_reduce", "debug_info", "test_compute_loss")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return single(value)
    return value if isinstance(value, bool | int | str) else tuple(value)


def beside(path: str, file: Path) -> Path:
    """Resolve a relative path in a file: in the current folder, as in Caffe, or else beside the file."""
    return next((there for there in (Path(path), file.parent / path) if exists(there)), Path(path))


def net_path(solver: Solver, phase: str) -> Path:
    """Find the net's file for the phase `TRAIN` or `TEST`.

    Raises
    ------
    TrainingError
        The file does not exist.
    """
    named = (solver.train_net if phase == "TRAIN" else "".join(solver.test_net)) or solver.net
    if not named:
        raise TrainingError(f"{solver.path}: test_interval asks for tests, but there is no test_net")
    released = Path(named).name
    for name in (named, str(Path(named).with_name(RENAMED.get(released, released)))):
        # A solver from another machine has a path of that machine; its net lies beside it.
        for candidate in (beside(name, solver.path), solver.path.parent / Path(name).name):
            if is_file(candidate):
                return candidate
    raise TrainingError(f"{solver.path}: its net {named} is neither in the current folder nor beside the solver")
