"""`pycam demo`, as a process without network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam.cli import main
from pycam.cli.demo import PHOTOGRAPHS

OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        sys.exit(f"the network was used: {event}")

sys.addaudithook(refuse)
from pycam.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def lines(out) -> list[str]:
    """The lines that the demo prints, with single blanks."""
    command = [sys.executable, "-c", OFFLINE, "demo", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.demo
def test_predictions_and_errors_are_printed(lines):
    for line in (
        "coffee cup cup 0.67 right right 0.57 right",
        "motorcycle_left Motorbikes Motorbikes 0.97 right right 0.42 wrong",
        "astronaut Faces buddha 0.99 wrong right 0.64 right",
        "chelsea house cat cougar face 0.70 – – –",
        "classification 33% (1 of 3) 0% (0 of 3)",
        "localization 67% (2 of 3) 33% (1 of 3)",
    ):
        assert line in lines
    assert any("classes of the model. Its best classes: cougar face 0.70, hedgehog 0.17" in line for line in lines)


def mask(box, shape) -> np.ndarray:
    x0, y0, x1, y1 = box
    inside = np.zeros(shape, bool)
    inside[y0:y1, x0:x1] = True
    return inside


@pytest.mark.demo
@pytest.mark.parametrize("photograph", [each for each in PHOTOGRAPHS if each.box], ids=lambda each: each.shows)
def test_iou_is_that_of_the_pixels(lines, out, photograph):
    top = json.loads((out / f"{photograph.name}.json").read_text())["top"]
    (found,) = (item for item in top if item["label"] == photograph.shows)
    shape = cv2.imread(str(out / f"{photograph.name}_1.jpg")).shape[:2]
    drawn, true = mask(found["box"], shape), mask(photograph.box, shape)
    expected = (drawn & true).sum() / (drawn | true).sum()
    row = next(line for line in lines if line.startswith(photograph.name))
    assert row.endswith(f"{expected:.2f} {'right' if expected >= 0.5 else 'wrong'}")


@pytest.mark.demo
def test_photographs_and_boxes_are_a_data_set(lines, out, tmp_path):
    files = ["--images", out / "images", "--ground-truth", out / "ground_truth.csv", "--out", tmp_path / "run"]
    assert main(["evaluate", "--model", "squeezenet-cam", "--quiet", *map(str, files)]) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["images"], report["view"]) == (3, "full")
    assert report["classification_error"]["top1"] == pytest.approx(1 / 3)
    assert report["localization_error"]["top1"] == pytest.approx(2 / 3)


@pytest.mark.demo
def test_it_ends_with_the_images(lines, out):
    places = [Path(line) for line in lines[lines.index("Results:") + 1 :]]
    assert places == [*(out / f"{photograph.name}_strip.jpg" for photograph in PHOTOGRAPHS), out / "report.html"]
    for place in places[:-1]:
        height, width = cv2.imread(str(place)).shape[:2]
        assert width > 5 * height
    page = places[-1].read_text("utf-8")
    assert page.count('id="image-') == len(PHOTOGRAPHS)
    assert "localization" in page


def test_without_scikit_image_a_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "pycam: the demo needs the photographs of scikit-image: pip install 'caffe-cam[demo]'"
    assert not (tmp_path / "out").exists()
