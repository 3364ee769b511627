"""Nets as PyTorch modules: names, values, hooks and training as PyTorch's users expect them, and other tools' maps."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from nets import conv, data, layer, pool

import pycam
from pycam.errors import EngineError, PycamError
from pycam.formats import caffemodel
from pycam.model import load_model
from pycam.net import read_net
from pycam.training.fillers import fill

pytestmark = pytest.mark.torch
with suppress(ImportError):  # without PyTorch, the marker skips every test
    import torch
    import torch.nn.functional as F


RNG = np.random.default_rng(0)
GAUSSIAN = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.3 }'
# Layers in place, with names that PyTorch refuses or has, and what training changes.
TEXT = (
    data(1, 3, 12, 12)
    + conv("conv.1/a", "data", "conv", f"num_output: 6 kernel_size: 3 {GAUSSIAN}")
    + layer("ReLU", "type", "conv", "conv")
    + layer("BatchNorm", "norm", "conv")
    + layer("Scale", "scale", "norm", "norm", "scale_param { bias_term: true }")
    + layer("ReLU", "type", "norm", "norm", "relu_param { negative_slope: 0.1 }")
    + layer("Dropout", "run", "norm", "norm")
    + layer("Concat", "both", "norm conv")
    + pool("pool", "both", "pool: AVE global_pooling: true")
    + layer("InnerProduct", "fc", "pool", params=f"inner_product_param {{ num_output: 5 {GAUSSIAN} }}")
    + layer("Softmax", "prob", "fc")
    + layer("TanH", "aside", "fc")
)
NAMES = ["conv_1/a", "type_", "norm", "scale", "type__", "run_", "both", "pool", "fc"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The net of `TEXT` as files, with its statistics and weights."""
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.prototxt").write_text(TEXT)
    net = read_net(folder / "net.prototxt")
    params = fill(net, 1)
    params["norm"] = (np.full(6, 4, np.float32), np.linspace(1, 9, 6, dtype=np.float32), np.full(1, 2, np.float32))
    caffemodel.write(folder / "net.caffemodel", net.message, params)
    return {"prototxt": folder / "net.prototxt", "weights": folder / "net.caffemodel", "head": "prob"}


@pytest.fixture
def module(files):
    return pycam.to_torch(**files)


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(RNG.normal(size=(4, 3, 12, 12)).astype(np.float32))


def tensors(files):
    """Return the parameters of `TEXT`, by layer."""
    params = read_net(files["prototxt"], files["weights"]).params
    return {name: [torch.from_numpy(blob.copy()) for blob in blobs] for name, blobs in params.items()}


def plainly(w, x):
    """Compute the scores of `TEXT` before the softmax, (N, T), and the values of its convolution before the ReLU."""
    before = F.conv2d(x, *w["conv.1/a"])
    after = before.relu()
    mean, variance, factor = w["norm"]
    normed = (after - (mean / factor)[:, None, None]) / (variance / factor + 1e-5).sqrt()[:, None, None]
    scaled = F.leaky_relu(normed * w["scale"][0][:, None, None] + w["scale"][1][:, None, None], 0.1)
    return F.linear(torch.cat([scaled, after], 1).mean((2, 3)), *w["fc"]), before


def test_layers_are_modules_with_their_names_types_and_parameters(module):
    assert [name for name, _ in module.named_children()] == NAMES
    of = dict(module.named_modules())
    for name, type_ in {"conv_1/a": "Conv2d", "type_": "ReLU", "run_": "Dropout", "fc": "Linear"}.items():
        assert isinstance(of[name], getattr(torch.nn, type_))
    assert not isinstance(of["type__"], torch.nn.ReLU)
    assert "(both): Concat()" in str(module)
    assert "(conv_1/a): Convolution(3, 6, kernel_size=(3, 3), stride=(1, 1))" in str(module)
    parts = {"conv_1/a": ["weight", "bias"], "norm": ["mean", "variance", "factor"]}
    parts |= {"scale": ["weight", "bias"], "fc": ["weight", "bias"]}
    assert list(module.state_dict()) == [f"{name}.{part}" for name, names in parts.items() for part in names]
    assert {name for name, p in module.named_parameters() if not p.requires_grad} == {
        "norm.mean",
        "norm.variance",
        "norm.factor",
    }
    assert not any(each.training for each in module.modules())


