"""The statements of docs/reliability.md about the program: exit codes, tests, readers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import corpus
import pytest

from pycam import errors
from pycam.cli.options import NOT_CONFIRMED

TEXT = (Path(__file__).parents[1] / "docs/reliability.md").read_text("utf-8")


def kinds(of: type[Exception]) -> Iterator[type[errors.PycamError]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def test_exit_codes_are_those_of_the_errors():
    rows = re.findall(r"^\| (\d+) \| (`.*`) \|", TEXT, re.M)
    told = {kind: int(code) for code, names in rows for kind in re.findall(r"`(\w+)`", names)}
    own = [kind for kind in kinds(errors.PycamError) if kind.__module__ == errors.__name__]
    assert told == {kind.__name__: kind.exit_code for kind in own}


def test_every_exit_code_has_one_meaning():
    codes = [int(code) for code in re.findall(r"^\| (\d+) \| .*\|$", TEXT, re.M)]
    assert codes == sorted(set(codes))
    assert NOT_CONFIRMED in codes
    assert NOT_CONFIRMED not in {kind.exit_code for kind in kinds(errors.PycamError)}


def test_every_row_names_existing_tests():
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    here = set(re.findall(r"^def (test_\w+)", tests, re.M))
    rows = [line for line in TEXT.splitlines() if re.search(r"\| 0 \| 0 \|", line)]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= here, row


@pytest.mark.parametrize("figure", [f"{len(corpus.READERS)} readers", f"{len(corpus.DAMAGES)} ways to damage"])
def test_the_corpus_is_as_large_as_stated(figure):
    assert figure in TEXT
