"""The page of ground truth without a run: its data, the command, and what a file of ground truth can do to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
import samples

from pycam.cli import main

XML = (
    """<annotation><filename>{name}</filename><size><width>80</width><height>60</height></size>{objects}</annotation>"""
)
OBJECT = """<object><name>{wnid}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
</object>"""
FOX, CUP = "n02119022", "n07930864"
SEEN = {
    "b": [(FOX, (1, 1, 40, 30)), (CUP, (11, 21, 30, 60)), (FOX, (50, 5, 80, 60))],
    "a": [(CUP, (5, 10, 20, 20))],
}


@pytest.fixture
def truth(tmp_path) -> Path:
    """Two images, one of which has objects of two classes, their XML, and a list of their classes."""
    for folder in ("images", "xml"):
        (tmp_path / folder).mkdir()
    for name, objects in SEEN.items():
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), samples.image(ord(name), 60, 80).pixels)
        found = "".join(OBJECT.format(*box, wnid=wnid) for wnid, box in objects)
        (tmp_path / f"xml/{name}.xml").write_text(XML.format(name=name, objects=found))
    (tmp_path / "val.txt").write_text(f"a.png {CUP}\nb.png {FOX}\n")
    return tmp_path


def command(folder: Path, *more: object) -> list[str]:
    given = [
        "--ground-truth",
        folder / "xml",
        "--images",
        folder / "images",
        "--ground-truth-classes",
        folder / "val.txt",
        *more,
    ]
    return ["report", "html", *map(str, given)]


def blocks(page: str) -> dict[str, dict]:
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


def test_the_page_has_every_object_with_its_class(truth, capsys):
    assert main(command(truth, "--out", truth / "page.html")) == 0
    found = blocks((truth / "page.html").read_text("utf-8"))
    report = found["report"]
    assert (report["title"], report["runs"], report["judged"]) == ("Ground truth: xml", [], False)
    cards = [(image["name"], image["truth"], image["runs"]) for image in report["images"]]
    assert cards == [("a.png", "cup", []), ("b.png", "red fox, Vulpes vulpes", [])]
    # 0-based, half-open; the boxes of the image's own class apart.
    assert found["image-0"]["truth"]["objects"] == [["cup", [4, 9, 20, 20]]]
    fox = "red fox, Vulpes vulpes"
    assert found["image-1"]["truth"]["objects"] == [
        [fox, [0, 0, 40, 30]], ["cup", [10, 20, 30, 60]], [fox, [49, 4, 80, 60]]
    ]  # fmt: skip
    assert found["image-1"]["truth"]["boxes"] == [[0, 0, 40, 30], [49, 4, 80, 60]]


def test_a_folder_holds_thousands_and_a_list_has_no_boxes(truth):
    out = truth / "page"
    (truth / "list.txt").write_text("a.png 968\nb.png 277\n")
    list_only = ["--ground-truth", truth / "list.txt", "--images", truth / "images", "--out", out]
    assert main(["report", "html", *map(str, list_only)]) == 0
    assert sorted(path.name for path in out.rglob("*.*")) == ["0.js", "000001.jpg", "000002.jpg", "index.html"]
    (first, _) = json.loads((out / "data/0.js").read_text("utf-8").split(", ", 1)[1].removesuffix(");\n"))
    assert (first["truth"]["label"], first["truth"]["objects"], first["runs"]) == ("class 968", [], [])
    notes = blocks((out / "index.html").read_text("utf-8"))["report"]["notes"]
    assert "list.txt has no names of classes: give them with --labels" in notes


def test_classes_of_ones_own_have_their_names(truth):
    (truth / "boxes.csv").write_text("image,label,x0,y0,x1,y1\na,mug,4,9,20,20\nb,<b>dog</b>,0,0,40,30\n")
    given = ["--ground-truth", truth / "boxes.csv", "--images", truth / "images", "--out", truth / "own.html"]
    assert main(["report", "html", *map(str, given)]) == 0
    page = (truth / "own.html").read_text("utf-8")
    assert [image["truth"] for image in blocks(page)["report"]["images"]] == ["mug", "<b>dog</b>"]
    assert "<b>dog" not in page  # escaped inside of its JSON


def test_an_unreadable_image_is_left_out_and_named(truth, capsys):
    (truth / "images/a.png").write_bytes(b"nothing")
    assert main(command(truth, "--out", truth / "page.html")) == 0
    assert [image["name"] for image in blocks((truth / "page.html").read_text("utf-8"))["report"]["images"]] == [
        "b.png"
    ]
    assert "skipped: " in capsys.readouterr().err
    (truth / "images/b.png").write_bytes(b"nothing")
    assert main(command(truth, "--out", truth / "none.html")) == 6
    assert "no image could be shown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--ground-truth", "xml"], "xml: give the folder of its images with --images"),
        (["run", "--ground-truth", "xml", "--images", "images"], "run has no effect with --ground-truth"),
        (["--ground-truth", "xml", "--images", "images", "--model", "vgg16"], "--model has no effect here"),
        (["--ground-truth", "xml", "--images", "images", "--threshold", "0.3"], "--threshold has no effect here"),
        (["--ground-truth", "xml", "--images", "images", "--worst", "3"], "--worst has no effect here"),
        (["a.jpg", "--images", "images"], "--images has no effect here: they are for --ground-truth"),
        (
            ["a.jpg", "--ground-truth-classes", "val.txt"],
            "--ground-truth-classes has no effect here: they are for --ground-truth",
        ),
        ([], "give runs .*, images, or --ground-truth with --images"),
    ],
)
def test_options_without_effect_are_refused(arguments, error, tmp_path, capsys):
    assert main(["report", "html", *arguments, "--out", str(tmp_path / "page.html")]) == 2
    assert re.match(f"pycam: {error}", capsys.readouterr().err)
    assert not (tmp_path / "page.html").exists()


def test_images_and_ground_truth_must_agree(truth, capsys):
    (truth / "images/a.png").unlink()
    assert main(command(truth, "--out", truth / "page.html")) == 8
    assert "no image 'a' in it, which the ground truth names" in capsys.readouterr().err
    assert not list(truth.glob("*.html"))