def test_values_and_hooks_are_those_of_the_layers(files, module, images):
    logits, before = plainly(tensors(files), images)
    seen = {}
    for name in NAMES:
        module.get_submodule(name).register_forward_hook(lambda _, x, y, name=name: seen.update({name: (x, y)}))
    torch.testing.assert_close(module(images), logits)
    torch.testing.assert_close(pycam.to_torch(**files, output="scores")(images), logits.softmax(1))
    torch.testing.assert_close(seen["conv_1/a"][1], before)
    torch.testing.assert_close(seen["type_"][1], before.relu())
    ((inputs,), both) = seen["both"]
    torch.testing.assert_close(torch.cat(inputs, 1), both)
    cam = pycam.load(**files)
    for model in (cam, cam.model):
        assert torch.equal(pycam.to_torch(model)(images), module(images))
    scores = cam.engine.forward({"data": images.numpy()})["prob"]
    np.testing.assert_allclose(scores, logits.softmax(1).detach(), rtol=1e-5)
    # A hook that returns something replaces the value.
    module.get_submodule("pool").register_forward_hook(lambda _, x, y: y * 0)
    torch.testing.assert_close(module(images), module.fc.bias.expand(4, 5))


def test_fine_tuning_is_that_of_plain_pytorch(files, module, images):
    statistics = [p.clone() for p in module.norm.parameters()]
    w, labels = tensors(files), torch.tensor([0, 1, 4, 2])
    leaves = [blob.requires_grad_() for name in ("conv.1/a", "scale", "fc") for blob in w[name]]
    ours, plain = (torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01) for p in (module.parameters(), leaves))
    losses = []
    for _ in range(3):
        for optimizer, scores in ((ours, module(images)), (plain, plainly(w, images)[0])):
            optimizer.zero_grad()
            loss = F.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)
    torch.testing.assert_close([p for p in module.parameters() if p.requires_grad], leaves)
    assert all(map(torch.equal, statistics, module.norm.parameters()))
    other = pycam.to_torch(**files)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(images), module(images))


