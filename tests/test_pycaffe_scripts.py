"""Scripts as people publish them: each prints the same numbers in real Caffe and here, with only its import changed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from pycam.engines.caffe import find_caffe

with suppress(ImportError):
    import torch

FOLDER = Path(__file__).with_name("pycaffe_scripts")
SCRIPTS = {path.stem: path.read_text("utf-8") for path in sorted(FOLDER.glob("*.py"))}

# Runs the scripts, a dictionary in JSON on standard input, in Caffe's own Python, each in a folder of its own.
IN_CAFFE = """
import contextlib, io, json, os, sys
found, folder = {}, os.getcwd()
for name, script in json.load(sys.stdin).items():
    os.mkdir(os.path.join(folder, name))
    os.chdir(os.path.join(folder, name))
    with io.StringIO() as said:
        with contextlib.redirect_stdout(said):
            exec(compile(script, name, "exec"), {"__name__": "__main__"})
        found[name] = said.getvalue()
print(json.dumps(found))
"""

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|\bnan\b|\binf\b")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """What the scripts print in real Caffe, all in one process."""
    ended = subprocess.run(
        [*find_caffe(), "-c", IN_CAFFE],
        input=json.dumps(SCRIPTS),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("there"),
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture
def one_thread():
    """The nets are so small that threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_here(name):
    changed = re.sub(r"^import caffe$", "from pycam import pycaffe as caffe", SCRIPTS[name], flags=re.MULTILINE)
    changed = re.sub(r"^from caffe\b", "from pycam.pycaffe", changed, flags=re.MULTILINE)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(changed, name, "exec"), {"__name__": "__main__"})
    return said.getvalue()


def words_and_numbers(text):
    """Split what a script printed, without what differs among versions of NumPy: types, blanks, line breaks."""
    text = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", text)
    text = re.sub(r"array\(((?:[^()]|\n)*?)(?:,\s*dtype=\w+)?\)", r"\1", text)
    return re.sub(r"[\s\[\]]+", "", NUMBER.sub("#", text)), [float(number) for number in NUMBER.findall(text)]


@pytest.mark.caffe
@pytest.mark.torch
@pytest.mark.hdf5
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_prints_in_caffe(name, there, one_thread, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (words, numbers), (expected_words, expected) = map(words_and_numbers, (run_here(name), there[name]))
    assert words == expected_words
    assert len(expected) > 10, "a script that prints something"
    assert numbers == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def test_there_are_twenty_scripts():
    assert len(SCRIPTS) >= 20
