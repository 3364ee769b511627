"""NIN, AlexNet-GAP and GoogLeNet-GMP: their files in real Caffe, NIN's shapes of weights, and the maximum's scores."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import samples
from hypothesis import given, settings, strategies as st

import pycam
from pycam import architectures, engines, zoo
from pycam.cli import main
from pycam.engines.caffe import CaffeProcess
from pycam.errors import EngineError, NetError
from pycam.formats import caffemodel, prototxt, schema
from pycam.model import load_model
from pycam.net import read_net
from pycam.net.random_weights import random_weights
from pycam.net.state import PHASES
from pycam.training.solver import read_solver

with suppress(ImportError):
    from pycam.training.loop import train

FOLDER = zoo.prototxt_folder()
DATA = ("ilsvrc12_train_lmdb", "ilsvrc12_val_lmdb", "imagenet_mean.binaryproto")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The databases and the mean that the training nets name, each with a single grey image."""
    import lmdb

    place = tmp_path_factory.mktemp("imagenet")
    blob = schema.BlobProto(num=1, channels=3, height=256, width=256, data=np.full(3 * 256 * 256, 110.0))
    (place / DATA[2]).write_bytes(blob.SerializeToString())
    datum = schema.Datum(channels=3, height=256, width=256, data=bytes([128]) * (3 * 256 * 256), label=7)
    for name in DATA[:2]:
        with lmdb.open(str(place / name), map_size=1 << 22) as made, made.begin(write=True) as writing:
            writing.put(b"0", datum.SerializeToString())
    return place


@pytest.mark.caffe
@pytest.mark.lmdb
@pytest.mark.parametrize("name", [name for name in architectures.TRAINING if name.startswith("train_val")])
def test_real_caffe_builds_the_training_nets(name, data):
    text = (FOLDER / f"{name}.prototxt").read_text("utf-8")
    for each in DATA:
        text = text.replace(f'"{each}"', f'"{data / each}"')
    # A batch of one image: the sizes of batches are only numbers.
    text = text.replace("batch_size: 64", "batch_size: 1").replace("batch_size: 50", "batch_size: 1")
    text = text.replace("batch_size: 89", "batch_size: 1")
    message = prototxt.parse(text).message
    with CaffeProcess(threads=1) as caffe:
        caffe.load(text.encode(), name, phase="TEST")
        found = caffe.forward({}, [layer.name for layer in message.layer if layer.type == "Accuracy"])
        # Fresh weights, and one class of 1000: the label is either right or wrong.
        assert found and all(value in (0, 1) for value in map(float, found.values()))
        caffe.load(text.encode(), name, phase="TRAIN")
        deploy = FOLDER / f"{name.replace('train_val', 'deploy')}.prototxt"
        caffe.load(deploy.read_bytes(), deploy.name)


@pytest.mark.parametrize("name", [name for name in architectures.TRAINING if name.startswith("solver")])
def test_a_solver_finds_its_net_and_has_the_known_settings(name):
    solver = read_solver(FOLDER / f"{name}.prototxt")
    path = solver.training_net.path
    assert path.parent == FOLDER and path.name.startswith("train_val_")
    rates = [solver.rate(i) for i in (0, solver.stepsize - 1, solver.stepsize, solver.max_iter - 1)]
    first, known = (0.01, (200_000, 450_000)) if "nin" in name else (0.001, (40_000, 160_000))
    assert rates == pytest.approx([first, first, first / 10, first / (100 if "nin" in name else 1000)])
    assert ((solver.stepsize, solver.max_iter), solver.momentum, solver.weight_decay) == (known, 0.9, 0.0005)
    for layer in prototxt.read(path).message.layer:
        if layer.param:
            assert [(spec.lr_mult, spec.decay_mult) for spec in layer.param] == [(1, 1), (2, 0)]
        if layer.type == "Data":
            transform, batch = layer.transform_param, layer.data_param.batch_size
            is_test = layer.include[0].phase == PHASES.index("TEST")
            assert transform.crop_size == (227 if "caffeNet" in name else 224) and transform.mirror is not is_test
            assert batch == ((89 if "nin" in name else 50) if is_test else 64)


