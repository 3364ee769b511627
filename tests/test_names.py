"""Names that differ in form only are those of the same image: in images, annotations, labels and maps."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from runs import write_sources

from pycam.errors import GroundTruthError, UsageError
from pycam.evaluation.plan import find_images
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.maps import find_maps
from pycam.ilsvrc.names import image_name, normal

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("val/ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000001"),
        ("v1.0.jpg", "v1.0"),
        ("v1.0", "v1.0"),
        ("a.b.c.tar.png", "a.b.c.tar"),
        ("...jpg", ".."),
        (".jpg", ".jpg"),
        ("-rf .jpg", "-rf "),
        (f"{DECOMPOSED}.jpg", COMPOSED),
        ("\u30cf\u309a.png", "\u30d1"),
        ("\udcff\udce9.png", r"\xff\xe9"),
        ("a\nb\x1b[31m.png", r"a\nb\x1b[31m"),
    ],
)
def test_the_name_of_an_image(text, name):
    assert image_name(text) == name
    assert normal(name) == name
    name.encode()


# Forms of the same name: that of the image's file, of the annotation's, in it, in the list, and of the map's.
FORMS = [
    *itertools.product([f"{COMPOSED}.png", f"{DECOMPOSED}.png"], [COMPOSED, DECOMPOSED]),
    ("v1.0.png", "v1.0"),
    ("a.png.png", "a.png"),
    ("a.b.JPEG", "a.b"),
    ("b.png", "b.png"),
    ("...jpg", ".."),
    ("- \u3000-.png", "- \u3000-"),
]


@pytest.mark.parametrize(("image", "annotated"), FORMS)
def test_images_are_found_whatever_the_form_of_their_name(tmp_path, image, annotated):
    for folder in ("images", "xml", "maps"):
        (tmp_path / folder).mkdir()
    for name in (image, "other.png"):
        (tmp_path / "images" / name).touch()
    box = (1, (1, 1, 9, 9))
    write_sources(tmp_path / "xml", tmp_path / "images", {annotated: box, "other": box})
    labels = tmp_path / "val.txt"
    labels.write_text(f"other.png 1\n{image} 1\n")
    for given in ({}, {"ground_truth_classes": labels}):
        truth = read_ground_truth(tmp_path / "xml", **given)
        found = find_images(tmp_path / "images", truth.names)
        assert sorted(path.name for path in found) == sorted([image, "other.png"])
        assert [image_name(path.name) == image_name(name) for path, name in zip(found, truth.names, strict=True)] or (
            annotated.endswith(".png")
        )
    for name in (annotated, "other"):
        (tmp_path / "maps" / f"{name}.npy").touch()
    assert sorted(find_maps(tmp_path / "maps", truth.names).keys) == sorted([annotated, "other"])


@pytest.mark.linux
@pytest.mark.byte_names
def test_names_that_are_not_utf_8_are_joined(tmp_path):
    (tmp_path / "xml").mkdir()
    name = os.fsdecode(b"\xff\xe9")
    (tmp_path / f"{name}.png").touch()
    write_sources(tmp_path / "xml", tmp_path, {"x": (1, (1, 1, 9, 9))})
    path = tmp_path / "xml" / "x.xml"
    path.write_text(path.read_text().replace("<filename>x</filename>", ""))
    path.rename(tmp_path / "xml" / f"{name}.xml")
    truth = read_ground_truth(tmp_path / "xml")
    assert truth.names == (r"\xff\xe9",)
    assert find_images(tmp_path, truth.names) == (tmp_path / f"{name}.png",)
    assert len(truth.digest()) == 64


def test_a_whole_name_goes_before_a_shortened_one(tmp_path):
    for name in ("a.png", "a.png.png", "xml"):
        (tmp_path / name).touch() if name != "xml" else (tmp_path / name).mkdir()
    write_sources(tmp_path / "xml", tmp_path, {"a": (1, (1, 1, 9, 9)), "a.png": (2, (1, 1, 9, 9))})
    truth = read_ground_truth(tmp_path / "xml")
    assert [path.name for path in find_images(tmp_path, truth.names)] == ["a.png", "a.png.png"]
    (tmp_path / "val.txt").write_text("a.png.png 2\na.png 1\n")
    assert read_ground_truth(tmp_path / "xml", ground_truth_classes=tmp_path / "val.txt").classes.tolist() == [1, 2]
    (tmp_path / "a.png.png").unlink()
    with pytest.raises(GroundTruthError, match=r"a\.png: the ground truth names this image twice"):
        find_images(tmp_path, truth.names)
    (tmp_path / "val.txt").write_text("a.png 1\n")
    with pytest.raises(GroundTruthError, match=r"val\.txt: image 'a\.png' of .* is missing"):
        read_ground_truth(tmp_path / "xml", ground_truth_classes=tmp_path / "val.txt")


@pytest.mark.byte_names
def test_two_forms_of_one_name_are_refused(tmp_path):
    (tmp_path / "xml").mkdir()
    for name in (COMPOSED, DECOMPOSED):
        (tmp_path / f"{name}.png").touch()
    with pytest.raises(GroundTruthError, match=f"which of the two is image '{COMPOSED}'"):
        find_images(tmp_path, [COMPOSED])
    write_sources(tmp_path / "xml", tmp_path, {COMPOSED: (1, (1, 1, 9, 9)), DECOMPOSED: (1, (1, 1, 9, 9))})
    with pytest.raises(GroundTruthError, match="has the same name in another form: remove one of the two"):
        read_ground_truth(tmp_path / "xml")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.png").touch()
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "a":
            raise OSError(5, "Input/output error", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UsageError, match=r"a: cannot be listed \(Input/output error\)"):
        find_images(tmp_path, ["a"])
