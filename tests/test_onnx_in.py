"""ONNX files as nets, judged by ONNX Runtime on the file itself, by PyTorch's hooks, and by plain NumPy."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from onnx_nets import endings

import pycam
from pycam import engines
from pycam.cli import main
from pycam.errors import FormatError, NetError, NoMapsError, UnsupportedLayerError, UsageError
from pycam.model import load_model
from pycam.net import CamHead, Net, find_head, find_heads, head_weights, logits_of
from pycam.onnx.reader import read_onnx

with suppress(ImportError):
    import onnx
    from onnx import TensorProto, helper, numpy_helper
with suppress(ImportError):
    import torch

pytestmark = pytest.mark.onnx

K, T = 6, 5
"""Channels and classes of the graphs that are made here."""

RNG = np.random.default_rng(7)
W, B = RNG.standard_normal((T, K)).astype(np.float32), RNG.standard_normal(T).astype(np.float32)
HIDDEN = RNG.standard_normal((T, 4)).astype(np.float32), RNG.standard_normal((4, K)).astype(np.float32)
KERNEL = RNG.standard_normal((K, 3, 3, 3)).astype(np.float32)


class Graph:
    """An ONNX graph under construction."""

    def __init__(self, opset: int = 13) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0

    def add(
        self, operator: str, *inputs: Any, out: str = "", domain: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        """Append a node and return its output; arrays are constants."""
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.count += 1
        made = [out or f"t{self.count}", *(f"t{self.count}.{i}" for i in range(1, outputs))]
        self.nodes.append(
            helper.make_node(operator, names, made, name=f"{operator}{self.count}", domain=domain, **attributes)
        )
        return made[0]

    def constant(self, values: Any) -> str:
        self.count += 1
        array = np.asarray(values)
        array = array if array.dtype.kind != "f" or array.dtype == np.float16 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, f"c{self.count}"))
        return f"c{self.count}"

    def mean(self, x: str, axes: list[int], operator: str = "ReduceMean", keepdims: int = 0) -> str:
        first = 13 if operator == "ReduceSum" else 18
        if self.opset >= first:
            return self.add(operator, x, np.array(axes), keepdims=keepdims)
        return self.add(operator, x, axes=axes, keepdims=keepdims)

    def features(self, x: str = "image") -> str:
        return self.add("Relu", self.add("Conv", x, KERNEL, pads=[1, 1, 1, 1]))

    def model(self, *outputs: str, shape: Any = ("N", 3, 8, 10), kind: int = 1, **more: Any) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", kind, shape)],
            [helper.make_value_info(output, onnx.TypeProto()) for output in outputs],
            self.constants,
        )
        opsets = [
            helper.make_opsetid("", self.opset),
            *(helper.make_opsetid(name, 1) for name in more.pop("domains", ())),
        ]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def scores_of(model: Any, image: np.ndarray, output: str) -> np.ndarray:
    """Return an output of the model for images, one after the other."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([output], {"image": each[None]})[0].reshape(1, -1) for each in image])


def maps_and_logits(net: Net, images: np.ndarray, engine: str = "onnxruntime") -> tuple[CamHead, Any, Any, Any, Any]:
    """Return the head of a net, and for images (BGR): features, maps of all classes, logits, and scores."""
    head = find_head(net)
    weights = head_weights(net, head)
    logits = logits_of(net, head.score_blob)
    with engines.make(engine, net, [head.feature_blob, logits, head.score_blob]) as made:
        found = made.forward({net.inputs[0]: images})
    features = found[head.feature_blob]
    maps = features if weights.matrix is None else np.einsum("tk,nkhw->nthw", weights.matrix, features)
    means = maps.max((2, 3)) if head.pooling == "max" else maps.mean((2, 3))
    return head, features, maps, (found[logits].reshape(len(images), -1), means + weights.bias), found[head.score_blob]


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-3))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, 3, 8, 10)).astype(np.float32)


def gap(g: Graph, f: str) -> str:
    return g.add("Flatten", g.add("GlobalAveragePool", f))


def linear(g: Graph, x: str, weights: Any = W, bias: Any = B, **more: Any) -> str:
    return g.add("Gemm", x, weights, bias, transB=1, **more)


POOLINGS: dict[str, Callable[[Graph, str], str]] = {
    "global": gap,
    "mean": lambda g, f: g.mean(f, [2, 3]),
    "mean, negative axes": lambda g, f: g.add("Flatten", g.mean(f, [-2, -1], keepdims=1)),
    "mean of means": lambda g, f: g.mean(g.mean(f, [3]), [2]),
    "mean of means, rows first": lambda g, f: g.mean(g.mean(f, [2]), [2]),
    "window": lambda g, f: g.add("Flatten", g.add("AveragePool", f, kernel_shape=[8, 10])),
    "rows in one axis": lambda g, f: g.mean(g.add("Reshape", f, np.array([0, K, -1])), [2]),
    "tokens": lambda g, f: g.mean(g.add("Transpose", g.add("Reshape", f, np.array([0, K, -1])), perm=[0, 2, 1]), [1]),
    "tokens behind a layer": lambda g, f: g.mean(
        g.add("Relu", g.add("Transpose", g.add("Reshape", f, np.array([0, K, -1])), perm=[0, 2, 1])), [1]
    ),
    "channels last": lambda g, f: g.mean(g.add("Transpose", f, perm=[0, 2, 3, 1]), [1, 2]),
    "sum": lambda g, f: g.add("Div", g.mean(f, [2, 3], "ReduceSum"), np.float32(40)),
}


