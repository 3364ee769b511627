"""`pycam net cam`: the deploy net and the training net that it writes fit each other, and train as in real Caffe."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam.cli import main
from pycam.errors import NetError
from pycam.formats import caffemodel, prototxt
from pycam.net import find_head, net_from_message, read_net
from pycam.net.surgery import cam_net

INPUT = 'layer {{ name: "{0}" type: "Input" top: "{0}" input_param {{ shape {{ dim: 1 {1} }} }} }}\n'
CONV = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
"""
BATCH_NORM = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "bn2" type: "BatchNorm" bottom: "conv1" top: "bn2"
  batch_norm_param { use_global_stats: true eps: 0.001 } }
layer { name: "scale2" type: "Scale" bottom: "bn2" top: "scale2" param { lr_mult: 1 } scale_param { bias_term: true } }
layer { name: "conv2" type: "Convolution" bottom: "scale2" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "factor" type: "Scale" bottom: "conv2" top: "conv2" }
"""
DEPTHWISE = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 0.1 decay_mult: 2 name: "w" } param { lr_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2/dw" type: "Convolution" bottom: "conv1" top: "conv2/dw"
  convolution_param { num_output: 6 kernel_size: 3 group: 6 bias_term: false } }
layer { name: "conv2" type: "Convolution" bottom: "conv2/dw" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" relu_param { negative_slope: 0.1 } }
"""
HEAD = """
layer { name: "pool" type: "Pooling" bottom: "conv2" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
"""
SOFTMAX = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }'
NETS = {
    "grey": (CONV, (1, 20, 20)),
    "wide": (CONV, (3, 16, 26)),
    "grey_and_tall": (CONV, (1, 30, 14)),
    "batch_norm": (BATCH_NORM, (3, 18, 18)),
    "depthwise": (DEPTHWISE, (3, 18, 24)),
}
SOLVER = """
net: "train_val.prototxt" base_lr: 0.002 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.01
max_iter: 3 display: 1 test_iter: 1 test_interval: 3 snapshot_prefix: "{}/tuned" solver_mode: CPU
"""


def write_net(folder: Path, body: str, shape: tuple[int, ...], end: str = HEAD + SOFTMAX) -> list[str]:
    """Write a net and its weights, and return their paths."""
    text = INPUT.format("data", " ".join(f"dim: {side}" for side in shape)) + body + end
    (folder / "deploy.prototxt").write_text(text)
    net = net_from_message(prototxt.parse(text).message)
    rng = np.random.default_rng(1)
    params = {
        # Statistics and factors are positive.
        layer.name: [(rng.uniform(0.5, 1.5, s) if "Conv" not in layer.type else rng.normal(0, 0.2, s)) for s in shapes]
        for layer in net.layers
        if (shapes := layer.param_shapes)
    }
    caffemodel.write(folder / "deploy.caffemodel", net.message, params)
    return [str(folder / "deploy.prototxt"), str(folder / "deploy.caffemodel")]


def write_images(folder: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(2)
    (folder / "images").mkdir()
    lines = []
    for number in range(6):
        # In colour, in a format whose decoder makes its own grey, and in one whose decoder does not.
        name = f"{number}.{('jpg', 'png')[number % 2]}"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (height, width, 3), np.uint8))
        lines.append(f"{name} {number % 3}\n")
    for name in ("train.txt", "test.txt"):
        (folder / name).write_text("".join(lines))


def cam(files: list[str], folder: Path, *options: str, after: str = "conv2", training: bool = True) -> int:
    outputs = ["--out", str(folder / "cam.prototxt")]
    outputs += ["--train-val", str(folder / "train_val.prototxt")] if training else []
    small = [] if "--channels" in options else ["--channels", "5"]
    return main(["net", "cam", *files, "--after", after, "--classes", "3", *small, *outputs, *options])


def without_chance(path: Path) -> None:
    """Let each batch be the whole list, at its absolute path, neither shuffled nor mirrored."""
    text = path.read_text()
    for old, new in (("shuffle: true", "shuffle: false"), ("mirror: true", "mirror: false"), (": 32\n", ": 6\n")):
        assert old in text
        text = text.replace(old, new)
    text = re.sub('source: "(.*)"', f'source: "{path.parent}/\\1"', text)
    path.write_text(text.replace('"images/"', f'"{path.parent}/images/"'))