def test_the_first_line_says_how_sure_a_file_is():
    unsure = {name for name in architectures.FILES if "GMP" in name or "caffeNetCAM" in name}
    assert set(architectures.FIRST_LINES) == unsure
    for name in architectures.FILES:
        first = (FOLDER / f"{name}.prototxt").read_text("utf-8").splitlines()[0]
        assert first.startswith("# ") == (name in unsure)
    assert "likely" in architectures.FIRST_LINES["deploy_caffeNetCAM"]
    assert "unknown" in architectures.FIRST_LINES["solver_imagenet_googlenetGMP"]


# Weights of 1×1 convolutions as matrices


NET = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 6 dim: 4 dim: 5 }} }} }}
layer {{ name: "wide" type: "Convolution" bottom: "data" top: "wide"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} group: {group} bias_term: {bias} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "wide" top: "pool" pooling_param {{ pool: AVE global_pooling: true }} }}
"""


def matrix_net(folder: Path, outputs: int = 4, kernel: int = 1, group: int = 1, bias: bool = True) -> Path:
    path = folder / "matrix.prototxt"
    path.write_text(NET.format(outputs=outputs, kernel=kernel, group=group, bias=str(bias).lower()))
    return path


def write(path: Path, net: Path, weights: np.ndarray, bias: np.ndarray | None) -> Path:
    blobs = [weights] if bias is None else [weights, bias]
    caffemodel.write(path, prototxt.read(net).message, {"wide": [np.asarray(blob, np.float32) for blob in blobs]})
    return path


@given(
    outputs=st.sampled_from([2, 4, 6, 12]),
    group=st.sampled_from([1, 2]),
    bias=st.booleans(),
    lead=st.sampled_from([(1, 1), ()]),
    seed=st.integers(0, 99),
)
@settings(max_examples=20)
def test_a_matrix_is_read_as_the_convolution_that_it_is(tmp_path_factory, outputs, group, bias, lead, seed):
    folder, rng = tmp_path_factory.mktemp("matrix"), np.random.default_rng(seed)
    net = matrix_net(folder, outputs, 1, group, bias)
    matrix = rng.normal(size=(outputs, 6 // group)).astype(np.float32)
    biases = rng.normal(size=outputs) if bias else None
    usual = read_net(net, write(folder / "usual.caffemodel", net, matrix[:, :, None, None], biases))
    other = read_net(net, write(folder / "other.caffemodel", net, matrix.reshape(*lead, *matrix.shape), biases))
    assert usual == other and usual.notes == ()
    # 6×6 in one group cannot be told from its transpose; every other matrix must have a row per output.
    assert other.notes == (
        f"{folder / 'other.caffemodel'}: 1×1×N×K weights, which Caffe refuses, were read as N×K×1×1 in layer wide",
    )
    if matrix.shape[0] != matrix.shape[1]:
        turned = write(folder / "turned.caffemodel", net, matrix.T.reshape(*lead, *matrix.T.shape), biases)
        with pytest.raises(NetError, match=r"layer 'wide' \(line 3 of the net\) has weights of"):
            read_net(net, turned)


def test_only_1x1_windows_and_right_sizes_are_matrices(tmp_path):
    net = matrix_net(tmp_path, kernel=3)
    for shape in [(1, 1, 4, 54), (4, 54), (1, 1, 36, 6)]:
        with pytest.raises(NetError, match=r"the net expects 4×6×3×3 and 4: are these the weights of another net\?"):
            read_net(net, write(tmp_path / "wrong.caffemodel", net, np.zeros(shape), np.zeros(4)))
    net = matrix_net(tmp_path)
    for shape, bias in [((1, 1, 4, 7), 4), ((1, 4, 1, 6), 4), ((1, 1, 4, 6), 5), ((6, 4, 1, 1), 4)]:
        with pytest.raises(NetError, match="the net expects 4×6×1×1 and 4"):
            read_net(net, write(tmp_path / "wrong.caffemodel", net, np.zeros(shape), np.zeros(bias)))


@pytest.mark.caffe
def test_caffe_refuses_a_matrix_and_gets_it_in_its_own_shape(tmp_path, capsys):
    net = matrix_net(tmp_path)
    rng = np.random.default_rng(0)
    matrix, x = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(2, 6, 4, 5)).astype(np.float32)
    weights = write(tmp_path / "old.caffemodel", net, matrix[None, None], np.zeros(4))
    with CaffeProcess(threads=1) as caffe:
        caffe.load(net.read_bytes(), "net")
        with pytest.raises(EngineError, match="reading the weights"):
            caffe.load_weights(weights.read_bytes(), "weights")
    with engines.make("caffe", read_net(net, weights), ["pool"], engines.Options()) as engine:
        found = engine.forward({"data": x})["pool"]
        assert engine.note == ", weights written by pycam"
    assert found.reshape(2, 4) == pytest.approx(x.mean(axis=(2, 3)) @ matrix.T, abs=1e-6)
    assert main(["net", "show", str(net), str(weights)]) == 0
    assert "which Caffe refuses" in capsys.readouterr().out


@pytest.mark.torch
def test_training_starts_from_a_matrix_and_says_so(tmp_path):
    (tmp_path / "list.txt").write_text("image.png 1\n")
    (tmp_path / "image.png").write_bytes(samples_png())
    net = tmp_path / "train.prototxt"
    net.write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param {\n'
        f'  source: "list.txt" root_folder: "{tmp_path}/" batch_size: 1 }} }}\n'
        'layer { name: "wide" type: "Convolution" bottom: "data" top: "wide"\n'
        "  convolution_param { num_output: 2 kernel_size: 1 } }\n"
        'layer { name: "pool" type: "Pooling" bottom: "wide" top: "pool"\n'
        "  pooling_param { pool: AVE global_pooling: true } }\n"
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "pool" bottom: "label" top: "loss" }\n'
    )
    solver = tmp_path / "solver.prototxt"
    solver.write_text(
        f'net: "train.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "{tmp_path}/made"'
    )
    matrix = np.float32([[1, 2, 3], [4, 5, 6]])
    old = write(tmp_path / "old.caffemodel", net, matrix[None, None], np.zeros(2))
    notes: list[str] = []
    last = train(read_solver(solver), weights=[old], tell=lambda row: None, note=notes.append)
    assert [note for note in notes if "were read as N×K×1×1 in layer wide" in note]
    assert np.array_equal(caffemodel.read(last).layers["wide"][0][:, :, 0, 0], matrix)


def samples_png() -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", samples.image(0, 8, 8).pixels)[1])


# The maximum


@pytest.fixture(scope="module")
def gmp(tmp_path_factory) -> Path:
    """GoogLeNet-GMP's weights, at random; the folder that they are in."""
    folder = tmp_path_factory.mktemp("gmp")
    card = zoo.card("googlenet-gmp")
    net = read_net(zoo.prototxt_path(card))
    weights = random_weights(net)
    # Scores that are not all in one class.
    weights["CAM_fc"] = tuple(array * 0.05 for array in weights["CAM_fc"])
    caffemodel.write(folder / card.weights.file, net.message, weights)
    return folder


