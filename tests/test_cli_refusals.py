"""Options that would have no effect in a combination are refused with one line, before anything is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pycam.cli import main

BUNDLED = "squeezenet-cam-caltech101"
FILES = ["--prototxt", "a.prototxt", "--weights", "a.caffemodel"]
EVALUATE = ["evaluate", "--images", "p", "--ground-truth", "g", "--out", "o", "--model", BUNDLED]
CAM = ["net", "cam", "a.prototxt", "--after", "conv", "--classes", "3", "--out", "b.prototxt"]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYCAM_DEVICE", raising=False)


def refused(capsys, arguments: list[str], told: str) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compare", "onnxruntime", "--save", "x.npz", "--json"], "--json has no effect here: there is no second side"),
        (["compare", "onnxruntime", "--save", "x.npz", "--tolerance", "1"], "--tolerance has no effect here"),
        (["compare", "onnxruntime", "b.npz", "--seed", "0"], "--seed has no effect here: the input comes from b.npz"),
        (["compare", "a.npz", "onnxruntime", "--image", "p.jpg"], "--image has no effect here: the input comes"),
        (["compare", "a.npz", "b.npz", "--device", "cpu"], "--device has no effect here: only files are"),
        (["compare", "a.npz", "b.npz", "--threads", "1"], "--threads has no effect here"),
        (["compare", "a.npz", "b.npz", "--precision", "fp32"], "--precision has no effect here"),
        (["compare", "a.npz", "--save", "b.npz", "--threads", "1"], "--threads has no effect here"),
        (["compare", "torch", "caffe", "--image", "p.jpg", "--seed", "1"], "--seed has no effect here: the input is"),
        (["compare", "torch", "caffe", "--model", BUNDLED, *FILES], "--model has no effect here: the net and its"),
        (["verify", BUNDLED, "--out", "c.md", "--json"], "--json has no effect here: the suffix of --out"),
        (
            ["report", "html", "p.jpg", "--model", BUNDLED, "--out", "c.pdf"],
            "--out c.pdf: expected a file name that ends",
        ),
        (["verify", BUNDLED, "--out", "c.txt"], "c.txt: a certificate is written as .json or .md"),
        ([*EVALUATE, "--scheduler", "local:1", "--workers", "1"], "--workers has no effect here: the scheduler"),
        (
            [*EVALUATE, "--view", "full", "--set", "view=center"],
            "--set view=center: the view is already chosen: full",
        ),
        ([*EVALUATE, "--set", "mean=value", "--set", "mean=none"], "the mean is already chosen: value"),
        ([*EVALUATE, "--set", "mean=none", "--mean", "m.npy"], "--set mean=none has no effect here: --mean gives"),
        ([*EVALUATE, "--set", "mean=image", "--mean", "1,2,3"], "--set mean=image has no effect here: --mean"),
        (["net", "show", "a.prototxt", "--allow-nonfinite"], "--allow-nonfinite has no effect here: no weights"),
        (["net", "export", BUNDLED, "--onnx", "a.onnx", "--top", "5"], "--top has no effect here: no maps are written"),
        (["net", "export", BUNDLED, "--onnx", "a.onnx", *FILES], "has no effect here: the net and its weights"),
        ([*CAM, "--channels", "0", "--no-rectify"], "--rectify has no effect here: there is no CAM_conv"),
        (["activations", "p.jpg", "--layers", "conv", "--model", BUNDLED, *FILES, "--mean", "1,2,3"], "--model has no"),
        (["activations", "p.jpg", "--layers", "conv", "--model", BUNDLED, *FILES, "--protocol", "mpii"], "--model has"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_without_effect_is_refused(arguments, told, capsys):
    refused(capsys, arguments, told)


def test_classes_and_a_number_of_them(capsys):
    arguments = ["heatmap", "p.jpg", "--model", BUNDLED, "--class", "cup", "--top", "5"]
    refused(capsys, arguments, "top 5 has no effect with classes")


@pytest.mark.parametrize("command", [["score", "--predictions", "p.txt"], EVALUATE])
def test_files_that_the_ground_truth_has_no_use_for(command, capsys):
    for name in ("val.txt", "val.lst", "labels.txt", "blacklist.txt"):
        Path(name).write_text("a 0\nb 1\n")
    for name in ("val.txt", "val.lst"):
        truth = ["--ground-truth", name]
        refused(capsys, [*command, *truth, "--ground-truth-classes", "labels.txt"], f"{name} has classes of its own")
        refused(
            capsys,
            [*command, *truth, "--blacklist", "blacklist.txt"],
            f"{name} has no boxes, and a blacklist affects only",
        )


def test_the_device_of_the_environment_is_not_refused(capsys, monkeypatch):
    monkeypatch.setenv("PYCAM_DEVICE", "cpu")
    assert main(["compare", "onnxruntime", "--save", "a.npz", "--model", BUNDLED]) == 0
    assert main(["compare", "a.npz", "a.npz", "--model", BUNDLED]) == 0
    assert np.load("a.npz")
    assert "blobs agree" in capsys.readouterr().out
