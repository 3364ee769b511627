"""The training loop."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch

from pycam.engines import Options
from pycam.engines.torch import at_work, torch_device
from pycam.errors import TrainingError, UsageError
from pycam.formats import caffemodel
from pycam.formats.files import atomic_write
from pycam.formats.fork_layers import distribute
from pycam.net import Net
from pycam.training.curves import draw_curves
from pycam.training.fillers import fill
from pycam.training.learner import Learner, judge, scalar_outputs
from pycam.training.log import Log, Row
from pycam.training.nets import open_net
from pycam.training.snapshots import read_state, write_snapshot
from pycam.training.solver import Solver

PRECISIONS = ("fp32", "bf16")


def train(
    solver: Solver,
    *,
    weights: Sequence[str | os.PathLike[str]] = (),
    resume: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    test_data: str | os.PathLike[str] | None = None,
    options: Options = Options(),
    tell: Callable[[Row], None] = lambda row: None,
) -> Path | None:
    """Train a net as a solver file says.

    Every random number follows from the solver's seed and the iteration. A training that was killed and resumed
    therefore ends with the same bytes as an uninterrupted one, on the same machine with the same number of threads.

    Parameters
    ----------
    solver : Solver
        From `pycam.training.solver.read_solver`.
    weights : sequence of path
        Initial caffemodels; layers that none of them has start from their fillers.
    resume : path, optional
        The solverstate to resume from.
    data, test_data : path, optional
        Lists or folders of images in place of what the net's data layers read.
    options : Options
        Device, threads and precision of PyTorch: `fp32`, or `bf16`, which is faster where the processor has it. The
        default device is the solver's, or the CPU where there is no GPU.
    tell : callable
        Called with a `Row` after each iteration, and after the last test.

    Returns
    -------
    Path
        The last caffemodel; None if the solver asks for no snapshot. The solverstate, the log (`PREFIX_log.csv`) and
        the learning curves (`PREFIX_curves.png`) are written beside it.

    Raises
    ------
    UsageError
        Arguments that contradict each other or the solver.
    TrainingError
        The data or the net are unfit, or training diverged; the last snapshot is then complete.
    """
    if weights and resume is not None:
        raise UsageError(
            f"weights have no effect together with {resume}, which names its own: leave one of the two out"
        )
    if test_data is not None and not solver.test_interval:
        raise UsageError(f"test data have no effect: {solver.path} asks for no tests (test_interval); leave them out")
    precision = options.precision or PRECISIONS[0]
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: there are {', '.join(PRECISIONS)}")
    on = _device(solver, options.device)
    feed = open_net(solver, "TRAIN", data)
    test = open_net(solver, "TEST", test_data) if solver.test_interval else None
    state = None if resume is None else read_state(Path(resume))
    start = state.iteration if state else 0
    net = _begin(feed.net, solver, [state.weights] if state else [caffemodel.read(path) for path in weights])
    path = solver.prefix.with_name(f"{solver.prefix.name}_log.csv")
    log = Log(path, scalar_outputs(test.net) if test else [], start if state else None)
    last = Path(state.weights.path) if state else None

    with at_work(on, options.threads), torch.random.fork_rng([on] if on.type == "cuda" else []):
        learner = Learner(net, solver, on, precision, state.history if state else None)

        def tested() -> dict[str, float]:
            assert test is not None
            current = test.net.with_params(learner.params)
            return judge(current, test.stream(0, solver.test_iter[0]), on, precision)

        batches = feed.stream(start * solver.iter_size, solver.max_iter * solver.iter_size)
        losses: deque[float] = deque(maxlen=solver.average_loss)
        for iteration in range(start, solver.max_iter):
            tests = tested() if solver.tests_at(iteration) else {}
            losses.append(learner.step(islice(batches, solver.iter_size), iteration))
            row = Row(iteration, solver.rate(iteration), math.fsum(losses) / len(losses), tests)
            if tests or solver.tells_at(iteration):
                log.add(row)
            tell(row)
            if solver.snapshots_at(iteration + 1):
                last = write_snapshot(solver.prefix, iteration + 1, net.with_params(learner.params), learner.history)
                _draw(log, solver)
        if solver.tests_at(solver.max_iter):
            row = Row(solver.max_iter, solver.rate(solver.max_iter), None, tested())
            log.add(row)
            tell(row)
    _draw(log, solver)
    return last


def _begin(net: Net, solver: Solver, weights: Sequence[caffemodel.Weights]) -> Net:
    """Return the net with initial parameters: per layer those of the last weights that have it, or its fillers'."""
    params = dict(fill(net, solver.random_seed))
    for each in weights:
        given = distribute(each.layers, net.forks, each.path)
        found = {name: blobs for name, blobs in given.items() if name in params}
        if not found:
            raise TrainingError(f"{each.path}: no layer of net {net.name!r} is in it: are these the right weights?")
        params = dict(net.with_params({**params, **found}, each.path).params)
    return net.with_params(params)


def _device(solver: Solver, named: str | None) -> torch.device:
    wants_gpu = solver.solver_mode == 1 and torch.cuda.is_available()
    return torch_device(named or (f"cuda:{solver.device_id}" if wants_gpu else "cpu"))


def _draw(log: Log, solver: Solver) -> None:
    image = draw_curves(log.rows, solver.prefix.name)
    atomic_write(solver.prefix.with_name(f"{solver.prefix.name}_curves.png"), image)
