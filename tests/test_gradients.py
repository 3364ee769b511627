"""Maps from gradients: against differences, against definitions written out, and against the CAM they generalise."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

import pycam
from pycam import architectures
from pycam.cli import main
from pycam.engines import Options
from pycam.errors import NetError, UsageError
from pycam.formats import prototxt
from pycam.net import net_from_message, read_net
from pycam.training.fillers import fill

pytestmark = pytest.mark.torch
with suppress(ImportError):  # without PyTorch, the marker skips every test
    import torch

    from pycam.engines.torch_graph import TorchNet
    from pycam.maps.gradients import METHODS, GradientMaps, class_gradients, xgrad_cam
    from pycam.maps.target import default_layer

SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" relu_param { negative_slope: 0.2 } }
layer { name: "norm" type: "LRN" bottom: "conv1" top: "norm" lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 } }
layer { name: "conv2" type: "Convolution" bottom: "norm" top: "conv2"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 2 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "sum" type: "Eltwise" bottom: "conv2" bottom: "conv2" top: "sum" eltwise_param { coeff: 1 coeff: -0.3 } }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
RNG = np.random.default_rng(0)


def small():
    net = net_from_message(prototxt.parse(SMALL).message)
    return net.with_params(fill(net, 1))


@pytest.mark.parametrize("layer", ["data", "conv1", "norm", "conv2"])
@pytest.mark.parametrize("target", ["fc", "prob"])
def test_gradients_are_those_of_central_differences(layer, target):
    module = TorchNet(small()).double().requires_grad_(False)
    inputs = {"data": torch.from_numpy(RNG.normal(size=(2, 3, 9, 9)))}
    values, gradients = class_gradients(module, inputs, layer, target, [3, 0])
    assert gradients.shape == (2, 2, *values.shape[1:])
    for _ in range(10):
        spot = tuple(int(RNG.integers(side)) for side in values.shape)
        step = torch.zeros_like(values)
        step[spot] = 1e-6
        high, low = (module({**inputs, layer: values + sign * step}, [target])[target] for sign in (1, -1))
        for t, index in enumerate((3, 0)):
            slope = float(high[spot[0], index] - low[spot[0], index]) / 2e-6
            assert float(gradients[spot[0], t][spot[1:]]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def grad_cam_plus_plus(a, g):
    """Weight a channel as in the paper's equations 9 and 19, with the derivatives of exp(S) at S = 0."""
    alpha = np.divide(g**2, 2 * g**2 + a.sum() * g**3, out=np.zeros_like(g), where=g != 0)
    return (alpha * np.maximum(g, 0)).sum()


# Method -> the weights of a channel, of its values and gradients; a number, or one for each value.
WEIGHTS = {
    "gradcam": lambda a, g: g.mean(),
    "gradcam++": grad_cam_plus_plus,
    "xgradcam": lambda a, g: sum(a[p] / a.sum() * g[p] for p in np.ndindex(a.shape)) if a.any() else 0,
    "layercam": lambda a, g: np.maximum(g, 0),
}


@given(
    hnp.array_shapes(min_dims=5, max_dims=5, max_side=4),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from([0, 1]),
)
def test_the_maps_are_as_defined(sides, seed, dense, least):
    n, t, k, h, w = sides
    rng = np.random.default_rng(seed)
    values, gradients = rng.uniform(-least * 0.1, 1, (n, k, h, w)), rng.normal(size=(n, t, k, h, w))
    if not dense:  # as after a ReLU
        values, gradients = values * (rng.random(values.shape) > 0.5), gradients * (rng.random(gradients.shape) > 0.5)
    found = {name: each(*map(torch.from_numpy, (values, gradients))).numpy() for name, each in METHODS.items()}
    for i, j in np.ndindex(n, t):
        sums = {
            name: sum(weigh(values[i, c], gradients[i, j, c]) * values[i, c] for c in range(k))
            for name, weigh in WEIGHTS.items()
        }
        for name, map_ in sums.items():
            np.testing.assert_allclose(found[name][i, j], np.maximum(map_, 0), rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(found["gradcam_mean"][i, j], sums["gradcam"] / k, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found["saliency"][i, j], np.abs(gradients[i, j]).max(axis=0))


def test_squares_of_small_gradients_are_not_lost():
    rng = np.random.default_rng(0)
    values, gradients = rng.random((1, 4, 3, 5)), rng.normal(size=(1, 2, 4, 3, 5)) * 1e-23
    maps = [
        METHODS["gradcam++"](*(torch.tensor(x, dtype=type_) for x in (values, gradients))).double()
        for type_ in (torch.float32, torch.float64)
    ]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-5, atol=0)


def test_channels_without_values_and_classes_without_gradients_have_maps_of_zeros():
    values, gradients = torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 2, 3, 3)
    for name, method in METHODS.items():
        assert not method(values, gradients + (name != "saliency")).any()
        assert not method(values + 1, gradients).any()


