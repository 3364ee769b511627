"""The bundled model, squeezenet-cam-caltech101: whole, as good as its card says, and the same in real Caffe."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

import pycam
from pycam import engines, zoo
from pycam.cli import main
from pycam.errors import FormatError
from pycam.evaluation.plan import Plan
from pycam.formats import caffemodel
from pycam.net import read_net

NAME = "squeezenet-cam-caltech101"


def test_it_is_here_and_small():
    path = zoo.weights_path(zoo.card(NAME))
    assert path.parent == zoo.models_folder()
    assert path.stat().st_size <= 3.5e6
    assert len(zoo.card_labels(zoo.card(NAME))) == 101


@pytest.mark.shared
def test_every_layer_was_fine_tuned(shared):
    before = caffemodel.read(shared / "data/weights/squeezenet_v1.0.caffemodel").layers
    after = caffemodel.read(zoo.weights_path(zoo.card(NAME))).layers
    assert after.keys() - before.keys() == {"CAM_fc"}
    for name in after.keys() & before.keys():
        assert before[name][0].shape == after[name][0].shape
        change = np.linalg.norm(after[name][0] - before[name][0]) / np.linalg.norm(before[name][0])
        assert 1e-3 < change < 0.3, name


@pytest.mark.shared
@pytest.mark.slow
def test_it_names_the_test_images_as_its_card_says(shared):
    folder = shared / "data/caltech101"
    lines = [line.rsplit(" ", 1) for line in (folder / "test.txt").read_text().splitlines()]
    images = [folder / "images" / name for name, _ in lines]
    with pycam.load(NAME, view="full") as cam:
        best = [prediction.top[0].index for _, prediction in cam.stream(images, top=1, batch=8)]
    right = np.mean(np.array(best) == [int(label) for _, label in lines])
    assert right == pytest.approx(0.887, abs=0.002)


@pytest.mark.caffe
@pytest.mark.torch
def test_real_caffe_gives_the_same_scores():
    card = zoo.card(NAME)
    net = read_net(zoo.prototxt_path(card), zoo.weights_path(card))
    images = np.random.default_rng(0).normal(0, 60, (2, 3, 227, 227)).astype(np.float32)
    found = []
    for engine in ("caffe", "torch"):
        with engines.make(engine, net, ["prob", "fire9/concat"], engines.Options(threads=1)) as made:
            found.append(made.forward({"data": images}))
    np.testing.assert_allclose(found[0]["prob"], found[1]["prob"], atol=2e-5)
    largest = np.abs(found[0]["fire9/concat"]).max()
    np.testing.assert_allclose(found[0]["fire9/concat"], found[1]["fire9/concat"], atol=1e-5 * largest)


def test_its_card_shows_it_whole_images_and_the_others_keep_the_center_crop(tmp_path, capsys):
    cards = {card.name: card for card in zoo.all_cards()}
    assert {name: card.view for name, card in cards.items() if card.view != "center"} == {NAME: "full"}
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    for more, view in (
        ([], "full"),
        (["--protocol", "paper"], "center"),
        (["--view", "center"], "center"),
        (["--protocol", "py_demo", "--view", "model"], "full"),
    ):
        arguments = ["heatmap", tmp_path / "a.png", "--model", NAME, "--out", tmp_path / "out", "--json", *more]
        assert main([*map(str, arguments)]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["view"] == view
        with pycam.load(NAME, view=view) as cam:
            assert found["top"][0]["score"] == pytest.approx(cam(pixels, top=1).top[0].score, rel=1e-3)
    with pycam.load(NAME) as cam:
        assert cam.protocol.view == cam.placement.view.name == "full"


def test_an_evaluation_without_a_protocol_takes_the_view_of_the_card(tmp_path):
    for name in ("a", "b"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (90, 120, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1,label\na.png,3,4,90,80,0\nb.png,0,0,50,60,1\n")
    files = ["--images", tmp_path, "--ground-truth", tmp_path / "boxes.csv", "--model", NAME, "--quiet"]
    for more, protocol, view, overrides in (
        ([], "paper", "full", {"view": "full"}),
        (["--protocol", "paper"], "paper", "center", {}),
        (["--protocol", "default"], "default", "full", {"exif": "ignore"}),
        (["--set", "placement=stretched"], "paper", "center", {"placement": "stretched"}),
    ):
        out = tmp_path / "-".join(["run", *more])
        assert main([*map(str, ["evaluate", *files, "--out", out, *more])]) == 0
        report = json.loads((out / "report.json").read_text())
        assert (report["protocol"], report["view"], report["overrides"]) == (protocol, view, overrides)
        assert Plan.restore(out).recipe.protocol.for_view("full").view == view


@pytest.mark.parametrize("view", ["ten", "full"])
def test_a_card_of_ones_own_has_any_view(tmp_path, view):
    text = zoo.card(NAME).path.read_text().replace("view: full", f"view: {view}")
    (tmp_path / "card.yaml").write_text(text)
    with pycam.load(tmp_path / "card.yaml") as cam:
        assert (cam.protocol.view, len(cam.placement.view.crops)) == (view, 10 if view == "ten" else 1)
    (tmp_path / "card.yaml").write_text(text.replace(f"view: {view}", "view: whole"))
    with pytest.raises(FormatError, match=r"card.yaml: view: Invalid enum value 'whole'"):
        pycam.load(tmp_path / "card.yaml")
