"""The notebooks of examples/ run, and their outputs are in step; and what predictions show in one."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples

with suppress(ImportError):
    import nbformat
    import notebooks

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ["tour", "evaluate"]
LARGEST = 300_000
NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


def test_prediction_shows_itself():
    with samples.cam() as cam:
        prediction = cam(samples.image(1), classes=[0, 1])
    shown = prediction._repr_html_()
    assert samples.MARKUP not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    for item in prediction.top:
        assert f"<td>{item.score:.4f}</td><td>{', '.join(map(str, item.box))}</td>" in shown
    data = shown.split("base64,")[1].split("'")[0]
    assert base64.b64decode(data) == prediction._repr_jpeg_()
    strip = cv2.imdecode(np.frombuffer(prediction._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    assert strip.shape == prediction.strip(box=True).shape
    assert np.abs(strip.astype(int) - prediction.strip(box=True)).mean() < 4
    assert len(repr(prediction)) < 1500


def text(output) -> str:
    """Return what an output shows, without its images."""
    data = output.get("data", {})
    return re.sub(r"base64,[^']*", "", data.get("text/html", data.get("text/plain", output.get("text", ""))))


def images(output) -> list[np.ndarray]:
    """Return the images of an output."""
    data = output.get("data", {})
    found = re.findall(r"base64,([^']*)", data.get("text/html", "")) + [data[kind] for kind in data if "image/" in kind]
    return [cv2.imdecode(np.frombuffer(base64.b64decode(each), np.uint8), cv2.IMREAD_COLOR) for each in found]


def assert_same_text(found: str, expected: str) -> None:
    """Compare texts; numbers may differ as little as engines and decoders do."""
    parts, others = NUMBER.split(found), NUMBER.split(expected)
    assert parts[::2] == others[::2]
    np.testing.assert_allclose([*map(float, parts[1::2])], [*map(float, others[1::2])], rtol=0.02, atol=0.02)


@pytest.mark.demo
@pytest.mark.paper
@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore")  # of Jupyter's packages
@pytest.mark.parametrize("name", NAMES)
def test_notebook_gives_the_outputs_that_it_shows(name, tmp_path):
    path = EXAMPLES / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    kept, made = nbformat.read(path, as_version=4), notebooks.executed(path, tmp_path)
    cells = [each for each in zip(kept.cells, made.cells, strict=True) if each[0].cell_type == "code"]
    assert [cell.execution_count for cell, _ in cells] == list(range(1, len(cells) + 1))
    figures = 0
    for cell, again in cells:
        kinds = [
            [(output.output_type, *sorted(output.get("data", {}))) for output in each.outputs] for each in (cell, again)
        ]
        assert kinds[0] == kinds[1]
        for output, expected in zip(again.outputs, cell.outputs, strict=True):
            assert output.get("name") != "stderr"
            assert_same_text(text(output), text(expected))
            for drawn, shown in zip(images(output), images(expected), strict=True):
                assert drawn.shape == shown.shape
                assert cv2.absdiff(drawn, shown).mean() < 3
            figures += output.output_type == "display_data"
    assert figures
    for package in ("demo", "paper"):
        assert package in re.search(r"caffe-cam\[(.+)\]", kept.cells[0].source)[1].split(",")


@pytest.mark.demo
@pytest.mark.paper
@pytest.mark.notebook
def test_outputs_out_of_step_are_found():
    assert_same_text("cup 0.670 (133, 22)", "cup 0.671 (133, 22)")
    with pytest.raises(AssertionError):
        assert_same_text("cup 0.670", "mug 0.670")
    with pytest.raises(AssertionError):
        assert_same_text("cup 0.670", "cup 0.570")
    assert {path.stem for path in notebooks.NOTEBOOKS} == set(NAMES)


@pytest.mark.notebook
def test_what_is_printed_in_pieces_is_whole():
    printed = [("stdout", "a"), ("stdout", "b\n"), ("stderr", "c"), ("stdout", "d")]
    outputs = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in printed]
    outputs.insert(2, nbformat.v4.new_output("display_data", {"text/plain": "x"}))
    found = [output.get("text", "x") for output in notebooks.joined(outputs)]
    assert found == ["ab\n", "x", "c", "d"]
