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
from pycam.zoo.checksums import checksum

Floats = NDArray[np.float32]

ITERATION, LEARNED_NET, HISTORY, SHA256 = 1, 2, 3, 1000
"""The fields of a `SolverState` that are read."""

WEIGHTS, STATE = ".caffemodel", ".solverstate"
"""The ends of the names of a snapshot's files; `.h5` follows them in HDF5."""


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


def write_snapshot(
    stem: Path, iteration: int, net: Net, history: Sequence[Floats], *, step: int = 0, in_hdf5: bool = False
) -> Path:
    """Write a net and its solver's state, each file atomically, the state last.

    Parameters
    ----------
    stem : Path
        Of the names: `STEM.caffemodel` and `STEM.solverstate`, or in HDF5 `STEM.caffemodel.h5` and
        `STEM.solverstate.h5`. Caffe's stem is `PREFIX_iter_N`.
    iteration : int
        The number of finished iterations.
    net : Net
        With its parameters.
    history : sequence of float32 arrays
        The solver's history.
    step : int
        How many steps the learning rate has made; see `Solver.step`.
    in_hdf5 : bool
        Write HDF5.

    Returns
    -------
    Path
        The caffemodel.

    Raises
    ------
    TrainingError
        The files cannot be written. Earlier snapshots are unchanged.
    """
    weights, state = (stem.with_name(f"{stem.name}{kind}{'.h5' if in_hdf5 else ''}") for kind in (WEIGHTS, STATE))
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        if in_hdf5:
            hdf5.write_weights(weights, {layer.name: net.params.get(layer.name, ()) for layer in net.layers})
            sha256 = checksum(weights, "sha256")
            hdf5.write_state(state, hdf5.SolverState(iteration, str(weights), tuple(history), step, sha256))
        else:
            caffemodel.write(weights, net.message, net.params)
            content = schema.SolverState(iter=iteration, learned_net=str(weights), current_step=step)
            content.learned_net_sha256 = checksum(weights, "sha256")
            for values in history:
                content.history.add(shape={"dim": values.shape}, data=values.ravel())
            atomic_write(state, content.SerializeToString())
    except OSError as error:
        raise TrainingError(
            f"{error.filename or weights}: the snapshot of iteration {iteration} could not be written "
            f"({error.strerror or error}); "
            "earlier ones are complete, resume from the last one with --resume"
        ) from None
    return weights


def read_state(path: Path) -> State:
    """Read a solverstate of pycam or Caffe, also in HDF5, and the caffemodel that it names.

    Raises
    ------
    TrainingError
        The file is missing or damaged, is a caffemodel, or its caffemodel does not exist.
    """
    try:
        state = _read(path)
    except TrainingError:
        if not _is_weights(path):
            raise
        other = path.with_name(path.name.replace(WEIGHTS, STATE))
        beside = f", {other}, which is beside it" if other != path and is_file(other) else ""
        raise TrainingError(
            f"{path}: these are weights, from which no training can be resumed: give --resume the solverstate{beside}, "
            "or start a new training from them with --weights"
        ) from None
    named = Path(state.learned_net)
    weights = next((there for there in (path.parent / named.name, named) if is_file(there)), None)
    if weights is None:
        raise TrainingError(f"{path}: its caffemodel {named.name[:200]} is not beside it")
    if state.sha256 and state.sha256 != checksum(weights, "sha256"):
        raise TrainingError(
            f"{path}: {weights} is not the caffemodel of this state: it has changed since. Resume from another "
            "snapshot, or start a new training from it with --weights"
        )
    return State(state.iteration, caffemodel.read(weights), list(state.history))


def read_weights(path: Path) -> Weights:
    """Read a caffemodel to start from.

    Raises
    ------
    FormatError
        The file is missing or damaged.
    TrainingError
        It is a solverstate.
    """
    try:
        return caffemodel.read(path)
    except FormatError:
        try:
            learned_net = _read(path).learned_net
        except TrainingError:
            learned_net = ""
        if not learned_net:
            raise
    raise TrainingError(
        f"{path}: this is the state of a solver: resume its training with --resume, or give --weights its caffemodel, "
        f"{Path(learned_net).name[:200]}"
    )


def _is_weights(path: Path) -> bool:
    try:
        return bool(caffemodel.read(path).layers)
    except FormatError:
        return False


def _read(path: Path) -> hdf5.SolverState:
    """Read a solverstate in either format."""
    with open_file(path, "a solverstate", TrainingError) as file:
        in_hdf5 = file.read(len(hdf5.SIGNATURE)) == hdf5.SIGNATURE
        file.seek(0)
        state = _read_hdf5(path) if in_hdf5 else _read_wire(file, path)
    if not state.learned_net or not 0 <= state.iteration < 1 << 31:
        raise TrainingError(f"{path}: not a solverstate: it names no caffemodel, or no iteration")
    return state


def _read_wire(file: BufferedReader, path: Path) -> hdf5.SolverState:
    iteration, texts, history = -1, {LEARNED_NET: "", SHA256: ""}, []
    try:
        wire = Wire(file)
        for field in wire.fields(wire.size):
            if (field.number, field.kind) == (ITERATION, VARINT):
                iteration = field.value
            elif field.number in texts and field.kind == BYTES:
                texts[field.number] = wire.text(field)
            elif (field.number, field.kind) == (HISTORY, BYTES):
                history.append(wire.blob(field.end))
    except WireError as error:
        raise TrainingError(f"{path}: not a solverstate, or a damaged one ({error})") from None
    return hdf5.SolverState(iteration, texts[LEARNED_NET], tuple(history), sha256=texts[SHA256])


def _read_hdf5(path: Path) -> hdf5.SolverState:
    try:
        return hdf5.read_state(path)
    except FormatError as error:
        raise TrainingError(str(error)) from None
