"""A run, from its start or from where it stopped, to its report."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import FrameType
from typing import Any

from pycam.engines import cores
from pycam.errors import RunError, stop_signals
from pycam.evaluation.evaluator import evaluate_batch
from pycam.evaluation.plan import Identity, Plan, identity_of
from pycam.evaluation.record import Batch
from pycam.evaluation.results import write_results
from pycam.evaluation.saved_maps import SavedMaps
from pycam.evaluation.store import Store
from pycam.evaluation.workers import Done, in_processes, in_threads
from pycam.ilsvrc.manifest import Manifest
from pycam.model import Model

STORE = "run.sqlite"

Progress = Callable[[int], None]
"""Takes the number of images that are done; the first call has the number of an earlier run."""


def evaluate(
    plan: Plan,
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    model: Model | None = None,
    skip: bool = False,
    progress: Progress = lambda done: None,
    save_maps: tuple[Path, str, str] | None = None,
) -> dict[str, Any]:
    """Evaluate all images that are not evaluated yet, and write the results.

    Parameters
    ----------
    plan : Plan
        What to evaluate.
    folder : Path
        Folder of the run; it is created if it does not exist. A run that stopped there is resumed.
    workers : int
        Number of processes; 1 uses only this process.
    scheduler : str, optional
        A Dask scheduler that does the work instead, as for `pycam.evaluation.cluster.on_cluster`.
    model : Model, optional
        The recipe's model, if it is already loaded.
    skip : bool
        Skip images that cannot be evaluated, instead of stopping at the first. Only faults of an image are skipped:
        what the machine cannot read stops the run.
    progress : callable
        See `Progress`.
    save_maps : (Path, str, str), optional
        A folder for the maps of the ground-truth classes, their size and their dtype: `pycam.ilsvrc.manifest.Manifest`.

    Returns
    -------
    dict
        The content of `report.json`.

    Raises
    ------
    RunError
        The folder holds another run or is in use, or the run had to stop. Stored results are not lost.
    ImageError, EngineError
        An image cannot be read, or its scores are not finite.
    """
    recipe = plan.recipe
    alone = workers == 1 and scheduler is None
    with ExitStack() as stack:
        streams = recipe.best_streams if alone else 1
        model = model or recipe.load()
        plan = plan.for_net(model)
        cam = stack.enter_context(recipe.make(model, streams))
        of_recipe, placement = identity_of(cam), cam.placement
        if not alone:
            stack.close()  # the workers load models of their own
        work = partial(evaluate_batch, recipe, of_recipe)

        def executor(batches: Iterator[Batch]) -> Done:
            if scheduler is not None:
                from pycam.evaluation.cluster import on_cluster

                return on_cluster(work, batches, scheduler)
            return in_threads(cam, batches) if alone else in_processes(work, batches, workers)

        identity = plan.identity(of_recipe)
        maps = None
        if save_maps is not None:
            place, size, dtype = save_maps
            made_with = {"model": recipe.name, "protocol": recipe.protocol.name, "identity": dict(identity)}
            maps = SavedMaps(place, Manifest.of(size, dtype, placement, **made_with), plan.truth.names)
        return carry_out(
            plan, identity, folder, executor, skip=skip, progress=progress, timed=scheduler is None, maps=maps
        )


def carry_out(
    plan: Plan,
    identity: Identity,
    folder: Path,
    executor: Callable[[Iterator[Batch]], Done],
    *,
    skip: bool = False,
    progress: Progress = lambda done: None,
    timed: bool = True,
    maps: SavedMaps | None = None,
) -> dict[str, Any]:
    """Run an executor on all images that are not done, store its results, and write the report.

    Parameters
    ----------
    plan, folder, skip, progress
        As for `evaluate`.
    identity : Identity
        Everything that affects the result.
    executor : callable
        Takes batches and yields their results, in any order.
    timed : bool
        Whether the executor computes on this machine only, so that its time can be compared with that of the cores.
    maps : SavedMaps, optional
        Where to write the maps of the ground-truth classes. An image without its map is not done.

    Returns
    -------
    dict
        The content of `report.json`.
    """
    with Store(folder / STORE, identity) as store:
        plan.save(folder)
        done = store.done(plan.images, skip)
        if maps is not None:
            maps.begin()
            failed = store.failures()
            done = {position for position in done if position in failed or maps.has(position)}
        with _stop_signals() as signals:
            progress(len(done))
            todo = (batch for batch in plan.batches() if not done.issuperset(task.position for task in batch))
            # After a signal no more batches start; those that have started are finished.
            with closing(executor(takewhile(lambda _: not signals, todo))) as results, _shortages():
                since = time.perf_counter()
                for found, spent in results:
                    now = time.perf_counter()
                    if maps is not None:
                        maps.write(found)
                    # How many cores a cluster has for a run is not known.
                    store.add(found, {**spent, "available": (now - since) * cores()} if timed else {})
                    since = now
                    failure = next((each for each in found if each.error), None)
                    if failure is not None and not skip:
                        raise failure.error_type(failure.error)
                    done.update(each.position for each in found)
                    progress(len(done))
        if len(done) < len(plan):
            name = signal.Signals(signals[0]).name
            error = RunError(
                f"stopped by {name} with {len(done)} of {len(plan)} images done: the same command resumes the run"
            )
            error.exit_code = 128 + signals[0]
            raise error
        return write_results(plan, identity, store, folder)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect signals that ask for an end instead of ending the process; a second signal ends it as usual."""
    signals: list[int] = []
    with ExitStack() as stack:

        def note(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            stack.close()

        stack.enter_context(stop_signals(note))
        yield signals


@contextmanager
def _shortages() -> Iterator[None]:
    """Turn errors about missing memory or other resources into errors that tell what to do."""
    try:
        yield
    except (MemoryError, OSError) as error:
        shortage = "out of memory: try a smaller --batch"
        if isinstance(error, OSError):
            shortage = f"a resource of this machine is exhausted ({error.strerror or error})"
        raise RunError(f"{shortage}; finished images are stored, and the same command resumes the run") from None
