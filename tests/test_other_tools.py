"""The programs in docs/other-tools.md: they run, their maps are Grad-CAM's, and `pycam score` takes them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from test_ground_truth import TENCH, annotate

from pycam.cli import main

with suppress(ImportError):
    import torch

PAGE = Path(__file__).parents[1] / "docs" / "other-tools.md"
SIDE = 64
COUNT = 3

pytestmark = pytest.mark.torch


def program(tool: str) -> str:
    """Return the Python below the heading of a tool."""
    tokens = MarkdownIt("commonmark").parse(PAGE.read_text("utf-8"))
    (start,) = (i for i, token in enumerate(tokens) if token.type == "inline" and token.content == tool)
    return next(token.content for token in tokens[start:] if token.type == "fence")


def make_net():
    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 7, stride=4), torch.nn.ReLU())
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(features, pool, torch.nn.Linear(6, 5)).eval()


def grad_cam(net, image, index: int) -> np.ndarray:
    """Compute Grad-CAM by its definition, at the size of the image."""
    maps = net[0](image[None])
    (gradient,) = torch.autograd.grad(net[1:](maps)[0, index], maps)
    map_ = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    map_ = torch.nn.functional.interpolate(map_, (SIDE, SIDE), mode="bilinear")[0, 0]
    return map_.detach().numpy()


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("torch-cam", marks=pytest.mark.torchcam),
        pytest.param("pytorch-grad-cam", marks=pytest.mark.gradcam),
        pytest.param("captum", marks=pytest.mark.captum),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_maps_of_a_tool_are_scored(capsys, tmp_path, monkeypatch, tool):
    net = make_net()
    data = [(f"{number}", torch.rand(3, SIDE, SIDE), number) for number in range(COUNT)]
    monkeypatch.chdir(tmp_path)
    Path("maps").mkdir()
    exec(program(tool), {"net": net, "layer": net[0], "data": data})
    for name, image, index in data:
        annotate(tmp_path / "truth", name, (TENCH, 1, 1, 40, 30), size=(80, 80))
        map_, expected = np.load(f"maps/{name}.npy"), grad_cam(net, image, index)
        assert map_.shape == (SIDE, SIDE)
        assert expected.max() > 0
        assert np.corrcoef(map_.ravel(), expected.ravel())[0, 1] > 0.98
    assert main(["score", "--maps", "maps", "--ground-truth", "truth", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["nan_maps"] == result["zero_maps"] == []
    assert 0 <= result["max_box_acc"] <= 100


def test_each_program_is_about_ten_lines():
    for tool in ("torch-cam", "pytorch-grad-cam", "captum"):
        assert len([line for line in program(tool).splitlines() if line.strip()]) <= 10
