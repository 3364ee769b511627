"""The solver's arithmetic against real Caffe's: the same weights, the same batches, the same path."""

from __future__ import annotations

import numpy as np
import pytest

from pycam.formats import caffemodel, prototxt
from pycam.net import net_from_message
from pycam.training.fillers import fill
from pycam.training.solver import read_solver

pytestmark = [pytest.mark.caffe, pytest.mark.torch]

INPUTS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: %d dim: %d dim: %d dim: %d } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: %d } } }
"""
MEMORY = """
layer { name: "data" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: %d channels: %d height: %d width: %d } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" %s }
"""
CNN = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  param { lr_mult: 0.5 decay_mult: 2 } param { lr_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 2 weight_filler { type: "msra" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" relu_param { negative_slope: 0.1 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "scores" type: "InnerProduct" bottom: "pool2" top: "scores"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 } } }
"""
SQUEEZENET_HEAD = """
layer { name: "conv10" type: "Convolution" bottom: "data" top: "conv10"
  convolution_param { num_output: 1000 kernel_size: 1 pad: 1 } }
layer { name: "relu_conv10" type: "ReLU" bottom: "conv10" top: "conv10" }
layer { name: "scores" type: "Pooling" bottom: "conv10" top: "scores" pooling_param { pool: AVE global_pooling: true } }
"""
SHAPE = (8, 3, 12, 12)
CHECKED = (1, 10, 100)

POLICIES = {
    "fixed": "",
    "step": "gamma: 0.3 stepsize: 8",
    "multistep": "gamma: 0.3 stepvalue: 5 stepvalue: 60",
    "exp": "gamma: 0.97",
    "inv": "gamma: 0.05 power: 0.75",
    "poly": "power: 0.5",
    "sigmoid": "gamma: 0.2 stepsize: 20",
}
MEMORIES = {
    "plain": "momentum: 0",
    "momentum": "momentum: 0.9 weight_decay: 0.01",
    "l1": 'momentum: 0.5 weight_decay: 0.003 regularization_type: "L1"',
    "clipped": "momentum: 0.9 weight_decay: 0.01 clip_gradients: 0.3",
    "two_passes": "momentum: 0.9 weight_decay: 0.01 iter_size: 2",
    "clipped_over_two_passes": "momentum: 0.9 weight_decay: 0.01 iter_size: 2 clip_gradients: 0.3",
    "adam": 'type: "Adam" momentum: 0.9 momentum2: 0.99 delta: 1e-6 weight_decay: 0.01 base_lr: 0.003',
    "adam_over_two_passes": 'type: "Adam" momentum: 0.9 iter_size: 2 base_lr: 0.003',
    "nesterov": 'type: "Nesterov" momentum: 0.9 weight_decay: 0.01',
    "adagrad": 'type: "AdaGrad" weight_decay: 0.01 delta: 1e-6',
    "rmsprop": 'type: "RMSProp" rms_decay: 0.9 base_lr: 0.001 delta: 1e-4',
    "adadelta": 'type: "AdaDelta" momentum: 0.95 delta: 1e-6 base_lr: 1 weight_decay: 0.001',
}


@pytest.fixture(autouse=True)
def one_thread():
    """Nets as small as these are slower with several."""
    from pycam.engines.torch import at_work, torch_device

    with at_work(torch_device("cpu"), threads=1):
        yield


def follow(caffe, tmp_path, solver_text, body, shape, classes, params=None, loss=""):
    """Train in Caffe and in pycam side by side, and compare after each checked iteration."""
    from pycam.training.learner import Learner

    path = tmp_path / "solver.prototxt"
    if "base_lr" not in solver_text:
        solver_text += " base_lr: 0.02"
    solver_text += " max_iter: 100 solver_mode: CPU"
    path.write_text(solver_text + ' net: "net.prototxt" snapshot_prefix: "net"')
    solver = read_solver(path)
    tail = body + LOSS % loss
    n = shape[0]
    net = net_from_message(prototxt.parse(INPUTS % (*shape, n) + tail).message, phase="TRAIN")
    net = net.with_params(fill(net, 3) if params is None else params)
    learner = Learner(net, solver)

    feed = MEMORY % shape if solver.iter_size > 1 else INPUTS % (*shape, n)
    caffe.load_solver(solver_text.encode(), (feed + tail).encode(), "net")
    caffe.set_params(net.params)

    rng = np.random.default_rng(5)
    for iteration in range(max(CHECKED)):
        total = n * solver.iter_size
        images = rng.normal(size=(total, *shape[1:])).astype(np.float32)
        labels = rng.integers(classes, size=total).astype(np.float32)
        parts = [np.s_[i * n : (i + 1) * n] for i in range(solver.iter_size)]
        mine = learner.step(({"data": images[part], "label": labels[part]} for part in parts), iteration)
        shaped = labels[:, None, None, None] if solver.iter_size > 1 else labels
        theirs = caffe.step({"data": images, "label": shaped}, ["loss"])["loss"]
        if solver.iter_size == 1:  # of several passes, Caffe's blob holds the last one's loss
            assert mine == pytest.approx(float(theirs), rel=1e-4), f"loss at {iteration}"
        if iteration + 1 in CHECKED:
            for name, blobs in caffe.get_params().items():
                for theirs_, mine_ in zip(blobs, learner.params[name], strict=True):
                    np.testing.assert_allclose(
                        mine_,
                        theirs_,
                        rtol=0,
                        atol=1e-4 * np.abs(theirs_).max(),
                        err_msg=f"{name} after {iteration + 1}",
                    )
    return learner


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_across_changes_of_rate(policy, caffe, tmp_path):
    text = f'lr_policy: "{policy}" {POLICIES[policy]} {MEMORIES["momentum"]}'
    follow(caffe, tmp_path, text, CNN, SHAPE, 5)


