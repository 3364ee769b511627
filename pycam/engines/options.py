"""Options of an engine: one value that every caller passes on unchanged."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pycam.errors import UsageError

MOST_THREADS = 1024
"""The most threads, and the most streams: with some thousands a system has no more, and libraries end the process."""


@dataclass(frozen=True)
class Options:
    """Options of an engine.

    Attributes
    ----------
    device : str, optional
        `"cpu"`, `"cuda"` or another device of the engine, in lower or upper case; None for the CPU.
    threads : int, optional
        Number of threads; None for one per core.
    streams : int
        Number of `forward` calls that may run at the same time, each on its share of the threads. More streams give
        more images per second, and a longer time per image; `pycam.engines.best_streams` tells how many. Engines that
        are not `concurrent` have one.
    precision : str, optional
        One of the engine's `precisions`; None for its first.

    Raises
    ------
    UsageError
        Fewer than one thread or stream, or more than `MOST_THREADS`.
    """

    device: str | None = None
    threads: int | None = None
    streams: int = 1
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.device is not None:
            object.__setattr__(self, "device", self.device.lower())
        for number, what in ((self.threads, "threads"), (self.streams, "streams")):
            if number is not None and number < 1:
                raise UsageError(f"{number} {what}: use at least one")
            if number is not None and number > MOST_THREADS:
                raise UsageError(f"{number} {what}: use at most {MOST_THREADS}; this process may use {cores()} cores")

    @property
    def threads_per_stream(self) -> int:
        """The number of threads of one `forward` call, at least one."""
        return max(1, (self.threads or cores()) // self.streams)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