@pytest.mark.torch
@pytest.mark.caffe
@pytest.mark.parametrize("name", [*NETS, "learning_batch_norm"])
def test_what_it_writes_trains_as_in_real_caffe(name, tmp_path, caffe, capsys):
    from pycam.training.fillers import fill
    from pycam.training.log import read_rows
    from pycam.training.nets import open_net
    from pycam.training.solver import read_solver

    learns = name == "learning_batch_norm"
    body, shape = NETS["batch_norm" if learns else name]
    write_images(tmp_path, *shape[1:])
    options = ["--no-freeze-batch-norm"] if learns else []
    assert cam(write_net(tmp_path, body, shape), tmp_path, *options) == 0
    without_chance(tmp_path / "train_val.prototxt")
    (tmp_path / "solver.prototxt").write_text(SOLVER.format(tmp_path))
    solver, weights = tmp_path / "solver.prototxt", tmp_path / "cam.caffemodel"
    assert main(["train", "--solver", str(solver), "--weights", str(weights), "--threads", "1"]) == 0
    assert "test accuracy" in capsys.readouterr().err
    tuned = caffemodel.read(tmp_path / "tuned_iter_3.caffemodel").layers
    kept = caffemodel.read(weights).layers

    net = open_net(read_solver(solver).training_net).net
    text = re.sub('^net: ".*?"', "", SOLVER.format(tmp_path).strip()).replace("test_iter: 1 test_interval: 3", "")
    caffe.load_solver(text.encode(), (tmp_path / "train_val.prototxt").read_bytes(), name)
    caffe.set_params({**fill(net), **kept})
    losses = [float(caffe.step({}, ["loss"])["loss"]) for _ in range(3)]
    assert [row.loss for row in read_rows(tmp_path / "tuned_log.csv")][:3] == pytest.approx(losses, rel=1e-4)
    frozen = set() if learns else {"bn1", "bn2", "scale1", "scale2"}
    for layer, blobs in caffe.get_params().items():
        for number, (theirs, mine) in enumerate(zip(blobs, tuned[layer], strict=True)):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max(), err_msg=layer)
            still = layer in frozen or (layer, number, name) == ("conv1", 1, "depthwise")
            if layer in kept:
                assert np.array_equal(mine, kept[layer][number]) == np.array_equal(theirs, kept[layer][number]) == still
    if learns:
        # The loss after the last iteration, which both compute before the last test, adds to the statistics.
        caffe.forward({}, ["loss"])
        tuned = caffe.get_params()
    caffe.load((tmp_path / "train_val.prototxt").read_bytes(), "in its test phase")
    caffe.set_params(tuned)
    theirs = {blob: float(value) for blob, value in caffe.forward({}, ["accuracy", "loss"]).items()}
    assert read_rows(tmp_path / "tuned_log.csv")[-1].tests == pytest.approx(theirs, rel=1e-4)
    tuned = read_net(tmp_path / "cam.prototxt", tmp_path / "tuned_iter_3.caffemodel")
    assert find_head(tuned).class_layer == "CAM_fc"


def test_it_says_what_the_training_net_expects(tmp_path, capsys):
    files = write_net(tmp_path, CONV, (1, 32, 48))
    assert cam(files, tmp_path) == 0
    assert capsys.readouterr() == (
        f"{tmp_path}/cam.prototxt\n{tmp_path}/cam.caffemodel\n{tmp_path}/train_val.prototxt\n",
        "images: in grey, resized to 32×48 (height×width), minus 117\n"
        "frozen: nothing\n"
        f"next: pycam train --solver solver.prototxt --weights {tmp_path}/cam.caffemodel, "
        f'with net: "{tmp_path}/train_val.prototxt" in the solver\n',
    )
    data = prototxt.read(tmp_path / "train_val.prototxt").message.layer[0]
    assert not data.transform_param.HasField("crop_size")
    assert cam(files, tmp_path, training=False) == 0
    assert capsys.readouterr().err == ""


