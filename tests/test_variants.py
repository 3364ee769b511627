"""Models, methods and layers side by side: the same classes, as far as each model has them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples

import pycam
from pycam.cli import main
from pycam.errors import ImageError, UsageError
from pycam.predict import Cam
from pycam.variants import Variants
from pycam.zoo.labels import Labels

BUNDLED = "squeezenet-cam-caltech101"

# Classes 2, 5 and 7 of the first model are classes of this one, in another order.
OTHERS = Labels(("blob 5", "nothing", "synonym 2", "a", "b", "c", "blob 7, synonym 7", "d"))
MATCHES = [-1, -1, 2, -1, -1, 0, -1, 6]


def named(cam: Cam, name: str, labels: Labels = samples.LABELS) -> Cam:
    return replace(cam, model=replace(cam.model, name=name, labels=labels))


@pytest.fixture(scope="module")
def two() -> Iterator[Variants]:
    """Two models with other weights and other labels."""
    with Variants.of([named(samples.cam(), "one"), named(samples.cam(seed=1, view="full"), "two", OTHERS)]) as variants:
        yield variants


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(samples.jpeg(seed))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("batch", [1, 2])
def test_each_variant_predicts_as_its_cam_alone(two, images, tmp_path, batch):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    first, second = (variant.cam for variant in two.variants)
    assert two.variants[1].matches.tolist() == MATCHES
    for source, found in two.stream([images[0], broken, *images[1:]], top=6, batch=batch):
        if source == broken:
            assert isinstance(found, ImageError)
            continue
        alone = first(source, top=6)
        one, other = found.predictions
        np.testing.assert_array_equal(one.classes, alone.classes)
        np.testing.assert_allclose(one.feature_maps, alone.feature_maps, rtol=1e-5)
        expected = [MATCHES[index] for index in alone.classes if MATCHES[index] >= 0]
        assert other.classes.tolist() == expected
        beside = second(source, classes=expected)
        np.testing.assert_allclose(other.feature_maps, beside.feature_maps, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(other.scores, beside.scores, rtol=1e-5)
        has = [MATCHES[index] >= 0 for index in alone.classes]
        assert [item is not None for item in found.items(1)] == has
        assert found.missing(1) == [item.label for item, own in zip(alone.top, has, strict=True) if not own]
        assert found.missing(0) == []


def test_chosen_classes_are_those_of_the_first_model(two, images):
    found = two(images[0], classes=["blob 7", "5", "synonym 1"])
    assert found.predictions[0].classes.tolist() == [7, 5, 1]
    assert found.predictions[1].classes.tolist() == [6, 0]
    with pytest.raises(UsageError, match="no class is called 'nothing'"):
        two(images[0], classes=["nothing"])


def test_files_of_a_class_have_its_number_in_every_row(two, images, tmp_path):
    found = two(images[0], classes=[1, 2, 7])
    written = found.save(tmp_path, boxes=True, maps=True)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {
        "0.json", "0_strip.jpg", "0_one_1.jpg", "0_one_2.jpg", "0_one_3.jpg", "0_two_2.jpg", "0_two_3.jpg",
        *(f"0_{name}_{kind}.npy" for name in ("one", "two") for kind in ("maps", "features")),
    }  # fmt: skip
    content = json.loads((tmp_path / "0.json").read_text())
    assert content == json.loads(json.dumps(found.as_dict(boxes=True)))
    assert content["image"] == str(images[0])
    one, other = content["variants"]
    assert [each["variant"] for each in (one, other)] == ["one", "two"]
    assert [(item["rank"], item["index"]) for item in one["top"]] == [(1, 1), (2, 2), (3, 7)]
    assert [(item["rank"], item["index"]) for item in other["top"]] == [(2, 2), (3, 6)]
    assert (one["missing"], other["missing"]) == ([], ["blob 1, synonym 1"])
    assert [item["box"] for item in other["top"]] == [list(item.box) for item in found.predictions[1].top]
    strip = cv2.imread(str(tmp_path / "0_strip.jpg"))
    height, width = found.predictions[0].strip(box=True).shape[:2]
    bar = 24
    assert strip.shape == (2 * (height + bar) + 6, width, 3)
    rows = strip[bar : bar + height], strip[-height:]
    expected = found.predictions[0].strip(box=True)
    assert cv2.absdiff(rows[0], expected).mean() < 3  # both are JPEG-like
    tile = width // 4
    middle = (slice(20, 230), slice(tile + 20, 2 * tile - 20))
    assert rows[0][middle].max() > 50 > 5 > rows[1][middle].max()  # the class that the second model lacks
    assert np.load(tmp_path / "0_two_maps.npy").shape == (2, 120, 160)


def test_no_class_at_all_leaves_a_dark_row(two, images, tmp_path):
    found = two(images[0], classes=[1])
    found.save(tmp_path, maps=True)
    assert not list(tmp_path.glob("0_two_*.jpg"))
    assert np.load(tmp_path / "0_two_maps.npy").shape == (0, 120, 160)
    assert found.as_dict()["variants"][1]["top"] == []


def test_a_single_variant_writes_what_its_prediction_writes(images, tmp_path):
    with Variants.of([samples.cam()]) as variants:
        found = variants(images[0])
        found.save(tmp_path / "a", boxes=True, maps=True)
        variants.variants[0].cam(images[0]).save(tmp_path / "b", boxes=True, maps=True)
        assert (variants.variants[0].name, variants.variants[0].key) == ("", "")
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("cams", "names", "keys"),
    [
        ([{"method": "cam"}, {"method": "gradcam"}], ["cam", "gradcam"], ["cam", "gradcam"]),
        ([{"view": "center"}, {"view": "full"}], ["center", "full"], ["center", "full"]),
        ([{}, {}], ["blobs", "blobs (2)"], ["blobs", "blobs_(2)"]),
        ([{"view": "full"}, {"method": "gradcam"}], ["cam", "gradcam"], ["cam", "gradcam"]),
    ],
)
def test_variants_are_named_by_what_differs(cams, names, keys):
    with Variants.of([samples.cam(**choices) for choices in cams]) as variants:
        assert [variant.name for variant in variants.variants] == names
        assert [variant.key for variant in variants.variants] == keys


def test_layers_are_safe_in_names_of_files():
    cams = [samples.cam(method="gradcam") for _ in range(2)]
    cams = [
        replace(cam, protocol=cam.protocol.with_choices(layer=layer)) for cam, layer in zip(cams, "ab", strict=True)
    ]
    cams[0] = replace(cams[0], protocol=cams[0].protocol.with_choices(layer="fire9/concat"))
    with Variants.of(cams) as variants:
        assert [(variant.name, variant.key) for variant in variants.variants] == [
            ("fire9/concat", "fire9_concat"), ("b", "b")
        ]  # fmt: skip


def test_representations_fit_on_a_line(two, images):
    assert repr(two) == "<Variants: one, two>"
    assert repr(two(images[0])) == "<SideBySide of one, two>"
    assert len(repr(two.variants[0])) < 200


def test_models_that_share_nothing_are_refused():
    with samples.cam() as cam, samples.cam() as other:
        strange = named(other, "strange", Labels(tuple("abcdefgh")))
        with pytest.raises(
            UsageError, match=r"no class of strange has the WordNet ID or the label of a class of blobs"
        ):
            Variants.of([cam, strange])


@pytest.mark.torch
def test_heatmap_shows_methods_and_layers_side_by_side(images, tmp_path, capsys):
    arguments = ["--model", BUNDLED, "--method", "cam", "--method", "gradcam", "--top", "2", "--boxes", "--json"]
    layers = ["--layer", "fire9/concat", "--layer", "fire5/concat"]
    assert main(["heatmap", str(images[0]), *arguments, *layers, "--out", str(tmp_path)]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "0/0.json").read_text())
    names = ["cam", "gradcam fire9/concat", "gradcam fire5/concat"]
    assert [each["variant"] for each in printed["variants"]] == names
    assert [each["layer"] for each in printed["variants"]] == ["", "fire9/concat", "fire5/concat"]
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert [(row["method"], row["layer"], row["rank"]) for row in rows] == [
        (method, layer, rank)
        for method, layer in [("cam", ""), ("gradcam", "fire9/concat"), ("gradcam", "fire5/concat")]
        for rank in "12"
    ]
    assert {path.name for path in (tmp_path / "0").glob("*_1.jpg")} == {
        "0_cam_1.jpg", "0_gradcam_fire9_concat_1.jpg", "0_gradcam_fire5_concat_1.jpg"
    }  # fmt: skip
    last = printed["variants"][-1]["top"]
    with pycam.load(BUNDLED, method="gradcam", layer="fire5/concat") as cam:
        alone = cam(images[0], classes=[item["index"] for item in last])
    assert [item["box"] for item in last] == [list(item.box) for item in alone.top]


@pytest.mark.shared
def test_heatmap_shows_models_of_other_labels_side_by_side(images, tmp_path, capsys, monkeypatch, shared):
    monkeypatch.setenv("PYCAM_MODELS", str(shared / "data/weights"))
    arguments = ["--model", BUNDLED, "--model", "squeezenet-v1.0", "--class", "cup", "--class", "wrench"]
    assert main(["heatmap", str(images[0]), *arguments, "--boxes", "--out", str(tmp_path)]) == 0
    printed, told = capsys.readouterr()
    assert "squeezenet-v1.0: 72 of 101 classes of the first model are not classes of this one" in told
    assert "not a class of this model: wrench" in printed
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert [(row["model"], row["rank"], row["index"]) for row in rows] == [
        (BUNDLED, "1", "30"), (BUNDLED, "2", "99"), ("squeezenet-v1.0", "1", "968")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["heatmap", "a.jpg", "-m", BUNDLED, "-m", BUNDLED], f"--model {BUNDLED} is given twice"),
        (["heatmap", "a.jpg", "-m", BUNDLED, "-m", "x", "--prototxt", "n"], "--prototxt is for one model, and --model"),
        (["report", "html", "a.jpg", "-m", BUNDLED, "-m", "x", "--head", "n", "--out", "r.html"], "--head is for one"),
        (
            ["report", "html", "a.jpg", "-m", BUNDLED, "--method", "cam", "--method", "cam", "--out", "r.html"],
            "is given",
        ),
    ],
)
def test_the_same_or_one_model_s_files_for_several_are_refused(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(samples.jpeg(0))
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
