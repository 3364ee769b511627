"""Solvers: the checked content of a solver prototxt, and what follows from it: nets, rates, and names of files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path, PureWindowsPath
from typing import Any

from pycam.errors import TrainingError
from pycam.formats import prototxt, schema
from pycam.formats.files import exists, is_file, is_folder
from pycam.net.layers import single
from pycam.net.state import PHASES

RENAMED = {"train_val_imagenet_googlenetCAM.prototxt": "train_val_googlenetCAM.prototxt"}
"""The released solver names its net by another name than the file has."""

HDF5, BINARYPROTO = 0, 1
"""The values of `snapshot_format`."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """How a net is trained, by the fields of Caffe's `SolverParameter`; docs/caffe.md, "Training".

    Attributes
    ----------
    path
        The solver's file.
    net, net_param, train_net, train_net_param, test_net, test_net_param
        The nets: files, or nets inside the solver, for training and tests or for one of them; see `training_net` and
        `test_nets`.
    train_state, test_state
        The state that a net is made in, in addition to its own.
    weights
        Initial caffemodels.
    test_iter, test_interval, test_initialization
        How many batches a test takes, how many iterations lie between two, and whether there is one before the first.
    base_lr, lr_policy, gamma, power, stepsize, stepvalue
        The learning rate; see `rate`.
    max_iter, iter_size
        Iterations, and batches whose gradients are summed in each.
    type
        The update rule, one of `TYPES`.
    momentum, momentum2, rms_decay, delta
        The memory of gradients; see `pycam.training.rules`.
    weight_decay, regularization_type, clip_gradients
        Decay by `L2` or `L1`; the largest norm of all gradients together, negative for none.
    display, average_loss
        Iterations between two lines of the log, and over how many the loss in it is averaged.
    snapshot, snapshot_prefix, snapshot_after_train, snapshot_format
        Iterations between two snapshots (0: none), how their names begin, whether there is one at the end, and their
        format.
    solver_mode, device_id
        CPU or GPU, and which.
    random_seed
        From which every random number follows; unlike in Caffe, where none means another run each time, 0 by default.
    """

    path: Path
    net: str = ""
    net_param: Any = None
    train_net: str = ""
    train_net_param: Any = None
    test_net: tuple[str, ...] = ()
    test_net_param: tuple[Any, ...] = ()
    train_state: Any = None
    test_state: tuple[Any, ...] = ()
    weights: tuple[str, ...] = ()
    test_iter: tuple[int, ...] = ()
    test_interval: int = 0
    test_initialization: bool = True
    base_lr: float = 0.0
    lr_policy: str = ""
    gamma: float = 0.0
    power: float = 0.0
    stepsize: int = 0
    stepvalue: tuple[int, ...] = ()
    max_iter: int = 0
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
    snapshot_format: int = BINARYPROTO
    solver_mode: int = 1
    device_id: int = 0
    random_seed: int = 0
    type: str = "SGD"

    def __post_init__(self) -> None:
        self._check_nets()
        for field in fields(self):
            value = getattr(self, field.name)
            finite = not isinstance(value, float) or math.isfinite(value)
            self._need(finite, f"{field.name} {value}: expected a finite number")
        for name in ("iter_size", "average_loss"):
            self._need(getattr(self, name) > 0, f"{name} {getattr(self, name)}: expected 1 or more")
        self._need(self.type in TYPES, f"type {self.type!r}: there are {', '.join(TYPES)}")
        if self.type in ("AdaGrad", "RMSProp"):
            self._need(self.momentum == 0, f"type {self.type} has no momentum (Caffe refuses it as well): remove it")
        if self.type == "RMSProp":
            self._need(0 <= self.rms_decay < 1, f"rms_decay {self.rms_decay:g}: expected 0 or more, and less than 1")
        if self.weight_decay:
            known = self.regularization_type in ("L2", "L1")
            self._need(known, f"regularization_type {self.regularization_type!r}: there are L2, L1")
        if self.max_iter > 0:
            self._check_rates()

    def _check_nets(self) -> None:
        named = ("net", "net_param", "train_net", "train_net_param")
        given = [name for name in named if getattr(self, name)]
        self._need(
            len(given) == 1,
            f"there is {' and '.join(given) or 'no net'}: give the net to train once, as one of {', '.join(named)}",
        )
        tests, counts = len(self.test_net) + len(self.test_net_param), len(self.test_iter)
        shared = given[0] in ("net", "net_param")
        self._need(
            counts >= tests if shared else counts == tests,
            f"there are {counts} test_iter for {tests} test nets (test_net and test_net_param): give one test_iter for "
            + ("each; with more of them, the net itself is tested, too" if shared else "each of them"),
        )
        for count in self.test_iter:
            self._need(count > 0, f"test_iter {count}: expected 1 or more")
        interval = self.test_interval
        self._need(not counts or interval > 0, f"test_interval {interval} with test_iter: expected 1 or more")
        states = len(self.test_state)
        self._need(
            states in (0, counts), f"there are {states} test_state for {counts} tests (test_iter): give one per test"
        )

    def _check_rates(self) -> None:
        if self.lr_policy == "multifixed":
            self._need(
                False,
                "lr_policy 'multifixed' is of a fork of Caffe: write multistep, with a stepvalue for each change, if "
                "its rates fall by one factor (gamma); else train each part by itself with fixed, and --resume",
            )
        self._need(self.lr_policy in _POLICIES, f"lr_policy {self.lr_policy!r}: there are {', '.join(_POLICIES)}")
        if self.lr_policy in ("step", "sigmoid"):
            stepsize = f"stepsize {self.stepsize} with lr_policy {self.lr_policy}"
            self._need(self.stepsize > 0, f"{stepsize}: expected 1 or more")
        if self.lr_policy not in ("fixed", "poly"):
            self._need(self.gamma >= 0, f"gamma {self.gamma:g}: expected 0 or more")
        for iteration in (0, self.max_iter - 1):
            try:
                self.rate(iteration)
            except (OverflowError, ZeroDivisionError):
                self._need(False, f"the learning rate of iteration {iteration} cannot be computed: it is too large")

    def _need(self, condition: bool, message: str) -> None:
        if not condition:
            raise TrainingError(f"{self.path}: {message}")

    @property
    def training_net(self) -> NamedNet:
        """The net that is trained."""
        file, message = self.net or self.train_net, self.net_param or self.train_net_param
        return NamedNet(self.path, "TRAIN", file, message, self.train_state)

    @property
    def test_nets(self) -> tuple[NamedNet, ...]:
        """The nets of the tests, one per `test_iter`: those named for tests, and then the net itself."""
        own = [*(("", message) for message in self.test_net_param), *((file, None) for file in self.test_net)]
        own += [(self.net, self.net_param)] * (len(self.test_iter) - len(own))
        states = self.test_state or (None,) * len(own)
        return tuple(
            NamedNet(self.path, "TEST", file, message, state)
            for (file, message), state in zip(own, states, strict=True)
        )

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration, from 0."""
        return self.base_lr * _POLICIES[self.lr_policy](self, iteration)

    def step(self, iteration: int) -> int:
        """Return how many steps the rate has made, which Caffe stores in solverstates; 0 without steps."""
        if self.lr_policy == "step":
            return iteration // self.stepsize
        steps, at = 0, -1
        for value in self.stepvalue if self.lr_policy == "multistep" else ():
            # Caffe makes one step per iteration, in the order of the values.
            at = max(value, at + 1)
            if at > iteration:
                break
            steps += 1
        return steps

    def tests_at(self, iteration: int) -> bool:
        """Return True if the net is tested before this iteration."""
        return self.tests_after(iteration) and (iteration > 0 or self.test_initialization)

    def tests_after(self, iteration: int) -> bool:
        """Return True if the net is tested once more, when this many iterations were the last."""
        return bool(self.test_iter) and iteration % self.test_interval == 0

    def tells_at(self, iteration: int) -> bool:
        """Return True if the log has a row for this iteration."""
        return self.display != 0 and iteration % self.display == 0

    def snapshots_at(self, iteration: int) -> bool:
        """Return True if there is a snapshot after this many iterations, besides the one at the end."""
        return self.snapshot != 0 and iteration % self.snapshot == 0

    def file(self, ending: str) -> Path:
        """Return the path of a file of this training: `snapshot_prefix` and an ending."""
        return Path(f"{self.snapshot_prefix}{ending}")

    @property
    def notes(self) -> Iterator[str]:
        """What of the solver has another effect than one may expect; one line each."""
        if self.max_iter <= 0:
            yield f"{self.path}: max_iter is {self.max_iter or '0, or absent'}: as in Caffe, nothing is trained"
        if self.test_interval and not self.test_iter:
            yield f"{self.path}: test_interval without test_iter: as in Caffe, nothing is tested"


