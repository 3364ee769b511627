"""What a shell is offered when its user presses the tabulator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def offered(*words: str, shell: str = "bash") -> list[str]:
    line = {"COMP_WORDS": " ".join(["pycam", *words]), "COMP_CWORD": str(len(words))}
    if shell != "bash":  # they pass the line, and fish asks for the words that it lists
        line = {"_TYPER_COMPLETE_ARGS": " ".join(["pycam", *words]), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    # As the installed command is started, for a module's name makes another variable.
    script = "import sys; sys.argv[0] = 'pycam'; from pycam.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **line, "_PYCAM_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hea"], ["heatmap"]),
        (["models", "d"], ["download"]),
        (["heatmap", "--meth"], ["--method"]),
        (["heatmap", "--model", "vgg"], ["vgg16", "vgg16-cam"]),
        (["models", "show", "squeezenet-cam"], ["squeezenet-cam-caltech101"]),
        (["evaluate", "--engine", "o"], ["onnxruntime", "openvino", "opencv"]),
        (["heatmap", "--protocol", "py"], ["py_demo", "pytorch_cam"]),
        (["serve", "--view", "f"], ["full"]),
        (["net", "show", "googlenet-c"], ["googlenet-cam", "googlenet-cam-places205"]),
    ],
)
def test_a_shell_completes(words, expected):
    assert offered(*words) == expected


def test_other_shells_complete_models_and_protocols():
    assert "vgg16-cam" in " ".join(offered("heatmap", "--model", "vgg", shell="zsh"))
    found = " ".join(offered("heatmap", "--protocol", "py", shell="fish"))
    assert "py_demo" in found and "pytorch_cam" in found and "released" not in found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_the_program(shell):
    script = "import sys; sys.argv[0] = 'pycam'; from pycam.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "_PYCAM_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"_PYCAM_COMPLETE=complete_{shell}" in done.stdout
