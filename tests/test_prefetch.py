from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pycam.prefetch import prefetch


class StartedFuture(Future[int]):
    """Work that has started, and gives 1 when somebody wants to cancel it."""

    def cancel(self) -> bool:
        if not self.done():
            self.set_result(1)
        return False


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_every_item_has_its_result(at_once, ordered):
    with ThreadPoolExecutor(4) as pool:
        results = list(prefetch(lambda item: pool.submit(pow, item, 2), range(40), at_once, ordered=ordered))
    assert (results if ordered else sorted(results)) == [item**2 for item in range(40)]


def test_results_come_in_order_or_as_they_are_completed():
    for ordered, expected in ((True, [0, 1]), (False, [1, 0])):
        first, second = Future[int](), Future[int]()
        second.set_result(1)
        if ordered:
            # In order, the first is waited for, though it is completed last.
            threading.Timer(0.05, first.set_result, [0]).start()
        results = prefetch([first, second].__getitem__, range(2), 2, ordered=ordered)
        found = [next(results)]
        if not ordered:
            first.set_result(0)
        assert [*found, *results] == expected


@pytest.mark.parametrize("ordered", [True, False])
def test_the_number_of_submitted_items_is_bounded(ordered):
    taken = itertools.count()
    with ThreadPoolExecutor(1) as pool:
        results = prefetch(lambda item: pool.submit(abs, item), taken, 3, ordered=ordered)
        for _ in range(10):
            next(results)
        assert next(taken) <= 10 + 2
        results.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_an_exception_cancels_what_has_not_started(ordered):
    futures = [Future[int]() for _ in range(3)]
    futures[0].set_exception(ValueError("broken"))
    results = prefetch(futures.__getitem__, range(9), 3, ordered=ordered)
    with pytest.raises(ValueError, match="broken"):
        next(results)
    assert [future.cancelled() for future in futures] == [False, True, True]


def test_closing_cancels_what_has_not_started():
    futures = [Future[int]() for _ in range(3)]
    futures[0].set_result(0)
    results = prefetch(futures.__getitem__, range(9), 3)
    assert next(results) == 0
    results.close()
    assert [future.cancelled() for future in futures] == [False, True, True]


@pytest.mark.parametrize("ordered", [True, False])
def test_what_was_taken_before_the_items_raise_is_handed_over(ordered):
    def items():
        yield from range(5)
        raise ValueError("no more")

    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="no more"):
        for result in prefetch(lambda item: pool.submit(abs, item), items(), 3, ordered=ordered):
            found.append(result)
    # Without an order, two workers may finish in either one.
    assert (found if ordered else sorted(found)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("ordered", "expected"), [(True, []), (False, [1])])
def test_work_that_has_started_is_handed_over_before_an_exception(ordered, expected):
    """In order there is none after it; otherwise all of it."""
    futures = [Future[int](), StartedFuture(), Future[int]()]
    futures[0].set_exception(ValueError("broken"))
    results = prefetch(futures.__getitem__, range(9), 3, ordered=ordered)
    found = []
    with pytest.raises(ValueError, match="broken"):
        for result in results:
            found.append(result)
    assert found == expected
    assert futures[2].cancelled()
