from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pycam
from pycam.cli import COMMANDS, load_command
from pycam.zoo import BUNDLED


def test_importing_pycam_loads_no_engine_and_no_opencv():
    script = "import pycam, sys; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"cv2", "onnx", "onnxruntime", "openvino", "ncnn", "torch", "scipy", "pandas", "PIL"}
    assert "pycam" in loaded
    assert not heavy.intersection(loaded)


SCRIPT = """
import contextlib, io, sys
from pycam.cli import main
with contextlib.redirect_stdout(io.StringIO()) as shown:
    code = main(sys.argv[1:])
print(code, len(shown.getvalue().split()), *sys.modules)
"""


def loaded_by(*arguments: str) -> set[str]:
    """Run a command that succeeds and prints something, and return the modules that it has imported."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    code, printed, *loaded = done.stdout.split()
    assert code == "0" and int(printed) > 10
    return set(loaded)


def test_the_list_of_commands_imports_none_of_them():
    loaded = loaded_by("--help")
    heavy = {
        "numpy",
        "scipy",
        "cv2",
        "yaml",
        "pandas",
        "onnxruntime",
        "torch",
        "PIL",
        "rich",
        "msgspec",
        "google.protobuf",
    }
    assert {name for name in loaded if name.startswith("pycam.cli")} == {"pycam.cli", "pycam.cli.process"}
    assert not heavy.intersection(loaded)


def test_a_heat_map_imports_only_what_it_needs(tmp_path):
    image = str(Path(__file__).parents[1] / "docs/images/coffee.jpg")
    loaded = loaded_by("heatmap", image, "--model", BUNDLED, "--json", "--out", str(tmp_path))
    # Each takes a twentieth of a second or more.
    heavy = {"scipy", "pandas", "onnx", "rich", "requests", "torch", "openvino", "distributed", "matplotlib", "skimage"}
    heavy.add("platformdirs")  # what is part of pycam is not looked for in the cache
    heavy |= {
        f"pycam.{name}" for name in ("verification", "evaluation", "report", "training", "pycaffe", "paper", "ilsvrc")
    }
    heavy |= {f"pycam.cli.{name}" for name in COMMANDS if name != "heatmap"}
    assert "pycam.cli.heatmap" in loaded
    assert not heavy.intersection(loaded)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_listed_line_is_the_first_of_the_command_s_help(name):
    assert load_command(name).help.split("\n\n")[0] == COMMANDS[name]


def test_every_public_name_is_there():
    for name in pycam.__all__:
        assert getattr(pycam, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pycam.nothing  # noqa: B018
