"""Score-CAM and Ablation-CAM: against plain loops over the channels, on every engine, and against what is exact."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from nets import EVERY_ENGINE
from runs import assert_same, make_plan, write_images, write_model

import pycam
from pycam import engines
from pycam.cli import main
from pycam.engines import Options, base
from pycam.engines.onnx_graph import onnx_model
from pycam.errors import EngineError, NetError, UsageError
from pycam.evaluation.run import evaluate
from pycam.formats import caffemodel, prototxt
from pycam.maps.methods import METHODS
from pycam.maps.perturbation import AblationCam, ScoreCam
from pycam.model import Model, Preprocessing
from pycam.net import net_from_message
from pycam.predict import best_streams, make_cam
from pycam.protocols import CHOICES, protocol
from pycam.training.fillers import fill
from pycam.zoo.labels import Labels

# Two branches, one of them with an in-place ReLU; a channel of the second is always 0, and one always 2.
BRANCHES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 14 dim: 11 } } }
layer { name: "stem" type: "Convolution" bottom: "data" top: "stem"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "a" type: "Convolution" bottom: "stem" top: "a"
  convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "relu_a" type: "ReLU" bottom: "a" top: "a" }
layer { name: "b" type: "Convolution" bottom: "stem" top: "b"
  convolution_param { num_output: 5 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "relu_b" type: "ReLU" bottom: "b" top: "b" }
layer { name: "ab" type: "Concat" bottom: "a" bottom: "b" top: "ab" }
layer { name: "last" type: "Convolution" bottom: "ab" top: "last"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "pool" type: "Pooling" bottom: "last" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.5 } bias_filler { value: 3 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
CLASSES = np.array([2, 0])


def branches(text=BRANCHES):
    net = net_from_message(prototxt.parse(text).message)
    params = fill(net, 3)
    if "b" in params:
        weight, bias = (array.copy() for array in params["b"])
        weight[:2], bias[:2] = 0, (0, 2)
        params["b"] = (weight, bias)
    return net.with_params(params)


def inputs(count=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, 3, 14, 11)).astype(np.float32)


def maps_of(net, method, images, *, engine="onnxruntime", layer=None, target=None, options=Options(threads=1)):
    """Return the maps of `CLASSES`: (N, T, h, w)."""
    model = Model("branches", net, Preprocessing(None), Labels(("a", "b", "c", "d")))
    row = protocol("default").with_choices(method=method, layer=layer, target=target)
    with make_cam(model, engine=engine, protocol=row, options=options) as cam:
        prepared = [(None, image[None]) for image in images]
        cam_of = [lambda scores: CLASSES] * len(images)
        found = cam.predict([(FakeImage, crops) for _, crops in prepared], cam_of)
    return np.concatenate([each.feature_maps for each in found])


class FakeImage:
    path, size = None, (11, 14)


def runs(net, output):
    """Return a function that runs a net on one image: (C, H, W) -> the values of a blob."""
    engine = engines.make("onnxruntime", net, [output], Options(threads=1))
    return lambda image: engine.forward({"data": image[None]})[output][0]


def bilinear(channel, height, width):
    """Resize by linear interpolation between pixel centers; beyond the outer centers the border is repeated."""
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip((height, width), channel.shape, strict=True)
    )
    along = np.stack([np.interp(columns, np.arange(channel.shape[1]), row) for row in channel])
    return np.stack([np.interp(rows, np.arange(channel.shape[0]), column) for column in along.T], axis=1)


def score_cam_by_loops(net, image, layer, output):
    features, scores_of = runs(net, layer)(image), runs(net, output)
    baseline = scores_of(np.zeros_like(image))
    maps = []
    for index in CLASSES:
        increases = {}
        for k, channel in enumerate(features):
            if channel.min() == channel.max():
                continue
            mask = bilinear(channel.astype(np.float64), *image.shape[1:])
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            increases[k] = float(scores_of((image * mask).astype(np.float32))[index]) - float(baseline[index])
        total = sum(np.exp(each) for each in increases.values())
        maps.append(np.maximum(sum(np.exp(each) / total * features[k] for k, each in increases.items()), 0))
    return np.stack(maps)


def without_channel(net, layer, channel):
    """Return the net with weights and bias of 0 for a channel of a convolution, whose values are then 0."""
    weight, bias = (array.copy() for array in net.params[layer])
    weight[channel], bias[channel] = 0, 0
    return net.with_params({**net.params, layer: (weight, bias)})


def ablation_cam_by_loops(net, image, layer, output, convolutions):
    """`convolutions` are the layers, in order, whose channels are those of the blob `layer`."""
    features = runs(net, layer)(image)
    whole = runs(net, output)(image).astype(np.float64)
    total = np.zeros((len(CLASSES), *features.shape[1:]))
    k = 0
    for name in convolutions:
        for channel in range(net.params[name][0].shape[0]):
            lost = runs(without_channel(net, name, channel), output)(image)
            for t, index in enumerate(CLASSES):
                total[t] += (whole[index] - lost[index]) / whole[index] * features[k]
            k += 1
    assert k == len(features)
    return np.maximum(total, 0)


def assert_close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_the_maps_are_those_of_plain_loops(engine):
    net, images = branches(), inputs(2)
    # `a` has the other branch beside it, which reaches the scores past the blob.
    for layer, convolutions in (("a", ["a"]), ("ab", ["a", "b"]), (None, ["last"])):
        for target, output in (("logit", "fc"), ("probability", "prob")):
            if engine in ("caffe", "openvino") and (layer, target) != ("a", "logit"):
                continue  # these two take long to prepare a net
            expected = [ablation_cam_by_loops(net, image, layer or "last", output, convolutions) for image in images]
            given = {"engine": engine, "layer": layer, "target": target}
            assert_close(maps_of(net, "ablationcam", images, **given), np.stack(expected))
            expected = [score_cam_by_loops(net, image, layer or "last", output) for image in images]
            assert_close(maps_of(net, "scorecam", images, **given), np.stack(expected))


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
@pytest.mark.parametrize("engine", EVERY_ENGINE[:3])
def test_batches_and_streams_do_not_change_the_maps(method, engine, monkeypatch):
    net, images = branches(), inputs(3, 1)
    whole = maps_of(net, method, images, engine=engine, layer="ab")
    monkeypatch.setattr(base, "BATCH_BYTES", 4 * 4000)
    most = 3 if engines.engine_class(engine).concurrent else 1
    for streams in {1, most}:
        found = maps_of(net, method, images, engine=engine, layer="ab", options=Options(threads=1, streams=streams))
        alone = maps_of(net, method, images[1:2], engine=engine, layer="ab", options=Options(threads=1))
        if engines.engine_class(engine).batch_invariant:
            np.testing.assert_array_equal(found, whole)
            np.testing.assert_array_equal(alone[0], whole[1])
        assert_close(found, whole)
        assert_close(alone[0], whole[1])


def test_before_an_average_and_a_class_layer_ablation_is_algebra():
    """Without channel k, class c loses its class weight times the mean of the channel."""
    net, (image,) = branches(), inputs()
    features, logits = runs(net, "last")(image).astype(np.float64), runs(net, "fc")(image).astype(np.float64)
    weights = net.class_weights("fc")[CLASSES] * features.mean(axis=(1, 2)) / logits[CLASSES, None]
    expected = np.maximum(np.einsum("tk,khw->thw", weights, features), 0)
    assert_close(maps_of(net, "ablationcam", image[None])[0], expected)


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from(["data", "stem", "a", "ab", "last"]))
@hypothesis.settings(max_examples=10)
def test_a_score_cam_lies_between_its_channels(seed, layer):
    """Its weights are positive and add up to 1, so that no value is larger than the largest of all channels there."""
    net, images = branches(), inputs(1, seed)
    features = runs(net, layer)(images[0])
    moving = features[features.min(axis=(1, 2)) < features.max(axis=(1, 2))]
    found = maps_of(net, "scorecam", images, layer=layer)[0]
    slack = 1e-5 * np.abs(features).max()
    assert (found <= np.maximum(moving.max(axis=0), 0) + slack).all()
    assert (found >= np.maximum(moving.min(axis=0), 0) - slack).all()


def test_what_has_no_map_has_zeros():
    net = branches()
    zeros = {name: tuple(np.zeros_like(array) for array in arrays) for name, arrays in net.params.items()}
    for method in ("scorecam", "ablationcam"):  # flat channels, and a score of 0
        assert not maps_of(net.with_params(zeros), method, inputs()).any()
    # All channels but one are flat: its weight is 1.
    only = without_channel(net, "last", slice(1, None))
    expected = np.maximum(runs(only, "last")(inputs()[0])[0], 0)
    assert_close(maps_of(only, "scorecam", inputs())[0], np.stack([expected] * 2))


def test_no_classes_have_no_maps():
    for kind in (ScoreCam, AblationCam):
        features = np.zeros((2, 6, 5, 4), np.float32)
        found = kind(branches(), "prob")(inputs(2), np.array([], np.intp), {"last": features}, None)
        assert found.shape == (2, 0, 5, 4)


def test_a_layer_or_a_target_that_cannot_be():
    aside = 'layer { name: "aside" type: "TanH" bottom: "stem" top: "aside" }'
    net = branches(BRANCHES + aside)
    for kind in (ScoreCam, AblationCam):
        with pytest.raises(NetError, match="no blob 'conv9' for maps: the last that has maps is 'last', and"):
            kind(net, "prob", layer="conv9")
        with pytest.raises(NetError, match="blob 'fc' is 1×4: maps need rows and columns"):
            kind(net, "prob", layer="fc")
        with pytest.raises(NetError, match="blob 'aside' has no influence on the scores 'fc'"):
            kind(net, "prob", layer="aside")
        with pytest.raises(UsageError, match=r"'fc' comes from 'fc' \(InnerProduct\), not from a Softmax"):
            kind(net, "fc", "probability")
        assert kind(net, "prob").layer == "last"


def test_every_method_is_in_the_table():
    assert set(METHODS) == set(CHOICES["method"])


def test_the_streams_of_one_image():
    """The passes of a single image use all streams; where an image is one run, it has one."""
    most = engines.best_streams("onnxruntime", Options(threads=64))
    rows = {name: protocol("default").with_choices(method=name) for name in ("cam", "scorecam", "ablationcam")}
    found = {name: best_streams("onnxruntime", row, Options(threads=64), 1) for name, row in rows.items()}
    assert found == {"cam": 1, "scorecam": most, "ablationcam": most}


def test_many_runs_of_an_engine():
    net = branches()
    given = [{"data": inputs(count, count)} for count in (1, 2, 3, 1, 2)]
    for streams in (1, 3):
        with engines.make("onnxruntime", net, ["fc"], Options(threads=1, streams=streams)) as engine:
            found = list(engine.forward_many(iter(given)))
            for each, values in zip(given, found, strict=True):
                np.testing.assert_array_equal(values["fc"], engine.forward(each)["fc"])
            with pytest.raises(EngineError, match="input 'data': expected shape 1×3×14×11"):
                list(engine.forward_many([*given, {"data": inputs()[:, :2]}]))
        with pytest.raises(EngineError, match="was closed: make a new one"):
            list(engine.forward_many(given))


def test_they_need_no_torch():
    code = "import sys, pycam.predict, pycam.maps.perturbation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("branches")
    net = branches()
    (folder / "net.prototxt").write_text(BRANCHES)
    caffemodel.write(folder / "net.caffemodel", prototxt.parse(BRANCHES).message, net.params)
    pixels = np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(folder / "image.png"), pixels)
    return folder


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
@pytest.mark.parametrize("view", ["center", "full", "ten"])
def test_from_an_image_to_files(method, view, files, tmp_path):
    net = {"prototxt": files / "net.prototxt", "weights": files / "net.caffemodel"}
    choices = {"method": method, "view": view, "layer": "ab", "target": "probability", "input_scale": "0.01"}
    flags = [str(each) for name, value in (net | choices).items() for each in (f"--{name.replace('_', '-')}", value)]
    command = ["heatmap", str(files / "image.png"), *flags, "--maps", "npy", "--boxes", "--top", "2"]
    assert main([*command, "--out", str(tmp_path), "-q"]) == 0
    found = json.loads((tmp_path / "image/image.json").read_text())
    assert found["method"] == method and len(found["top"]) == 2
    maps = np.load(tmp_path / "image/image_features.npy")
    assert maps.shape == (10 if view == "ten" else 1, 2, 7, 6) and maps.min() >= 0 and maps.max() > 0
    with pycam.load(**net, **choices, options=Options(threads=1)) as cam:
        expected = cam(files / "image.png", top=2)
    np.testing.assert_array_equal(maps, expected.feature_maps)


def test_the_progress_of_one_image_moves(files, monkeypatch):
    monkeypatch.setattr(base, "BATCH_BYTES", 4 * 4000)
    model = Model("branches", branches(), Preprocessing(None), Labels(("a", "b", "c", "d")))
    for method in ("scorecam", "ablationcam"):
        shares, row = [], protocol("default").with_choices(method=method, layer="ab")
        with make_cam(model, protocol=row, options=Options(threads=2, streams=2)) as cam:
            images = [files / "image.png", files / "missing.png", files / "image.png"]
            found = [each for _, each in cam.stream(images, progress=shares.append)]
        assert sum(shares) == pytest.approx(3) and len(shares) > 6
        np.testing.assert_array_equal(found[0].feature_maps, found[2].feature_maps)
        assert "missing.png" in str(found[1])


def test_a_run_has_the_same_bytes_with_threads_and_with_processes(tmp_path):
    """Its maps are the engine's alone: no number of streams changes them."""
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images", 6)
    row = protocol("paper").with_choices(method="scorecam")
    for workers in (1, 2):
        plan = make_plan(write_model(tmp_path), images, row)
        assert plan.recipe.batch_invariant
        evaluate(plan, tmp_path / f"run{workers}", workers=workers)
    assert_same(tmp_path / "run1", tmp_path / "run2")


def test_a_net_from_an_onnx_file(tmp_path):
    """Its nodes are layers as well, so that the part behind any tensor can run by itself."""
    (tmp_path / "net.onnx").write_bytes(onnx_model(branches(), ["fc"]).SerializeToString())
    (image,) = inputs(1, 2)
    for method in ("scorecam", "ablationcam"):
        for layer in ("a", None):
            expected = maps_of(branches(), method, image[None], layer=layer)
            given = {"onnx": tmp_path / "net.onnx", "preprocess": "caffe", "method": method, "layer": layer}
            with pycam.load(**given, options=Options(threads=1)) as cam:
                (found,) = cam.predict([(FakeImage, image[None])], [lambda scores: CLASSES])
            assert_close(found.feature_maps, expected)
