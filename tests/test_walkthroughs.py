"""Five published walkthroughs, done with pycam and compared with plain reimplementations of the originals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from example_nets import cells, train_val_cells
from nets import seeded_net
from PIL import Image

import pycam
from pycam import architectures
from pycam.cli import main
from pycam.drawing import channel_grid, overlay
from pycam.errors import NetError
from pycam.formats import caffemodel, prototxt
from pycam.net import find_head, net_from_message, read_net

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)


@pytest.fixture
def image(tmp_path):
    """An image with something in it, and its pixels: BGR, 120×160."""
    rng = np.random.default_rng(1)
    pixels = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), pixels)
    return path, pixels


def save_net(folder, net):
    """Write a net's two files."""
    deploy, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
    prototxt.write(deploy, net.message)
    caffemodel.write(weights, net.message, net.params)
    return deploy, weights


def shown_in(colours, pixels, opacity):
    """Lay matplotlib's colours over an image."""
    return (1 - opacity) * pixels.astype(np.float64) + opacity * colours


# 1. The pycaffe driver. test_predict.py and test_cam.py compare its images with those of the original.


def test_the_driver_prints_blobs_and_parameters(tmp_path, capsys):
    net = net_from_message(architectures.build("deploy_alexnetplusCAM_imagenet"))
    assert net.shapes["conv7"] == (1, 512, 11, 11)
    assert net.by_name["fc9"].param_shapes == ((1000, 512), (1000,))
    assert main(["net", "show", str(ROOT / "prototxt/deploy_alexnetplusCAM_imagenet.prototxt")]) == 0
    printed = capsys.readouterr().out
    assert "1×512×11×11" in printed
    assert "1000×512, 1000" in printed


# 2. VGG16-CAM in TensorFlow 1


def tf_conv(x, kernel, bias):
    """A 3×3 convolution with SAME padding: H×W×in, 3×3×in×out."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((height * width, kernel.shape[3]), np.float32)
    for dy in range(3):
        for dx in range(3):
            out += padded[dy : dy + height, dx : dx + width].reshape(height * width, -1) @ kernel[dy, dx]
    return (out + bias).reshape(height, width, -1)


def tf_resize_bilinear(x, side):
    """TensorFlow 1's resize_bilinear without aligned corners, sample by sample: H×W×C."""
    height, width, _ = x.shape
    out = np.zeros((side, side, x.shape[2]), np.float32)
    for y in range(side):
        for column in range(side):
            fy, fx = y * height / side, column * width / side
            y0, x0 = int(fy), int(fx)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = x[y0, x0] + (x[y0, x1] - x[y0, x0]) * (fx - x0)
            bottom = x[y1, x0] + (x[y1, x1] - x[y1, x0]) * (fx - x0)
            out[y, column] = top + (bottom - top) * (fy - y0)
    return out


def tf_features(image, tensors):
    """The graph of the walkthrough up to CAM_conv, which is not rectified."""
    x = np.asarray(Image.open(image).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC), np.float32)
    x = x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, count + 1):
            layer = tensors[f"conv{stage}_{number}"]
            x = np.maximum(tf_conv(x, layer["weights"], layer["biases"]), 0)
        if stage < 5:
            height, width, channels = x.shape
            x = x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))
    kernel, bias = tensors["CAM_conv"]["weights"], tensors["CAM_conv"]["biases"]
    halves = [
        tf_conv(x[..., :256], kernel[..., :512], bias[:512]),
        tf_conv(x[..., 256:], kernel[..., 512:], bias[512:]),
    ]
    return np.concatenate(halves, axis=2)