def test_frozen_batch_norm_is_said_and_its_statistics_are_asked_for(tmp_path, capsys):
    files = write_net(tmp_path, BATCH_NORM, (3, 18, 18))
    assert cam(files, tmp_path) == 0
    frozen = "frozen: 2 BatchNorm, 2 Scale (--no-freeze-batch-norm lets BatchNorm and Scale learn)"
    assert f"{frozen}\n" in capsys.readouterr().err
    assert cam(files[:1], tmp_path) == 0
    said = capsys.readouterr().err
    assert f"{frozen}; the statistics must come from --weights, without them they are 0\n" in said
    assert "next: pycam train --solver solver.prototxt --weights FILE, " in said
    by_name = {layer.name: layer for layer in prototxt.read(tmp_path / "train_val.prototxt").message.layer}
    for name, count in (("bn1", 3), ("bn2", 3), ("scale1", 2), ("scale2", 2)):
        assert [(spec.lr_mult, spec.decay_mult) for spec in by_name[name].param] == [(0, 0)] * count
    assert by_name["bn1"].batch_norm_param.use_global_stats
    assert not by_name["factor"].param, "a Scale that is not behind a BatchNorm learns"


def test_batch_norm_that_is_not_frozen_learns(tmp_path, capsys):
    files = write_net(tmp_path, BATCH_NORM, (3, 18, 18))
    assert cam(files, tmp_path, "--no-freeze-batch-norm") == 0
    said = capsys.readouterr().err
    assert "frozen: nothing; 2 BatchNorm use and learn the statistics of batches\n" in said
    assert "next: pycam train --solver solver.prototxt --weights " in said


OLD_TRAINING = """
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 20 mean_value: 90 scale: 0.0125 }
  image_data_param { source: "a" batch_size: 9 is_color: false } }
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 20 mean_value: 90 scale: 0.0125 }
  image_data_param { source: "b" batch_size: 9 is_color: false } }
"""
PHASES = """
layer { name: "bn" type: "BatchNorm" bottom: "conv2" top: "bn" include { phase: TRAIN }
  batch_norm_param { use_global_stats: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv2" top: "bn" include { phase: TEST }
  batch_norm_param { use_global_stats: true } }
layer { name: "aux" type: "InnerProduct" bottom: "conv1" top: "aux" inner_product_param { num_output: 3 } }
layer { name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss" loss_weight: 0.3 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "top1" type: "Accuracy" bottom: "fc" bottom: "label" top: "top1" include { phase: TEST } }
"""


def test_of_a_training_net_only_what_the_blob_depends_on_remains(tmp_path, capsys):
    source = tmp_path / "old.prototxt"
    source.write_text(OLD_TRAINING + CONV + HEAD + PHASES)
    assert cam([str(source)], tmp_path, "--channels", "0", after="bn") == 0
    said = capsys.readouterr().err
    assert "images: in grey, resized to 20×20 (height×width), minus 90, times 0.0125\n" in said
    net = read_net(tmp_path / "cam.prototxt")
    assert (net.inputs, net.shapes["data"]) == (("data",), (1, 1, 20, 20))
    names = ["conv1", "relu1", "conv2", "relu2", "bn", "CAM_pool", "CAM_fc"]
    assert [layer.name for layer in net.layers] == ["data", *names, "prob"]
    for phase, last in (("TRAIN", ["loss"]), ("TEST", ["loss", "accuracy"])):
        training = read_net(tmp_path / "train_val.prototxt", phase=phase)
        assert [layer.name for layer in training.layers] == ["data", *names, *last]


def test_a_mean_image_is_said_not_to_fit(tmp_path, capsys):
    source = tmp_path / "old.prototxt"
    text = OLD_TRAINING.replace("mean_value: 90", 'mean_file: "m.binaryproto"')
    source.write_text(text.replace("is_color: false", "") + CONV)
    assert cam([str(source)], tmp_path) == 0
    assert "minus 104, 117, 123, times 0.0125 (the old net: minus m.binaryproto)" in capsys.readouterr().err
    source.write_text(OLD_TRAINING.replace("mean_value: 90 scale: 0.0125", "") + CONV)
    assert cam([str(source)], tmp_path) == 0
    assert "32×" not in (said := capsys.readouterr().err)
    assert "resized to 20×20 (height×width), no mean\n" in said


