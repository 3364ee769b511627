"""The tables of docs/pycaffe.md: each call gives here what it gives in real Caffe."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycaffe_calls
import pytest

from pycam.engines.caffe import find_caffe

ROOT = Path(__file__).parents[1]
ONCE, BEFORE, TABLE = pycaffe_calls.read((ROOT / "docs/pycaffe.md").read_text("utf-8"))
ROWS = [code for code, _ in TABLE]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        return dict(zip(ROWS, pycaffe_calls.run(ONCE, BEFORE, ROWS), strict=True))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    arguments = [ONCE, BEFORE, json.dumps(ROWS)]
    command = [*find_caffe(), "-c", Path(pycaffe_calls.__file__).read_text("utf-8"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path_factory.mktemp("there"))
    assert ended.returncode == 0, ended.stderr
    return dict(zip(ROWS, json.loads(ended.stdout.splitlines()[-1]), strict=True))


@pytest.mark.caffe
@pytest.mark.parametrize(("row", "gives"), TABLE)
def test_a_call_gives_what_it_gives_in_caffe(row, gives, here, there):
    if isinstance(there[row], dict) and "raises" in there[row]:
        # Caffe's exception is raised here, or one that derives from it.
        (name,) = re.findall(r"\w*(?:Error|Exception)\b", gives)
        assert there[row]["raises"][0] == name, there[row]
        assert name in here[row]["raises"], here[row]
    else:
        assert_same(here[row], there[row])


def assert_same(here, there):
    if isinstance(there, dict):
        assert here.keys() == there.keys(), (here, there)
        for key in there:
            assert_same(here[key], there[key])
    elif isinstance(there, list):
        assert len(here) == len(there), (here, there)
        if there and all(isinstance(each, float) for each in there):
            np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)
        else:
            for ours, theirs in zip(here, there, strict=True):
                assert_same(ours, theirs)
    elif isinstance(there, float):
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)
    else:
        assert here == there


def test_no_call_is_listed_twice():
    assert len(set(ROWS)) == len(ROWS)


@pytest.mark.shared
@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:a constant mean image of another size:RuntimeWarning")
def test_a_script_prints_what_it_prints_in_caffe(shared, tmp_path, monkeypatch):
    """Where Caffe raises, its exception is raised here, or one that derives from it; the message is ours."""
    folder = shared / "data/cases/09-pycaffe"
    monkeypatch.setattr(sys, "argv", ["script.py", "--pycam"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    definitions, _, loop = (folder / "script.py").read_text().rpartition("\nfor ")
    assert "trial(k, f)" in loop
    printed: list[str] = []
    names = {"__file__": str(folder / "script.py"), "print": lambda *words: printed.append(" ".join(map(str, words)))}
    exec(compile(definitions, "script.py", "exec"), names)
    expected = dict(line.split(" | ", 1) for line in (folder / "caffe.txt").read_text().splitlines())
    # The others need a scikit-image of Caffe's time.
    expected = {trial: line for trial, line in expected.items() if "as_grey" not in line}
    assert len(expected) > 45
    for trial, line in expected.items():
        raised: list[BaseException] = []
        names["trial"](trial, recording(names[trial], raised))
        if line.startswith("EXC "):
            assert line.split()[1] in [each.__name__ for each in type(raised[0]).__mro__], (trial, raised)
        else:
            assert_same_text(printed[-1], f"{trial} | {line}")


def recording(function, raised):
    def recorded():
        try:
            return function()
        except BaseException as error:
            raised.append(error)
            raise

    return recorded


def assert_same_text(ours, theirs):
    number = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")
    assert number.sub("", ours) == number.sub("", theirs)
    numbers = [np.array(number.findall(text), float) for text in (ours, theirs)]
    np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1.1e-4, err_msg=theirs)  # four decimals are printed
