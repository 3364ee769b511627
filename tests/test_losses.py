"""Losses and accuracies have real Caffe's values."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from nets import data, layer, seeded_net

from pycam import engines
from pycam.formats import prototxt
from pycam.net import Net
from pycam.verification.certificate import noise

pytestmark = pytest.mark.torch
with suppress(ImportError):  # without PyTorch, the marker skips every test
    import torch

    from pycam.engines.torch_graph import TorchNet

LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" %s }\n'


def judged(body: str, *, shape: tuple[int, ...] = (4, 5), labels: tuple[int, ...] = (4,)) -> Net:
    return seeded_net(prototxt.parse(data(*shape, name="scores") + data(*labels, name="label") + body).message)


def both(net: Net, scores: np.ndarray, labels: np.ndarray) -> list[dict[str, np.ndarray]]:
    computed = [value for value in net.value_shapes if value not in net.input_values.values()]
    inputs = {"scores": scores.astype(np.float32), "label": labels.astype(np.float32)}
    found = []
    for name in ("torch", "caffe"):
        with engines.make(name, net, computed) as engine:
            found.append(engine.forward(inputs))
    return found


@pytest.mark.caffe
@pytest.mark.parametrize("size", [1, 30, 80, 200, 1e6])
def test_a_sure_and_wrong_score_costs_what_it_costs_in_caffe(size):
    net = judged(layer("SoftmaxWithLoss", "loss", "scores label"))
    scores = np.zeros((4, 5))
    scores[:, 2] = size
    ours, caffes = both(net, scores, np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(ours["loss"], caffes["loss"], rtol=2e-5)


def test_a_clamped_loss_keeps_its_gradient():
    net = judged(layer("SoftmaxWithLoss", "loss", "scores label"))
    scores = torch.zeros(4, 5)
    scores[:, 2] = 200
    scores.requires_grad_()
    labels = torch.tensor([0.0, 1, 2, 3])
    TorchNet(net)({"scores": scores, "label": labels}, ["loss"])["loss"].backward()
    # (softmax − label) / 4
    expected = torch.nn.functional.softmax(scores.detach(), 1)
    expected[range(4), labels.long()] -= 1
    torch.testing.assert_close(scores.grad, expected / 4)


@pytest.mark.caffe
@pytest.mark.parametrize("params", ["", "top_k: 2", "ignore_label: 0", "ignore_label: 1 top_k: 3"])
def test_accuracies_of_all_and_of_each_class_are_caffes(params):
    net = judged(
        layer("Accuracy", "accuracy", "scores label", "all each", f"accuracy_param {{ {params} }}"),
        shape=(6, 5),
        labels=(6,),
    )
    rng = np.random.default_rng(0)
    # Whole numbers, so that some scores are equal.
    ours, caffes = both(net, rng.integers(0, 3, (6, 5)), np.array([0, 1, 1, 4, 0, 2]))
    assert ours["each"].shape == (5,)
    np.testing.assert_allclose(ours["all"], caffes["all"], rtol=1e-6)
    np.testing.assert_allclose(ours["each"], caffes["each"], rtol=1e-6)


@pytest.mark.caffe
def test_an_accuracy_over_positions_is_caffes():
    net = judged(layer("Accuracy", "accuracy", "scores label", "all each"), shape=(2, 3, 4, 5), labels=(2, 1, 4, 5))
    rng = np.random.default_rng(0)
    ours, caffes = both(net, rng.standard_normal((2, 3, 4, 5)), rng.integers(0, 3, (2, 1, 4, 5)))
    np.testing.assert_allclose(ours["each"], caffes["each"], rtol=1e-6)


@pytest.mark.caffe
def test_losses_without_a_top_have_caffes_values():
    net = judged(LOSS % "" + LOSS % "loss_param { normalization: NONE }")
    ours, caffes = both(net, np.arange(20).reshape(4, 5), np.array([0, 1, 2, 3]))
    assert ours.keys() == {"(automatic)@loss", "(automatic)"}
    for value in ours:
        np.testing.assert_allclose(ours[value], caffes[value], rtol=2e-5)
    assert ours["(automatic)"] == pytest.approx(4 * ours["(automatic)@loss"])


def test_noise_for_labels_are_labels():
    net = judged(
        layer("Slice", "cut", "label", "first second")
        + layer("Flatten", "flat", "first")
        + layer("SoftmaxWithLoss", "loss", "scores flat")
        + layer("InnerProduct", "fc", "scores", params="inner_product_param { num_output: 3 }")
        + layer("Accuracy", "accuracy", "fc second"),
        labels=(4, 2),
    )
    drawn = np.concatenate([noise(net, seed)["label"].ravel() for seed in range(50)])
    # The smaller number of classes is that of the accuracy.
    assert set(drawn.tolist()) == {0, 1, 2}
    assert np.abs(noise(net)["scores"]).max() > 3


def test_noise_has_the_only_batch_that_caffe_can_run():
    reshape = layer("Reshape", "map", "data", params="reshape_param { shape { dim: 6 dim: 2 dim: 2 } }")
    net = seeded_net(prototxt.parse(data(6, 4) + reshape).message)
    assert noise(net)["data"].shape == (6, 4)