V1 = """
input: "data" input: "info" input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 16
input_dim: 1 input_dim: 3 input_dim: 1 input_dim: 1
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 0 blobs_lr: 0
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "side" type: INNER_PRODUCT bottom: "info" top: "side" inner_product_param { num_output: 4 } }
"""


def test_an_old_format_with_an_input_that_is_not_needed(tmp_path, capsys):
    source = tmp_path / "old.prototxt"
    source.write_text(V1)
    assert cam([str(source)], tmp_path, after="c") == 0
    assert "resized to 12×16 (height×width), minus 104, 117, 123\nfrozen: 1 Convolution\n" in capsys.readouterr().err
    assert read_net(tmp_path / "cam.prototxt").inputs == ("data",)
    assert read_net(tmp_path / "train_val.prototxt", phase="TRAIN").by_name["c"].message.param[1].lr_mult == 0


def test_names_that_the_net_has_already(tmp_path):
    body = """
    layer { name: "data" type: "ReLU" bottom: "image" top: "label" }
    layer { name: "CAM_conv" type: "Convolution" bottom: "label" top: "loss"
      convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "CAM_relu" type: "ReLU" bottom: "loss" top: "loss" }
    layer { name: "CAM_pool" type: "Pooling" bottom: "loss" top: "accuracy" pooling_param { kernel_size: 2 stride: 2 } }
    """
    source = tmp_path / "old.prototxt"
    source.write_text(INPUT.format("image", "dim: 3 dim: 9 dim: 9") + body)
    assert cam([str(source)], tmp_path, after="accuracy") == 0
    head = ["CAM_conv_2", "CAM_relu_2", "CAM_pool_2", "CAM_fc"]
    assert [layer.name for layer in read_net(tmp_path / "cam.prototxt").layers][-5:] == [*head, "prob"]
    training = read_net(tmp_path / "train_val.prototxt")
    assert training.layers[0].tops == ("image", "label_2")
    assert [layer.name for layer in training.layers][-6:] == [*head, "loss_2", "accuracy_2"]
    with pytest.raises(NetError, match="the net has a layer or a blob 'CAM_conv' before 'accuracy'"):
        cam_net(read_net(source), "accuracy", 3, class_name="CAM_conv")


TWO = INPUT.format("data", "dim: 3 dim: 9 dim: 9") + INPUT.format("more", "dim: 3 dim: 9 dim: 9")


@pytest.mark.parametrize(
    ("text", "after", "message"),
    [
        (
            TWO + 'layer { name: "both" type: "Eltwise" bottom: "data" bottom: "more" top: "both" }',
            "both",
            r"the net has 2 inputs \(data 1×3×9×9, more 1×3×9×9\), a list of images gives one: leave out .*--train-val",
        ),
        (
            INPUT.format("data", "dim: 4 dim: 9 dim: 9"),
            "data",
            r"the input is data 1×4×9×9; a list of images \(ImageData\) gives 1 or 3 channels.* Data reads any number",
        ),
        (
            INPUT.format("data", "dim: 90") + 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" '
            "reshape_param { shape { dim: 0 dim: 10 dim: 3 dim: 3 } } }",
            "r",
            "the input is data 1×90; a list of images",
        ),
    ],
)
def test_inputs_that_no_list_of_images_gives(text, after, message, tmp_path, capsys):
    source = tmp_path / "old.prototxt"
    source.write_text(text)
    assert cam([str(source)], tmp_path, after=after) == 4
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["old.prototxt"]
    assert cam([str(source)], tmp_path, after=after, training=False) == 0


