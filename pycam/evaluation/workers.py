"""Executors of batches: threads of this process, or processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import wait as wait_for

from pycam.engines.threads import beside_an_engine
from pycam.errors import PycamError, RunError
from pycam.evaluation import evaluator
from pycam.evaluation.record import Batch, Finished
from pycam.evaluation.timing import Clock
from pycam.predict import Cam, Prepared
from pycam.prediction import Prediction
from pycam.prefetch import prefetch

Work = Callable[[Batch], Finished]
Done = Generator[Finished]

DEATHS = 3
"""After so many deaths of workers without a finished batch, the run stops."""


def in_threads(cam: Cam, batches: Iterable[Batch]) -> Done:
    """Evaluate batches in this process: read the next batch and find boxes in the last one while the net runs.

    Boxes are found on request, so that at most one finished batch is not stored yet.
    """
    streams, clock = cam.batches_at_once, Clock()
    with beside_an_engine(), ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(streams, "net") as net:

        def submit(batch: Batch) -> Future[tuple[Batch, list[Prediction | PycamError]]]:
            prepared = reader.submit(_prepared, cam, batch, clock)
            return net.submit(lambda: _predicted(cam, *prepared.result()))

        for batch, predictions in prefetch(submit, batches, streams + 2, ordered=False):
            with clock.stage("boxes"):
                found = evaluator.find_boxes(batch, predictions)
            yield found, clock.take()


def _prepared(cam: Cam, batch: Batch, clock: Clock) -> tuple[Batch, list[Prepared | PycamError]]:
    with clock.stage("decode"):
        return evaluator.prepare(cam, batch)


def _predicted(
    cam: Cam, batch: Batch, prepared: Sequence[Prepared | PycamError]
) -> tuple[Batch, list[Prediction | PycamError]]:
    return batch, evaluator.forward(cam, batch, prepared)


def in_processes(work: Work, batches: Iterable[Batch], workers: int) -> Done:
    """Work on batches in separate processes. A process that dies is replaced, and its batch is done again.

    Parameters
    ----------
    work : callable
        Takes a batch and returns its results; it must be picklable.
    batches : iterable of Batch
        The batches.
    workers : int
        Number of processes.

    Raises
    ------
    RunError
        Workers die `DEATHS` times in a row.
    """
    out: dict[int, Batch] = {}
    fresh = iter(batches)

    def handed_out(lost: Iterable[Batch]) -> Iterator[Batch]:
        for batch in chain(lost, fresh):
            out[batch[0].position] = batch
            yield batch

    deaths = 0
    while True:
        try:
            with _pool(work, workers) as submit:
                # One batch per worker at a time, so that a kill costs no more than that.
                for results, spent in prefetch(submit, handed_out(list(out.values())), workers, ordered=False):
                    del out[results[0].position]
                    deaths = 0
                    yield results, spent
                return
        except BrokenProcessPool:
            deaths += 1
            if deaths == DEATHS:
                near = next(iter(out.values()))[0].path
                raise RunError(
                    f"workers died {DEATHS} times in a row, near {near}: out of memory? Try fewer --workers or a "
                    "smaller --batch; the same command resumes the run"
                ) from None


@contextmanager
def _pool(work: Work, workers: int) -> Iterator[Callable[[Batch], Future[Finished]]]:
    # A forked process would inherit the locks of an engine's threads without the threads.
    context = multiprocessing.get_context("spawn")
    with ctrl_c_blocked():  # Python starts a process that keeps account of locks; it would not ignore SIGHUP.
        pool = ProcessPoolExecutor(workers, context, _begin_worker)
    with pool:

        def submit(batch: Batch) -> Future[Finished]:
            with ctrl_c_blocked():
                return pool.submit(work, batch)

        yield submit


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Make processes and threads that start in this block ignore Ctrl-C.

    The terminal sends Ctrl-C to all processes, and SIGHUP when it is closed, but only the parent reacts. It receives
    the signal after the block.
    """
    if sys.platform == "win32":  # Windows has no signal masks: Ctrl-C ends workers there, and they are replaced.
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    # The workers of a pool do not notice that their parent was killed; they would wait forever.
    wait_for([parent])
    os._exit(1)
