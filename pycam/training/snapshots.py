"""Snapshots as Caffe writes them: a caffemodel, and a solverstate from which training resumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, TrainingError
from pycam.formats import caffemodel, hdf5, schema
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
    iteration : int
        Number of finished iterations.
    weights : Weights
        The parameters at this iteration.
    history : list of float32 arrays
        See `pycam.training.learner.Learner.history`.
    """

    iteration: int
    weights: Weights
    history: list[Floats]


def write_snapshot(prefix: Path, iteration: int, net: Net, history: Sequence[Floats]) -> Path:
    """Write a net and its solver's state, each file atomically, the state last.

    Parameters
    ----------
    prefix : Path
        Of the names: `PREFIX_iter_N.caffemodel` and `.solverstate`.
    iteration : int
        N, the number of finished iterations.
    net : Net
        With its parameters.
    history : sequence of float32 arrays
        The solver's history.

    Returns
    -------
    Path
        The caffemodel.

    Raises
    ------
    TrainingError
        The files cannot be written. Earlier snapshots are unchanged.
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
            "earlier ones are complete, resume from the last one with --resume"
        ) from None
    return weights


def read_state(path: Path) -> State:
    """Read a solverstate of pycam or Caffe, also in HDF5, and the caffemodel that it names.

    Raises
    ------
    TrainingError
        The file is missing or damaged, or its caffemodel does not exist.
    """
    with open_file(path, "a solverstate", TrainingError) as file:
        in_hdf5 = file.read(len(hdf5.SIGNATURE)) == hdf5.SIGNATURE
        file.seek(0)
        iteration, learned_net, history = _read_hdf5(path) if in_hdf5 else _read_wire(file, path)
    if not learned_net or not 0 <= iteration < 1 << 31:
        raise TrainingError(f"{path}: not a solverstate: it names no caffemodel, or no iteration")
    named = Path(learned_net)
    weights = next((there for there in (path.parent / named.name, named) if is_file(there)), None)
    if weights is None:
        raise TrainingError(f"{path}: its caffemodel {named.name[:200]} is not beside it")
    return State(iteration, caffemodel.read(weights), history)


def _read_wire(file: BufferedReader, path: Path) -> tuple[int, str, list[Floats]]:
    """Read the iteration, the name of the weights, and the history."""
    iteration, learned_net, history = -1, "", []
    try:
        wire = Wire(file)
        for field in wire.fields(wire.size):
            if (field.number, field.kind) == (ITERATION, VARINT):
                iteration = field.value
            elif (field.number, field.kind) == (LEARNED_NET, BYTES):
                learned_net = wire.text(field)
            elif (field.number, field.kind) == (HISTORY, BYTES):
                history.append(wire.blob(field.end))
    except WireError as error:
        raise TrainingError(f"{path}: not a solverstate, or a damaged one ({error})") from None
    return iteration, learned_net, history


def _read_hdf5(path: Path) -> tuple[int, str, list[Floats]]:
    try:
        state = hdf5.read_state(path)
    except FormatError as error:
        raise TrainingError(str(error)) from None
    return state.iteration, state.learned_net, list(state.history)