def test_in_training_mode_dropout_is_random_and_statistics_are_collected(module, images):
    first = module(images)
    module.train()
    with torch.random.fork_rng():
        assert not torch.equal(module(images), module(images))
    # 0.999 of the old ones is kept in each of the two runs.
    assert float(module.norm.factor) == pytest.approx((2 * 0.999 + 1) * 0.999 + 1)
    assert not torch.equal(module.eval()(images), first)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_module_can_be_copied_saved_traced_and_exported(module, images):
    expected, saved = module(images), io.BytesIO()
    assert torch.equal(copy.deepcopy(module)(images), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(images), expected)
    assert module.to(torch.float64)(images.double()).dtype == torch.float64
    module.float()
    torch.save(module.state_dict(), saved)
    saved.seek(0)
    module.load_state_dict(torch.load(saved, weights_only=True))
    saved = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, images[:1]), saved)
    saved.seek(0)
    torch.testing.assert_close(torch.jit.load(saved)(images), expected)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(module, (images,), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(exported(images[:3]), expected[:3])


def test_shared_parameters_scores_with_positions_and_transposed_weights(tmp_path):
    shared = 'param { name: "w" } param { name: "b" }'
    text = (
        data(1, 4, 6, 6)
        + layer(
            "Convolution",
            "a",
            "data",
            params=f"convolution_param {{ num_output: 4 kernel_size: 1 {GAUSSIAN} }} {shared}",
        )
        + layer(
            "Convolution", "b", "a", params=f"convolution_param {{ num_output: 4 kernel_size: 1 {GAUSSIAN} }} {shared}"
        )
        + pool("pool", "b", "pool: AVE kernel_size: 3 stride: 3")
        + layer("Softmax", "prob", "pool")
        + layer("InnerProduct", "fc", "b", params=f"inner_product_param {{ num_output: 3 transpose: true {GAUSSIAN} }}")
    )
    (tmp_path / "net.prototxt").write_text(text)
    net = read_net(tmp_path / "net.prototxt")
    params = fill(net, 2)
    caffemodel.write(tmp_path / "net.caffemodel", net.message, params)
    files = {"prototxt": tmp_path / "net.prototxt", "weights": tmp_path / "net.caffemodel"}
    x = torch.from_numpy(RNG.normal(size=(2, 4, 6, 6)).astype(np.float32))
    weight, bias = map(torch.from_numpy, params["a"])
    twice = F.conv2d(F.conv2d(x, weight, bias), weight, bias)
    pooled = F.avg_pool2d(twice, 3)
    module = pycam.to_torch(**files, head="prob")
    assert module.a.weight is module.b.weight
    assert len(list(module.parameters())) == 2
    torch.testing.assert_close(module(x), pooled.mean((2, 3)))
    torch.testing.assert_close(pycam.to_torch(**files, head="prob", output="scores")(x), pooled.softmax(1).mean((2, 3)))
    weight, bias = map(torch.from_numpy, params["fc"])
    torch.testing.assert_close(pycam.to_torch(**files, head="fc")(x), twice.flatten(1) @ weight + bias)


def test_what_cannot_be(files, module, images, monkeypatch):
    with pytest.raises(EngineError, match=r"takes images of N×3×12×12, not 4×3×10×12: .* input_shape=\(3, 12, 12\)$"):
        module(images[:, :, 1:11])
    cases = {
        "output is 'probs'; expected logits or scores": {**files, "output": "probs"},
        "weights, head has no effect with a loaded model": {**files, "prototxt": None, "model": load_model(**files)},
        "phase, level has no effect with a loaded model": {"model": load_model(**files), "phase": "TRAIN", "level": 1},
        "the model is of type Net; expected a name, a path, a Model or a Cam": {"model": read_net(files["prototxt"])},
        "no model is given": {},
        "no weights for this net": {"prototxt": files["prototxt"]},
    }
    for message, given in cases.items():
        with pytest.raises(PycamError, match=message):
            pycam.to_torch(**given)
    monkeypatch.setitem(sys.modules, "pycam.engines.torch_model", None)
    with pytest.raises(EngineError, match=r"^to_torch needs PyTorch: pip install 'caffe-cam\[torch\]'"):
        pycam.to_torch(**files)


PHOTOGRAPH = Path(__file__).parents[1] / "docs/images/coffee.jpg"


def other_net():
    """Return a net as others write one, parts of it in training mode."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 6, 5, 2)
    features = torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(6), torch.nn.ReLU(inplace=True))
    features[1].running_mean.uniform_(-1, 1)
    end = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(6, 4)
    )
    return torch.nn.Sequential(features, end).train()


@pytest.mark.onnx
def test_a_module_becomes_a_model_and_stays_as_it_is(tmp_path):
    net = other_net()
    net[0][1].eval()
    calls = []
    net[0].register_forward_hook(lambda _, x, y: calls.append(y.shape))
    modes = [part.training for part in net.modules()]
    cam = pycam.from_torch(net, torch.zeros(2, 3, 20, 24), onnx=tmp_path / "net.onnx", view="ten")
    assert [part.training for part in net.modules()] == modes
    assert len(net[0]._forward_hooks) == 1
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    x = torch.from_numpy(cam.preprocess(PHOTOGRAPH).copy()).flip(1)  # BGR to RGB
    calls.clear()
    net.eval()
    with torch.no_grad():
        features, scores = net[0](x), net(x)
    assert calls == [features.shape] * 2
    prediction = cam(PHOTOGRAPH, classes=range(4))
    np.testing.assert_allclose(prediction.scores, scores.mean(0), atol=1e-5)
    maps = torch.einsum("tk,nkhw->nthw", net[1][3].weight, features).detach()
    np.testing.assert_allclose(prediction.feature_maps, maps, atol=1e-5 * float(maps.abs().max()))
    again = pycam.load(onnx=tmp_path / "net.onnx", view="ten")(PHOTOGRAPH, classes=range(4))
    np.testing.assert_array_equal(again.feature_maps, prediction.feature_maps)


@pytest.mark.onnx
def test_a_net_goes_out_to_pytorch_and_comes_back(files):
    module = pycam.to_torch(**files, output="scores")
    choices = {"preprocess": "caffe", "mean": "104,117,123", "view": "full", "threshold": 0.3}
    back = pycam.from_torch(module, torch.zeros(1, 3, 12, 12), **choices)
    there = pycam.load(**files, mean="104,117,123", view="full", threshold=0.3)
    for found, expected in zip(*(cam(PHOTOGRAPH, classes=[0, 4, 2]).top for cam in (back, there)), strict=True):
        assert found.score == pytest.approx(expected.score, abs=1e-6)
        largest = np.abs(expected.feature_maps).max()
        np.testing.assert_allclose(found.feature_maps, expected.feature_maps, rtol=0, atol=1e-5 * largest)
        assert found.box == expected.box
    folder = Path(back.model.net.sources.prototxt).parent
    assert folder.exists()
    with pytest.raises(EngineError, match=r"does not run nodes of an ONNX file .* or the PyTorch module that"):
        pycam.to_torch(back)
    del back, found
    gc.collect()
    assert not folder.exists()


@pytest.mark.onnx
def test_a_module_with_two_heads():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.a, self.b = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 3), torch.nn.Linear(4, 2)

        def forward(self, x):
            pooled = self.conv(x).mean((2, 3))
            return {"a": self.a(pooled), "b": self.b(pooled)}

    net, images = Two(), torch.zeros(1, 3, 8, 8)
    with pytest.raises(PycamError, match=r"2 heads: a \(.*; b \(.*; choose one of them with --head"):
        pycam.from_torch(net, images)
    cam = pycam.from_torch(net, images, head="b")
    x = torch.from_numpy(cam.preprocess(PHOTOGRAPH)).flip(1)
    np.testing.assert_allclose(cam(PHOTOGRAPH).scores, net(x)["b"][0].detach(), atol=1e-5)


@pytest.mark.onnx
@pytest.mark.filterwarnings("ignore")  # PyTorch warns of itself
def test_a_wrapped_module_is_that_inside():
    net, images = other_net(), torch.zeros(1, 3, 20, 24)
    cam = pycam.from_torch(torch.compile(torch.nn.DataParallel(net)), images)
    assert cam.model.name == "Sequential"
    x = torch.from_numpy(cam.preprocess(PHOTOGRAPH)).flip(1)
    np.testing.assert_allclose(cam(PHOTOGRAPH).scores, net.eval()(x)[0].detach(), atol=1e-5)


@pytest.mark.onnx
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_become_a_model(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    net, images = other_net(), torch.zeros(1, 3, 20, 24)

    class Untraceable(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).mean((2, 3))

    cases = [
        (3, images, {}, "the module is of type int; expected a torch.nn.Module$"),
        (net, images.numpy(), {}, r"the example is of type ndarray; expected a tensor N×C×H×W, such as torch.zeros\(1"),
        (net, images[0], {}, "the example is 3×20×24 of type torch.float32; expected float32 images N×C×H×W"),
        (net, images[:0], {}, "the example is 0×3×20×24 of type"),
        (net, images.double(), {}, r"of type torch.float64; expected .*, and a module of that type, module.float\(\)$"),
        (net, images.byte(), {}, "the example is 1×3×20×24 of type torch.uint8; expected float32"),
        (
            net,
            images[:, :2],
            {},
            "^Sequential fails on the example of 1×2×20×24: Given groups=1, .* 2 channels instead$",
        ),
        (Untraceable(), images, {}, "^torch.onnx cannot export Untraceable: .*bessel_j0.* not supported"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1440, 3)), images, {}, "no class activation maps"),
        (net, images, {"preprocess": "imgnet"}, "preprocess is imgnet; did you mean 'imagenet'"),
        (net, images, {"prototxt": "net.prototxt"}, "prototxt has no effect"),
    ]
    for module, example, choices, message in cases:
        with pytest.raises(PycamError, match=message) as caught:
            pycam.from_torch(module, example, **choices)
        assert "\n" not in str(caught.value)
    assert net.training
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("pycam.pytorch.from_torch.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"needs the package onnx, as torch\.onnx does: pip install onnx$"):
        pycam.from_torch(net, images)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"^from_torch needs PyTorch: pip install"):
        pycam.from_torch(net, images)
