"""The report's pages without a browser: their data, the outcomes of images, and the heading."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples
from hypothesis import given, strategies as st

import pycam
from pycam.cli import main
from pycam.errors import UsageError
from pycam.maps.boxes import iou
from pycam.protocols import CHOICES
from pycam.report.html import Entry, Heading, write_html
from pycam.report.outcomes import CHANGES, OUTCOMES, Outcome, group_of, judge
from pycam.report.summary import calibration, errors_by_class, threshold_curve
from pycam.report.viewer_data import LARGEST_SIDE, METHODS, Truth, shown

sides = st.integers(0, 60)
boxes = st.tuples(sides, sides, st.integers(1, 40), st.integers(1, 40)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)


def pixels_of(box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


TRUTH = (10, 10, 40, 40)


@pytest.mark.parametrize(
    ("index", "box", "truths", "centre", "expected"),
    [
        (1, TRUTH, [TRUTH], False, "right"),
        (1, TRUTH, [(0, 0, 5, 5), TRUTH], False, "right"),
        (1, TRUTH, [TRUTH], True, "right, like the center"),
        (1, (10, 10, 40, 25), [TRUTH], False, "right"),  # an IoU of exactly 0.5
        (1, (10, 10, 40, 24), [TRUTH], False, "too small"),
        (1, (0, 0, 60, 60), [TRUTH], False, "too large"),
        (1, (25, 10, 55, 40), [TRUTH], False, "shifted"),
        (1, (50, 50, 60, 60), [TRUTH], False, "shifted"),
        (1, (0, 0, 100, 20), [(0, 0, 20, 20), (80, 0, 100, 20)], False, "merged"),
        (1, None, [TRUTH], False, "shifted"),
        (2, TRUTH, [TRUTH], False, "wrong class"),
        (1, TRUTH, [], False, "right"),
        (2, TRUTH, [], False, "wrong class"),
    ],
)
def test_outcomes(index, box, truths, centre, expected):
    outcome = judge(index, 0.75, box, 1, truths, centre)
    assert outcome.name == expected
    assert outcome.name in OUTCOMES
    assert outcome.right == expected.startswith("right")


@given(boxes, boxes)
def test_wrong_box_is_wrong_in_one_way(box, truth):
    """No box with an IoU below 0.5 both lies mostly in the ground-truth box and mostly covers it."""
    shared = len(pixels_of(box) & pixels_of(truth))
    inside, covers = shared >= 2 / 3 * len(pixels_of(box)), shared >= 2 / 3 * len(pixels_of(truth))
    outcome = judge(1, 0.5, box, 1, [truth])
    if iou(box, truth) < 0.5:
        assert not (inside and covers)
        assert outcome.name == ("too small" if inside else "too large" if covers else "shifted")
    else:
        assert outcome.name == "right"


def test_worst_come_first():
    sure, unsure = (judge(2, score, TRUTH, 1, [TRUTH]) for score in (0.9, 0.2))
    far, near, good = (judge(1, 0.9, box, 1, [TRUTH]) for box in ((90, 0, 99, 9), (10, 10, 40, 20), TRUTH))
    outcomes = [sure, unsure, far, near, good]
    assert sorted(outcomes, key=lambda outcome: -outcome.severity) == outcomes
    assert good.severity == 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("right", "right, like the center", "unchanged"),
        ("too small", "right", "fixed"),
        ("right, like the center", "wrong class", "regressed"),
        ("too small", "too large", "wrong in another way"),
        ("wrong class", "wrong class", "unchanged"),
    ],
)
def test_two_runs_are_grouped_by_their_change(first, second, expected):
    assert group_of([Outcome(first, 0.5, 0.75), Outcome(second, 0.5, 0.5)]) == (expected, 0.25)
    assert expected in CHANGES


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["right", "right", "right, like the center"], "unchanged"),
        (["too small", "too small", "right"], "fixed"),
        (["too small", "right", "wrong class"], "fixed"),
        (["right", "right", "shifted"], "regressed"),
        (["too small", "too small", "too large"], "wrong in another way"),
        (["too small", "too small", "too small"], "unchanged"),
    ],
)
def test_more_runs_are_grouped_by_their_changes_from_the_first(names, expected):
    outcomes = [Outcome(name, 0.5, severity) for name, severity in zip(names, (0.5, 0.75, 0.0), strict=True)]
    assert group_of(outcomes) == (expected, 0.5)


def test_one_run_is_grouped_by_its_outcome():
    assert group_of([Outcome("too small", 0.25, 0.75)]) == ("too small", 0.75)
    assert group_of([]) == ("", 0)


def test_calibration_by_its_definition():
    scores = np.array([0.05, 0.95, 0.95, 0.91, 1.0])
    right = np.array([False, True, True, False, True])
    section = calibration({"": (scores, right)})
    (series,) = section["series"]
    assert series["points"] == [[0.05, 0.0], [pytest.approx(0.9525), 0.75]]
    error = (0.05 + 4 * abs(0.9525 - 0.75)) / 5
    assert series["summary"] == f"expected calibration error {error:.1%}, 5 images"


def test_curve_and_classes_by_their_definitions():
    curve = threshold_curve({"A": (np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.75, 0.6]))}, mark=0.2)
    assert curve["marks"] == [0.2]
    assert curve["series"][0]["points"] == [[0.1, 0.5], [0.2, 0.75], [0.3, 0.6]]
    assert curve["series"][0]["summary"] == "A: best 75.0% at a threshold of 20%"
    named, placed = np.array([True, True, False, True]), np.array([True, False, False, False])
    labels = ["", "", "", "cat", "", "", "", "fox, red", "", "cup"]
    section = errors_by_class(np.array([7, 7, 3, 9]), labels, named, placed).section()
    assert section["rows"] == [
        ["cat", "1", "100%", "100%"],
        ["cup", "1", "0%", "100%"],
        ["fox", "2", "0%", "50%"],
    ]


class Blocks(HTMLParser):
    """The JSON blocks, and every address, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.json: dict[str, str] = {}
        self.addresses: list[str] = []
        self.name: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.name = found.get("id") if found.get("type") == "application/json" else None
        self.addresses += [found[key] for key in ("src", "href") if key in found]

    def handle_data(self, data):
        if self.name:
            self.json[self.name] = self.json.get(self.name, "") + data

    def handle_endtag(self, tag):
        self.name = None


