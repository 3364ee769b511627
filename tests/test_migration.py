"""docs/migration.md: each new call runs as it stands, after the page's own lines."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pycam.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/migration.md").read_text("utf-8")
BEFORE = re.search(r"^```python\n(.+?)^```$", PAGE, re.M | re.S)[1]
ROWS = re.findall(r"^\| (?!-|pycaffe|CAM-Python|MATLAB|torch-cam|pytorch-grad-cam)(.+?) \| (.+) \|$", PAGE, re.M)
CALLS = [call for _, cell in ROWS for call in re.findall(r"`([^`]+)`", cell)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the files that the page names."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("prototxt", "models"):
        shutil.copytree(ROOT / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["demo"]) == 0
    return folder


@pytest.mark.demo
@pytest.mark.torch
@pytest.mark.paper
def test_each_new_call_runs(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    import matplotlib

    names: dict = {}
    exec(BEFORE, names)
    assert names["prediction"].top[0].label == "cup"
    matplotlib.use("Agg")
    for call in CALLS:
        if call.startswith("pycam "):
            assert main(shlex.split(call)[1:]) == 0, f"{call}: {capsys.readouterr().err}"
        else:
            exec(compile(call, call, "exec"), names)


def test_each_row_has_a_new_call():
    assert len(ROWS) > 30
    assert [row for row in ROWS if not re.findall(r"`[^`]+`", row[1])] == []
