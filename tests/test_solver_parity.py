"""The solver's arithmetic against real Caffe's: the same weights, the same batches, the same path."""

from __future__ import annotations

import numpy as np
import pytest
from nets import layer, silence

from pycam.formats import caffemodel, prototxt
from pycam.net import net_from_message
from pycam.training.fillers import fill
from pycam.training.snapshots import read_state, write_snapshot
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
BASE_LR = "base_lr: 0.02"

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


def pair(caffe, tmp_path, solver_text, body, shape, params=None):
    """Make a learner, and the same net with the same parameters in Caffe."""
    from pycam.training.learner import Learner

    path = tmp_path / "solver.prototxt"
    text = f"{BASE_LR if 'base_lr' not in solver_text else ''} {solver_text} max_iter: 100 solver_mode: CPU"
    text += f' snapshot_prefix: "{tmp_path}/caffe"'
    path.write_text(text + ' net: "net.prototxt"')
    solver = read_solver(path)
    n = shape[0]
    net = net_from_message(prototxt.parse(INPUTS % (*shape, n) + body).message, phase="TRAIN")
    net = net.with_params(fill(net, 3) if params is None else params)
    feed = MEMORY % shape if solver.iter_size > 1 else INPUTS % (*shape, n)
    caffe.load_solver(text.encode(), (feed + body).encode(), "net")
    caffe.set_params(net.params)
    return net, solver, Learner(net, solver)


def batches(solver, shape, classes, count):
    """Yield each iteration's passes for a learner, and its inputs for Caffe."""
    rng = np.random.default_rng(5)
    n = shape[0]
    for _ in range(count):
        total = n * solver.iter_size
        images = rng.normal(size=(total, *shape[1:])).astype(np.float32)
        labels = rng.integers(classes, size=total).astype(np.float32)
        parts = [np.s_[i * n : (i + 1) * n] for i in range(solver.iter_size)]
        shaped = labels[:, None, None, None] if solver.iter_size > 1 else labels
        yield [{"data": images[part], "label": labels[part]} for part in parts], {"data": images, "label": shaped}


def compare(caffe, params, tolerance, when):
    for name, blobs in caffe.get_params().items():
        for theirs, mine in zip(blobs, params[name], strict=True):
            atol = tolerance * max(np.abs(theirs).max(), 1e-3)
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol, err_msg=f"{name} after {when}")


def follow(caffe, tmp_path, solver_text, body, shape, classes, params=None, loss=""):
    """Train in Caffe and in pycam side by side, and compare after each checked iteration."""
    _, solver, learner = pair(caffe, tmp_path, solver_text, body + LOSS % loss, shape, params)
    for iteration, (passes, inputs) in enumerate(batches(solver, shape, classes, max(CHECKED))):
        mine = learner.step(passes, iteration)
        theirs = caffe.step(inputs, ["loss"])["loss"]
        if solver.iter_size == 1:  # of several passes, Caffe's blob holds the last one's loss
            assert mine == pytest.approx(float(theirs), rel=1e-4), f"loss at {iteration}"
        if iteration + 1 in CHECKED:
            compare(caffe, learner.params, 1e-4, iteration + 1)
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


RESUMED = {
    "momentum": "snapshot_format: HDF5",
    "nesterov": "",
    "adagrad": "",
    "rmsprop": "snapshot_format: HDF5",
    "adadelta": "snapshot_format: HDF5",
    "adam": "",
}


@pytest.mark.hdf5
@pytest.mark.parametrize("memory", RESUMED)
def test_each_resumes_from_the_other_ones_snapshot(memory, caffe, tmp_path):
    from pycam.training.learner import Learner

    text = f'lr_policy: "multistep" {POLICIES["multistep"]} {MEMORIES[memory]} {RESUMED[memory]}'
    in_hdf5 = bool(RESUMED[memory])
    end = ".solverstate.h5" if in_hdf5 else ".solverstate"
    body = CNN + LOSS % ""
    net, solver, learner = pair(caffe, tmp_path, text, body, SHAPE)
    given = list(batches(solver, SHAPE, 5, 20))
    for iteration in range(10):
        learner.step(given[iteration][0], iteration)
        caffe.step(given[iteration][1], [])
    caffe.snapshot()
    written = tmp_path / "pycam_iter_10"
    write_snapshot(written, 10, net.with_params(learner.params), learner.history, step=solver.step(9), in_hdf5=in_hdf5)

    state = read_state(tmp_path / f"caffe_iter_10{end}")
    assert state.iteration == 10
    resumed = Learner(net.with_params(state.weights.layers), solver, history=state.history)
    for iteration in range(10, 20):
        resumed.step(given[iteration][0], iteration)
        caffe.step(given[iteration][1], [])
    compare(caffe, resumed.params, 1e-4, "Caffe's snapshot")

    pair(caffe, tmp_path, text, body, SHAPE)
    caffe.restore(written.with_name(f"{written.name}{end}"))
    for iteration in range(10, 20):
        caffe.step(given[iteration][1], [])
    compare(caffe, resumed.params, 1e-4, "pycam's snapshot")


def conv(name: str, bottom: str, outputs: int = 6, rest: str = "") -> str:
    # A bias before BatchNorm would only have the rounding errors of a gradient.
    params = f'num_output: {outputs} kernel_size: 3 pad: 1 bias_term: false weight_filler {{ type: "xavier" }}'
    return layer("Convolution", name, bottom, params=f"{rest} convolution_param {{ {params} }}")


def inner(name: str, bottom: str, rest: str = "", params: str = "num_output: 5") -> str:
    filler = 'weight_filler { type: "xavier" }'
    return layer("InnerProduct", name, bottom, params=f"{rest} inner_product_param {{ {params} {filler} }}")