@pytest.mark.slow
def test_vgg16_cam_in_tensorflow(image, tmp_path, capsys):
    path, _ = image
    net = seeded_net(architectures.build("deploy_vgg16CAM_tf"))
    tensors = {}
    for name, (weights, *bias) in net.params.items():
        turned = weights.transpose(2, 3, 1, 0) if weights.ndim == 4 else weights.T
        tensors[name] = {"weights": turned, "biases": bias[0] if bias else RNG.normal(size=1000).astype(np.float32)}
    np.save(tmp_path / "vgg16CAM.npy", tensors, allow_pickle=True)

    weights = tmp_path / "vgg16CAM.caffemodel"
    assert main(["net", "import", str(tmp_path / "vgg16CAM.npy"), "--out", str(weights)]) == 0
    deploy = ROOT / "prototxt/deploy_vgg16CAM_tf.prototxt"
    out = tmp_path / "out"
    arguments = ["--prototxt", deploy, "--weights", weights, "--protocol", "tf_vgg16cam", "--out", out]
    assert main(["heatmap", str(path), *map(str, arguments)]) == 0
    found = json.loads((out / "image/image.json").read_text())["top"]

    features = tf_features(path, tensors)
    logits = features.mean(axis=(0, 1)) @ tensors["CAM_fc"]["weights"]
    best = np.argsort(logits)[::-1][:2]
    assert [item["index"] for item in found] == best.tolist()
    prob = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert found[0]["score"] == pytest.approx(prob[best[0]], abs=1e-4)

    prediction = pycam.load(prototxt=deploy, weights=weights, protocol="tf_vgg16cam")(path)
    assert prediction._caption(1)[0].startswith("2nd class: ")
    resized = tf_resize_bilinear(features, 224)
    shown = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))[..., ::-1]
    for rank, index in enumerate(best):
        cam = resized @ tensors["CAM_fc"]["weights"][:, index]
        np.testing.assert_allclose(prediction.top[rank].map, cam, atol=1e-4 * np.abs(cam).max())
        levels = ((cam - cam.min()) / (cam.max() - cam.min()) * 255).astype(np.uint8)
        expected = shown_in(matplotlib_jet(levels), shown, 0.5)
        difference = np.abs(prediction.overlay(rank).astype(float) - expected).max(axis=2)
        # The last bit of the map may change a colour by one level.
        assert np.mean(difference > 1) < 0.01
        assert difference.max() < 8


def matplotlib_jet(levels):
    """matplotlib's jet of 256 levels, BGR, from its published points."""
    points = {
        "blue": ([0, 0.11, 0.34, 0.65, 1], [0.5, 1, 1, 0, 0]),
        "green": ([0, 0.125, 0.375, 0.64, 0.91, 1], [0, 0, 1, 1, 0, 0]),
        "red": ([0, 0.35, 0.66, 0.89, 1], [0, 0, 1, 1, 0.5]),
    }
    return np.stack([np.interp(levels / 255, *points[name]) * 255 for name in ("blue", "green", "red")], axis=-1)


