"""Who evaluates batches: threads of this process, or processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import chain
from multiprocessing.connection import wait as wait_for

from pycam.errors import PycamError, RunError
from pycam.evaluation.evaluator import Evaluator
from pycam.evaluation.record import Batch, Result
from pycam.predict import Cam
from pycam.prediction import Prediction
from pycam.prefetch import prefetch

Work = Callable[[Batch], list[Result]]
Done = Generator[list[Result]]

DEATHS = 3
"""How often in a row workers may die, without one batch done, before the run gives up."""


def in_threads(cam: Cam, batches: Iterable[Batch]) -> Done:
    """Evaluate batches in this process: while the net runs on some, the next is read, and boxes of the last are found.

    Boxes are found when they are asked for: of what is finished, never more than one batch has yet to be kept.
    """
    with (
        closing(Evaluator(cam)) as evaluator,
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(evaluator.streams, "net") as net,
    ):

        def submit(batch: Batch) -> Future[tuple[Batch, list[Prediction | PycamError]]]:
            prepared = reader.submit(evaluator.prepare, batch)
            return net.submit(lambda: (batch, evaluator.look(batch, prepared.result())))

        for batch, predictions in prefetch(submit, batches, evaluator.streams + 2, ordered=False):
            yield evaluator.find(batch, predictions)


def in_processes(work: Work, batches: Iterable[Batch], workers: int) -> Done:
    """Work on batches in processes of their own; those that die are replaced, and their batches done again.

    Parameters
    ----------
    work
        What is done with a batch: something that can be pickled.
    batches
        What it is done with.
    workers
        How many processes.

    Raises
    ------
    RunError
        Workers die again and again.
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
                # No more than one batch a worker, or a kill would cost more than that.
                for results in prefetch(submit, handed_out(list(out.values())), workers, ordered=False):
                    del out[results[0].position]
                    deaths = 0
                    yield results
                return
        except BrokenProcessPool:
            deaths += 1
            if deaths == DEATHS:
                near = next(iter(out.values()))[0].path
                raise RunError(
                    f"workers died {DEATHS} times in a row, near {near}: out of memory? Try fewer --workers or a "
                    "smaller --batch; the same command goes on from here"
                ) from None


@contextmanager
def _pool(work: Work, workers: int) -> Iterator[Callable[[Batch], Future[list[Result]]]]:
    # Forked, a process would inherit the locks of an engine's threads without the threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin_worker) as pool:

        def submit(batch: Batch) -> Future[list[Result]]:
            with deaf_to_ctrl_c():
                return pool.submit(work, batch)

        yield submit


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Have the processes and threads that begin in this block pay no heed to Ctrl-C.

    It reaches the whole terminal, but the parent alone decides what follows from it, and hears of it after the block.
    """
    if sys.platform == "win32":  # it has no masks: there a Ctrl-C ends workers, which are replaced
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    # A pool's workers do not notice that their parent was killed; they would wait for work for ever.
    wait_for([parent])
    os._exit(1)
