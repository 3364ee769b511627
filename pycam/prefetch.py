"""Work that is done ahead of whoever takes its results, within a bound."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def prefetch(
    submit: Callable[[_T], Future[_R]], items: Iterable[_T], at_once: int, *, ordered: bool = True
) -> Generator[_R]:
    """Submit items, a bounded number at a time, and yield their results.

    Parameters
    ----------
    submit : callable
        Starts the work on an item, and returns its future.
    items : iterable
        Taken one by one, as there is room for them.
    at_once : int
        How many items are submitted whose results are not taken yet.
    ordered : bool
        Whether results come in the order of the items, or as they are completed.

    Yields
    ------
    The result of an item. The first exception ends the work: what has not begun is cancelled, as it is when no more
    results are wanted.
    """
    items = iter(items)
    waiting: list[Future[_R]] = []
    try:
        while True:
            waiting += [submit(item) for item in islice(items, at_once - len(waiting))]
            if not waiting:
                return
            if ordered:
                done = waiting[:1]
            else:
                wait(waiting, return_when=FIRST_COMPLETED)
                done = [future for future in waiting if future.done()]
            waiting = [future for future in waiting if future not in done]
            for future in done:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()
