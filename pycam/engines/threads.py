"""Thread and memory settings of the libraries around an engine, for a process that predicts many images."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import cv2
from threadpoolctl import threadpool_limits

# Constants from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


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
