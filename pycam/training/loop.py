"""The training loop."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch

from pycam.engines import Options
from pycam.engines.torch import at_work, torch_device
from pycam.errors import TrainingError, UsageError
from pycam.formats import caffemodel, hdf5
from pycam.formats.files import atomic_write, locked
from pycam.formats.fork_layers import distribute
from pycam.net import Net
from pycam.net.params import matrix_notes
from pycam.training.curves import draw_curves
from pycam.training.fillers import fill
from pycam.training.learner import Learner, judge, measures
from pycam.training.log import Log, Row
from pycam.training.nets import FedNet, open_net
from pycam.training.snapshots import read_state, read_weights, write_snapshot
from pycam.training.solver import HDF5, Solver

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
    note: Callable[[str], None] = lambda note: None,
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
    note : callable
        Called with a line for each thing in the files that has another effect than one may expect.

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
    if test_data is not None and not solver.test_iter:
        raise UsageError(f"test data have no effect: {solver.path} asks for no tests (test_iter); leave them out")
    precision = options.precision or PRECISIONS[0]
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: there are {', '.join(PRECISIONS)}")
    if solver.snapshot_format == HDF5:
        hdf5.check_writable(f"{solver.path}: snapshot_format HDF5")
    on = _device(solver, options.device)
    feed = open_net(solver.training_net, solver.random_seed, data)
    tests = [open_net(named, solver.random_seed, test_data) for named in solver.test_nets]
    for line in dict.fromkeys(
        [*solver.notes, *(line for each in (feed, *tests) for line in (*each.net.notes, *each.notes))]
    ):
        note(line)
    state = None if resume is None else read_state(Path(resume))
    start = state.iteration if state else 0
    initial = [state.weights] if state else [read_weights(Path(path)) for path in weights or solver.weights]
    _check_weights(feed.net, initial)
    for each in initial:
        for line in matrix_notes(feed.net.layers, distribute(each.layers, feed.net.forks, each.path), each.path):
            note(line)
    net = _initial(feed.net, solver, initial)
    bases = [_initial(test.net, solver, initial) for test in tests]
    columns = [_column(number, name, tests) for number, test in enumerate(tests) for name in measures(test.net)]
    last = Path(state.weights.path) if state else None

    with _alone(solver), at_work(on, options.threads), torch.random.fork_rng([on] if on.type == "cuda" else []):
        log = Log(solver.file("_log.csv"), columns, start if state else None)
        learner = Learner(net, solver, on, precision, state.history if state else None)

        def tested() -> dict[str, float]:
            learned, found = learner.params, {}
            for number, (test, base, count) in enumerate(zip(tests, bases, solver.test_iter, strict=True)):
                # Layers that are only in the test net keep their initial parameters.
                current = base.with_params({name: learned.get(name, own) for name, own in base.params.items()})
                for name, value in judge(current, test.stream(0, count), on, precision).items():
                    found[_column(number, name, tests)] = value
            return found

        def snapshot(iteration: int) -> Path:
            written = write_snapshot(
                solver.file(f"_iter_{iteration}"),
                iteration,
                net.with_params(learner.params),
                learner.history,
                step=solver.step(iteration - 1),
                in_hdf5=solver.snapshot_format == HDF5,
            )
            if iteration < end:
                _draw(log, solver)
            return written

        end = max(start, solver.max_iter)
        batches = feed.stream(start * solver.iter_size, end * solver.iter_size + solver.tells_at(end))
        losses: deque[float] = deque(maxlen=solver.average_loss)
        for iteration in range(start, end):
            measured = tested() if solver.tests_at(iteration) else {}
            losses.append(learner.step(islice(batches, solver.iter_size), iteration))
            row = Row(iteration, solver.rate(iteration), math.fsum(losses) / len(losses), measured)
            if measured or solver.tells_at(iteration):
                log.add(row)
            tell(row)
            if solver.snapshots_at(iteration + 1):
                last = snapshot(iteration + 1)
        if solver.snapshot_after_train and not solver.snapshots_at(end):
            last = snapshot(end)
        # As in Caffe, one more loss and test, of the parameters after the last iteration.
        losses.extend(learner.loss(batch, end) for batch in batches)
        measured = tested() if solver.tests_after(end) else {}
        if measured or solver.tells_at(end):
            loss = math.fsum(losses) / len(losses) if solver.tells_at(end) else None
            row = Row(end, solver.rate(end) if solver.max_iter > 0 else 0.0, loss, measured)
            log.add(row)
            tell(row)
        _draw(log, solver)
    return last


@contextmanager
def _alone(solver: Solver) -> Iterator[None]:
    """Hold the files of a training: two with one prefix would write into each other's."""
    lock = solver.file(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(lock):
            yield
    except BlockingIOError:
        raise TrainingError(
            f"{lock}: another training has this snapshot_prefix: wait until it ends, or give this one another prefix"
        ) from None


def _initial(net: Net, solver: Solver, weights: Sequence[caffemodel.Weights]) -> Net:
    """Return the net with initial parameters: per layer those of the last weights that have it, or its fillers'."""
    params = fill(net, solver.random_seed)
    for each in weights:
        given = distribute(each.layers, net.forks, each.path)
        params = net.with_params(
            {**params, **{name: given[name] for name in given if name in params}}, each.path
        ).params
    return net.with_params(params)


def _check_weights(net: Net, weights: Sequence[caffemodel.Weights]) -> None:
    """Raise a `TrainingError` for weights of another net."""
    for each in weights:
        if not any(
            net.by_name[name].param_shapes
            for name in distribute(each.layers, net.forks, each.path)
            if name in net.by_name
        ):
            raise TrainingError(f"{each.path}: no layer of net {net.name!r} is in it: are these the right weights?")


def _column(number: int, name: str, tests: Sequence[FedNet]) -> str:
    """Return the name in the log of what a test net measures: with the net's number, if there are several."""
    return f"#{number} {name}" if len(tests) > 1 else name


def _device(solver: Solver, named: str | None) -> torch.device:
    wants_gpu = solver.solver_mode == 1 and torch.cuda.is_available()
    return torch_device(named or (f"cuda:{solver.device_id}" if wants_gpu else "cpu"))


def _draw(log: Log, solver: Solver) -> None:
    path = solver.file("_curves.png")
    atomic_write(path, draw_curves(log.rows, path.name.removesuffix("_curves.png")))