@pytest.mark.torch
def test_the_loss_of_fine_tuning_in_tensorflow(tmp_path):
    """Mean cross-entropy + 0.0005 · Σ ½‖W‖² over weights: Caffe's weight_decay, with decay_mult 0 on biases."""
    import torch

    from pycam.training.learner import Learner
    from pycam.training.solver import read_solver

    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
    layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" param { } param { decay_mult: 0 }
      inner_product_param { num_output: 5 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }"""
    (tmp_path / "solver.prototxt").write_text(
        'net: "n" snapshot_prefix: "s" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 weight_decay: 0.0005'
    )
    net = seeded_net(prototxt.parse(text).message)
    learner = Learner(net, read_solver(tmp_path / "solver.prototxt"))
    x, y = RNG.normal(size=(4, 3)).astype(np.float32), np.array([0, 4, 2, 1], np.float32)
    learner.step([{"data": x, "label": y}], 0)

    weights, biases = (torch.from_numpy(blob.copy()).requires_grad_() for blob in net.params["fc"])
    logits = torch.from_numpy(x) @ weights.T + biases
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long()) + 0.0005 * weights.square().sum() / 2
    loss.backward()
    for after, before in zip(learner.params["fc"], (weights, biases), strict=True):
        expected = (before - 0.1 * before.grad).detach().numpy()
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-7)


# 3. A small CNN for cells


def cells_graph(torch, pixels, params, corner):
    """Build the net of the walkthrough in PyTorch; return its last features and its scores."""
    f = torch.nn.functional
    x = torch.from_numpy(cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)[None] / 255)
    x = x.float()
    weights = {name: [torch.from_numpy(blob) for blob in blobs] for name, blobs in params.items()}
    for number in range(1, 7):
        x = f.relu(f.conv2d(x, *weights[f"conv{number}"]))
        if number in (2, 4):
            x = f.max_pool2d(x, 2)
    averaged = torch.nn.AvgPool2d(16)(x) if corner else x.mean((2, 3))
    return x[0].numpy(), f.linear(averaged.flatten(1), *weights["fc"])[0].numpy()


@pytest.mark.torch
@pytest.mark.parametrize("corner", [False, True])
def test_cells_with_both_poolings(corner, image, tmp_path):
    import torch

    path, pixels = image
    net = seeded_net(cells(corner=corner))
    assert net.shapes["conv6"] == (1, 2, 18, 18)
    deploy, weights = save_net(tmp_path, net)
    (tmp_path / "card.yaml").write_text(
        f"name: cells\nprototxt: {deploy.name}\nweights: {weights.name}\nfeature_blob: conv6\nclass_layer: fc\n"
    )
    with torch.inference_mode():
        features, scores = cells_graph(torch, pixels, net.params, corner)

    prediction = pycam.load(str(tmp_path / "card.yaml"), protocol="cells")(path, classes=[1])  # the ground-truth class
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    np.testing.assert_allclose(prediction.scores, expected, atol=1e-5)
    fc = net.params["fc"][0]  # the printed 2×2 weights
    cam = cv2.resize(np.einsum("k,khw->hw", fc[1], features), (128, 128), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(prediction.top[0].map, cam, atol=1e-4 * np.abs(cam).max())
    levels = np.minimum((cam - cam.min()) / (cam.max() - cam.min()) * 256, 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    shown = cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_CUBIC)
    assert np.abs(prediction.overlay() - shown_in(colours, shown, 0.3)).max() <= 2


def test_the_cells_example_files_are_up_to_date():
    folder = ROOT / "examples/cells"
    assert prototxt.read(folder / "train_val.prototxt").message == train_val_cells()
    assert prototxt.read(folder / "deploy.prototxt").message == cells()
    assert prototxt.read(folder / "deploy_corner.prototxt").message == cells(corner=True)
    assert find_head(read_net(folder / "deploy.prototxt")).class_layer == "fc"
    with pytest.raises(
        NetError, match=r"'average' \(Pooling\) leaves out some of its 18×18 positions; name the layers in a model card"
    ):
        find_head(read_net(folder / "deploy_corner.prototxt"))


def cell(rng, spot):
    """A pale disc on black, with a dark spot in it or without."""
    pixels = np.zeros((100, 110, 3), np.uint8)
    x, y = int(rng.integers(40, 70)), int(rng.integers(40, 60))
    cv2.circle(pixels, (x, y), int(rng.integers(28, 38)), (180, int(rng.integers(140, 180)), 200), -1)
    if spot:
        cv2.circle(pixels, (x + int(rng.integers(-15, 15)), y + int(rng.integers(-15, 15))), 11, (120, 20, 60), -1)
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


@pytest.mark.torch
@pytest.mark.slow
def test_cells_are_classified(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("train", 96), ("val", 50)):
        lines = []
        for number in range(count):
            cv2.imwrite(str(tmp_path / f"{name}{number}.png"), cell(rng, number % 2))
            lines.append(f"{name}{number}.png {number % 2}\n")
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    net = train_val_cells()
    assert net.layer[0].image_data_param.batch_size == 32
    net.layer[0].image_data_param.batch_size = 16
    prototxt.write(tmp_path / "train_val.prototxt", net)
    text = (ROOT / "examples/cells/solver.prototxt").read_text()
    for old, new in (
        ("max_iter: 7680 ", "max_iter: 72 "),
        ("test_iter: 60 ", "test_iter: 1 "),
        ("test_interval: 768", "test_interval: 72"),
        ("snapshot: 768", "snapshot: 0"),
        ('"cells"', f'"{tmp_path}/cells"'),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "solver.prototxt").write_text(text)
    assert main(["train", "--solver", str(tmp_path / "solver.prototxt"), "--threads", "1"]) == 0
    last = [line for line in capsys.readouterr().err.splitlines() if "test accuracy" in line][-1]
    assert float(last.split()[-1]) >= 0.94

    prototxt.write(tmp_path / "deploy.prototxt", cells())
    cam = pycam.load(
        prototxt=tmp_path / "deploy.prototxt", weights=tmp_path / "cells_iter_72.caffemodel", protocol="cells"
    )
    prediction = cam(tmp_path / "val1.png")
    assert prediction.top[0].index == 1
    assert len(prediction.top) == 1


# 4. Grad-CAM and channel grids with VGG16 in Keras

SMALL_VGG = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }
layer { name: "conv5_3" type: "Convolution" bottom: "data" top: "conv5_3"
  convolution_param { num_output: 8 kernel_size: 17 stride: 16 pad: 8 } }
layer { name: "relu5_3" type: "ReLU" bottom: "conv5_3" top: "conv5_3" }
layer { name: "pool5" type: "Pooling" bottom: "conv5_3" top: "pool5" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc8" type: "InnerProduct" bottom: "pool5" top: "fc8" inner_product_param { num_output: 120 } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


@pytest.mark.torch
def test_grad_cam_in_keras(image, tmp_path):
    import torch

    f = torch.nn.functional
    path, pixels = image
    net = seeded_net(prototxt.parse(SMALL_VGG).message)
    deploy, weights = save_net(tmp_path, net)

    squashed = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.NEAREST), np.float32)
    x = torch.from_numpy((squashed - np.array([103.939, 116.779, 123.68], np.float32)).transpose(2, 0, 1)[None])
    conv, fc = ([torch.from_numpy(blob) for blob in net.params[name]] for name in ("conv5_3", "fc8"))
    features = f.relu(f.conv2d(x, *conv, stride=16, padding=8)).requires_grad_()
    prob = f.linear(f.max_pool2d(features, 2).flatten(1), *fc).softmax(1)
    index = int(prob.argmax())
    (gradient,) = torch.autograd.grad(prob[0, index], features)
    weighted = gradient.mean((2, 3))[..., None, None] * features.detach()
    heat = weighted.mean(1)[0].numpy()  # averaged over channels, not summed; neither rectified nor normalised

    prediction = pycam.load(prototxt=deploy, weights=weights, protocol="keras_gradcam")(path)
    assert len(prediction.top) == 3
    assert prediction.top[0].index == index
    heat = cv2.resize(heat, (160, 120))
    np.testing.assert_allclose(prediction.top[0].map, heat, atol=1e-4 * np.abs(heat).max())

    levels = np.trunc(255 * prediction.top[0].map.astype(np.float64)).astype(np.int64) % 256
    colours = cv2.applyColorMap(levels.astype(np.uint8), cv2.COLORMAP_JET)
    assert np.abs(prediction.overlay() - np.clip(colours * 0.4 + pixels, 0, 255)).max() <= 1


def test_colours_that_wrap_around_and_colours_that_are_clipped():
    pixels = np.full((1, 5, 3), 100, np.uint8)
    values = np.array([[-1.5, -0.01, 0.5, 1.01, 2.7]])
    for style, levels in (("keras", [130, 254, 127, 1, 176]), ("keras_clipped", [0, 0, 127, 255, 255])):
        colours = cv2.applyColorMap(np.array([levels], np.uint8), cv2.COLORMAP_JET)
        np.testing.assert_array_equal(overlay(pixels, values, style), (100 + 0.4 * colours).astype(np.uint8))


def test_channel_grids_of_an_image_of_150_by_150(image, tmp_path, capsys):
    path, pixels = image
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 150 dim: 150 } } }
    layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
      convolution_param { num_output: 20 kernel_size: 3 pad: 1 } }
    layer { name: "relu1_1" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }
    layer { name: "pool1" type: "Pooling" bottom: "conv1_1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }"""
    net = seeded_net(prototxt.parse(text).message)
    weight, bias = net.params["conv1_1"]
    weight[3], bias[3] = 0, -1  # a dead channel
    net = net.with_params({"conv1_1": (weight, bias)})
    deploy, weights = save_net(tmp_path, net)
    out = tmp_path / "out"
    arguments = ["--prototxt", deploy, "--weights", weights, "--layers", "conv1_1,pool1", "--protocol", "keras_grid"]
    assert main(["activations", str(path), *map(str, arguments), "--out", str(out)]) == 0
    files = [out / "image" / f"image_{name}.png" for name in ("conv1_1", "pool1")]
    assert capsys.readouterr().out.split() == list(map(str, files))

    x = np.asarray(Image.fromarray(pixels).resize((150, 150), Image.Resampling.NEAREST), np.float64) / 255
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    features = np.zeros((20, 150, 150))
    for dy in range(3):
        for dx in range(3):
            window = padded[dy : dy + 150, dx : dx + 150]
            features += np.einsum("hwi,oi->ohw", window, weight[:, :, dy, dx])
    features = np.maximum(features + bias[:, None, None], 0)

    shown = cv2.imread(str(files[0]))
    assert shown.shape == (2 * 150 + 24, 16 * 150, 3)  # with the layer's name below
    for number in (0, 3, 15, 16, 19):
        channel = features[number]
        spread = channel.std() or 1.0
        levels = np.clip((channel - channel.mean()) / spread * 64 + 128, 0, 255).astype(np.uint8)
        expected = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS).astype(int)
        row, column = divmod(number, 16)
        tile = shown[150 * row : 150 * (row + 1), 150 * column : 150 * (column + 1)].astype(int)
        assert np.mean(np.abs(tile - expected).max(axis=2) > 0) < 0.01
        assert np.abs(tile - expected).max() <= 4
    darkest = cv2.applyColorMap(np.zeros((1, 1), np.uint8), cv2.COLORMAP_VIRIDIS)[0, 0]
    assert (shown[150:300, 4 * 150 :] == darkest).all()


