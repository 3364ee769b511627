"""A run from its beginning, or from where it stopped, to its report."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

from pycam.errors import ImageError, RunError
from pycam.evaluation.evaluator import evaluate_batch
from pycam.evaluation.plan import Identity, Plan
from pycam.evaluation.record import Batch
from pycam.evaluation.results import write_results
from pycam.evaluation.store import Store
from pycam.evaluation.workers import Done, in_processes, in_threads
from pycam.model import Model

STORE = "run.sqlite"

Progress = Callable[[int], None]
"""Called with the number of images that are done, first with that of an earlier run."""


def evaluate(
    plan: Plan,
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    model: Model | None = None,
    skip: bool = False,
    progress: Progress = lambda done: None,
) -> dict[str, Any]:
    """Evaluate what is not evaluated yet, and write the results.

    Parameters
    ----------
    plan
        What to evaluate.
    folder
        Where results are kept; made if need be. One that holds a part of the same run is gone on with.
    workers
        Processes; one works in this process.
    scheduler
        A Dask scheduler to hand the work to instead, as `pycam.evaluation.cluster.on_cluster` takes it.
    model
        The recipe's model, where it is loaded already.
    skip
        Leave out images that cannot be read, instead of stopping at the first.
    progress
        See `Progress`.

    Returns
    -------
    dict
        What `report.json` says.

    Raises
    ------
    RunError
        The folder holds another run, or is in use; the run had to stop. What is done is kept.
    ImageError
        An image cannot be read.
    """
    recipe = plan.recipe
    alone = workers == 1 and scheduler is None
    with ExitStack() as stack:
        streams = recipe.options.most_streams if alone else 1
        cam = stack.enter_context(recipe.make(model or recipe.load(), streams))
        of_recipe = recipe.identity(cam)
        if not alone:
            stack.close()  # the workers have models of their own
        work = partial(evaluate_batch, recipe, of_recipe)

        def executor(batches: Iterator[Batch]) -> Done:
            if scheduler is not None:
                from pycam.evaluation.cluster import on_cluster

                return on_cluster(work, batches, scheduler)
            return in_threads(cam, batches) if alone else in_processes(work, batches, workers)

        return carry_out(plan, plan.identity(of_recipe), folder, executor, skip=skip, progress=progress)


def carry_out(
    plan: Plan,
    identity: Identity,
    folder: Path,
    executor: Callable[[Iterator[Batch]], Done],
    *,
    skip: bool = False,
    progress: Progress = lambda done: None,
) -> dict[str, Any]:
    """Have done what is not done yet, keep it, and write the results.

    Parameters
    ----------
    plan, folder, skip, progress
        As for `evaluate`.
    identity
        All that decides the result.
    executor
        Takes batches and gives what came of them, in any order.
    """
    with Store(folder / STORE, identity) as store:
        plan.save(folder)
        done = _done(plan, store, skip)
        with _told_to_stop() as told:
            progress(len(done))
            todo = (batch for batch in plan.batches() if not done.issuperset(task.position for task in batch))
            # To stop is to have no more batches: what has begun is finished.
            with closing(executor(takewhile(lambda _: not told, todo))) as results, _shortages():
                for found in results:
                    failure = next((each.error for each in found if each.error), None)
                    if failure is not None and not skip:
                        raise ImageError(failure)
                    store.add(found)
                    done.update(each.position for each in found)
                    progress(len(done))
        if len(done) < len(plan):
            raise _stopped(told[0], len(done), len(plan))
        return write_results(plan, identity, store, folder)


def _done(plan: Plan, store: Store, skip: bool) -> set[int]:
    """Give the positions of the images that need not be evaluated any more.

    An image that failed is tried again if its file has changed, or if failures are not to be skipped.

    Raises
    ------
    RunError
        An image has changed after it was evaluated.
    """
    failed = store.failures()
    done = set()
    for position, was in store.files().items():
        path = plan.images[position]
        same = was.is_of(path)
        if position not in failed and not same:
            raise RunError(f"{path}: has changed since it was evaluated, it had {was.size} bytes: name another --out")
        if same and (skip or position not in failed):
            done.add(position)
    return done


@contextmanager
def _told_to_stop() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM instead of being ended by them; a second one ends the process as ever."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        restore()


@contextmanager
def _shortages() -> Iterator[None]:
    """Turn what the machine is short of into what the user can do about it."""
    try:
        yield
    except MemoryError:
        raise RunError(
            "out of memory: try a smaller --batch; what is done is kept, the same command goes on from here"
        ) from None
    except OSError as error:
        raise RunError(
            f"this machine has no more to give ({error.strerror or error}): what is done is kept, "
            "the same command goes on from here"
        ) from None


def _stopped(number: int, done: int, total: int) -> RunError:
    error = RunError(
        f"stopped by {signal.Signals(number).name} with {done} of {total} images done: "
        "the same command goes on from here"
    )
    error.exit_code = 128 + number
    return error
