"""Who evaluates batches: threads of this process, or processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import wait as wait_for

import cv2

from pycam.errors import RunError
from pycam.evaluation.bench import Bench, run_batch
from pycam.evaluation.plan import Batch, Identity, Recipe
from pycam.evaluation.store import Outcome

Done = Iterator[list[Outcome]]

DEATHS = 3
"""How often in a row workers may die, without one batch done, before the run gives up."""


def in_threads(recipe: Recipe, identity: Identity, batches: Iterable[Batch]) -> Done:
    """Evaluate batches in this process: while the net runs on one, boxes are found for the one before."""
    with (
        closing(Bench(recipe, identity)) as bench,
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "net") as net,
        ThreadPoolExecutor(1, "find") as finder,
    ):

        def submit(batch: Batch) -> Future[list[Outcome]]:
            prepared = reader.submit(bench.prepare, batch)
            sights = net.submit(lambda: bench.look(batch, prepared.result()))
            return finder.submit(lambda: bench.find(batch, sights.result()))

        yield from finished(submit, batches, at_once=2)


def in_processes(recipe: Recipe, identity: Identity, batches: Iterable[Batch], workers: int) -> Done:
    """Evaluate batches in processes of their own; those that die are replaced, and their batches done again.

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
            with _pool(workers, recipe.threads) as pool:
                work = partial(run_batch, recipe, identity)
                for outcomes in finished(partial(pool.submit, work), handed_out(list(out.values())), 2 * workers):
                    del out[outcomes[0].position]
                    deaths = 0
                    yield outcomes
                return
        except BrokenProcessPool:
            deaths += 1
            if deaths == DEATHS:
                near = next(iter(out.values()))[0].path
                raise RunError(
                    f"workers died {DEATHS} times in a row, near {near}: out of memory? Try fewer --workers or a "
                    "smaller --batch; the same command goes on from here"
                ) from None


def finished(submit: Callable[[Batch], Future[list[Outcome]]], batches: Iterable[Batch], at_once: int) -> Done:
    """Submit batches, `at_once` at a time, and give results as they come."""
    batches = iter(batches)
    waiting: set[Future[list[Outcome]]] = set()
    try:
        while True:
            waiting |= {submit(batch) for batch in islice(batches, at_once - len(waiting))}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()


def _pool(workers: int, threads: int | None) -> ProcessPoolExecutor:
    # Forked, a process would inherit the locks of an engine's threads without the threads.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begin_worker, (threads,))


def _begin_worker(threads: int | None) -> None:
    # A Ctrl-C reaches the whole terminal; the parent alone decides what follows from it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threads is not None:
        cv2.setNumThreads(threads)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    # A pool's workers do not notice that their parent was killed; they would wait for work for ever.
    wait_for([parent])
    os._exit(1)
