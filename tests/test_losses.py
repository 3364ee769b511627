"""Losses and accuracies have real Caffe's values."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from nets import data, layer, seeded_net

from pycam import engines
from pycam.errors import EngineError, NetError
from pycam.formats import prototxt
from pycam.net import Net, net_from_message
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


def whole(classes: int):
    return lambda rng, shape: rng.integers(0, classes, shape)


def normal(rng, shape):
    return rng.normal(0, 2, shape)


def chance(rng, shape):
    return rng.random(shape) * (rng.random(shape) > 0.3)


# Type -> shapes of its bottoms, what they hold, and parameters to try.
SIGMOID = [
    "",
    "loss_param { normalize: true }",
    "loss_param { normalize: false ignore_label: 1 } loss_weight: 3",
    *(f"loss_param {{ ignore_label: 1 normalization: {kind} }}" for kind in ("FULL", "VALID", "BATCH_SIZE", "NONE")),
]
SOFTMAX = ["", "loss_param { ignore_label: 2 } loss_weight: 0.5", "loss_param { normalize: false ignore_label: 2 }"]
CONTRASTIVE = [
    "",
    "contrastive_loss_param { margin: 4 } loss_weight: 2",
    "contrastive_loss_param { margin: 9 legacy_version: true }",
]
GRADIENTS = [
    ("SoftmaxWithLoss", [(4, 5), (4,)], [normal, whole(5)], SOFTMAX),
    ("SoftmaxWithLoss", [(4, 5, 3), (4, 5)], [normal, whole(3)], [f"softmax_param {{ axis: 2 }} {x}" for x in SOFTMAX]),
    ("SigmoidCrossEntropyLoss", [(4, 5), (4, 5)], [normal, whole(2)], SIGMOID),
    ("SigmoidCrossEntropyLoss", [(4, 5, 2), (4, 10)], [lambda *x: 50 * normal(*x), lambda *x: 2 * chance(*x)], SIGMOID),
    ("EuclideanLoss", [(4, 5), (4, 5)], [normal, normal], ["", "loss_weight: 0.1"]),
    ("EuclideanLoss", [(4, 1), (4,)], [normal, normal], [""]),
    ("HingeLoss", [(4, 5), (4,)], [normal, whole(5)], ["", "hinge_loss_param { norm: L2 } loss_weight: 2"]),
    ("HingeLoss", [(4, 5, 2, 1), (4, 1, 1, 1)], [normal, whole(10)], ["", "hinge_loss_param { norm: L2 }"]),
    ("MultinomialLogisticLoss", [(9, 5), (9,)], [chance, whole(5)], ["", "loss_weight: 2"]),
    ("ContrastiveLoss", [(9, 5), (9, 5), (9,)], [normal, normal, whole(3)], CONTRASTIVE),
    ("ContrastiveLoss", [(3, 5, 1, 1), (3, 5), (3, 1, 1, 1)], [normal, normal, whole(2)], [""]),
]


@pytest.mark.caffe
@pytest.mark.parametrize(("kind", "shapes", "drawn", "params"), GRADIENTS)
def test_losses_and_their_gradients_are_caffes(kind, shapes, drawn, params, caffe):
    rng = np.random.default_rng(3)
    names = ["a", "b", "c"][: len(shapes)]
    inputs = {n: draw(rng, shape).astype(np.float32) for n, draw, shape in zip(names, drawn, shapes, strict=True)}
    blobs = "".join(data(*shape, name=name) for name, shape in zip(names, shapes, strict=True))
    for each in params:
        body = blobs + layer(kind, "loss", " ".join(names), params=each)
        caffe.load(f"force_backward: true\n{body}".encode(), kind, "TRAIN")
        expected = caffe.gradients(inputs, names)
        net = net_from_message(prototxt.parse(body).message, phase="TRAIN")
        tensors = {name: torch.from_numpy(values).requires_grad_() for name, values in inputs.items()}
        loss = TorchNet(net).train()(tensors, ["loss"])["loss"]
        assert float(loss.detach()) == pytest.approx(float(caffe.forward(inputs, ["loss"])["loss"]), rel=1e-5), each
        weight = net.by_name["loss"].message.loss_weight
        (loss * (weight[0] if weight else 1)).backward()
        for name, tensor in tensors.items():
            found = np.zeros_like(inputs[name]) if tensor.grad is None else tensor.grad.numpy()
            atol = 1e-5 * np.abs(expected[name]).max()
            np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=atol, err_msg=f"{each}: {name}")


@pytest.mark.parametrize(
    ("kind", "shapes", "params", "message"),
    [
        ("SigmoidCrossEntropyLoss", [(4, 5), (4,)], "", "targets of 1 do not match predictions of 1×5: one target per"),
        ("SigmoidCrossEntropyLoss", [(4, 5), (4, 6)], "", "targets of 1×6 do not match predictions of 1×5"),
        ("EuclideanLoss", [(4, 5), (4,)], "", "bottoms of 1×5 and 1 need the same number of values"),
        ("HingeLoss", [(4, 5), (4, 5)], "", "labels of 1×5 do not match scores of 1×5: one label per image"),
        ("MultinomialLogisticLoss", [(4, 5), (4, 2)], "", "labels of 1×2 do not match scores of 1×5"),
        ("ContrastiveLoss", [(4, 5), (4, 5)], "", "has 2 bottoms, the type takes 3"),
        ("ContrastiveLoss", [(4, 5), (4, 6), (4,)], "", "needs two blobs of N×C and N labels, found 1×5, 1×6, 1"),
        ("ContrastiveLoss", [(4, 5), (4, 5), (4,)], "contrastive_loss_param { margin: nan }", "margin nan"),
        ("EuclideanLoss", [(4, 5), (4, 5)], "propagate_down: true", "2 bottoms and 1 propagate_down: give one per"),
    ],
)
def test_bottoms_that_a_loss_cannot_compare(kind, shapes, params, message):
    names = ["a", "b", "c"][: len(shapes)]
    blobs = "".join(data(*shape, name=name) for name, shape in zip(names, shapes, strict=True))
    with pytest.raises(NetError, match=message):
        net_from_message(prototxt.parse(blobs + layer(kind, "loss", " ".join(names), params=params)).message)


def test_a_label_that_is_no_class():
    net = judged(layer("HingeLoss", "loss", "scores label") + layer("Accuracy", "right", "scores label"))
    for label in (5, -1):
        inputs = {"scores": torch.zeros(4, 5), "label": torch.tensor([0.0, 1, label, 2])}
        for blob in ("loss", "right"):
            with pytest.raises(EngineError, match=f"layer '{blob}' .*: label {label}, but there are 5 classes, 0 to 4"):
                TorchNet(net)(inputs, [blob])


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