def test_the_height_of_a_grid():
    assert channel_grid(np.zeros((1, 3, 5), np.float32)).shape == (3, 80, 3)
    assert channel_grid(np.zeros((32, 3, 5), np.float32)).shape == (6, 80, 3)


def test_channels_that_cannot_be_shown(image, tmp_path, capsys):
    deploy, weights = save_net(tmp_path, seeded_net(prototxt.parse(SMALL_VGG).message))
    arguments = ["activations", str(image[0]), "--prototxt", str(deploy), "--weights", str(weights), "--view", "full"]
    assert main([*arguments, "--layers", "conv9"]) == 4
    assert "the net has no layer 'conv9': did you mean 'conv5_3'?" in capsys.readouterr().err
    assert main([*arguments, "--layers", "fc8"]) == 4
    assert "the output of layer 'fc8' is 1×120" in capsys.readouterr().err


# 5. Fine-tuning to action classes in Caffe

SMALL_CAM = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } } }
layer { name: "CAM_conv" type: "Convolution" bottom: "data" top: "CAM_conv"
  convolution_param { num_output: 6 kernel_size: 16 stride: 16 } }
layer { name: "CAM_relu" type: "ReLU" bottom: "CAM_conv" top: "CAM_conv" }
layer { name: "CAM_pool" type: "Pooling" bottom: "CAM_conv" top: "CAM_pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "CAM_fc" type: "InnerProduct" bottom: "CAM_pool" top: "CAM_fc" inner_product_param { num_output: 100 } }
layer { name: "prob" type: "Softmax" bottom: "CAM_fc" top: "prob" }
"""


def caffe_resize(x, side):
    """`caffe.io.resize_image`: bilinear on floats by the middle of pixels, zero outside: sample by sample."""
    height, width, _ = x.shape
    low, high = x.min(), x.max()
    x = (x - low) / (high - low)
    out = np.zeros((side, side, 3))
    for row in range(side):
        for column in range(side):
            fy, fx = (row + 0.5) * height / side - 0.5, (column + 0.5) * width / side - 0.5
            y0, x0 = int(np.floor(fy)), int(np.floor(fx))
            for y in (y0, y0 + 1):
                for x_ in (x0, x0 + 1):
                    if 0 <= y < height and 0 <= x_ < width:
                        out[row, column] += (1 - abs(fy - y)) * (1 - abs(fx - x_)) * x[y, x_]
    return out * (high - low) + low


@pytest.mark.torch
def test_fine_tuning_to_new_classes_and_showing_them(image, tmp_path, capsys):
    path, pixels = image
    old = seeded_net(prototxt.parse(SMALL_CAM).message)
    deploy, weights = save_net(tmp_path, old)
    new, training = tmp_path / "new.prototxt", tmp_path / "train_val.prototxt"
    arguments = ["--after", "CAM_conv", "--channels", "0", "--classes", "3", "--class-name", "CAM_fc_14"]
    files = ["--out", str(new), "--train-val", str(training)]
    assert main(["net", "cam", str(deploy), str(weights), *arguments, *files]) == 0
    for number in range(12):
        folder = tmp_path / "actions" / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        colour = [30, 30, 30]
        colour[number % 3] = 200
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 40, 3), colour, np.uint8))
    (tmp_path / "solver.prototxt").write_text(
        'net: "train_val.prototxt" base_lr: 0.0005 lr_policy: "step" gamma: 0.1 stepsize: 2000 momentum: 0.9\n'
        f'max_iter: 6 display: 1 test_iter: 1 test_interval: 2 snapshot_prefix: "{tmp_path}/tuned"'
    )
    data = ["--data", str(tmp_path / "actions"), "--test-data", str(tmp_path / "actions")]
    solver = ["--solver", str(tmp_path / "solver.prototxt"), "--weights", str(new.with_suffix(".caffemodel"))]
    assert main(["train", *solver, *data, "--threads", "1"]) == 0
    with Image.open(tmp_path / "tuned_curves.png") as curves:
        assert curves.width > curves.height  # losses of training and test, and the accuracy

    capsys.readouterr()
    assert main(["net", "show", str(new), str(tmp_path / "tuned_iter_6.caffemodel")]) == 0
    assert "CAM_fc_14" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("0 running\n1 rowing\n2 riding\n")
    cam = pycam.load(
        prototxt=new, weights=tmp_path / "tuned_iter_6.caffemodel", protocol="mpii", labels=tmp_path / "labels.csv"
    )
    prediction = cam(path)
    assert prediction.top[0].label in ("running", "rowing", "riding")

    loaded = caffe_resize(pixels / 255, 224) * 255
    net_sees = (loaded - np.array([104, 117, 123])).transpose(2, 0, 1)
    weight, bias = cam.model.net.params["CAM_conv"]
    windows = net_sees.reshape(3, 14, 16, 14, 16)
    features = np.maximum(np.einsum("oiyx,iaybx->oab", weight, windows) + bias[:, None, None], 0)
    fc, fc_bias = cam.model.net.params["CAM_fc_14"]
    logits = fc @ features.mean(axis=(1, 2)) + fc_bias
    index = int(logits.argmax())
    assert [item.index for item in prediction.top] == [index]
    expected = cv2.resize(np.einsum("k,khw->hw", fc[index], features), (224, 224))
    np.testing.assert_allclose(prediction.top[0].map, expected, atol=1e-3 * np.abs(expected).max())

    drawn = prediction.overlay().astype(int)
    levels = np.minimum((expected - expected.min()) / np.ptp(expected) * 256, 255).astype(np.uint8)
    plain = shown_in(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), np.rint(loaded), 0.4)
    assert np.mean(np.abs(drawn[:190] - plain[:190]).max(axis=2) > 3) < 0.01
    assert (drawn[200:] == 255).all(axis=2).any(), "the sentence is white"