@pytest.mark.parametrize(
    ("pooling", "opset"),
    [
        *((each, 13) for each in POOLINGS),
        *((each, 18) for each in POOLINGS if "mean" in each),
        *(("global", 9), ("mean", 11), ("mean, negative axes", 21), ("sum", 21), ("tokens", 9)),
    ],
)
def test_global_poolings_are_found(pooling, opset, tmp_path, images):
    g = Graph(opset)
    features = g.features()
    model = g.model(linear(g, POOLINGS[pooling](g, features), out="scores"))
    onnx.save(model, tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    head, found, maps, (logits, means), _ = maps_and_logits(net, images[:, ::-1].copy())
    g.nodes.append(helper.make_node("Identity", [features], ["features"]))
    expected = scores_of(model, images, "scores")
    close(logits, expected)
    close(means, expected)
    shown = scores_of(g.model("features"), images, "features").reshape(2, K, 8, 10)
    close(found, shown)
    close(maps, np.einsum("tk,nkhw->nthw", W, shown) * (2 if pooling == "sum" else 1))
    assert head.pooling == "average"
    assert head.class_layer is not None and head.class_layer.startswith("Gemm")


def decomposed_layer_norm(g: Graph, x: str) -> str:
    apart = g.add("Sub", x, g.mean(x, [-1], keepdims=1))
    variance = g.mean(g.add("Pow", apart, np.float32(2)), [-1], keepdims=1)
    scaled = g.add("Div", apart, g.add("Sqrt", g.add("Add", variance, np.float32(1e-3))))
    return linear(g, g.add("Add", g.add("Mul", scaled, 1 + np.arange(K) / 8), np.arange(K) / 4))


def hidden(g: Graph, x: str, activation: Callable[[str], str]) -> str:
    outer, inner = HIDDEN
    return linear(g, activation(linear(g, x, inner, np.array([0.5, -0.5, 0.0, 0.25]))), outer)


def tanh_gelu(g: Graph, x: str) -> str:
    inner = g.add("Add", x, g.add("Mul", g.add("Pow", x, np.float32(3)), np.float32(0.044715)))
    factor = g.add("Add", g.add("Tanh", g.add("Mul", inner, np.float32(0.7978845608))), np.float32(1))
    return g.add("Mul", g.add("Mul", x, factor), np.float32(0.5))


def erf_gelu(g: Graph, x: str) -> str:
    factor = g.add("Add", g.add("Erf", g.add("Div", x, np.float32(2**0.5))), np.float32(1))
    return g.add("Mul", g.add("Mul", x, factor), np.float32(0.5))


def hard_swish(g: Graph, x: str) -> str:
    clipped = g.add("Clip", g.add("Add", x, np.float32(3)), np.float32(0), np.float32(6))
    return g.add("Div", g.add("Mul", x, clipped), np.float32(6))


def batch_norm(g: Graph, x: str) -> str:
    one = np.arange(1, K + 1) / K
    return linear(g, g.add("BatchNormalization", x, one, one - 0.5, one * 0.3, one + 1, epsilon=0.01))


def reshaped(g: Graph, x: str) -> str:
    batch = g.add("Gather", g.add("Shape", x), np.array(0))
    sides = g.add("Concat", g.add("Unsqueeze", batch, np.array([0])), np.array([-1]), axis=0)
    return linear(g, g.add("Reshape", x, sides))


LINEAR: dict[str, Callable[[Graph, str], str]] = {
    "MatMul and Add": lambda g, x: g.add("Add", B, g.add("MatMul", x, W.T.copy())),
    "Gemm with factors": lambda g, x: g.add("Gemm", x, W.T.copy(), B, alpha=0.5, beta=2.0),
    "folded weights": lambda g, x: g.add("MatMul", x, g.add("Transpose", g.add("Identity", W), perm=[1, 0])),
    "convolution": lambda g, x: g.add(
        "Flatten", g.add("Conv", g.add("Reshape", x, np.array([-1, K, 1, 1])), W[:, :, None, None], B)
    ),
    "BatchNormalization": batch_norm,
    "constants": lambda g, x: linear(
        g, g.add("Sub", np.ones(K), g.add("Div", g.add("Mul", x, np.arange(K) / 2), np.float32(3)))
    ),
    "shape from the graph": reshaped,
    "Dropout and Identity": lambda g, x: linear(g, g.add("Identity", g.add("Dropout", x, outputs=2))),
    "squeezed": lambda g, x: linear(g, g.add("Squeeze", g.add("Unsqueeze", x, np.array([1, 3])), np.array([1, 3]))),
    "transposed": lambda g, x: linear(
        g,
        g.add(
            "Reshape", g.add("Transpose", g.add("Reshape", x, np.array([-1, 2, 3])), perm=[0, 2, 1]), np.array([-1, K])
        ),
    ),
    "idle Relu": lambda g, x: linear(g, g.add("Relu", x)),
    "idle Clip": lambda g, x: linear(g, g.add("Clip", x, np.float32(-1))),
    "Concat": lambda g, x: g.add("Concat", linear(g, x, W[:2], B[:2]), linear(g, x, W[2:], B[2:]), axis=1),
    "Slice": lambda g, x: g.add("Slice", linear(g, x), np.array([1]), np.array([4]), np.array([1])),
    "Einsum": lambda g, x: g.add("Einsum", x, W, equation="nk,tk->nt"),
    "two layers": lambda g, x: hidden(g, x, lambda z: z),
}
HELD: dict[str, Callable[[Graph, str], str]] = {
    "LayerNormalization": lambda g, x: linear(
        g, g.add("LayerNormalization", x, 1 + np.arange(K) / 8, np.arange(K) / 4, epsilon=1e-3)
    ),
    "decomposed layer norm": decomposed_layer_norm,
    "Relu": lambda g, x: hidden(g, x, lambda z: g.add("Relu", z)),
    "Relu6": lambda g, x: hidden(g, x, lambda z: g.add("Clip", z, np.float32(0), np.float32(0.1))),
    "HardSwish": lambda g, x: hidden(g, x, lambda z: g.add("HardSwish", z)),
    "decomposed HardSwish": lambda g, x: hidden(g, x, lambda z: hard_swish(g, z)),
    "HardSigmoid": lambda g, x: hidden(g, x, lambda z: g.add("Mul", z, g.add("HardSigmoid", z))),
    "SiLU": lambda g, x: hidden(g, x, lambda z: g.add("Mul", g.add("Sigmoid", z), z)),
    "Mish": lambda g, x: hidden(g, x, lambda z: g.add("Mul", z, g.add("Tanh", g.add("Softplus", z)))),
    "GELU with erf": lambda g, x: hidden(g, x, lambda z: erf_gelu(g, z)),
    "GELU with tanh": lambda g, x: hidden(g, x, lambda z: tanh_gelu(g, z)),
    "PRelu": lambda g, x: hidden(g, x, lambda z: g.add("PRelu", z, np.float32(0.3))),
    "two norms": lambda g, x: hidden(
        g,
        g.add("LayerNormalization", x, np.ones(K), np.arange(K) / 4),
        lambda z: g.add("LayerNormalization", g.add("Relu", z), np.ones(4), np.zeros(4)),
    ),
    "unit length": lambda g, x: linear(
        g, g.add("Div", x, g.add("Sqrt", g.mean(g.add("Mul", x, x), [1], "ReduceSum", keepdims=1)))
    ),
    "power mean": lambda g, x: linear(g, g.add("Pow", x, np.float32(1 / 3))),
}


@pytest.mark.parametrize("tail", [*LINEAR, *HELD])
def test_layers_between_the_pooling_and_the_scores(tail, tmp_path, images):
    g = Graph(17)
    made = {**LINEAR, **HELD}[tail](g, gap(g, g.features()))
    model = g.model(g.add("Identity", made, out="scores"))
    onnx.save(model, tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    _, features, _, (logits, means), _ = maps_and_logits(net, images[:, ::-1].copy())
    expected = scores_of(model, images, "scores")
    close(logits, expected)
    close(means, expected)
    assert features.shape[2:] == (8, 10)
    assert any("maps hold the factors of" in note for note in net.notes) == (tail in HELD)
    # The factors are held at the values of each image, also where images run together.
    with engines.make("openvino" if tail == "two norms" else "onnxruntime", net, ["scores"]) as engine:
        alone = engine.forward({net.inputs[0]: images[1:, ::-1].copy()})["scores"]
    close(alone, expected[1:])
    assert not next(layer for layer in net.layers if layer.type.startswith("onnx.")).origin.one_by_one


RANGES: dict[str, Callable[[Graph, str], str]] = {
    "Clip": lambda g, f: g.add("Clip", f, np.float32(0), np.float32(1)),
    "Sigmoid": lambda g, f: g.add("Sigmoid", f),
    "Concat": lambda g, f: g.add(
        "Slice",
        g.add("Concat", g.add("Softmax", f, axis=1), g.add("Sigmoid", f), axis=1),
        np.array([0]),
        np.array([K]),
        np.array([1]),
    ),
    "MaxPool": lambda g, f: g.add("MaxPool", g.add("Sigmoid", f), kernel_shape=[2, 2]),
}
"""Features from 0 to 1."""


@pytest.mark.parametrize("layers", RANGES)
def test_a_clip_outside_of_the_range_of_the_features_changes_nothing(layers, tmp_path):
    for most in (1, 0.9):
        g = Graph(17)
        pooled = gap(g, RANGES[layers](g, g.features()))
        onnx.save(g.model(linear(g, g.add("Clip", pooled, np.float32(0), np.float32(most)))), tmp_path / "m.onnx")
        notes = read_onnx(tmp_path / "m.onnx").notes
        assert any("maps hold the factors of" in note for note in notes) == (most < 1)


def test_held_factors_are_those_of_the_formula(tmp_path, images):
    g = Graph(17)
    features = g.features()
    gamma, beta = 1 + np.arange(K) / 8, np.arange(K) / 4
    normed = g.add("LayerNormalization", gap(g, features), gamma, beta, epsilon=1e-3)
    model = g.model(linear(g, normed, out="scores"))
    onnx.save(model, tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    _, _, maps, _, _ = maps_and_logits(net, images[:, ::-1].copy())
    g.nodes.append(helper.make_node("Identity", [features], ["features"]))
    shown = scores_of(g.model("features"), images, "features").reshape(2, K, 8, 10).astype(np.float64)
    pooled = shown.mean((2, 3))
    mean, deviation = pooled.mean(1), np.sqrt(pooled.var(1) + 1e-3)
    moved = (shown - mean[:, None, None, None]) / deviation[:, None, None, None]
    close(maps, np.einsum("tk,nkhw->nthw", W * gamma, moved))


LAST: dict[str, Callable[[Graph, str], str]] = {
    "Softmax": lambda g, x: g.add("Softmax", x, axis=1),
    "Sigmoid": lambda g, x: g.add("Sigmoid", x),
    "Tanh": lambda g, x: g.add("Tanh", x),
    "LogSoftmax": lambda g, x: g.add("LogSoftmax", x, axis=-1),
    "Clip": lambda g, x: g.add("Clip", x, np.float32(-0.5), np.float32(0.5)),
    "Softmax and Reshape": lambda g, x: g.add("Reshape", g.add("Softmax", x), np.array([0, T, 1])),
}


@pytest.mark.parametrize("last", LAST)
def test_the_last_activation_stands_behind_the_logits(last, tmp_path, images):
    g = Graph()
    logits = linear(g, gap(g, g.features()))
    model = g.model(g.add("Identity", LAST[last](g, logits), out="scores"), g.add("ArgMax", logits, axis=1))
    onnx.save(model, tmp_path / "m.onnx")
    _, _, _, (found, means), scores = maps_and_logits(read_onnx(tmp_path / "m.onnx"), images[:, ::-1].copy())
    close(scores.reshape(2, -1), scores_of(model, images, "scores"))
    expected = scores_of(g.model(logits), images, logits)
    close(found, expected)
    close(means, expected)


def test_channels_are_the_maps_without_a_linear_layer(tmp_path, images):
    g = Graph()
    model = g.model(g.add("Flatten", g.add("GlobalAveragePool", g.features()), out="scores"))
    onnx.save(model, tmp_path / "m.onnx")
    head, _, _, (logits, means), _ = maps_and_logits(read_onnx(tmp_path / "m.onnx"), images[:, ::-1].copy())
    assert head.class_layer is None
    close(means, scores_of(model, images, "scores"))
    close(logits, means)


def test_global_max_pooling(tmp_path, images):
    g = Graph()
    model = g.model(linear(g, g.add("Flatten", g.add("GlobalMaxPool", g.features())), out="scores"))
    onnx.save(model, tmp_path / "m.onnx")
    head, *_, scores = maps_and_logits(read_onnx(tmp_path / "m.onnx"), images[:, ::-1].copy())
    assert head.pooling == "max"
    close(scores, scores_of(model, images, "scores"))


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.openvino)])
@pytest.mark.parametrize("kind", ["float", "uint8", "float16"])
def test_channels_last_and_other_types_of_values(kind, engine, tmp_path):
    dtype = {"float": np.float32, "uint8": np.uint8, "float16": np.float16}[kind]
    g = Graph()
    image = g.add("Cast", "image", to=TensorProto.FLOAT) if kind == "uint8" else "image"
    x = g.add("Transpose", image, perm=[0, 3, 1, 2])
    if kind == "float16":
        f = g.add("Relu", g.add("Conv", x, KERNEL.astype(np.float16), pads=[1, 1, 1, 1]))
        scores = linear(g, gap(g, f), W.astype(np.float16), B.astype(np.float16), out="scores")
    else:
        scores = linear(g, gap(g, g.features(x)), out="scores")
    model = g.model(scores, shape=("N", 8, 10, 3), kind=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    onnx.save(model, tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    assert net.shapes[net.inputs[0]] == (1, 3, 8, 10)
    pixels = np.random.default_rng(2).integers(0, 255, (2, 8, 10, 3)).astype(np.float32) / (
        1 if kind == "uint8" else 100
    )
    bgr = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)[:, ::-1])
    _, _, _, (logits, means), _ = maps_and_logits(net, bgr, engine)
    expected = scores_of(model, pixels.astype(dtype), "scores").astype(np.float32)
    close(logits, expected, 5e-3 if kind == "float16" else 1e-5)
    close(means, logits)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, tuple[Any, Any, Any, Any, Path]]:
    """Each module of `onnx_nets`, what it computes of two images, its pooled features, and its ONNX file."""
    folder = tmp_path_factory.mktemp("onnx")
    made = {}
    torch.manual_seed(0)
    for name, module in endings().items():
        x, seen = torch.randn(2, 3, 64, 64), []
        hook = module.features.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output))
        with torch.no_grad():
            scores = module(x)
        hook.remove()
        axes = {} if name == "googlenet" else {"dynamic_axes": {"x": {0: "n"}}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module, x[:1], folder / f"{name}.onnx", dynamo=False, opset_version=17, input_names=["x"], **axes
            )
        made[name] = module, x.numpy(), scores.numpy(), seen[0].numpy(), folder / f"{name}.onnx"
    return made