@pytest.fixture(scope="module")
def entry() -> Entry:
    with samples.cam() as cam:
        image = samples.image(3)
        run = cam(image)
    return Entry("</script><script>alert(1)</script>.jpg", image, {"": run}, Truth(run.top[0].index, "x"))


def test_file_holds_all_and_asks_nobody(entry, tmp_path):
    place = tmp_path / "new" / "report.html"
    write_html(place, [entry, entry], Heading("A title", {"": ["facts"]}, ["a note"]))
    text = place.read_text("utf-8")
    page = Blocks(text)
    assert page.addresses == []
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", text)
    report = json.loads(page.json["report"])
    assert (report["title"], report["notes"], report["chunk"]) == ("A title", ["a note"], 0)
    for number, card in enumerate(report["images"]):
        image = json.loads(page.json[f"image-{number}"])
        assert image["name"] == card["name"] == entry.name
        assert image["src"].startswith("data:image/jpeg;base64,")
        (run,) = image["runs"]
        assert [item["score"] for item in run["top"]] == [item.score for item in entry.runs[""].top]
        assert [tuple(item["box"]) for item in run["top"]] == [item.box for item in entry.runs[""].top]
    assert len(page.json) == 4  # the report, two images, the colours


def test_same_images_give_the_same_bytes(entry, tmp_path):
    for name in ("a.html", "b.html"):
        write_html(tmp_path / name, [entry], Heading("Twice", {"": []}))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_folder_holds_images_and_data_apart(entry, tmp_path):
    place = tmp_path / "report"
    write_html(place, [entry] * 51, Heading("Many", {"": []}))
    assert len(list((place / "images").iterdir())) == 51
    data = (place / "data" / "1.js").read_text()
    (record,) = json.loads(data.removeprefix('arrive("data/1.js", ').removesuffix(");\n"))
    assert record["src"] == "images/000051.jpg"
    assert (place / record["src"]).read_bytes() == shown(entry.image.pixels)
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        write_html(place, [entry], Heading("Again", {"": []}))


def test_an_interrupted_page_is_written_again(entry, tmp_path):
    def stopped():
        yield from [entry] * 60
        raise KeyboardInterrupt

    place = tmp_path / "report"
    with pytest.raises(KeyboardInterrupt):
        write_html(place, stopped(), Heading("Few", {"": []}))
    assert len(list((place / "images").iterdir())) == 60
    assert not (place / "index.html").exists()
    (place / "images" / "mine.jpg").touch()
    write_html(place, [entry] * 2, Heading("Few", {"": []}))
    write_html(tmp_path / "whole", [entry] * 2, Heading("Few", {"": []}))
    found = {path.relative_to(place): path.read_bytes() for path in place.rglob("*.*")}
    assert found.pop(Path("images/mine.jpg")) == b""
    assert found == {
        path.relative_to(tmp_path / "whole"): path.read_bytes() for path in (tmp_path / "whole").rglob("*.*")
    }
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        write_html(place, [entry], Heading("Again", {"": []}))


def test_failed_report_leaves_nothing(entry, tmp_path):
    def entries():
        yield entry
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_html(tmp_path / "report.html", entries(), Heading("Never", {"": []}))
    assert list(tmp_path.iterdir()) == []


def test_every_method_has_a_name():
    assert set(METHODS) == set(CHOICES["method"])


def test_large_image_is_shown_smaller():
    pixels = np.zeros((900, 3000, 3), np.uint8)
    shrunk = cv2.imdecode(np.frombuffer(shown(pixels), np.uint8), cv2.IMREAD_COLOR)
    assert shrunk.shape == (384, LARGEST_SIDE, 3)


