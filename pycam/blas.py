"""NumPy's matrix products on one thread, where they are small and an engine needs the other cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use a single thread of the whole process until the last thread has left the block.

    OpenBLAS's threads wait for more work by spinning: after a product of microseconds they hold a core against the
    engine for tens of milliseconds, which halves the rate of VGG16 on two cores.
    """
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()


@lru_cache(1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