@pytest.mark.torch
@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet50", "densenet161", "mobilenet_v2", "mobilenet_v3"),
        *("inception_v3", "efficientnet_b0", "squeezenet1_1", "googlenet", "convnext_tiny"),
    ],
)
def test_maps_are_those_of_pytorch(name, exported):
    module, x, scores, features, path = exported[name]
    head, _, maps, (logits, means), _ = maps_and_logits(read_onnx(path), np.ascontiguousarray(x[:, ::-1]))
    close(logits, scores)
    close(means, scores)
    assert head.pooling == "average"
    f = features.astype(np.float64)
    if name == "squeezenet1_1":
        assert head.class_layer is None
        close(maps, f)
        return
    assert head.class_layer is not None and "Gemm" in head.class_layer
    weights = module.head[-1].weight.detach().numpy().astype(np.float64)
    if name == "convnext_tiny":
        norm, pooled = module.head[1], f.mean((2, 3))
        mean, deviation = pooled.mean(1), np.sqrt(pooled.var(1) + norm.eps)
        f = (f - mean[:, None, None, None]) / deviation[:, None, None, None]
        weights = weights * norm.weight.detach().numpy()
    if name == "mobilenet_v3":
        hidden = module.head[2]
        w, b = hidden.weight.detach().numpy().astype(np.float64), hidden.bias.detach().numpy()
        f = np.einsum("jk,nkhw->njhw", w, f) + b[:, None, None]
        f *= np.clip(f.mean((2, 3), keepdims=True) + 3, 0, 6) / 6
    close(maps, np.einsum("tk,nkhw->nthw", weights, f))


