"""Snapshots as Caffe's: a caffemodel with what was learned, and a solverstate from which training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import TrainingError
from pycam.formats import caffemodel, schema
from pycam.formats.caffemodel import Weights
from pycam.formats.files import atomic_write, is_file
from pycam.formats.opening import open_file
from pycam.formats.wire import BYTES, VARINT, Wire, WireError
from pycam.net import Net

Floats = NDArray[np.float32]

ITERATION, LEARNED_NET, HISTORY = 1, 2, 3
"""The fields of a `SolverState` that are read."""


@dataclass(frozen=True)
class State:
    """A solver's state.

    Attributes
    ----------
    iteration
        Iterations done.
    weights
        What was learned until then.
    history
        The solver's memory, see `pycam.training.learner.Learner.history`.
    """

    iteration: int
    weights: Weights
    history: list[Floats]


def write_snapshot(prefix: Path, iteration: int, net: Net, history: Sequence[Floats]) -> Path:
    """Write a net and its solver's state; each file is there whole or not at all, the state last.

    Parameters
    ----------
    prefix
        How the files are called: `PREFIX_iter_N.caffemodel` and `.solverstate`.
    iteration
        N, iterations done.
    net
        With its parameters.
    history
        The solver's memory.

    Returns
    -------
    Path
        The caffemodel.

    Raises
    ------
    TrainingError
        It could not be written. Earlier snapshots are as they were.
    """
    stem = f"{prefix.name}_iter_{iteration}"
    weights = prefix.with_name(f"{stem}.caffemodel")
    state = schema.SolverState(iter=iteration, learned_net=str(weights))
    for values in history:
        state.history.add(shape={"dim": values.shape}, data=values.ravel())
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        caffemodel.write(weights, net.message, net.params)
        atomic_write(prefix.with_name(f"{stem}.solverstate"), state.SerializeToString())
    except OSError as error:
        raise TrainingError(
            f"{weights}: the snapshot of iteration {iteration} could not be written ({error.strerror}); "
            "earlier ones are whole, go on from the last with --resume"
        ) from None
    return weights


def read_state(path: Path) -> State:
    """Read a solverstate, pycam's or Caffe's, and the caffemodel that it names, there or beside it.

    Raises
    ------
    TrainingError
        It is missing or damaged, or its caffemodel is not there.
    """
    iteration, learned_net, history = -1, "", []
    try:
        with open_file(path, "a solverstate", TrainingError) as file:
            wire = Wire(file)
            for field in wire.fields(wire.size):
                if (field.number, field.kind) == (ITERATION, VARINT):
                    iteration = field.value
                elif (field.number, field.kind) == (LEARNED_NET, BYTES):
                    learned_net = wire.text(field)
                elif (field.number, field.kind) == (HISTORY, BYTES):
                    history.append(wire.blob(field.end))
    except WireError as error:
        raise TrainingError(f"{path}: no solverstate, or a damaged one ({error})") from None
    if not learned_net or not 0 <= iteration < 1 << 31:
        raise TrainingError(f"{path}: no solverstate: it names no caffemodel, or no iteration")
    named = Path(learned_net)
    weights = next((there for there in (path.parent / named.name, named) if is_file(there)), None)
    if weights is None:
        raise TrainingError(f"{path}: its caffemodel {named.name[:200]} is not beside it")
    return State(iteration, caffemodel.read(weights), history)