@pytest.mark.shared
def test_command_shows_what_heatmap_writes(shared, tmp_path, capsys):
    weights = ["--model", "squeezenet-v1.0", "--weights", str(shared / "data/weights/squeezenet_v1.0.caffemodel")]
    images = [str(shared / "data/samples/cat.jpg"), str(shared / "data/samples/n04254120_soap_dispenser.JPEG")]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    place = tmp_path / "report.html"
    assert main(["report", "html", *images, str(broken), "--out", str(place), *weights]) == 0
    assert main(["heatmap", *images, "--boxes", "--json", "--out", str(tmp_path / "out"), *weights]) == 0
    expected = json.loads(capsys.readouterr().out)
    page = Blocks(place.read_text("utf-8"))
    for number, prediction in enumerate(expected):
        (run,) = json.loads(page.json[f"image-{number}"])["runs"]
        for item in run["top"]:
            del item["maps"]
        assert run["top"] == prediction["top"]
        assert run["view"] == prediction["view"]
    (note,) = json.loads(page.json["report"])["notes"]
    assert note.startswith(f"skipped: {broken}: not an image")

    assert main(["report", "html", str(broken), "--out", str(tmp_path / "none.html"), *weights]) == 6
    assert "no image could be shown" in capsys.readouterr().err
    assert not (tmp_path / "none.html").exists()


@pytest.mark.torch
def test_gradients_are_taken_at_the_layer_that_was_asked_for(tmp_path):
    (tmp_path / "a.jpg").write_bytes(samples.jpeg(3))
    arguments = ["--model", "squeezenet-cam-caltech101", "--method", "gradcam", "--layer", "fire5/concat"]
    assert main(["report", "html", str(tmp_path / "a.jpg"), *arguments, "--out", str(tmp_path / "a.html")]) == 0
    image = json.loads(Blocks((tmp_path / "a.html").read_text("utf-8")).json["image-0"])
    with pycam.load("squeezenet-cam-caltech101") as cam:
        _, _, *sides = cam.model.net.shapes["fire5/concat"]
    assert image["runs"][0]["top"][0]["maps"]["shape"] == [1, *sides]


def test_what_a_page_of_images_shows_is_chosen(tmp_path, capsys):
    image = tmp_path / "a.jpg"
    image.write_bytes(samples.jpeg(3))
    command = ["report", "html", str(image), "--model", "squeezenet-cam-caltech101"]

    def page(*arguments: str) -> dict[str, str]:
        place = tmp_path / "page.html"
        assert main([*command, *arguments, "--out", str(place)]) == 0
        return Blocks(place.read_text("utf-8")).json

    def top(blocks: dict[str, str]) -> list[int]:
        return [item["index"] for item in json.loads(blocks["image-0"])["runs"][0]["top"]]

    whole = page("--top", "2")
    assert len(top(whole)) == 2
    report = json.loads(whole["report"])
    assert len(report["classes"]) == 101 and ["", "wrench"] in report["classes"]
    (every,) = json.loads(whole["classes-0"])
    scores = np.frombuffer(zlib.decompress(base64.b64decode(every["scores"])), "<f4")
    maps = np.frombuffer(zlib.decompress(base64.b64decode(every["maps"])), "<f4").reshape(every["shape"])
    with pycam.load("squeezenet-cam-caltech101") as cam:
        expected = cam(image, classes=range(101))
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(maps, expected.feature_maps, rtol=1e-5, atol=1e-5)

    few = page("--class", "wrench", "--class", "cup", "--best-classes")
    assert top(few) == [99, 30]
    assert json.loads(few["report"])["classes"] == [] and "classes-0" not in few


def test_large_maps_of_every_class_are_left_out_unless_asked_for(tmp_path, monkeypatch, capsys):
    image = tmp_path / "a.jpg"
    image.write_bytes(samples.jpeg(3))
    monkeypatch.setattr("pycam.cli.report.EVERY_CLASS_MB", 0.01)
    command = ["report", "html", str(image), "--model", "squeezenet-cam-caltech101", "--out", str(tmp_path / "a.html")]
    assert main(command) == 0
    assert "the page has the best classes only; --every-class adds the others" in capsys.readouterr().err
    assert "classes-0" not in (tmp_path / "a.html").read_text("utf-8")
    assert main([*command, "--every-class"]) == 0
    assert "classes-0" in (tmp_path / "a.html").read_text("utf-8")


@pytest.mark.torch
def test_every_class_of_a_method_that_has_not_all_at_once_is_refused(tmp_path, capsys):
    image = tmp_path / "a.jpg"
    image.write_bytes(samples.jpeg(3))
    arguments = ["--model", "squeezenet-cam-caltech101", "--method", "gradcam", "--every-class"]
    assert main(["report", "html", str(image), *arguments, "--out", str(tmp_path / "a.html")]) == 2
    assert "--every-class has no effect here: only method cam gives" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--top", "2"], ["--class", "cup"], ["--model", "x"]])
def test_options_of_images_have_no_effect_on_runs(tmp_path, option, capsys):
    (tmp_path / "run").mkdir()
    assert main(["report", "html", str(tmp_path / "run"), *option, "--out", str(tmp_path / "a.html")]) == 2
    assert f"{option[0]} has no effect here" in capsys.readouterr().err