SCORES = inner("scores", "last") + LOSS % ""
WITH_MOMENTUM = "momentum: 0.9 weight_decay: 0.01"
NETS = {
    "batch_norm": (
        conv("conv1", "data")
        + layer("BatchNorm", "norm1", "conv1", "conv1")
        + layer("Scale", "scale1", "conv1", "conv1", "scale_param { bias_term: true }")
        + layer("ReLU", "relu1", "conv1", "conv1")
        + conv("conv2", "conv1")
        + layer(
            "BatchNorm",
            "norm2",
            "conv2",
            params="param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 } batch_norm_param { use_global_stats: false "
            "moving_average_fraction: 0.9 eps: 0.001 }",
        )
        + layer("BatchNorm", "stored", "norm2", "last", "batch_norm_param { use_global_stats: true eps: 1 }")
        + inner("fc", "last")
        + layer("BatchNorm", "norm3", "fc", "scores")
        + LOSS % "",
        WITH_MOMENTUM,
    ),
    "shared": (
        conv("last", "data", 3, 'param { name: "w" lr_mult: 2 decay_mult: 3 }')
        + layer("ReLU", "relu", "last", "relu")
        + conv("second", "relu", 3, 'param { name: "w" }')
        + conv("third", "second", 3, 'param { name: "w" decay_mult: 3 }')
        + inner("scores", "third", 'param { name: "v" } param { lr_mult: 0.5 }')
        + inner("others", "relu", 'param { name: "v" lr_mult: 3 } param { lr_mult: 2 }')
        + LOSS % ""
        + layer("SoftmaxWithLoss", "loss2", "others label"),
        f"{WITH_MOMENTUM} clip_gradients: 0.5",
    ),
    "shared_and_frozen_in_one": (
        conv("conv1", "data", 3, 'param { name: "w" }')
        + conv("last", "conv1", 3, 'param { name: "w" lr_mult: 0 }')
        + SCORES,
        f"{WITH_MOMENTUM} clip_gradients: 0.1",
    ),
    "shared_in_another_shape": (
        conv("last", "data")
        + inner("a", "last", 'param { name: "w" share_mode: PERMISSIVE } param { name: "b" }')
        + inner("scores", "last", 'param { name: "w" share_mode: PERMISSIVE }', "num_output: 5 transpose: true")
        + LOSS % ""
        + layer("SoftmaxWithLoss", "loss2", "a label", params="loss_weight: 0.3"),
        WITH_MOMENTUM,
    ),
    "propagate_down": (
        conv("conv1", "data")
        + layer("ReLU", "relu1", "conv1", "conv1")
        + conv("last", "conv1", rest="propagate_down: false")
        + inner("a", "conv1")
        + inner("b", "last", "propagate_down: true")
        + layer(
            "Eltwise",
            "scores",
            "a b",
            params="propagate_down: true propagate_down: true eltwise_param { coeff: 1 coeff: 0.5 }",
        )
        + layer("SoftmaxWithLoss", "loss", "scores label", params="propagate_down: true propagate_down: false"),
        WITH_MOMENTUM,
    ),
    "losses_anywhere": (
        conv("conv1", "data")
        + layer("ReLU", "relu", "conv1", params="loss_weight: 0.01")
        + layer("Pooling", "last", "relu", params="pooling_param { pool: AVE kernel_size: 4 stride: 4 }")
        + inner("scores", "last", "loss_weight: 0.02")
        + layer("TanH", "tanh", "scores", params="loss_weight: -0.1")
        + LOSS % "loss_weight: 0.7"
        + layer("Accuracy", "accuracy", "scores label", "accuracy per_class")
        + 'layer { name: "without_top" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" loss_weight: 0.1 }',
        WITH_MOMENTUM,
    ),
    "equal_values": (
        conv("conv1", "data")
        + layer("Eltwise", "last", "conv1 conv1 conv1", params="eltwise_param { operation: MAX }")
        + layer("ReLU", "relu", "last", params="relu_param { negative_slope: 0.1 }")
        + layer("Tile", "twice", "relu", params="tile_param { axis: 3 tiles: 2 }")
        + layer("Pooling", "pool", "twice", params="pooling_param { pool: MAX global_pooling: true }")
        + inner("scores", "pool")
        + LOSS % "",
        WITH_MOMENTUM,
    ),
    "frozen_and_unread": (
        conv("conv1", "data", rest="param { lr_mult: 0 }")
        + conv("last", "conv1", rest="param { lr_mult: 0 decay_mult: 0 }")
        + conv("unread", "conv1")
        + silence("silence", "unread")
        + SCORES,
        'type: "Adam" momentum: 0.9 weight_decay: 0.01',
    ),
}


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("net", NETS)
def test_what_a_net_can_ask_for(net, passes, caffe, tmp_path):
    body, text = NETS[net]
    text += f' lr_policy: "fixed" base_lr: 0.005 iter_size: {passes}'
    _, solver, learner = pair(caffe, tmp_path, text, body, SHAPE)
    for iteration, (given, inputs) in enumerate(batches(solver, SHAPE, 5, 20)):
        mine = learner.step(given, iteration)
        assert np.isfinite(mine)
        caffe.step(inputs, [])
    compare(caffe, learner.params, 1e-5, "20 iterations")
    caffe.snapshot()
    theirs = read_state(tmp_path / "caffe_iter_20.solverstate").history
    for number, (mine, their) in enumerate(zip(learner.history, theirs, strict=True)):
        np.testing.assert_allclose(mine, their, rtol=0, atol=1e-4 * max(np.abs(their).max(), 1e-3), err_msg=str(number))


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
