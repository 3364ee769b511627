"""The bundled model, squeezenet-cam-caltech101: whole, as good as its card says, and the same in real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

import pycam
from pycam import engines, zoo
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


def right(shared, every):
    folder = shared / "data/caltech101"
    lines = [line.rsplit(" ", 1) for line in (folder / "test.txt").read_text().splitlines()][::every]
    images = [folder / "images" / name for name, _ in lines]
    with pycam.load(NAME, view="full") as cam:
        best = [prediction.top[0].index for _, prediction in cam.stream(images, top=1, batch=8)]
    return np.mean(np.array(best) == [int(label) for _, label in lines])


@pytest.mark.shared
def test_it_names_a_tenth_of_the_test_images(shared):
    assert right(shared, every=10) >= 0.86


@pytest.mark.shared
@pytest.mark.slow
def test_it_names_the_test_images_as_its_card_says(shared):
    assert right(shared, every=1) == pytest.approx(0.887, abs=0.002)


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
