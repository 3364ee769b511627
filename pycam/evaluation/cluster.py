"""Workers on other machines: the same batches, handed out by a Dask scheduler."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial

from pycam.errors import RunError, UsageError
from pycam.evaluation.record import Batch
from pycam.evaluation.workers import Done, Work, deaf_to_ctrl_c
from pycam.prefetch import prefetch

try:
    import distributed
except ImportError:
    raise UsageError("a cluster needs Dask: pip install 'caffe-cam[cluster]'") from None

LOCAL = "local:"


def on_cluster(work: Work, batches: Iterable[Batch], scheduler: str) -> Done:
    """Work on batches on a Dask cluster, which replaces workers that die and does their batches again.

    Parameters
    ----------
    work, batches
        As for processes. Images and weights must lie at the same paths on every machine.
    scheduler
        Its address, as in `tcp://host:8786`; or `local:N`, to start one here with N workers.

    Raises
    ------
    UsageError
        The address is none.
    RunError
        The scheduler cannot be reached or is lost, or a worker is not fit for the run.
    """
    try:
        with _quiet(), _client(scheduler) as client:
            workers = len(client.scheduler_info()["workers"])
            submit = partial(client.get_executor(pure=False).submit, work)
            yield from prefetch(submit, batches, max(workers, 1), ordered=False)
    except distributed.KilledWorker:
        raise RunError(
            f"{scheduler}: workers died again and again on one batch: out of memory? Try a smaller --batch; "
            "the same command goes on from here"
        ) from None
    except (CancelledError, OSError) as error:
        raise RunError(
            f"{scheduler}: no scheduler answers there ({type(error).__name__}): is it running? "
            "The same command goes on from here"
        ) from None


@contextmanager
def _client(scheduler: str) -> Iterator[distributed.Client]:
    if not scheduler.startswith(LOCAL):
        if "://" not in scheduler:
            raise UsageError(f"scheduler {scheduler!r}: tcp://host:port was expected, or local:N for N workers here")
        with distributed.Client(scheduler) as client:
            yield client
        return
    number = scheduler.removeprefix(LOCAL)
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"scheduler {scheduler!r}: local:N was expected, N workers")
    with deaf_to_ctrl_c():
        cluster = distributed.LocalCluster(
            n_workers=int(number), threads_per_worker=1, memory_limit=None, dashboard_address=None
        )
    with cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log to itself: what goes wrong comes as an exception, which is told in one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
