"""How the libraries around an engine are set in a process that sends many images through it."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import cv2
from threadpoolctl import threadpool_limits

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


@contextmanager
def beside_an_engine() -> Iterator[None]:
    """Let OpenCV and the BLAS use a thread each, and freed memory be kept for the next image.

    Maps and images are small: more threads would mostly wait, against those of the engine. Memory stays kept behind
    the block, too.
    """
    _keep_freed_memory()
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        cv2.setNumThreads(before)


@lru_cache(1)  # once a process: the name of its C library is read out of a file
def _keep_freed_memory() -> None:
    """Keep blocks of an image's size: glibc gives them back, and the system clears them anew for the next image."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