def written(folder: Path, opset: int = 13, shape: Any = ("N", 3, 8, 10), **more: Any) -> Path:
    """Write a small net, and return its file."""
    g = Graph(opset)
    onnx.save(g.model(linear(g, gap(g, g.features()), out="scores"), shape=shape), folder / "m.onnx", **more)
    return folder / "m.onnx"


def test_open_sizes(tmp_path):
    path = written(tmp_path, shape=("N", 3, "h", "w"))
    net = read_onnx(path)
    assert net.shapes[net.inputs[0]] == (1, 3, 224, 224)
    assert "the size of the input is open: 224×224 is taken" in net.notes[0]
    assert load_model(path, input_size="16x24").input_size == (16, 24)
    with pytest.raises(UsageError, match="input_size is 0; expected one number"):
        load_model(path, input_size=0)
    with pytest.raises(NetError, match="fixed size 8×10, not 16×16: leave out --input-size"):
        load_model(written(tmp_path), input_size=16)


def test_a_graph_for_one_image_runs_its_images_one_after_another(tmp_path, images):
    g = Graph()
    parts = g.add("Split", g.features(), axis=0)  # as many parts as outputs: one
    pooled = g.add("Reshape", g.add("GlobalAveragePool", parts), np.array([1, K]))
    model = g.model(linear(g, g.add("Squeeze", g.add("Unsqueeze", pooled, np.array([0])), np.array([0])), out="scores"))
    scaled = g.add("Div", "scores", g.add("ReduceMax", g.add("Abs", "scores"), keepdims=0))
    model = g.model(g.add("Mul", scaled, np.float32(2), out="out"), shape=(1, 3, 8, 10))
    onnx.save(model, tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    _, _, _, (logits, means), _ = maps_and_logits(net, images[:, ::-1].copy())
    close(logits, scores_of(model, images, "out"))
    close(means, logits)
    assert net.layers[1].origin.one_by_one


@pytest.mark.parametrize("place", ["raw", "one file", "a file per tensor"])
def test_external_data(place, tmp_path, images):
    inside = written(tmp_path)
    expected = read_onnx(inside)
    more = {} if place == "raw" else {"save_as_external_data": True, "size_threshold": 0}
    if place == "one file":
        more["location"] = "weights.bin"
    (tmp_path / "outside").mkdir()
    path = written(tmp_path / "outside", **more, **({"all_tensors_to_one_file": place == "one file"} if more else {}))
    net = read_onnx(path)
    assert all(
        np.array_equal(a, b)
        for name in net.params
        for a, b in zip(net.params[name], expected.params[name], strict=True)
    )
    if place == "one file":
        digests = load_model(path).digests
        data = bytearray((tmp_path / "outside/weights.bin").read_bytes())
        data[-1] ^= 1
        (tmp_path / "outside/weights.bin").write_bytes(data)
        assert load_model(path).digests["weights"] != digests["weights"]
        (tmp_path / "outside/weights.bin").write_bytes(data[:-4])
        with pytest.raises(FormatError, match=r"weights\.bin, which has .*: is it cut off"):
            read_onnx(path)
        (tmp_path / "outside/weights.bin").unlink()
        with pytest.raises(FormatError, match=r"has its values in weights\.bin, which is not beside the model"):
            read_onnx(path)


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ({"location": "/etc/hostname"}, "expected a file in the folder of the model"),
        ({"location": "../secret"}, "expected a file in the folder of the model"),
        ({"location": "a\0b"}, "expected a file in the folder of the model"),
        ({"location": "a" * 5000}, "is not beside the model"),
        ({"location": "m.onnx", "offset": "x"}, r"a place in m\.onnx that is no number"),
    ],
)
def test_external_data_lies_at_a_place_in_the_folder_of_the_model(place, complaint, tmp_path):
    model = onnx.load(written(tmp_path))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=complaint):
        read_onnx(tmp_path / "m.onnx")


