"""How a run spends the time of the cores: on reading images, on the net, on boxes, or on nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Seconds = Mapping[str, float]
"""Seconds of cores by what they were spent on: `decode`, `net`, `boxes`; `available` is the time times the cores."""


class Clock:
    """The CPU time of this process since the clock was made, by stage. Threads may share a clock.

    What no stage has measured is the net's: engines compute in threads of their own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = time.process_time()
        self._stages = {"decode": 0.0, "boxes": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the CPU time of this thread in the block to a stage."""
        start = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._stages[name] += time.thread_time() - start

    def take(self) -> Seconds:
        """Return the seconds since the last call, or since the clock was made."""
        with self._lock:
            now, stages = time.process_time(), self._stages
            self._stages = dict.fromkeys(stages, 0.0)
            # Below 0 if a stage ends that began before the last call; the sum of all calls is right.
            net = now - self._taken - sum(stages.values())
            self._taken = now
        return {**stages, "net": net}


def shares(seconds: Seconds) -> dict[str, float] | None:
    """Return the shares of the available time, to three digits: `decode`, `net`, `boxes`, `idle`; None without any."""
    available = seconds.get("available", 0.0)
    if available <= 0:
        return None
    found = {name: round(max(0.0, seconds.get(name, 0.0) / available), 3) for name in ("decode", "net", "boxes")}
    return {**found, "idle": round(max(0.0, 1 - sum(found.values())), 3)}


def line(found: Mapping[str, float]) -> str:
    """Return shares as text."""
    return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in found.items())