def test_shared_parameters_stay_shared(tmp_path, capsys):
    layer = 'layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" param {{ name: "w" }} {2} }}'
    filter_ = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
    source = tmp_path / "old.prototxt"
    source.write_text(
        INPUT.format("data", "dim: 3 dim: 9 dim: 9")
        + layer.format("a", "data", filter_)
        + layer.format("b", "a", filter_)
    )
    assert cam([str(source)], tmp_path, after="b") == 0
    assert "next: pycam train --solver solver.prototxt " in capsys.readouterr().err
    assert cam([str(source)], tmp_path, after="a") == 0
    assert "next: pycam train" in capsys.readouterr().err
    assert 'name: "w"' not in (tmp_path / "train_val.prototxt").read_text()


def test_files_are_not_written_over_one_another(tmp_path, capsys):
    files = write_net(tmp_path, CONV, (3, 9, 9))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for options in (
        ["--out", files[0]],
        ["--out", str(tmp_path / "cam.caffemodel")],
        ["--train-val", str(tmp_path / "cam.prototxt")],
        ["--train-val", files[0]],
    ):
        assert cam(files, tmp_path, *options) == 2
        assert "is another file of this command already" in capsys.readouterr().err
    for options in (["--out", str(tmp_path / "no/cam.prototxt")], ["--train-val", str(tmp_path)], ["--out", "."]):
        assert cam(files, tmp_path, *options) == 2
        assert "expected the name of a file in a folder that exists" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_has_no_effect_is_refused(tmp_path, capsys):
    files = write_net(tmp_path, CONV, (3, 9, 9))
    assert cam(files, tmp_path, "--no-freeze-batch-norm") == 2
    assert "the net has no BatchNorm layer before 'conv2'" in capsys.readouterr().err
    assert cam(files, tmp_path, "--no-freeze-batch-norm", training=False) == 2
    assert "it is about the training net of --train-val" in capsys.readouterr().err
    assert cam(files, tmp_path, "--channels", "0", after="data") == 4
    assert "no layer with weights remains" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.parametrize(
    ("net", "shape"), [("02-non-square/deploy", (3, 32, 48)), ("03-grey/grey", (1, 32, 32)), ("03-grey/four", None)]
)
def test_the_cases(net, shape, tmp_path, shared, capsys):
    files = [str(shared / f"data/cases/{net}{suffix}") for suffix in (".prototxt", ".caffemodel")]
    assert cam(files, tmp_path) == (0 if shape else 4)
    if shape is None:
        assert "the input is data 1×4×32×32; a list of images (ImageData) gives 1 or 3 chann" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
        return
    for phase in ("TRAIN", "TEST"):
        assert read_net(tmp_path / "train_val.prototxt", phase=phase).shapes["data"] == (1, *shape)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("net", "after", "batch_norms", "scales"),
    [
        ("KaimingHe+deep-residual-networks__prototxt__ResNet-50-deploy", "res5c", 53, 53),
        ("HolmesShuan+ResNet-18-Caffemodel-on-ImageNet__train", "last", 21, 21),
        ("SnailTyan+caffe-model-zoo__Inception-v3__deploy", "last", 94, 94),
        ("cvjena+cnn-models__ResNet_preact__ResNet10_cvgj__deploy", "last", 10, 10),
        ("intel+caffe__models__intel_optimized_models__benchmark__mobilenet_v2__deploy", "last", 53, 53),
        ("BVLC+caffe__models__bvlc_googlenet__train_val", "inception_4e/output", 0, 0),
    ],
)
def test_public_nets(net, after, batch_norms, scales, tmp_path, shared, capsys):
    path = shared / f"data/prototxt-zoo/files/{net}.prototxt"
    if after == "last":
        after = [blob for blob, shape in read_net(path).shapes.items() if len(shape) == 4 and shape[2] > 1][-1]
    assert cam([str(path)], tmp_path, after=after) == 0
    expected = f"frozen: {batch_norms} BatchNorm, {scales} Scale" if batch_norms else "frozen: nothing"
    assert expected in capsys.readouterr().err
    for phase in ("TRAIN", "TEST"):
        training = read_net(tmp_path / "train_val.prototxt", phase=phase)
        frozen = [layer for layer in training.layers if layer.type == "BatchNorm"]
        assert all(layer.message.batch_norm_param.use_global_stats for layer in frozen)
        assert sum(layer.type == "SoftmaxWithLoss" for layer in training.layers) == 1
