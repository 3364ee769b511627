"""The tables of docs/pycaffe.md: each call gives here what it gives in real Caffe."""

from __future__ import annotations

import json
import re
import subprocess
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
@pytest.mark.torch
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
