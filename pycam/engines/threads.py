"""Threads: turns at a library that computes for one at a time, and settings of a process that predicts many images."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import cv2
from threadpoolctl import threadpool_limits

# Constants from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class Turn:
    """A lock for `with`, which its thread may take again. A forked process begins with a free one.

    A thread of the parent that held the lock during the fork does not exist in the child, and would never release it.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.RLock()).acquire()

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()

    @property
    def first(self) -> int | None:
        """The process, this one or one that it was forked from, which took the lock first; None if none did."""
        return next(iter(self._locks), None)


@contextmanager
def beside_an_engine() -> Iterator[None]:
    """Limit OpenCV and the BLAS to one thread each, and keep freed memory for the next image.

    Maps and images are small: more threads would mostly wait, and compete with the engine's threads. The memory
    setting stays after the block.
    """
    _keep_freed_memory()
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        cv2.setNumThreads(before)


@lru_cache(1)  # once per process, because libc_ver() reads a file
def _keep_freed_memory() -> None:
    """Keep blocks of an image's size: glibc would return them, and the system would clear them for the next image."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
