"""How an engine runs a net: one value that every caller passes on unchanged."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pycam.errors import UsageError


@dataclass(frozen=True)
class Options:
    """How an engine runs a net.

    Attributes
    ----------
    device : str, optional
        `"cpu"`, `"cuda"` or what else the engine knows; None for the CPU.
    threads : int, optional
        None for as many as there are cores.
    streams : int
        How many `forward`s may run at the same time, each on its share of the threads: more images per second, each
        of them later. Engines that are not `concurrent` have one.
    precision : str, optional
        One of the engine's `precisions`; None for its first.

    Raises
    ------
    UsageError
        Fewer than one thread or stream.
    """

    device: str | None = None
    threads: int | None = None
    streams: int = 1
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"{self.threads} threads: at least one is needed")
        if self.streams < 1:
            raise UsageError(f"{self.streams} streams: at least one is needed")

    @property
    def threads_per_stream(self) -> int:
        """How many threads one `forward` has, at least one."""
        return max(1, (self.threads or cores()) // self.streams)

    @property
    def most_streams(self) -> int:
        """How many streams give the most images per second: on a CPU one per core, on anything else one."""
        return (self.threads or cores()) if self.device in (None, "cpu") else 1


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
