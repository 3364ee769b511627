"""Workers on other machines: a Dask scheduler distributes the batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial

from pycam.errors import RunError, UsageError
from pycam.evaluation.record import Batch
from pycam.evaluation.workers import Done, Work, ctrl_c_blocked
from pycam.prefetch import prefetch

try:
    import dask
    import distributed
except ImportError:
    raise UsageError("a cluster needs Dask: pip install 'caffe-cam[cluster]'") from None

LOCAL = "local:"

_WORKERS_LOG = "distributed.nanny.pre-spawn-environ.DASK_DISTRIBUTED__LOGGING__DISTRIBUTED"
"""Dask's setting of what the processes of its workers log."""


def on_cluster(work: Work, batches: Iterable[Batch], scheduler: str) -> Done:
    """Work on batches on a Dask cluster, which replaces workers that die and repeats their batches.

    Parameters
    ----------
    work : callable
        As for `in_processes`.
    batches : iterable of Batch
        As for `in_processes`. Images and weights must have the same paths on every machine.
    scheduler : str
        An address such as `tcp://host:8786`; or `local:N`, which starts a scheduler and N workers on this machine.

    Raises
    ------
    UsageError
        The address has another form.
    RunError
        The scheduler cannot be reached or is lost, or a worker does not match the run.
    """
    try:
        with _quiet(), _client(scheduler) as client:
            workers = len(client.scheduler_info()["workers"])
            submit = partial(client.get_executor(pure=False).submit, work)
            yield from prefetch(submit, batches, max(workers, 1), ordered=False)
    except distributed.KilledWorker:
        raise RunError(
            f"{scheduler}: workers died several times on one batch: out of memory? Try a smaller --batch; "
            "the same command resumes the run"
        ) from None
    except (CancelledError, OSError) as error:
        raise RunError(
            f"{scheduler}: no scheduler answers there ({type(error).__name__}): is it running? "
            "The same command resumes the run"
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
        raise UsageError(f"scheduler {scheduler!r}: local:N was expected, for N workers")
    with ctrl_c_blocked(), dask.config.set({_WORKERS_LOG: "critical"}):
        cluster = distributed.LocalCluster(
            n_workers=int(number),
            threads_per_worker=1,
            memory_limit=None,
            # Dask listens even without its dashboard, and would warn if its usual port were in use.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        )
    with cluster, distributed.Client(cluster) as client:
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's log: errors arrive as exceptions, and their messages have one line."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("distributed", "distributed.client"))}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
