"""Features, linear classifiers of them, and the heads that they become."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nets import conv, data, layer, pool

from pycam import engines, load
from pycam.cli import main
from pycam.engines import Options
from pycam.errors import FormatError, NetError, RunError, UsageError
from pycam.evaluation import image_file
from pycam.formats import caffemodel, prototxt
from pycam.images.read import read_bytes
from pycam.maps.cam import class_activation_maps
from pycam.model import load_model
from pycam.net import Net, head_weights, net_from_message, random_weights
from pycam.net.fitted_head import fitted_net
from pycam.paper.classifier import LinearClassifier, fit_classifier
from pycam.paper.feature_images import find_images
from pycam.paper.feature_run import Images, compute_features
from pycam.paper.features import Features, default_blob, feature_cam, feature_values, pooled_values
from pycam.paper.fitted_model import fitted_model
from pycam.protocols import protocol

WHOLE = "PYCAM_FAULTS" in os.environ
COUNT = 24
CLASSES = ("ant hill", "bee", "cat")

NET = (
    data(1, 3, 16, 20)
    + conv("conv", "data", params="num_output: 6 kernel_size: 3 pad: 1")
    + layer("ReLU", "relu", "conv", "conv")
    + pool("pool", "conv", "pool: AVE global_pooling: true")
    + layer("InnerProduct", "fc", "pool", params="inner_product_param { num_output: 4 }")
    + layer("Softmax", "prob", "fc")
)
MAX_NET = NET.replace("pool: AVE", "pool: MAX")
DENSE_NET = NET.replace(
    pool("pool", "conv", "pool: AVE global_pooling: true"),
    layer("InnerProduct", "pool", "conv", params="inner_product_param { num_output: 5 }"),
)

CLASS_MAPS_NET = (
    data(1, 3, 16, 20)
    + conv("conv", "data", params="num_output: 6 kernel_size: 3 pad: 1")
    + layer("ReLU", "relu", "conv", "conv")
    + layer("Dropout", "drop", "conv", "conv")
    + conv("classes", "conv", params="num_output: 4 kernel_size: 1")
    + layer("ReLU", "relu_classes", "classes", "classes")
    + pool("pool", "classes", "pool: AVE global_pooling: true")
    + layer("Softmax", "prob", "pool")
)

SCALES = ["raw", "mean-norm", "standard", "l2"]


def small_net(text: str = NET) -> Net:
    net = net_from_message(prototxt.parse(text).message)
    return net.with_params(random_weights(net))


def write_net(folder: Path, text: str, name: str = "net") -> list[str]:
    """Write a net and its weights, and return the options that name them."""
    net = small_net(text)
    prototxt.write(folder / f"{name}.prototxt", net.message)
    caffemodel.write(folder / f"{name}.caffemodel", net.message, net.params)
    return ["--prototxt", str(folder / f"{name}.prototxt"), "--weights", str(folder / f"{name}.caffemodel")]


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(each) for each in arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("text", [NET, MAX_NET, CLASS_MAPS_NET], ids=["weights", "max", "class maps"])
def test_the_default_features_are_those_before_the_class_weights(tmp_path, text):
    write_net(tmp_path, text)
    model = load_model(prototxt=tmp_path / "net.prototxt", weights=tmp_path / "net.caffemodel")
    assert default_blob(model) == "conv"


def refusal(capsys, *arguments) -> str:
    """Return the only line that a command prints when it refuses."""
    code, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("pycam: ")]
    assert code not in (0, 1, 70), err
    assert (out, len(lines)) == ("", 1), err
    return lines[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A net, images in a folder per class and in a list, and the names of the classes."""
    folder = tmp_path_factory.mktemp("features")
    for text, name in ((NET, "net"), (MAX_NET, "max"), (DENSE_NET, "dense")):
        write_net(folder, text, name)
    rng = np.random.default_rng(0)
    lines = []
    for index in range(COUNT):
        label = index % len(CLASSES)
        pixels = rng.integers(0, 120, (18 + index, 30, 3), dtype=np.uint8)
        pixels[:, :, label] += 100
        path = folder / "images" / CLASSES[label] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)
        lines.append(f"{CLASSES[label]}/{path.name} {label}")
    # Labels appear in another order than that of their numbers.
    (folder / "list.txt").write_text("\n".join(lines[::-1]) + "\n")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


