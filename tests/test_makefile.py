"""The environment that `make` makes: of which Python, and what is said where none can be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Runs code as the Python that `change` makes of it, and copies itself where an environment is to be made.
FAKE = """#!/bin/sh
if [ "$1" = -c ]; then
    exec {real} -c "import sys; {change}; exec(sys.argv[1])" "$2"
fi
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
cp "$0" "$3/bin/python"
touch "$3/pyvenv.cfg"
{end}
"""


@pytest.fixture
def make(tmp_path):
    """Run `make` for a Python that is changed so; give its exit code, and what it says before make's own last line."""

    def run(change: str, end: str = "", target: str = "pyvenv.cfg") -> tuple[int, list[str]]:
        python = tmp_path / "python"
        python.write_text(FAKE.format(real=sys.executable, change=change, end=end))
        python.chmod(0o755)
        command = ["make", f"VENV={tmp_path}/venv", f"PYTHON={python}"]
        targets = [target if target == "demo" else f"{tmp_path}/venv/{target}"]
        done = subprocess.run([*command, *targets], cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr.splitlines()[:-1]

    return run


@pytest.mark.parametrize("target", ["pyvenv.cfg", ".all", "demo"])
def test_an_old_python_is_refused_first(make, tmp_path, target):
    code, lines = make("sys.version_info = (3, 9, 18)", target=target)
    assert code == 2
    (line,) = lines
    assert line.startswith(
        f"pycam needs Python 3.10 or newer, and {tmp_path}/python is 3.9: name another Python, as in "
    )
    assert line.endswith(target)
    assert not (tmp_path / "venv").exists()


def test_without_the_module_for_environments_a_line_names_the_package(make, tmp_path):
    code, (line,) = make("sys.modules['ensurepip'] = None; sys.version_info = (3, 12, 1)")
    assert code == 2
    assert line == f"{tmp_path}/python cannot make environments: apt-get install python3.12-venv"
    assert not (tmp_path / "venv").exists()


def test_without_python_a_line_says_so():
    done = subprocess.run(["make", "PYTHON=no-such-python", "demo"], cwd=ROOT, capture_output=True, text=True)
    line, _ = done.stderr.splitlines()
    assert line == "there is no no-such-python: name another Python, as in PYTHON=python3.12 make demo"


def test_an_environment_is_kept_for_its_python_and_replaced_for_another(make, tmp_path):
    mark = tmp_path / "venv/mark"
    assert make("sys.version = '3.12.1 (one)'") == (0, [])
    mark.touch()
    assert make("sys.version = '3.12.1 (one)'") == (0, [])
    assert make("sys.version_info = (3, 9, 18)")[0] == 2
    assert mark.exists()
    assert make("sys.version = '3.12.2 (other)'") == (0, [])
    assert not mark.exists()
    mark.touch()
    assert make("sys.base_prefix = '/elsewhere'; sys.version = '3.12.2 (other)'") == (0, [])
    assert not mark.exists()


def test_an_environment_whose_making_failed_is_made_again(make, tmp_path):
    assert make("pass", end="exit 1")[0] == 2
    assert not (tmp_path / "venv/pyvenv.cfg").exists()
    assert make("pass") == (0, [])
    assert (tmp_path / "venv/pyvenv.cfg").exists()


def test_without_the_runtime_of_pages_the_tests_run_all_the_same(tmp_path):
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$2"\n[ "$2" = pytest ] || { echo "no npm" >&2; exit 7; }\n')
    python.chmod(0o755)
    # As if all packages were installed.
    command = ["make", "--silent", f"VENV={tmp_path}", f"--old-file={tmp_path}/.all", "test"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "pycam.page.runtime\npytest\n")
    assert done.stderr == "no npm\nthe tests marked ortweb are skipped\n"