@pytest.mark.parametrize("memory", MEMORIES)
def test_every_way_to_remember_and_to_hold_back(memory, caffe, tmp_path):
    text = f'lr_policy: "step" {POLICIES["step"]} {MEMORIES[memory]}'
    learner = follow(caffe, tmp_path, text, CNN, SHAPE, 5)
    assert (learner.params["conv2"][1] == 0).all(), "lr_mult 0 leaves a parameter alone"


@pytest.mark.parametrize(
    "loss",
    [
        "loss_weight: 0.3",
        "loss_param { ignore_label: 2 }",
        "loss_param { ignore_label: 2 normalization: FULL }",
        "loss_param { normalization: BATCH_SIZE } loss_weight: 0.1",
        "loss_param { normalize: false } loss_weight: 0.1",
        "loss_param { normalization: NONE } loss_weight: 0.1",
    ],
)
def test_every_way_to_average_the_loss(loss, caffe, tmp_path):
    # A score for each of 3×3 positions makes the ways differ; so does a label for each.
    from pycam.training.learner import Learner

    body = CNN.split('layer { name: "pool2"')[0] + 'layer { name: "scores" type: "ReLU" bottom: "conv2" top: "scores" }'
    head = INPUTS % (*SHAPE, 8) + body
    net = net_from_message(prototxt.parse(head).message, phase="TRAIN")
    side = net.shapes["scores"][2]
    text = INPUTS.replace("shape { dim: %d } }", f"shape {{ dim: %d dim: {side} dim: {side} }} }}") % (*SHAPE, 8)
    text += body + LOSS % loss
    solver_text = 'lr_policy: "fixed" base_lr: 0.02 momentum: 0.9 max_iter: 100 solver_mode: CPU'
    path = tmp_path / "solver.prototxt"
    path.write_text(solver_text + ' net: "net.prototxt" snapshot_prefix: "net"')
    net = net_from_message(prototxt.parse(text).message, phase="TRAIN")
    net = net.with_params(fill(net, 3))
    learner = Learner(net, read_solver(path))
    caffe.load_solver(solver_text.encode(), text.encode(), "net")
    caffe.set_params(net.params)
    rng = np.random.default_rng(6)
    for iteration in range(10):
        batch = {
            "data": rng.normal(size=SHAPE).astype(np.float32),
            "label": rng.integers(6, size=(8, side, side)).astype(np.float32),
        }
        weight = net.by_name["loss"].message.loss_weight
        mine = learner.step([batch], iteration) / (weight[0] if weight else 1)
        assert mine == pytest.approx(float(caffe.step(batch, ["loss"])["loss"]), rel=1e-4)
    for name, blobs in caffe.get_params().items():
        for theirs, own in zip(blobs, learner.params[name], strict=True):
            np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max(), err_msg=name)


@pytest.mark.shared
@pytest.mark.slow
def test_squeezenets_head(caffe, tmp_path, shared):
    weights = caffemodel.read(shared / "data/weights/squeezenet_v1.0.caffemodel").layers["conv10"]
    text = 'lr_policy: "step" gamma: 0.1 stepsize: 6 momentum: 0.9 weight_decay: 0.0005 base_lr: 0.01'
    follow(caffe, tmp_path, text, SQUEEZENET_HEAD, (2, 512, 5, 5), 1000, {"conv10": weights})


@pytest.mark.parametrize("top_k", [1, 3])
def test_accuracy_with_ties(top_k, caffe):
    import torch

    from pycam.engines.torch_graph import TorchNet

    text = """
    layer { name: "scores" type: "Input" top: "scores" input_param { shape { dim: 200 dim: 6 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 200 } } }
    layer { name: "accuracy" type: "Accuracy" bottom: "scores" bottom: "label" top: "accuracy"
      accuracy_param { top_k: %d ignore_label: 4 } }"""
    rng = np.random.default_rng(7)
    batch = {
        "scores": rng.integers(3, size=(200, 6)).astype(np.float32),
        "label": rng.integers(6, size=200).astype(np.float32),
    }
    caffe.load((text % top_k).encode(), "accuracy")
    theirs = caffe.forward(batch, ["accuracy"])["accuracy"]
    net = net_from_message(prototxt.parse(text % top_k).message)
    tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
    mine = TorchNet(net)(tensors, ["accuracy"])["accuracy"]
    assert float(mine) == pytest.approx(float(theirs), abs=1e-6)
