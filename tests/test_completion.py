"""What a shell is offered when its user presses the tabulator."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def offered(*words: str) -> list[str]:
    line = {"COMP_WORDS": " ".join(["pycam", *words]), "COMP_CWORD": str(len(words))}
    # As the installed command is started, for a module's name makes another variable.
    script = "import sys; sys.argv[0] = 'pycam'; from pycam.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **line, "_PYCAM_COMPLETE": "complete_bash"},
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
    ],
)
def test_a_shell_completes(words, expected):
    assert offered(*words) == expected
