"""The pipeline after the engine, tested with an engine whose outputs are known."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam.engines.base import Engine, Options
from pycam.errors import EngineError, FormatError, ImageError, NetError, PycamError, UsageError
from pycam.formats import caffemodel, prototxt
from pycam.maps.boxes import paper_box
from pycam.maps.class_weights import ClassWeightMaps
from pycam.model import Model, Preprocessing
from pycam.net import find_head, net_from_message
from pycam.predict import Cam, best, load
from pycam.protocols import protocol
from pycam.zoo.cards import Mean
from pycam.zoo.labels import Labels

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 stride: 4 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 6 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
RNG = np.random.default_rng(0)
WEIGHTS = {
    "conv": (RNG.normal(0, 0.01, (4, 3, 5, 5)).astype(np.float32), np.full(4, 0.1, np.float32)),
    "fc": (RNG.normal(size=(6, 4)).astype(np.float32), np.zeros(6, np.float32)),
}
IMAGE = RNG.integers(0, 256, (50, 70, 3), np.uint8)


class Known(Engine):
    """Returns the same features and scores for every input."""

    name = "known"

    def _load(self, net):
        self.features = RNG.normal(size=(4, 7, 7)).astype(np.float32)
        self.batches: list[int] = []
        self.scores = np.array([0.1, 0.3, 0.05, 0.3, 0.15, 0.1], np.float32)

    def _run(self, inputs):
        (values,) = inputs.values()
        self.batches.append(len(values))
        n = len(values)
        return [np.stack([self.features] * n), np.stack([self.scores] * n)]

    @property
    def description(self) -> str:
        return "known"


@pytest.fixture
def cam() -> Cam:
    net = net_from_message(prototxt.parse(NET).message).with_params(WEIGHTS)
    names = Labels(tuple(f"name {i}, synonym {i}" for i in range(6)))
    model = Model("tiny", net, Preprocessing(Mean((0, 0, 0))), names)
    return Cam(
        model,
        ClassWeightMaps(net, find_head(net)),
        Known(net, ["conv", "prob"]),
        protocol("default"),
        np.zeros(3, np.float32),
    )


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    net, weights = tmp_path / "tiny.prototxt", tmp_path / "tiny.caffemodel"
    net.write_text(NET)
    caffemodel.write(weights, prototxt.parse(NET).message, WEIGHTS)
    return net, weights


def test_prediction_by_its_definition(cam):
    prediction = cam(IMAGE, top=3)
    assert [item.index for item in prediction.top] == [3, 1, 4]
    assert [item.score for item in prediction.top] == pytest.approx([0.3, 0.3, 0.15])
    for item in prediction.top:
        weights = WEIGHTS["fc"][0][item.index]
        raw = sum(weights[k] * cam.engine.features[k] for k in range(4))
        np.testing.assert_allclose(item.feature_maps, raw[None], rtol=1e-5, atol=1e-6)
        canvas = np.zeros((37, 37), np.float32)
        canvas[2:34, 2:34] = cv2.resize(item.feature_maps[0], (32, 32))
        np.testing.assert_array_equal(item.map, cv2.resize(canvas, (70, 50)))
        assert item.box == paper_box(item.map)
    assert prediction.overlay(0).shape == IMAGE.shape
    assert prediction.strip().shape[0] == 280


def test_calling_twice_gives_the_same(cam):
    first, second = cam(IMAGE), cam(IMAGE)
    for one, two in zip(first.top, second.top, strict=True):
        assert one.index == two.index
        np.testing.assert_array_equal(one.map, two.map)


def test_chosen_classes_come_in_the_order_asked(cam):
    assert [item.index for item in cam(IMAGE, classes=[2, "synonym 5", "0"]).top] == [2, 5, 0]
    with pytest.raises(UsageError, match="no class 6"):
        cam(IMAGE, classes=[6])


@pytest.mark.parametrize("batch", [1, 2, 3, 10])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("streams", [1, 3])
def test_stream_keeps_order_over_batches_faults_and_streams(cam, batch, ahead, streams):
    cam = replace(cam, engine=Known(cam.model.net, cam.engine.outputs, Options(streams=streams)))
    sources = [IMAGE, b"no image", IMAGE[:20], IMAGE[:, :30], b"", IMAGE]
    found = list(cam.stream(sources, batch=batch, ahead=ahead))
    assert [source is given for (source, _), given in zip(found, sources, strict=True)] == [True] * 6
    assert [isinstance(result, PycamError) for _, result in found] == [False, True, False, False, True, False]
    assert found[2][1].image.pixels.shape == (20, 70, 3)
    assert sum(cam.engine.batches) == 4
    assert max(cam.engine.batches) <= batch


@pytest.mark.parametrize("batch", [1, 3, 10])
@pytest.mark.parametrize("streams", [1, 3])
def test_stream_hands_over_what_it_has_before_it_raises(cam, batch, streams):
    def images():
        yield from [IMAGE] * 4
        raise KeyError("the list of images ends here")

    cam = replace(cam, engine=Known(cam.model.net, cam.engine.outputs, Options(streams=streams)))
    found = cam.stream(images(), batch=batch)
    assert [prediction.model for _, prediction in itertools.islice(found, 4)] == ["tiny"] * 4
    with pytest.raises(KeyError, match="ends here"):
        next(found)


@pytest.mark.parametrize(("name", "least"), [("batch", 1), ("ahead", 0)])
def test_stream_refuses_numbers_with_which_it_would_read_no_image(cam, name, least):
    with pytest.raises(UsageError, match=f"^{name} is {least - 1}; expected {least} or more$"):
        next(cam.stream([IMAGE], **{name: least - 1}))


def test_one_where_many_are_expected_is_refused(cam):
    with pytest.raises(UsageError, match=r"^classes is 'name 3'; expected a list, as in \['name 3'\]$"):
        cam(IMAGE, classes="name 3")
    for image in ("fox.jpg", b"fox", Path("fox.jpg")):
        with pytest.raises(UsageError, match="one image is given where many are expected: give a list"):
            next(cam.stream(image))


def test_what_has_no_image_is_not_drawn(cam):
    prediction = replace(cam(IMAGE), image=None)
    assert prediction.top[0].box is not None
    with pytest.raises(UsageError, match="this prediction has no image"):
        prediction.overlay()


def test_stream_goes_on_after_scores_that_are_not_finite(cam):
    cam.engine.scores = np.full(6, np.nan, np.float32)
    ((_, first), (_, second)) = cam.stream([IMAGE, b"no image"], batch=2)
    assert isinstance(first, EngineError)
    assert isinstance(second, ImageError)


def test_py_demo_draws_on_the_canvas(cam):
    prediction = replace(cam, protocol=protocol("py_demo"))(IMAGE)
    np.testing.assert_array_equal(prediction.base, cv2.resize(IMAGE, (37, 37)))
    item = prediction.top[0]
    np.testing.assert_array_equal(item.map, cv2.resize(item.feature_maps[0], (37, 37)))
    assert prediction.overlay(box=True).shape == (37, 37, 3)


def test_save_writes_whole_files(cam, tmp_path):
    path = tmp_path / "a.b.png"
    cv2.imwrite(str(path), IMAGE)
    written = cam(path).save(tmp_path / "out", boxes=True)
    assert [p.name for p in written] == [*(f"a.b_{n}.jpg" for n in range(1, 6)), "a.b_strip.jpg", "a.b.json"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in written)
    found = json.loads(written[-1].read_text())
    assert found["image"] == str(path)
    assert found["model"] == "tiny"
    assert found["top"][0]["label"] == "name 3, synonym 3"
    assert len(found["top"][0]["box"]) == 4


def test_no_classes_give_an_empty_prediction(cam, tmp_path):
    prediction = cam(IMAGE, classes=[])
    assert (prediction.top, prediction.feature_maps.shape) == ((), (1, 0, 7, 7))
    assert prediction.strip().shape[0] == 280
    assert json.loads(prediction.save(tmp_path)[-1].read_text())["top"] == []


def test_damaged_scores_are_not_passed_on(cam):
    cam.engine.scores = np.full(6, np.nan, np.float32)
    with pytest.raises(EngineError, match="not finite"):
        cam(IMAGE)


def test_best_takes_the_larger_index_of_equal_scores():
    assert best(np.array([0.2, 0.5, 0.5, 0.1], np.float32), 3).tolist() == [2, 1, 0]


def test_load_finds_the_head_of_a_net_without_a_card(files):
    net, weights = files
    with load(prototxt=net, weights=weights, mean="1,2,3") as cam:
        assert str(cam.head) == "feature blob 'conv', weights of 'fc', scores 'prob'"
        assert cam.mean.tolist() == [1, 2, 3]
        assert cam.model.labels.label(3) == "class 3"
        prediction = cam(IMAGE)
        assert prediction.scores.sum() == pytest.approx(1, abs=1e-5)
        # The mean of a map is the class's score before softmax, for its bias is 0.
        logits = np.log(prediction.scores)
        means = [item.feature_maps.mean() for item in prediction.top]
        order = [item.index for item in prediction.top]
        np.testing.assert_allclose(np.subtract(means, means[0]), logits[order] - logits[order[0]], atol=1e-4)


def test_load_refuses_files_that_do_not_belong_together(files, tmp_path):
    net, weights = files
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\n")
    with pytest.raises(FormatError, match=r"labels.txt: 2 labels, but the net has 6 classes"):
        load(prototxt=net, weights=weights, labels=labels)
    with pytest.raises(UsageError, match="no weights for this net"):
        load(prototxt=net)
    with pytest.raises(UsageError, match="expected a file, or one number per channel"):
        load(prototxt=net, weights=weights, mean="1,b,3")
    flat = tmp_path / "flat.prototxt"
    flat.write_text(NET.replace("global_pooling: true", "kernel_size: 3 stride: 2"))
    with pytest.raises(NetError, match=r"no global average pooling|no weights|has weights"):
        load(prototxt=flat, weights=weights)
    grey = tmp_path / "grey.prototxt"
    grey.write_text(NET.replace("dim: 3 dim: 32 dim: 32", "dim: 1 dim: 32 dim: 32"))
    with pytest.raises(NetError, match="conv"):
        load(prototxt=grey, weights=weights)


def test_missing_image(cam, tmp_path):
    with pytest.raises(ImageError, match=r"none\.jpg"):
        cam(tmp_path / "none.jpg")