@pytest.fixture(scope="module")
def net_options(folder) -> list[str]:
    return ["--prototxt", str(folder / "net.prototxt"), "--weights", str(folder / "net.caffemodel")]


@pytest.fixture(scope="module")
def npz(folder, net_options) -> Path:
    """Features of the list."""
    out = folder / "f.npz"
    given = [f"@{folder / 'list.txt'}", "--root", folder / "images", *net_options, "--out", out, "--quiet"]
    assert main(["features", *map(str, given), "--view", "full"]) == 0
    return out


# Features


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99)
)
@settings(max_examples=30)
def test_features_are_means_over_positions_and_crops(images, crops, channels, height, width, seed):
    values = np.random.default_rng(seed).normal(size=(images * crops, channels, height, width)).astype(np.float32)
    for pooling, of in (("average", np.mean), ("max", np.max)):
        found = pooled_values(values, pooling, crops)
        expected = [
            [np.mean([of(values[i * crops + n, k].astype(np.float64)) for n in range(crops)]) for k in range(channels)]
            for i in range(images)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_features_of_every_kind_of_blob(folder, net_options):
    cam = load(prototxt=net_options[1], weights=net_options[3], protocol="default", view="ten")
    paths = sorted((folder / "images" / "bee").iterdir())
    with cam:
        features, pooled, scores = (
            list(feature_values(cam, paths, blob, batch=3)) for blob in ("conv", "pool", "prob")
        )
        for path, of_conv, of_pool, of_scores in zip(paths, features, pooled, scores, strict=True):
            prediction = cam(path)
            crops = cam.prepare([path])[0][1]
            maps = cam.engine.forward({"data": crops})["conv"]
            np.testing.assert_allclose(of_conv, maps.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(of_pool, of_conv, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(of_scores, prediction.scores, rtol=1e-5)


def test_a_file_holds_everything_and_has_the_same_bytes_twice(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    features = Features(values, ("a b.jpg", "ü.png"), np.array([1, 0]), {"blob": "x"}, ("cat", "dog"), np.ones(3, "f4"))
    for name in ("one.npz", "two.npz"):
        features.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    found = Features.load(tmp_path / "one.npz")
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.labels, [1, 0])
    assert (found.images, found.about, found.class_names) == (features.images, {"blob": "x"}, ("cat", "dog"))
    with np.load(tmp_path / "one.npz") as arrays:
        np.testing.assert_array_equal(arrays["values"], values)


def test_damaged_files_are_refused(tmp_path, npz):
    whole = npz.read_bytes()
    path = tmp_path / "bad.npz"
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in rng.integers(1, len(whole), 40)]
    for position in rng.integers(0, len(whole), 80):
        data = bytearray(whole)
        data[position] ^= 0xFF
        damaged.append(bytes(data))
    refused = 0
    for content in [b"", b"no archive", *damaged]:
        path.write_bytes(content)
        try:
            Features.load(path)
        except FormatError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 100
    np.savez(path, values=np.zeros((2, 3), "f4"))
    with pytest.raises(FormatError, match="has an array 'images', this file has none"):
        Features.load(path)
    for arrays, complaint in (
        ({"about": "{}"}, "2 rows of values, but 1 images"),
        ({"values": np.zeros(2, "f4")}, r"'values' is an array 2 of float32"),
        ({"values": np.zeros((1, 3), "f4"), "about": "{"}, "a text in it is damaged"),
        ({"values": np.zeros((1, 3), "f4"), "about": '{"blob": 1}'}, "'about' is no mapping of names to texts"),
    ):
        np.savez(path, **{"values": np.zeros((2, 3), "f4"), "images": np.array(["a"]), "about": "{}", **arrays})
        with pytest.raises(FormatError, match=complaint):
            Features.load(path)


def test_a_list_and_a_folder_give_the_same_features(folder, net_options, npz, tmp_path, capsys):
    out = tmp_path / "folder.npz"
    assert run(capsys, "features", folder / "images", *net_options, "--view", "full", "--out", out)[0] == 0
    of_list, of_folder = Features.load(npz), Features.load(out)
    assert of_folder.class_names == CLASSES
    assert of_list.class_names is None
    rows = [of_list.images.index(name) for name in of_folder.images]
    np.testing.assert_array_equal(of_folder.values, of_list.values[rows])
    np.testing.assert_array_equal(of_folder.labels, of_list.labels[rows])


def test_a_list_stands_alone_and_only_a_list_has_a_root(folder):
    with pytest.raises(UsageError, match="stands alone"):
        find_images([f"@{folder / 'list.txt'}", "a.png"])
    with pytest.raises(UsageError, match=r"--root .* has no effect"):
        find_images([str(folder / "list.txt")], folder)
    (folder / "moved.txt").write_text("a.png\n")
    for root, message in ((None, r"line, or give the folder of the images with --root$"), (folder, "line$")):
        with pytest.raises(FormatError, match=message):
            find_images([f"@{folder / 'moved.txt'}"], root)


# Interrupted runs


@pytest.fixture
def compute(folder, net_options, tmp_path):
    """A run of all images, which a function of the number of finished images may interrupt."""
    model = load_model(prototxt=net_options[1], weights=net_options[3])
    cam = feature_cam(model, "conv", protocol=protocol("default"), options=Options(streams=2))
    images = find_images([f"@{folder / 'list.txt'}"], folder / "images")

    def compute(stop=lambda done: None, images=images, **more) -> bytes:
        compute_features(cam, images, tmp_path / "f.npz", "conv", batch=4, progress=stop, **more)
        return (tmp_path / "f.npz").read_bytes()

    yield compute
    cam.close()


class Stop(BaseException):
    """The end of a run at an unexpected moment."""


def test_an_interrupted_run_ends_with_the_same_bytes(compute, tmp_path):
    whole = compute()
    partial = tmp_path / "f.npz.partial"
    assert not partial.exists()
    rng = np.random.default_rng(0)
    for last in (0, 1, 5, 8, COUNT - 1, COUNT):

        def stop(done: int, last: int = last) -> None:
            if done >= last:
                raise Stop

        with pytest.raises(Stop):
            compute(stop)
        # A kill may cut a record off, and a power failure may leave zeros in it.
        content = partial.read_bytes()
        cut = int(rng.integers(0, 30)) if last > 1 else 0
        partial.write_bytes(content[: len(content) - cut] + bytes(cut if last % 2 else 0))
        earlier: list[int] = []
        assert compute(earlier.append) == whole
        assert max(0, last - 8) <= earlier[0] <= last + 8
        assert earlier[0] % 4 == 0


def test_a_run_of_other_settings_or_images_is_not_resumed(compute, folder, tmp_path):
    def stop(done: int) -> None:
        if done >= 9:
            raise Stop

    copies = []
    for source in sorted((folder / "images").rglob("*.png")):
        copies.append(tmp_path / source.name)
        copies[-1].write_bytes(source.read_bytes())
    images = Images(tuple(map(str, copies)), tuple(map(str, copies)))
    with pytest.raises(Stop):
        compute(stop, images=images)
    with pytest.raises(RunError, match=r"f.npz.partial: an interrupted run had another images .* name another --out"):
        compute()
    with pytest.raises(RunError, match=r"an interrupted run had another pooling \(average, now max\)"):
        compute(images=images, pooling="max")
    content = copies[2].read_bytes()
    copies[2].write_bytes(copies[3].read_bytes())
    with pytest.raises(RunError, match=r"06.png: has changed since its features were computed"):
        compute(images=images)
    copies[2].write_bytes(content)
    compute(images=images)


@pytest.mark.parametrize("boxes", [None, ((0, 0, 20, 15),) * 4], ids=["whole", "parts"])
def test_a_file_is_read_once_so_that_its_features_are_of_the_kept_state(compute, folder, tmp_path, monkeypatch, boxes):
    copies = []
    for source in sorted((folder / "images").rglob("*.png"))[:4]:
        copies.append(tmp_path / source.name)
        copies[-1].write_bytes(source.read_bytes())
    names = tuple(map(str, copies))
    images = Images(names, names, boxes=boxes)
    compute(images=images)
    expected = Features.load(tmp_path / "f.npz").values

    def read(path):
        data = read_bytes(path)
        Path(path).write_bytes(b"replaced by another program")
        return data

    monkeypatch.setattr(image_file, "read_bytes", read)
    compute(images=images)
    np.testing.assert_array_equal(Features.load(tmp_path / "f.npz").values, expected)


def test_unreadable_images_end_the_run_or_are_skipped(compute, folder, tmp_path):
    whole = Features.load(compute() and tmp_path / "f.npz")
    good = [str(folder / "images" / name) for name in whole.images]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG damaged")
    images = Images(("bad", *whole.images), (str(bad), *good), (0, *whole.labels.tolist()))
    with pytest.raises(Exception, match=r"bad.png"):
        compute(images=images)
    reasons: list[str] = []
    compute(images=images, skip=True, skipped=reasons.append)
    found = Features.load(tmp_path / "f.npz")
    assert found.images == whole.images
    assert found.about["skipped"] == "1"
    assert len(reasons) == 1
    np.testing.assert_array_equal(found.values, whole.values)
    np.testing.assert_array_equal(found.labels, whole.labels)
    # Repaired, it is computed with the others.
    bad.write_bytes(Path(good[0]).read_bytes())
    compute(images=images)
    np.testing.assert_array_equal(Features.load(tmp_path / "f.npz").values[0], whole.values[0])


@pytest.mark.posix
def test_a_killed_run_resumes(folder, net_options, npz, tmp_path):
    lines = (folder / "list.txt").read_text() * 60
    (tmp_path / "list.txt").write_text(lines)
    out = tmp_path / "f.npz"
    command = [sys.executable, "-m", "pycam", "features", f"@{tmp_path / 'list.txt'}", "--root", folder / "images"]
    command += [*net_options, "--view", "full", "--out", out]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, env=os.environ)
    partial = tmp_path / "f.npz.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 6000):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "resuming: " in done.stderr
    found, once = Features.load(out), Features.load(npz)
    np.testing.assert_array_equal(found.values, np.tile(once.values, (60, 1)))


# Classifiers


@pytest.mark.paper
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_folding_gives_the_decisions_of_scikit_learn(scale, bias):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(0)
    values = rng.gamma(2, 20, size=(90, 7)).astype(np.float32)
    values[:, 3] = 4.1  # a channel that never changes
    values[5] = 0 if scale == "l2" else values[5]
    labels = rng.permutation(np.repeat([4, 1, 9], 30))
    values[labels == 4, 0] *= 3
    values[labels == 9, 1] *= 3
    found = fit_classifier(values, labels, scale=scale, bias=bias, c=0.5)
    mean_norm = np.linalg.norm(values.astype(np.float64), axis=1).mean()
    before = {
        "raw": FunctionTransformer(),
        "mean-norm": FunctionTransformer(lambda x: x / mean_norm),
        "standard": StandardScaler(),
        "l2": Normalizer(),
    }[scale]
    machine = make_pipeline(before, LinearSVC(C=0.5, dual=False, fit_intercept=bias, max_iter=10000, random_state=0))
    machine.fit(values.astype(np.float64), labels)
    new = rng.gamma(2, 20, size=(50, 7))
    new[:, 3] = 4.1
    np.testing.assert_allclose(found.decisions(new), machine.decision_function(new), atol=1e-5)
    np.testing.assert_array_equal(found.predict(new), machine.predict(new))
    assert found.classes.tolist() == [1, 4, 9]
    if scale == "standard":
        assert not found.weights[:, 3].any()


@pytest.mark.paper
@pytest.mark.parametrize("labels", [[7, 3], [3, 7]])
@pytest.mark.parametrize("scale", SCALES)
def test_two_classes_get_two_rows(scale, labels):
    rng = np.random.default_rng(0)
    values, labels = rng.gamma(2, size=(40, 6)), np.repeat(labels, 20)
    values[labels == 7, 0] += 9
    found = fit_classifier(values, labels, scale=scale, bias=True)
    assert found.classes.tolist() == [3, 7]
    np.testing.assert_array_equal(found.decisions(values)[:, 0], -found.decisions(values)[:, 1])
    assert (found.predict(values) == labels).mean() > 0.9


@pytest.mark.paper
def test_the_seed_matters_to_the_dual_solver_only():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    primal = [fit_classifier(values, labels, seed=seed).weights for seed in (0, 1)]
    np.testing.assert_array_equal(*primal)
    dual = [fit_classifier(values, labels, seed=seed, dual=True, tolerance=0.1).weights for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dual[0], dual[1])
    assert np.abs(dual[0] - dual[2]).max() > 0
    np.testing.assert_allclose(dual[0], primal[0], atol=0.1)


@pytest.mark.paper
def test_values_that_cannot_be_fitted_are_refused():
    values = np.ones((4, 2))
    for wrong, labels, message in (
        (values, [1, 1, 1, 1], "only label 1 in 4 rows"),
        (values[:0], [], "no label in 0 rows"),
        (values, [1, 2, 3], r"features \(4, 2\) and labels \(3,\)"),
        (np.array([[1.0, 2], [np.nan, 1]]), [0, 1], "features of row 1 are not finite"),
    ):
        with pytest.raises(UsageError, match=message):
            fit_classifier(wrong, labels)
    for options in ({"c": 0}, {"c": np.inf}, {"tolerance": -1}, {"max_iter": 0}, {"scale": "norm"}):
        with pytest.raises(UsageError, match="expected"):
            fit_classifier([[0.0], [1.0]], [0, 1], **options)


# Heads


@pytest.mark.paper
@pytest.mark.parametrize(
    "engine",
    [
        "onnxruntime",
        pytest.param("openvino", marks=pytest.mark.openvino),
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("opencv", marks=pytest.mark.opencv),
        pytest.param("caffe", marks=pytest.mark.caffe),
    ],
)
def test_a_written_head_gives_the_decision_values(engine, folder, npz, tmp_path, capsys):
    features = Features.load(npz)
    paths = [folder / "images" / name for name in features.images]
    for scale, bias in (("standard", True), ("l2", True)):
        out = tmp_path / f"{scale}.caffemodel"
        given = ["--labels", folder / "labels.txt", "--scale", scale, *(["--bias"] if bias else [])]
        assert run(capsys, "net", "fit", npz, *given, "--out", out)[0] == 0
        classifier = fit_classifier(features.values, features.labels, scale=scale, bias=bias)
        expected = classifier.decisions(features.values)
        with load(tmp_path / f"{scale}.yaml", view="full", engine=engine) as cam:
            assert cam.model.labels.names == CLASSES
            found = [prediction for _, prediction in cam.stream(paths, top=3)]
            scores = np.stack([prediction.scores for prediction in found])
            bias_of = cam.method.weights.bias
        assert np.abs(scores - expected).max() < 1e-5 * max(1, np.abs(expected).max()), scale
        np.testing.assert_array_equal(scores.argmax(axis=1), classifier.predict(features.values))
        # The mean of a map and the bias add up to the score: times the norm where features are divided by it.
        norms = np.linalg.norm(features.values, axis=1, keepdims=True) if scale == "l2" else 1.0
        means = np.stack(
            [prediction.feature_maps[0, np.argsort(prediction.classes)].mean(axis=(1, 2)) for prediction in found]
        )
        np.testing.assert_allclose(means / norms + bias_of, scores, atol=1e-4)


def test_the_own_class_weights_of_a_net_give_its_own_maps():
    net = small_net()
    images = np.random.default_rng(1).normal(size=(2, 3, 16, 20)).astype(np.float32)
    weights = net.params["fc"][0]
    fitted, head = fitted_net(net, "conv", weights, np.ones(4))
    assert head_weights(fitted, head).bias.tolist() == [1] * 4
    with (
        engines.make("onnxruntime", fitted, [head.feature_blob]) as one,
        engines.make("onnxruntime", net, ["conv"]) as two,
    ):
        maps = [
            class_activation_maps(engine.forward({"data": images})[blob], matrix)
            for engine, blob, matrix in (
                (one, head.feature_blob, head_weights(fitted, head).matrix),
                (two, "conv", weights),
            )
        ]
    np.testing.assert_array_equal(*maps)
    assert [layer.name for layer in fitted.layers] == ["data", "conv", "relu", "CAM_pool", "CAM_fc"]


@pytest.mark.paper
@pytest.mark.parametrize("text", [NET, MAX_NET], ids=["average", "max"])
@pytest.mark.parametrize("scale", SCALES)
def test_heads_of_pooled_blobs_and_of_maxima(scale, text):
    rng = np.random.default_rng(0)
    net = small_net(text)
    images = rng.normal(size=(12, 3, 16, 20)).astype(np.float32)
    with engines.make("onnxruntime", net, ["conv", "pool"]) as engine:
        found = engine.forward({"data": images})
    for blob, pooling in (("conv", "average"), ("conv", "max"), ("pool", "average")):
        values = pooled_values(found[blob], pooling)
        classifier = fit_classifier(values, np.arange(12) % 3, scale=scale, bias=True)
        fitted, head = fitted_net(
            net, blob, classifier.weights, classifier.bias, pooling=pooling, unit_norm=classifier.unit_norm
        )
        with engines.make("onnxruntime", fitted, [head.score_blob]) as engine:
            scores = engine.forward({"data": images})[head.score_blob]
        np.testing.assert_allclose(scores, classifier.decisions(values), atol=1e-5)
        assert (head.feature_blob, head.class_layer) == ("conv", "CAM_fc")
        np.testing.assert_array_equal(head_weights(fitted, head).matrix, classifier.weights.astype(np.float32))
        if scale != "l2":
            is_max = pooling == "max" or (blob == "pool" and text == MAX_NET)
            assert head.pooling == ("max" if is_max else "average")


@pytest.mark.paper
def test_a_head_on_maxima_says_so(folder, tmp_path, capsys):
    net = ["--prototxt", folder / "max.prototxt", "--weights", folder / "max.caffemodel"]
    assert run(capsys, "features", folder / "images", *net, "--out", tmp_path / "f.npz")[0] == 0
    features = Features.load(tmp_path / "f.npz")
    assert features.about["pooling"] == "max"
    code, _, err = run(capsys, "net", "fit", tmp_path / "f.npz", "--out", tmp_path / "head.caffemodel")
    assert code == 0
    assert "the mean of a class's map plus its bias is not its score" in err
    image = next((folder / "images" / "bee").iterdir())
    code, _, err = run(capsys, "heatmap", image, "--model", tmp_path / "head.yaml", "--out", tmp_path / "maps")
    assert code == 0
    assert "the mean of a class's map plus its bias is not its score" in err
    assert "scores are margins, not probabilities" in err
    with load(tmp_path / "head.yaml") as cam:
        prediction = cam(image)
        values = cam.engine.forward({"data": cam.prepare([image])[0][1]})["conv"]
    np.testing.assert_allclose(
        prediction.scores, cam.method.weights.matrix @ values.max(axis=(2, 3))[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.paper
def test_boxes_of_a_head_with_a_bias_say_so(folder, npz, tmp_path, capsys):
    image = next((folder / "images" / "bee").iterdir())
    for name, more in (("with", ["--bias"]), ("without", [])):
        given = ["net", "fit", npz, "--labels", folder / "labels.txt", *more]
        assert run(capsys, *given, "--out", tmp_path / f"{name}.caffemodel")[0] == 0
        heatmap = ["heatmap", image, "--model", tmp_path / f"{name}.yaml", "--out", tmp_path / "maps", "--boxes"]
        assert ("the head has a bias" in run(capsys, *heatmap)[2]) == (name == "with")


@pytest.mark.paper
def test_the_same_features_give_the_same_bytes(folder, npz, tmp_path, capsys):
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "head.caffemodel"
        code, printed, _ = run(capsys, "net", "fit", npz, "--labels", folder / "labels.txt", "--out", out)
        assert code == 0
        assert printed.split() == [str(out.with_suffix(each)) for each in (".caffemodel", ".prototxt", ".txt", ".yaml")]
        written.append({path.name: path.read_bytes() for path in out.parent.iterdir()})
    assert written[0] == written[1]


@pytest.mark.paper
@pytest.mark.parametrize("names", [("1 cent", "2 cent", "0"), ("n01440764", "n01443537 x", "n01484850")])
def test_awkward_names_are_kept(names, npz, folder, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("index\tlabel\n" + "".join(f"{i}\t{name}\n" for i, name in enumerate(names)))
    given = ["--labels", tmp_path / "labels.txt", "--out", tmp_path / "head.caffemodel"]
    assert run(capsys, "net", "fit", npz, *given)[0] == 0
    assert load_model(tmp_path / "head.yaml").labels.names == names


def test_a_plain_head_of_unit_features_may_have_no_bias(folder, net_options):
    model = load_model(prototxt=net_options[1], weights=net_options[3])
    rng = np.random.default_rng(0)
    classifier = LinearClassifier(rng.normal(size=(3, 6)), np.zeros(3), np.arange(3), "l2")
    plain = fitted_model(model, "conv", classifier, CLASSES, plain=True)
    layers = fitted_model(model, "conv", classifier, CLASSES)
    assert (plain.head.named, layers.head.named) == (False, True)
    images = rng.normal(size=(9, 3, 16, 20)).astype(np.float32)
    found = []
    for made in (plain, layers):
        with engines.make("onnxruntime", made.net, [made.score_blob]) as engine:
            found.append(engine.forward({"data": images})[made.score_blob])
    factors = found[0] / found[1]
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-4)
    with_bias = LinearClassifier(classifier.weights, np.ones(3), np.arange(3), "l2")
    with pytest.raises(UsageError, match="scale l2 with a bias as a plain head"):
        fitted_model(model, "conv", with_bias, CLASSES, plain=True)


def test_blobs_that_carry_no_head_are_refused():
    net = small_net(DENSE_NET)
    for blob, size, message in (
        ("pool", 5, "no class activation maps: .*choose features with rows and columns"),
        ("prob", 4, "no class activation maps: "),
        ("conv", 5, "takes 5 features, but blob 'conv' has 6 channels"),
        ("cnov", 5, "no blob 'cnov': did you mean 'conv'"),
    ):
        with pytest.raises(NetError, match=message):
            fitted_net(net, blob, np.ones((3, size)), np.zeros(3))


@pytest.mark.paper
def test_what_cannot_be_fitted_is_refused(folder, npz, tmp_path, capsys):
    out = ["--out", tmp_path / "head.caffemodel"]
    good = ["--labels", folder / "labels.txt", *out]
    features = Features.load(npz)

    def saved(**changes) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        Features(**{**vars(features), **changes}).save(path)
        return path

    def names(*lines: str) -> list[Path | str]:
        (tmp_path / f"{len(lines)}names.txt").write_text("\n".join(lines) + "\n")
        return ["--labels", tmp_path / f"{len(lines)}names.txt", *out]

    (tmp_path / "other.prototxt").write_text((folder / "net.prototxt").read_text() + "# changed\n")
    other = small_net()
    caffemodel.write(tmp_path / "other.caffemodel", other.message, random_weights(other, 1))
    bad = features.values.copy()
    bad[3, 1] = np.nan
    gone = {"net": "/nowhere/net.prototxt", "weights": "/nowhere/net.caffemodel"}
    cases = [
        ([npz, *good, "--prototxt", tmp_path / "other.prototxt"], "other.prototxt: not the net of .*f.npz"),
        ([npz, *good, "--weights", tmp_path / "other.caffemodel"], "other.caffemodel: not the weights of .*f.npz"),
        ([npz, *good, "--model", "squeezenet-cam"], "not the net of .*f.npz"),
        (
            [saved(about={**features.about, **gone}), *good],
            "/nowhere/net.prototxt, is not there any more: give --proto",
        ),
        ([saved(about={}), *good], "does not say which net its features are of"),
        ([npz, *out], "labels without names: give the names"),
        ([npz, *names("a", "b")], r"names.txt:3: no name for label 2 of image"),
        ([npz, *names("a", "b", "c", "d")], r"names.txt:4: class 'd' \(label 3\) has no image"),
        ([saved(class_names=CLASSES), *names("bee", "ant hill", "cat")], "names.txt:1: 'bee', but label 0 of"),
        ([saved(labels=None), *good], "features without labels: compute them from a list"),
        ([saved(labels=features.labels * 0), *names("a")], "all 24 images have label 0 .*two classes or more"),
        ([saved(labels=features.labels - 1), *good], "labels.txt:1: no name for label -1"),
        ([saved(values=bad), *good], r"image '.*' \(row 3\) has features that are not finite"),
        ([tmp_path / "missing.npz", *good], "missing.npz: expected a file of features, but: No such file"),
        ([folder / "labels.txt", *good], "labels.txt: expected a file of features"),
        ([npz, "--labels", tmp_path / "missing.txt", *out], "missing.txt: expected a label list"),
        ([npz, *good, "--seed", 1], "--seed has no effect here: only the dual solver"),
        ([npz, *good, "--plain"], "--plain has no effect here: only scale l2"),
        ([npz, *good, "--scale", "l2", "--bias", "--plain"], "scale l2 with a bias as a plain head"),
        ([npz, *good, "--scale", "norm"], "scale is 'norm'; expected one of"),
        ([npz, *good, "--c", 0], "expected finite numbers above 0"),
        ([npz, "--labels", folder / "labels.txt", "--out", tmp_path / "head.npz"], "ends in .caffemodel"),
        ([npz, "--labels", folder / "labels.txt", "--out", folder / "net.caffemodel"], "another file of this command"),
        ([npz, "--labels", folder / "labels.txt", "--out", tmp_path / "no" / "h.caffemodel"], "a folder that exists"),
    ]
    for arguments, message in cases:
        line = refusal(capsys, "net", "fit", *arguments)
        assert re.search(message, line), (message, line)
    assert not list(tmp_path.glob("head*"))


@pytest.mark.paper
def test_features_of_a_net_without_maps_have_no_head(folder, tmp_path, capsys):
    net = ["--prototxt", folder / "dense.prototxt", "--weights", folder / "dense.caffemodel"]
    out = ["--out", tmp_path / "f.npz"]
    line = refusal(capsys, "features", folder / "images", *net, *out)
    assert "--blob" in line
    assert "pool" in line
    assert run(capsys, "features", folder / "images", *net, *out, "--blob", "pool")[0] == 0
    assert Features.load(tmp_path / "f.npz").values.shape == (COUNT, 5)
    line = refusal(capsys, "net", "fit", tmp_path / "f.npz", "--out", tmp_path / "head.caffemodel")
    assert "no class activation maps" in line


def test_bad_options_of_features_are_refused(folder, net_options, tmp_path, capsys):
    images, out = folder / "images", ["--out", tmp_path / "f.npz"]
    for arguments, message in (
        ([images, *net_options, *out, "--blob", "cnov"], "did you mean 'conv'"),
        ([images, *net_options, *out, "--pooling", "sum"], "--pooling sum: expected one of average, max"),
        ([images, *net_options, *out, "--blob", "prob", "--pooling", "max"], "'prob' has no rows and columns"),
        ([images, *net_options, *out, "--blob", "conv", "--head", "prob"], "--head has no effect here"),
        ([images, *net_options, "--out", tmp_path / "f.txt"], "ends in .npz"),
        ([images, images, *net_options, *out], "a list or a folder stands alone"),
        ([f"@{tmp_path / 'none.txt'}", *net_options, *out], "none.txt: no such file"),
        ([tmp_path, *net_options, *out], "expected one folder of images per class"),
        ([images / "no", *net_options, *out], r"no: no such image, folder or list \(@list\.txt\): correct the name"),
        ([images, *net_options, "--out", tmp_path / "no" / "f.npz"], "No such file or directory"),
    ):
        code, printed, err = run(capsys, "features", *arguments)
        lines = [line for line in err.splitlines() if line.startswith("pycam: ")]
        assert code not in (0, 70), err
        assert (printed, len(lines)) == ("", 1), err
        assert re.search(message, lines[0]), (message, lines[0])
    assert not list(tmp_path.glob("f.npz*"))


# Caltech-101


@pytest.fixture(scope="module")
def caltech(shared, tmp_path_factory) -> dict[str, Features]:
    """SqueezeNet's features of the training and test images, view full; often of every tenth class."""
    root = shared / "data" / "caltech101"
    model = load_model("squeezenet-v1.0", weights=shared / "data" / "weights" / "squeezenet_v1.0.caffemodel")
    options = Options(streams=engines.best_streams("onnxruntime"))
    row = protocol("default").with_choices(view="full")
    found = {}
    with feature_cam(model, "fire9/concat", protocol=row, options=options) as cam:
        for part in ("train", "test"):
            folder = tmp_path_factory.mktemp("caltech")
            lines = (root / f"{part}.txt").read_text().splitlines()
            chosen = [line for line in lines if WHOLE or int(line.split()[-1]) % 10 == 0]
            (folder / "list.txt").write_text("\n".join(chosen))
            images = find_images([f"@{folder / 'list.txt'}"], root / "images")
            found[part] = compute_features(cam, images, folder / f"{part}.npz", "fire9/concat")
    return found


# Every class: measured by others with scikit-learn on ONNX Runtime's features. Every tenth class: with scikit-learn
# alone, on features that real Caffe computed.
RIGHT = {
    "raw": (1435, 187),
    "mean-norm": (1482, 189),
    "l2": (1483, 189),
}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.paper
@pytest.mark.parametrize("scale", RIGHT)
def test_accuracy_on_caltech_101(scale, caltech):
    train, test = caltech["train"], caltech["test"]
    assert (len(train.values), len(test.values)) == ((3030, 1692) if WHOLE else (330, 190))
    classifier = fit_classifier(train.values, train.labels, scale=scale)
    right = int((classifier.predict(test.values) == test.labels).sum())
    assert abs(right - RIGHT[scale][not WHOLE]) <= (3 if WHOLE else 1)