@dataclass(frozen=True)
class NamedNet:
    """A net that a solver trains or tests.

    Attributes
    ----------
    solver : Path
        The solver's file.
    phase : str
        `TRAIN` or `TEST`.
    file : str
        The net's file, as the solver names it; empty for a net inside the solver.
    message : NetParameter or None
        A net inside the solver.
    state : NetState or None
        The solver's own state for the net.
    """

    solver: Path
    phase: str
    file: str
    message: Any
    state: Any

    @property
    def path(self) -> Path:
        """The file that the net is in.

        Raises
        ------
        TrainingError
            The file does not exist.
        """
        if not self.file:
            return self.solver
        # A solver from another machine has a path of that machine, perhaps of Windows; its net lies beside it.
        name = PureWindowsPath(self.file).name
        for named in (self.file, str(Path(self.file).with_name(RENAMED.get(name, name)))):
            for candidate in (beside(named, self.solver), self.solver.parent / PureWindowsPath(named).name):
                if is_file(candidate):
                    return candidate
        raise TrainingError(
            f"{self.solver}: its net {self.file} is neither in the current folder nor beside the solver"
        )

    def read(self) -> prototxt.NetText:
        """Read the net; the `state` of its message is then the one that it is made in, phase included.

        Raises
        ------
        FormatError, TrainingError
            The file is missing or damaged.
        """
        if self.file:
            text = prototxt.read(self.path)
        else:
            message = schema.NetParameter()
            message.CopyFrom(self.message)
            text = prototxt.from_message(message, str(self.solver))
        state = schema.NetState(phase=PHASES.index(self.phase))
        state.MergeFrom(text.message.state)
        if self.state is not None:
            state.MergeFrom(self.state)
        text.message.state.CopyFrom(state)
        return text


TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
"""The types of solvers; `pycam.training.rules` has their arithmetic."""

# What the base rate is multiplied by at iteration t.
_POLICIES: dict[str, Callable[[Solver, int], float]] = {
    "fixed": lambda s, t: 1.0,
    "step": lambda s, t: s.gamma ** s.step(t),
    "exp": lambda s, t: s.gamma**t,
    "inv": lambda s, t: (1 + s.gamma * t) ** -s.power,
    "multistep": lambda s, t: s.gamma ** s.step(t),
    "poly": lambda s, t: (1 - t / s.max_iter) ** s.power,
    "sigmoid": lambda s, t: 1 / (1 + math.exp(-s.gamma * (t - s.stepsize))),
}


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
    known = {field.name for field in fields(Solver)}
    default = type(message)()
    for field, value in message.ListFields():
        if field.name not in known and field.name not in _WITHOUT_EFFECT and value != getattr(default, field.name):
            raise TrainingError(f"{path}: the solver's field {field.name!r} is not supported: remove it")
    if message.max_iter > 0 and (missing := [name for name in ("base_lr", "lr_policy") if not message.HasField(name)]):
        raise TrainingError(f"{path}: the solver has no {', '.join(missing)}")
    given = {field.name: _plain(value) for field, value in message.ListFields() if field.name in known}
    if given.get("random_seed", 0) < 0:
        del given["random_seed"]
    file = Path(path)
    return Solver(path=file, **{**given, "snapshot_prefix": _prefix(given.get("snapshot_prefix"), file)})


# The exchange of gradients between GPUs and the amount of output do not change the result.
_WITHOUT_EFFECT = ("layer_wise_reduce", "debug_info", "test_compute_loss")


def _prefix(given: str | None, solver: Path) -> str:
    """Return how the names of snapshots begin: as the solver's own if nothing is given, or only a folder."""
    if given is None:
        return str(solver.with_suffix(""))
    # Unlike Caffe, pycam makes the folder.
    if given and (given.endswith("/") or is_folder(given)):
        return str(Path(given, solver.stem))
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return single(value)
    return value if isinstance(value, bool | int | str) or hasattr(value, "ListFields") else tuple(value)


def beside(path: str, file: Path) -> Path:
    """Resolve a relative path in a file: in the current folder, as in Caffe, or else beside the file."""
    return next((there for there in (Path(path), file.parent / path) if exists(there)), Path(path))
