from __future__ import annotations

import subprocess
import sys

import pytest

import pycam
from pycam.cli import COMMANDS, load_command


def test_importing_pycam_loads_no_engine_and_no_opencv():
    script = "import pycam, sys; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"cv2", "onnx", "onnxruntime", "openvino", "torch", "scipy", "pandas", "PIL"}
    assert "pycam" in loaded
    assert not heavy.intersection(loaded)


HELP = """
import contextlib, io, sys
from pycam.cli import main
with contextlib.redirect_stdout(io.StringIO()) as shown:
    code = main(["--help"])
print(code, "heatmap" in shown.getvalue(), *sys.modules)
"""


def test_the_list_of_commands_imports_none_of_them():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    code, listed, *loaded = done.stdout.split()
    assert (code, listed) == ("0", "True")
    heavy = {"numpy", "scipy", "cv2", "yaml", "pandas", "onnxruntime", "torch", "PIL", "rich", "pycam.cli.heatmap"}
    assert "pycam.cli" in loaded
    assert not heavy.intersection(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listed_line_is_the_first_of_the_command_s_help(name):
    assert load_command(name).help.split("\n\n")[0] == COMMANDS[name]


def test_every_public_name_is_there():
    for name in pycam.__all__:
        assert getattr(pycam, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pycam.nothing  # noqa: B018