def test_the_values_of_an_unrectified_xgrad_cam_sum_to_the_score():
    """The axiom of conservation, in a net of ReLUs without biases: its score is the sum of values times gradients."""
    layers = [torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3, bias=False)]
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    features = layers[1](layers[0](x)).detach().requires_grad_()
    scores = layers[1](layers[2](features)).mean((2, 3))  # (N, T)
    gradients = torch.stack([torch.autograd.grad(s.sum(), features, retain_graph=True)[0] for s in scores.T], dim=1)
    torch.testing.assert_close(xgrad_cam(features, gradients).sum((2, 3)), scores)


def test_on_a_cam_net_grad_cam_is_the_cam_up_to_a_factor():
    net = net_from_message(architectures.build("deploy_squeezenet_cam_caltech101"))
    net = net.with_params(fill_somehow(net))
    images = RNG.normal(0, 50, (1, 3, 227, 227)).astype(np.float32)
    features = TorchNet(net)({"data": torch.from_numpy(images)}, ["fire9/concat"])["fire9/concat"]
    weights = net.class_weights("CAM_fc")
    methods = ("gradcam", "gradcam_mean", "xgradcam", "layercam")
    maps, unrectified, axiomatic, layer_cam = (
        GradientMaps(net, "prob", method, options=Options(threads=1))(images, np.array([5, 70])) for method in methods
    )
    unrectified *= 512
    np.testing.assert_array_equal(maps, np.maximum(unrectified, 0))
    # Each gradient of a channel is the same, so it does not matter how their mean is weighted.
    np.testing.assert_allclose(axiomatic, maps, rtol=0, atol=1e-4 * maps.max())
    for t, index in enumerate((5, 70)):
        cam = np.einsum("k,khw->hw", weights[index], features[0].detach().numpy())
        np.testing.assert_allclose(unrectified[0, t] * 13 * 13, cam, rtol=0, atol=1e-4 * np.abs(cam).max())
        positive = np.einsum("k,khw->hw", weights[index].clip(0), features[0].detach().numpy())
        np.testing.assert_allclose(layer_cam[0, t] * 13 * 13, positive, rtol=0, atol=1e-4 * positive.max())


def fill_somehow(net):
    """Parameters that keep values in a net about as large as they are."""
    return {
        layer.name: tuple(
            (RNG.normal(size=shape) * np.sqrt(2 / max(np.prod(shape[1:]), 1))).astype(np.float32)
            for shape in layer.param_shapes
        )
        for layer in net.layers
        if layer.param_shapes
    }


@pytest.mark.slow
def test_on_vgg16_against_its_definition():
    """Compare with the forward pass and the gradient at conv5_3 by PyTorch's own layers."""
    import torch.nn.functional as F

    net = net_from_message(architectures.build("deploy_vgg16"))
    params = fill_somehow(net)
    net = net.with_params(params)
    images = RNG.normal(0, 50, (1, 3, 224, 224)).astype(np.float32)
    weights = {name: [torch.from_numpy(blob) for blob in blobs] for name, blobs in params.items()}

    x = torch.from_numpy(images)
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, count + 1):
            x = F.relu(F.conv2d(x, *weights[f"conv{stage}_{number}"], padding=1))
        if stage == 5:
            features = x.detach().requires_grad_()
            x = features
        x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = F.relu(F.linear(x, *weights[name]))
    logits = F.linear(x, *weights["fc8"])
    index = int(logits.argmax())
    for target, scores in (("logit", logits), ("probability", logits.softmax(1))):
        (gradient,) = torch.autograd.grad(scores[0, index], features, retain_graph=True)
        expected = (gradient.mean((2, 3))[..., None, None] * features.detach()).sum(1)[0].numpy()
        found = GradientMaps(net, "prob", "gradcam_mean", target, "conv5_3")(images, np.array([index]))[0, 0] * 512
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


