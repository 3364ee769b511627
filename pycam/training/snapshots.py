"""Snapshots as Caffe's: a caffemodel with what was learned, and a solverstate from which training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pycam.errors import FormatError, TrainingError
from pycam.files import is_file, write_whole
from pycam.formats import caffemodel, schema
from pycam.formats.caffemodel import Weights
from pycam.formats.opening import open_file
from pycam.net import Net

Floats = NDArray[np.float32]


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
        write_whole(prefix.with_name(f"{stem}.solverstate"), state.SerializeToString())
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
    try:
        with open_file(path, "a solverstate") as file:
            state = schema.SolverState.FromString(file.read())
    except FormatError as error:
        raise TrainingError(str(error)) from None
    except DecodeError:
        raise TrainingError(f"{path}: no solverstate, or a damaged one") from None
    # protobuf gives bytes for what is no UTF-8
    if not isinstance(state.learned_net, str) or not state.learned_net or not state.HasField("iter") or state.iter < 0:
        raise TrainingError(f"{path}: no solverstate: it names no caffemodel, or no iteration")
    named = Path(state.learned_net)
    weights = next((there for there in (path.parent / named.name, named) if is_file(there)), None)
    if weights is None:
        raise TrainingError(f"{path}: its caffemodel {named.name[:200]} is not beside it")
    return State(state.iter, caffemodel.read(weights), [_blob(blob, path) for blob in state.history])


def _blob(blob: schema.Message, path: Path) -> Floats:
    legacy = (blob.num, blob.channels, blob.height, blob.width)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else legacy
    if min(shape, default=1) < 1 or math.prod(shape) != len(blob.data):
        raise TrainingError(f"{path}: damaged: a blob of shape {shape[:8]} holds {len(blob.data)} values")
    return np.array(blob.data, np.float32).reshape(shape)
