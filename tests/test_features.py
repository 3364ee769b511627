"""Features, classifiers of them, and their heads."""

from __future__ import annotations

import numpy as np
import pytest
from nets import conv, data, layer, pool

from pycam import engines
from pycam.formats import prototxt
from pycam.net import Net, head_weights, net_from_message, random_weights
from pycam.net.fitted_head import fitted_net
from pycam.paper.classifier import fit_classifier
from pycam.paper.features import Features, pooled_values


def test_features_are_means_over_positions_and_crops():
    values = np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype(np.float32)
    expected = values.astype(np.float64).mean(axis=(2, 3)).reshape(2, 2, 3).mean(axis=1)
    np.testing.assert_array_equal(pooled_values(values, crops=2), expected.astype(np.float32))
    np.testing.assert_array_equal(pooled_values(values, "max"), values.max(axis=(2, 3)))


def test_a_file_holds_all_and_has_the_same_bytes_twice(tmp_path):
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


@pytest.mark.paper
@pytest.mark.parametrize("scale", ["raw", "mean-norm", "standard", "l2"])
def test_two_classes_get_two_rows(scale):
    rng = np.random.default_rng(0)
    values, labels = rng.gamma(2, size=(40, 6)), np.repeat([7, 3], 20)
    values[labels == 7, 0] += 9
    found = fit_classifier(values, labels, scale=scale, bias=True)
    assert found.classes.tolist() == [3, 7]
    np.testing.assert_array_equal(found.decisions(values)[:, 0], -found.decisions(values)[:, 1])
    assert (found.predict(values) == labels).mean() > 0.9


NET = (
    data(1, 3, 16, 20)
    + conv("conv", "data", params="num_output: 6 kernel_size: 3 pad: 1")
    + layer("ReLU", "relu", "conv", "conv")
    + pool("pool", "conv", "pool: AVE global_pooling: true")
    + layer("InnerProduct", "fc", "pool", params="inner_product_param { num_output: 4 }")
    + layer("Softmax", "prob", "fc")
)


def small_net(text: str = NET) -> Net:
    net = net_from_message(prototxt.parse(text).message)
    return net.with_params(random_weights(net))


@pytest.mark.paper
@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("scale", ["raw", "mean-norm", "standard", "l2"])
def test_a_fitted_head_gives_the_decision_values(scale, pooling):
    rng = np.random.default_rng(0)
    net = small_net()
    images = rng.normal(size=(12, 3, 16, 20)).astype(np.float32)
    with engines.make("onnxruntime", net, ["conv"]) as engine:
        maps = engine.forward({"data": images})["conv"]
    values = pooled_values(maps, pooling)
    classifier = fit_classifier(values, np.arange(12) % 3, scale=scale, bias=True)
    fitted, head = fitted_net(
        net, "conv", classifier.weights, classifier.bias, pooling=pooling, unit_norm=classifier.unit_norm
    )
    with engines.make("onnxruntime", fitted, [head.score_blob]) as engine:
        scores = engine.forward({"data": images})[head.score_blob]
    np.testing.assert_allclose(scores, classifier.decisions(values), atol=1e-5)
    assert (head.feature_blob, head.class_layer) == ("conv", "CAM_fc")
    np.testing.assert_array_equal(head_weights(fitted, head).matrix, classifier.weights.astype(np.float32))