HEADED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 50 } } }
"""
LAST = {
    "Softmax": 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }',
    "Sigmoid": 'layer { name: "prob" type: "Sigmoid" bottom: "fc" top: "prob" }',
    "TanH in place": 'layer { name: "tanh" type: "TanH" bottom: "fc" top: "fc" }',
    "Softmax, flattened": 'layer { name: "soft" type: "Softmax" bottom: "fc" top: "soft" } '
    'layer { name: "prob" type: "Flatten" bottom: "soft" top: "prob" }',
}


@pytest.mark.parametrize("last", LAST)
def test_a_sure_class_has_a_gradient(last):
    """The score before the last activation of a class that is as sure as float32 can say."""
    net = net_from_message(prototxt.parse(HEADED + LAST[last]).message)
    net = net.with_params(fill(net, 1))
    images = np.random.default_rng(0).normal(0, 100, (1, 3, 8, 8)).astype(np.float32)
    blob = net.outputs[-1]
    scores = TorchNet(net)({"data": torch.from_numpy(images)}, [blob])[blob].detach().numpy()
    index = int(scores.argmax())
    assert scores[0, index] > 0.9999
    maps = GradientMaps(net, blob, "gradcam_mean", layer="conv")(images, np.array([index]))
    features = TorchNet(net)({"data": torch.from_numpy(images)}, ["conv"])["conv"][0].detach().numpy()
    expected = np.tensordot(net.params["fc"][0][index], features, 1) / (8 * 8 * 4)
    np.testing.assert_allclose(maps[0, 0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_scores_with_positions_are_averaged():
    windows = HEADED.replace("global_pooling: true", "kernel_size: 4 stride: 4")
    text = windows.replace("InnerProduct", "Convolution").replace(
        "inner_product_param { num_output: 3", "convolution_param { num_output: 3 kernel_size: 1"
    )
    net = net_from_message(prototxt.parse(text + LAST["Softmax"]).message)
    net = net.with_params(fill(net, 1))
    images = RNG.normal(0, 10, (2, 3, 8, 8)).astype(np.float32)
    maps = GradientMaps(net, "prob", "gradcam_mean")(images, np.array([2, 0]))
    features = TorchNet(net)({"data": torch.from_numpy(images)}, ["conv"])["conv"].detach().numpy()
    for t, index in enumerate((2, 0)):
        weights = net.params["fc"][0][index, :, 0, 0]
        np.testing.assert_allclose(maps[:, t], np.einsum("k,nkhw->nhw", weights, features) / 256, rtol=1e-4, atol=1e-5)


def test_maps_of_no_classes_have_the_sides_of_the_others():
    images = np.zeros((2, 3, 9, 9), np.float32)
    for method, sides in (("gradcam", (7, 7)), ("saliency", (9, 9))):
        maps = GradientMaps(small(), "prob", method, layer="" if method == "saliency" else "conv2")
        assert maps(images, np.array([1], np.intp)).shape == (2, 1, *sides)
        assert maps(images, np.array([], np.intp)).shape == (2, 0, *sides)


def test_where_maps_are_made_by_default():
    assert default_layer(net_from_message(architectures.build("deploy_vgg16"))) == "pool5"
    assert default_layer(net_from_message(architectures.build("deploy_googlenetCAM"))) == "CAM_conv"
    assert default_layer(net_from_message(architectures.build("deploy_squeezenet_v1.0"))) == "conv10"


def test_a_blob_or_target_that_cannot_be(tmp_path):
    net = small()
    with pytest.raises(NetError, match="no blob 'conv9' for maps: did you mean 'conv2'\\? the last that has"):
        GradientMaps(net, "prob", layer="conv9")
    with pytest.raises(NetError, match="blob 'fc' is 1×5: maps need rows and columns"):
        GradientMaps(net, "prob", layer="fc")
    with pytest.raises(UsageError, match=r"'fc' comes from 'fc' \(InnerProduct\), not from a Softmax"):
        GradientMaps(net, "fc", "gradcam", "probability", "conv1")
    aside = SMALL + 'layer { name: "aside" type: "TanH" bottom: "data" top: "aside" }'
    (tmp_path / "aside.prototxt").write_text(aside)
    other = read_net(tmp_path / "aside.prototxt")
    with pytest.raises(NetError, match="blob 'aside' has no influence on the scores 'fc'"):
        GradientMaps(other.with_params(fill(other)), "prob", layer="aside")


@pytest.mark.shared
@pytest.mark.parametrize("method", ["gradcam++", "saliency"])
def test_from_an_image_to_maps_and_boxes(method, shared, tmp_path):
    weights = shared / "data/weights/squeezenet_v1.0.caffemodel"
    image = next(iter(sorted((shared / "data/samples").glob("*.JPEG"))))
    arguments = ["--model", "squeezenet-v1.0", "--weights", str(weights), "--method", method, "--top", "2"]
    layer = None if method == "saliency" else "fire5/concat"
    arguments += ["--target", "probability", *(["--layer", layer] if layer else [])]
    out = tmp_path / "out"
    assert main(["heatmap", str(image), *arguments, "--boxes", "--out", str(out)]) == 0
    found = json.loads((out / image.stem / f"{image.stem}.json").read_text())
    assert found["method"] == method

    plain = pycam.load("squeezenet-v1.0", weights=weights)(image, top=2)
    assert [item["index"] for item in found["top"]] == [item.index for item in plain.top]
    cam = pycam.load(
        "squeezenet-v1.0",
        weights=weights,
        method=method,
        layer=layer,
        target="probability",
        options=Options(threads=1),
    )
    item = cam(image, top=2).top[1]
    assert item.feature_maps.shape == ((1, 227, 227) if method == "saliency" else (1, 27, 27))
    assert item.feature_maps.min() >= 0
    assert list(item.box) == found["top"][1]["box"]


def test_an_unknown_method_is_refused(capsys):
    assert main(["heatmap", "x.jpg", "--model", "squeezenet-v1.0", "--method", "lime"]) == 2
    assert (
        "method is 'lime'; expected one of cam, gradcam, gradcam_mean, gradcam++, xgradcam, layercam, saliency"
        in capsys.readouterr().err
    )