def two_heads(g: Graph) -> list[str]:
    f = g.features()
    return [linear(g, gap(g, f), out="a"), linear(g, gap(g, f), out="b")]


def class_token(g: Graph) -> list[str]:
    tokens = g.add("Transpose", g.add("Reshape", g.features(), np.array([0, K, -1])), perm=[0, 2, 1])
    return [linear(g, g.add("Gather", g.add("LayerNormalization", tokens, np.ones(K)), np.array(0), axis=1))]


def fully_connected(g: Graph) -> list[str]:
    return [g.add("MatMul", g.add("Flatten", g.features()), np.ones((480, T)))]


def two_poolings(g: Graph) -> list[str]:
    f = g.features()
    return [linear(g, g.add("Add", gap(g, f), g.add("Flatten", g.add("GlobalMaxPool", f))))]


def max_and_relu(g: Graph) -> list[str]:
    return [hidden(g, g.add("Flatten", g.add("GlobalMaxPool", g.features())), lambda z: g.add("Relu", z))]


def left_out(g: Graph) -> list[str]:
    return [linear(g, g.add("Flatten", g.add("AveragePool", g.features(), kernel_shape=[7, 9], strides=[5, 5])))]


def custom(g: Graph) -> list[str]:
    return [linear(g, gap(g, g.add("Magic", g.features(), domain="my.ops")))]