def test_a_score_is_the_sum_of_weights_times_maxima(gmp, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PYCAM_MODELS", str(gmp))
    image = samples.image(3, 240, 320)
    with pycam.load("googlenet-gmp", view="full") as cam:
        assert cam.head.pooling == "max" and "global max pooling" in str(cam.head) and "GMP" in str(cam.head)
        prediction = cam(image, top=3)
        (_, inputs) = cam.prepare([image])[0]
        net = cam.model.net
    blobs = ["CAM_conv", "CAM_fc"]
    with engines.make("onnxruntime", net, blobs, engines.Options(threads=1)) as engine:
        features, logits = (engine.forward({"data": inputs})[blob][0].astype(np.float64) for blob in blobs)
    weights, bias = (array.astype(np.float64) for array in net.params["CAM_fc"])
    accounted = weights @ features.max(axis=(1, 2)) + bias
    scale = float(np.abs(logits).max())
    assert accounted == pytest.approx(logits.reshape(-1), abs=2e-6 * scale)
    for item in prediction.top:
        map = np.tensordot(weights[item.index], features, 1)
        assert item.feature_maps[0] == pytest.approx(map, abs=2e-5 * float(np.abs(map).max()))
        # The mean of the map, which is the score with average pooling, is another number.
        assert abs(map.mean() + bias[item.index] - accounted[item.index]) > 0.01 * scale

    onnx = tmp_path / "gmp.onnx"
    assert main(["net", "export", "googlenet-gmp", "--maps", "--top", "3", "--onnx", str(onnx)]) == 0
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    found = dict(
        zip(("scores", "classes", "maps"), session.run(["scores", "classes", "maps"], {"data": inputs}), strict=True)
    )
    assert found["classes"][0].tolist() == prediction.classes.tolist()
    assert found["maps"][0] == pytest.approx(
        prediction.feature_maps[0], abs=1e-4 * float(np.abs(prediction.feature_maps).max())
    )
    capsys.readouterr()
    assert main(["net", "show", str(zoo.prototxt_path(zoo.card("googlenet-gmp")))]) == 0
    assert "GMP" in capsys.readouterr().out


# Weights that were never published


NEVER = ("alexnet-gap", "googlenet-gmp")


@pytest.mark.parametrize("name", NEVER)
def test_commands_say_how_to_train_what_was_never_published(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)
    card = zoo.card(name)
    command = zoo.training_command(card)
    assert command.startswith(f'pycam train --solver "$(pycam models path {name} --of solver)" --weights ')
    assert main(["models", "path", name, "--of", "solver"]) == 0
    assert capsys.readouterr().out == f"{FOLDER / card.weights.solver}\n"
    # The advice can be followed: the solver and the initial weights exist, and the weights have the solver's name.
    solver = read_solver(FOLDER / card.weights.solver)
    assert zoo.card(card.weights.initial).prototxt in {
        "deploy_bvlc_caffenet.prototxt",
        "deploy_bvlc_googlenet.prototxt",
    }
    assert f"{Path(solver.snapshot_prefix).name}_iter_{solver.max_iter}.caffemodel" in card.weights.names
    image = str(tmp_path / "image.jpg")
    Path(image).write_bytes(samples.jpeg(0))
    for arguments in (
        ["models", "download", name],
        ["models", "path", name],
        ["heatmap", image, "--model", name, "--out", str(tmp_path / "maps")],
        ["net", "export", name, "--onnx", str(tmp_path / "net.onnx")],
        ["verify", name],
    ):
        capsys.readouterr()
        assert main(arguments) == 5, arguments
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "were never published: train them with" in error and command in error
    assert main(["models", "list"]) == 0
    (row,) = (line.split("\t") for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name}\t"))
    assert row[3] == "never published"
    assert main(["models", "show", name]) == 0
    assert f"found state\tnever published: train them with `{command}`" in capsys.readouterr().out

    # Weights that a user has trained are found by the name that training gives them.
    net = read_net(zoo.prototxt_path(card))
    (tmp_path / "CAMmodels").mkdir()
    weights = tmp_path / "CAMmodels" / card.weights.names[-1]
    zeros = {
        layer.name: [np.zeros(s, np.float32) for s in layer.param_shapes] for layer in net.layers if layer.param_shapes
    }
    caffemodel.write(weights, net.message, zeros)
    monkeypatch.setenv("PYCAM_MODELS", str(weights.parent))
    assert load_model(name).head.feature_blob == "CAM_conv"
    assert zoo.identify(card, weights) == "trained by a user: no weights were published"


def test_nin_has_a_map_per_class():
    card = zoo.card("nin")
    net = read_net(zoo.prototxt_path(card))
    sides = [net.shapes[blob][2] for blob in ("cccp2", "cccp4", "cccp6", "cccp8-1024")]
    assert (sides, net.shapes["prob"]) == ([54, 27, 13, 6], (1, 1000, 1, 1))
    assert card.class_layer is None and card.weights.names == (
        "nin_imagenet.caffemodel",
        "nin_imagenet_conv.caffemodel",
    )
    assert "most likely" in card.paper
