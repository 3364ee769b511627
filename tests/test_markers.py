"""The markers: a missing requirement skips or fails, and nothing is reached without its marker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REQUIREMENTS

ROOT = Path(__file__).parents[1]
CAFFE = """
def test_fixture_of_caffe(caffe): pass

def test_engine():
    from pycam.engines.caffe import CaffeProcess
    CaffeProcess()

def test_process():
    import subprocess, sys
    code = "from pycam.engines.caffe import CaffeProcess; CaffeProcess()"
    subprocess.run([sys.executable, "-c", code], check=True)
"""
DATA = """
def test_fixture_of_data(shared): pass

def test_folder():
    from conftest import SHARED
    assert list((SHARED / "data").iterdir())

def test_fixture_found_late(request):
    (request.getfixturevalue("shared") / "data/a.txt").read_text()
"""


@pytest.fixture
def session(tmp_path):
    """Run tests in a session of its own, on a machine with Caffe and data or without; give its output."""
    (tmp_path / "shared/data").mkdir(parents=True)
    (tmp_path / "shared/data/a.txt").write_text("a")
    (tmp_path / "caffe.py").write_text("__version__ = '1'")

    def run(tests: str, *, machine: bool = True, require: str = "") -> str:
        (tmp_path / "test_it.py").write_text(f"import pytest\n{tests}")
        environment = {
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", tmp_path))),
            "PYCAM_CAFFE": sys.executable if machine else "",
            "PYCAM_CAFFE_ROOT": str(tmp_path / "nowhere"),
            "PYCAM_SHARED": str(tmp_path / ("shared" if machine else "nowhere")),
            "PYCAM_REQUIRE": require,
        }
        options = ["-p", "conftest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, tmp_path],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    return run


def test_nothing_is_reached_without_its_marker(session):
    output = session(CAFFE + DATA)
    assert "4 failed, 2 errors" in output
    _, *parts = re.split(
        r"^_+ (?:ERROR at setup of )?test_(\w+) _+$", output.partition("= short test summary")[0], flags=re.M
    )
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {name for name, text in said.items() if "@pytest.mark.caffe" in text} == set(
        re.findall(r"test_(\w+)", CAFFE)
    )
    assert {name for name, text in said.items() if "@pytest.mark.shared" in text} == set(
        re.findall(r"test_(\w+)", DATA)
    )


def test_with_the_marker_it_is_reached(session):
    assert "6 passed" in session(f"pytestmark = [pytest.mark.caffe, pytest.mark.shared]\n{CAFFE}{DATA}")


def test_what_is_missing_is_skipped_with_its_name_and_the_reason(session):
    for mark in ("caffe", "shared"):
        output = session(f"@pytest.mark.{mark}\ndef test_it(): assert False", machine=False)
        assert "1 skipped" in output
        assert re.search(rf": {mark}: .*/nowhere/(start|data)", output), output


@pytest.mark.parametrize("more", ["", "@pytest.mark.shared\n"])
def test_what_is_required_and_missing_fails(session, more):
    output = session(f"{more}@pytest.mark.caffe\ndef test_it(): pass", machine=False, require="torch,caffe")
    assert "1 failed in" in output
    assert "PYCAM_REQUIRE names 'caffe', but no Caffe" in output


def test_a_required_marker_that_there_is_not_is_refused(session):
    assert "PYCAM_REQUIRE names cafe: the markers are shared, caffe, " in session("", require="cafe")


def test_ci_requires_all_that_does_not_depend_on_the_machine_or_the_user():
    required = (ROOT / ".ci/run").read_text().partition("PYCAM_REQUIRE:-")[2].partition("}")[0]
    assert set(required.split(",")) == REQUIREMENTS.keys() - {
        "bf16",
        "gpu",
        "isolated",
        "unprivileged",
    }