def not_linear(g: Graph) -> list[str]:
    return [linear(g, g.add("Exp", gap(g, g.features())))]


def branches(g: Graph) -> list[str]:
    x = gap(g, g.features())
    graphs = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, [x], [name])], name, [], [helper.make_value_info(name, onnx.TypeProto())]
        )
        for name, operator in (("then", "Identity"), ("else", "Neg"))
    }
    return [linear(g, g.add("If", g.add("Greater", g.add("ReduceMax", x, keepdims=0), np.float32(0)), **graphs))]


def half_of_the_tokens(g: Graph) -> list[str]:
    tokens = g.add("Transpose", g.add("Reshape", g.features(), np.array([0, K, -1])), perm=[0, 2, 1])
    half = g.add("Slice", tokens, np.array([0]), np.array([40]), np.array([1]))
    return [linear(g, g.mean(half, [1]))]


REFUSED: dict[str, tuple[Callable[[Graph], list[str]], type[pycam.PycamError], str]] = {
    "two heads": (two_heads, UsageError, "2 heads: a .* b .*; choose one of them with --head"),
    "a class token": (
        class_token,
        NoMapsError,
        "'Gather.*takes one of 80 tokens, .* class token",
    ),
    "tokens without a grid": (
        half_of_the_tokens,
        NoMapsError,
        "pools 40 positions along one axis, and no rows and columns with so many: their grid is unknown",
    ),
    "fully connected": (fully_connected, NoMapsError, "'Flatten.*makes one vector of all 6×8×10 values"),
    "two poolings": (two_poolings, NoMapsError, "combine several poolings, 'GlobalMaxPool.* and 'GlobalAveragePool"),
    "maximum and Relu": (max_and_relu, NoMapsError, "'Relu.* is not linear, between the pooling and the scores"),
    "positions left out": (left_out, NoMapsError, "does not take each of the 8×10 positions once"),
    "a custom operator": (
        custom,
        UnsupportedLayerError,
        "operator Magic of 'my.ops', which ONNX Runtime",
    ),
    "not linear": (not_linear, NoMapsError, "'Exp.*is not linear, between the pooling and the scores"),
    "branches": (branches, NoMapsError, "'If.*stands in the way"),
    "classes only": (
        lambda g: [g.add("ArgMax", linear(g, gap(g, g.features())), axis=1)],
        NetError,
        "no output .* has class scores",
    ),
    "the best scores only": (
        lambda g: [g.add("TopK", linear(g, gap(g, g.features())), np.array([2]), outputs=2)],
        NetError,
        "no output .* has class scores: expected one with real numbers, those of all classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_maps_is_refused_with_the_reason(case, tmp_path):
    make, error, message = REFUSED[case]
    g = Graph(17)
    onnx.save(g.model(*make(g), domains=["my.ops"]), tmp_path / "m.onnx")
    with pytest.raises(error, match=message) as caught:
        _ = load_model(onnx=tmp_path / "m.onnx").head
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


def test_what_does_not_stand_in_the_way_is_left_out(tmp_path, images):
    g = Graph(17)
    f = g.features()
    magic = g.add("Magic", f, domain="my.ops")
    onnx.save(g.model(linear(g, gap(g, f), out="scores"), magic, domains=["my.ops"]), tmp_path / "m.onnx")
    net = read_onnx(tmp_path / "m.onnx")
    assert "is left out: node 'Magic" in net.notes[0]
    assert find_head(net).score_blob == "scores"


def test_one_of_two_heads_is_named(tmp_path):
    g = Graph()
    onnx.save(g.model(*two_heads(g)), tmp_path / "m.onnx")
    assert load_model(onnx=tmp_path / "m.onnx", head="b").head.score_blob == "b"
    layer = str(find_heads(read_onnx(tmp_path / "m.onnx"))["a"].class_layer)
    assert load_model(onnx=tmp_path / "m.onnx", head=layer).head.score_blob == "a"


@pytest.mark.parametrize("choice", ["TopK", "ArgMax"])
def test_scores_beside_the_classes_that_they_choose(choice, tmp_path, images):
    g = Graph()
    linear(g, gap(g, g.features()), out="scores")
    more = [np.array([2])] if choice == "TopK" else []
    best = [g.add(choice, "scores", *more, out="best", outputs=1 + len(more), axis=1)]
    if more:  # what the best classes give is no output of scores either
        best += [g.nodes[-1].output[1], g.add("Mul", g.features(), g.add("ReduceMax", "best", keepdims=0))]
    model = g.model(*best, "scores")
    onnx.save(model, tmp_path / "m.onnx")
    head, _, _, (logits, means), scores = maps_and_logits(read_onnx(tmp_path / "m.onnx"), images[:, ::-1].copy())
    assert head.score_blob == "scores"
    close(logits, scores_of(model, images, "scores"))
    close(means, logits)
    close(scores, logits)


def test_a_file_with_maps_is_read_again(tmp_path, images):
    path = written(tmp_path)
    assert main(["net", "export", str(path), "--onnx", str(tmp_path / "maps.onnx"), "--maps", "--top", "2"]) == 0
    first, second = (maps_and_logits(read_onnx(each), images) for each in (path, tmp_path / "maps.onnx"))
    close(second[2], first[2])
    close(second[4], first[4])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "are cut off or damaged"),
        (lambda data: data[:-1], "are cut off or damaged"),
        (lambda data: b"hello", "found text .* is given with --prototxt, and its weights with --weights"),
        (lambda data: b"\x0a\x03net" * 9, "found Caffe weights: .* is given with --prototxt"),
        (lambda data: b"PK\x03\x04" + data, r"found a zip archive \(PyTorch's\?\): convert it to ONNX first"),
        (lambda data: b"\x80\x02}q\x00", r"found a Python pickle \(PyTorch's\?\)"),
        (lambda data: b"", "found an empty file"),
        (lambda data: data.replace(b"image", b"i\xffage"), "UTF-8|damaged"),
        (
            lambda data: helper.make_model(helper.make_graph([], "g", [], []), producer_name="x").SerializeToString(),
            "expected an ONNX model, found a file without nodes",
        ),
    ],
)
def test_files_that_are_no_onnx(damage, message, tmp_path):
    path = written(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(pycam.PycamError, match=message):
        read_onnx(path)


TEXTS = ["producer", "domain", "function", "graph", "node", "attribute", "constant", "value", "size", "key", "place"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_is_no_utf8_is_damage_wherever_it_stands(text, tmp_path):
    tensor = helper.make_tensor("constant_text", 1, [1], [1.0])
    tensor.external_data.add(key="key_text", value="place_text")
    node = helper.make_node("Custom", ["image"], ["scores"], name="node_text", domain="domain_text")
    node.attribute.append(helper.make_attribute("attribute_text", tensor))
    shape = [1, 3, "size_text", 10]
    inputs = [helper.make_tensor_value_info("image", 1, shape)]
    graph = helper.make_graph([node], "graph_text", inputs, [helper.make_tensor_value_info("value_text", 1, shape)])
    function = helper.make_function("domain_text", "function_text", ["x"], ["y"], [], [helper.make_opsetid("", 13)])
    model = helper.make_model(graph, functions=[function], producer_name="producer_text")
    data = model.SerializeToString()
    assert f"{text}_text".encode() in data
    (tmp_path / "m.onnx").write_bytes(data.replace(f"{text}_text".encode(), text.encode() + b"\xfftext"))
    with pytest.raises(FormatError, match="are cut off or damaged"):
        read_onnx(tmp_path / "m.onnx")


def test_other_inputs_are_refused(tmp_path):
    g = Graph()
    onnx.save(g.model(g.add("Relu", "image"), shape=(3, 8, 10)), tmp_path / "m.onnx")
    with pytest.raises(NetError, match="input 'image' is 3×8×10; images need four axes"):
        read_onnx(tmp_path / "m.onnx")
    g = Graph()
    model = g.model(g.add("Add", "image", "other"))
    model.graph.input.append(helper.make_tensor_value_info("other", 1, (1, 3, 8, 10)))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(NetError, match=r"2 inputs \(image, other\); expected one, for images"):
        read_onnx(tmp_path / "m.onnx")
    large = written(tmp_path)
    with open(large, "r+b") as file:
        file.truncate(3 * 10**9)
    with pytest.raises(FormatError, match=r"3\.0 GB; an ONNX model has at most 2 GB"):
        read_onnx(large)
    with pytest.raises(UsageError, match="preprocess is imgnet; did you mean 'imagenet'"):
        load_model(written(tmp_path), preprocess="imgnet")
    with pytest.raises(UsageError, match="weights has no effect on the ONNX file"):
        load_model(written(tmp_path), weights="w.caffemodel")
    with pytest.raises(UsageError, match=r"two ONNX files are given, .*m\.onnx and b\.onnx: leave out one$"):
        load_model(written(tmp_path), onnx="b.onnx")
    with pytest.raises(UsageError, match=r"the model vgg16 has no effect on the ONNX file b\.onnx: leave out one"):
        load_model("vgg16", onnx="b.onnx")
    with pytest.raises(UsageError, match="preprocess is for ONNX files"):
        load_model("squeezenet-cam-caltech101", preprocess="imagenet")


def test_engines_that_do_not_run_onnx_say_so(tmp_path):
    model = load_model(written(tmp_path))
    for name in engines.ENGINES:
        if not engines.engine_class(name).runs_onnx:
            with pytest.raises(UnsupportedLayerError, match=f"{name!r} does not run nodes of an ONNX file"):
                engines.make(name, model.net, [model.head.feature_blob])


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("kind", ["linear", "channels", "channels last"])
def test_maps_are_added_to_the_users_graph(kind, opset, tmp_path, images):
    g = Graph(opset)
    image = g.add("Transpose", "image", perm=[0, 3, 1, 2]) if kind == "channels last" else "image"
    pooled = gap(g, g.features(image))
    scores = g.add("Identity", pooled, out="mine") if kind == "channels" else linear(g, pooled, out="mine")
    shape = ("n", 8, 10, 3) if kind == "channels last" else ("n", 3, 8, 10)
    model = g.model(scores, shape=shape)
    onnx.save(model, tmp_path / "m.onnx")
    command = ["net", "export", str(tmp_path / "m.onnx"), "--onnx", str(tmp_path / "out.onnx"), "--maps", "--top", "2"]
    assert main(command) == 0
    onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    given = images.transpose(0, 2, 3, 1) if kind == "channels last" else images
    found, classes, maps = session.run(None, {"image": given})
    expected = scores_of(model, given, "mine")
    close(found, expected)
    assert classes.tolist() == np.argsort(-expected, axis=1)[:, :2].tolist()
    bias = 0 if kind == "channels" else B[classes]
    close(maps.mean((2, 3)) + bias, np.take_along_axis(expected, classes, 1))


def test_commands_give_the_same_for_a_caffe_net_and_its_onnx_file(tmp_path, capsys):
    name = "squeezenet-cam-caltech101"
    own = load_model(name)
    path = tmp_path / "m.onnx"
    assert main(["net", "export", name, "--onnx", str(path)]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), cv2.resize(pixels, (300, 260)))
    mean = own.preprocessing.mean_values("value")
    (tmp_path / "card.yaml").write_text(
        f"name: mine\nonnx: m.onnx\nview: full\npreprocess: caffe\nmean: {{value: {mean.tolist()}}}\n"
    )
    values = ",".join(map(str, mean.tolist()))
    found = {
        "caffe": pycam.load(name)(tmp_path / "a.png"),
        "card": pycam.load(tmp_path / "card.yaml")(tmp_path / "a.png"),
        "file": pycam.load(onnx=path, preprocess="caffe", mean=values, view="full")(tmp_path / "a.png"),
    }
    command = ["heatmap", str(tmp_path / "a.png"), "--onnx", str(path), "--preprocess", "caffe", "--mean", values]
    command += ["--view", "full"]
    assert main([*command, "--quiet", "--out", str(tmp_path / "out")]) == 0
    written = json.loads((tmp_path / "out/a/a.json").read_text())["top"]
    for kind in ("card", "file"):
        assert found[kind].top[0].index == found["caffe"].top[0].index
        close(found[kind].scores, found["caffe"].scores)
        close(found[kind].top[0].map, found["caffe"].top[0].map)
    assert [(item["index"], item["score"]) for item in written] == [
        (item.index, pytest.approx(item.score)) for item in found["file"].top
    ]
    features = ["features", *command[1:], "--out", str(tmp_path / "f.npz"), "-q"]
    assert main(features) == 0
    assert np.load(tmp_path / "f.npz")["values"].shape == (1, own.net.shapes[own.head.feature_blob][1])
    capsys.readouterr()
    assert main(["net", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "onnx.Conv" in shown and f"class maps    {load_model(path).head}" in shown


def test_evaluate_runs_an_onnx_file_and_keeps_its_results_apart(tmp_path, capsys):
    path = written(tmp_path, shape=("N", 3, "h", "w"))
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), pixels)
        rows.append(f"{number}.png,{number % T},5,5,30,30")
    (tmp_path / "boxes.csv").write_text("image,class,x0,y0,x1,y1\n" + "\n".join(rows) + "\n")
    command = ["evaluate", "--images", str(tmp_path / "images"), "--ground-truth", str(tmp_path / "boxes.csv")]
    command += ["--onnx", str(path), "--input-size", "32", "--out", str(tmp_path / "run"), "--quiet"]
    assert main(command) == 0, capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "run/predictions.csv").read_text().splitlines()))
    best = {row["image"]: int(row["index"]) for row in rows if row["rank"] == "1"}
    cam = pycam.load(onnx=path, input_size=32, protocol="paper")
    assert best == {f"{number}.png": cam(tmp_path / f"images/{number}.png").top[0].index for number in range(4)}
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--preprocess", "unit"]) == 10
    assert "preprocess" in capsys.readouterr().err


def test_a_card_without_maps_names_the_methods_that_onnx_has(tmp_path):
    written(tmp_path)
    (tmp_path / "card.yaml").write_text("name: mine\nonnx: m.onnx\ncam: false\n")
    with pytest.raises(NetError, match=r"^mine has no class .*; use method scorecam or ablationcam, which need none$"):
        load_model(tmp_path / "card.yaml", needs_maps=True)


@pytest.mark.parametrize("content", ["onnx: 3", "onnx: m.onnx\nweights: w.caffemodel", "onnx: no.onnx"])
def test_cards_with_a_mistake(content, tmp_path):
    (tmp_path / "card.yaml").write_text(f"name: mine\n{content}\n")
    with pytest.raises(pycam.PycamError, match="onnx"):
        load_model(tmp_path / "card.yaml")
