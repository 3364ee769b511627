"""What commands print: progress without a terminal, and JSON item by item."""

from __future__ import annotations

import io
import json
import sys
from functools import partial

import pytest
from hypothesis import given, settings, strategies as st

from pycam.console import JsonList, LineProgress, Notes, duration, print_json, resumed


class Clock:
    """A clock that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(monkeypatch) -> tuple[Clock, list[str], LineProgress]:
    clock, said = Clock(), []
    return clock, said, LineProgress(said.append, clock)


def test_one_line_per_minute_with_the_rate_and_the_time_left(lines):
    clock, said, progress = lines
    with progress as shown:
        bar = shown.add_task("heat maps", total=50_000)
        for _ in range(50_000):
            clock.now += 1 / 16
            shown.advance(bar)
    assert len(said) == 50_000 // 16 // 60
    assert said[0] == "heat maps: 960 of 50,000, 16.0/s, 51 min left"
    assert said[-1] == "heat maps: 49,920 of 50,000, 16.0/s, 5 s left"


def test_a_short_run_prints_nothing(lines):
    clock, said, progress = lines
    bar = progress.add_task("heat maps", total=10)
    for _ in range(10):
        clock.now += 5.9
        progress.advance(bar)
    assert said == []


def test_the_rate_is_that_of_this_run_and_of_this_step(lines):
    clock, said, progress = lines
    bar = progress.add_task("images", total=1000)
    show = resumed(Notes(quiet=True), progress, bar, 1000)
    show(900)
    clock.now += 120
    show(910)
    progress.update(bar, description="SVMs", completed=0, total=4)
    clock.now += 240
    progress.update(bar, completed=1)
    assert said == ["images: 910 of 1,000, 5.0/min, 18 min left", "SVMs: 1 of 4, 0.2/min, 12 min left"]


def test_an_unknown_total(lines):
    clock, said, progress = lines
    bar = progress.add_task("names")
    clock.now += 61
    progress.update(bar)
    clock.now += 61
    progress.advance(bar, 244)
    assert said == ["names: 0", "names: 244, 2.0/s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3500, "58 min"), (3590, "1 h 0 min"), (7500, "2 h 5 min"),
     (86_390, "1 d 0 h"), (97_200, "1 d 3 h"), (-1, "0 s")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_off_a_terminal_notes_print_lines_unless_they_are_quiet(monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr("pycam.console.LineProgress", partial(LineProgress, clock=clock))
    for quiet, told in ((False, "images: 1 of 2, 1.0/min, 1 min left\n"), (True, "")):
        items = Notes(quiet).each("images", "ab", 2)
        next(items)
        clock.now += 60
        next(items)
        assert capsys.readouterr().err == told


@settings(max_examples=30)
@given(
    items=st.lists(
        st.none()
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(), st.lists(st.text(), max_size=1), max_size=2),
        max_size=4,
    )
)
def test_a_list_is_printed_item_by_item_as_in_one_piece(items):
    printed = []
    for way in (lambda: print_json(items), lambda: _item_by_item(items)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", io.StringIO())
            way()
            printed.append(sys.stdout.getvalue())
    assert printed[0] == printed[1]
    assert json.loads(printed[0]) == items


def _item_by_item(items: list) -> None:
    with JsonList() as printed:
        for item in items:
            printed.add(item)
