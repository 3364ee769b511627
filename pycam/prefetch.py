"""Prefetching: compute a bounded number of results before they are needed."""

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
        A function that starts the work on an item and returns its future.
    items : iterable
        The items; each is taken only when it can be submitted.
    at_once : int
        The largest number of submitted items whose results have not been yielded.
    ordered : bool
        Whether to yield results in the order of the items, or in the order of completion.

    Yields
    ------
    The results of the items. An exception, of an item or of `items`, is raised after the results that come before it,
    or in the order of completion after those of all items whose work had started. After it, or when the generator is
    closed, futures that have not started are cancelled.
    """
    items = iter(items)
    waiting: list[Future[_R]] = []
    failure: Exception | None = None
    try:
        while True:
            try:
                if failure is None:
                    # One after the other: what is submitted is known when the next item raises.
                    for item in islice(items, at_once - len(waiting)):
                        waiting.append(submit(item))
            except Exception as error:
                failure = error
            if not waiting:
                break
            done, _ = wait(waiting[:1] if ordered else waiting, return_when=FIRST_COMPLETED)
            finished = [future for future in waiting if future in done]
            waiting = [future for future in waiting if future not in done]
            for future in finished:
                try:
                    result = future.result()
                except Exception as error:
                    failure = failure or error
                    started = [other for other in waiting if not other.cancel()]
                    waiting = [] if ordered else started
                else:
                    yield result
        if failure is not None:
            raise failure
    finally:
        for future in waiting:
            future.cancel()
