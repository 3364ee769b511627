"""Nets to run: small nets with one pitfall of Caffe's layers each, and seeded weights for any net."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import pycam.architectures
from pycam import engines
from pycam.formats import prototxt
from pycam.net import Net, net_from_message
from pycam.net.layers import Layer

Shapes = dict[str, tuple[int, ...]]

ENGINES = [
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.openvino),
    pytest.param("ncnn", marks=pytest.mark.ncnn),
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("opencv", marks=pytest.mark.opencv),
]
"""The engines that must compute what Caffe computes, as parameters of a test."""

EVERY_ENGINE = [*ENGINES, pytest.param("caffe", marks=pytest.mark.caffe)]

# The score of the first class of a released net with seeded weights.
CERTAINTY = 0.3


def layer(kind: str, name: str, bottoms: str, tops: str = "", params: str = "") -> str:
    """Write a layer; blobs are separated by blanks; without tops, the top has the name of the layer."""
    blobs = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in (tops or name).split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {params} }}\n'


def data(*shape: int, name: str = "data") -> str:
    """Write an input."""
    dims = " ".join(f"dim: {side}" for side in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def conv(name: str, bottoms: str, tops: str = "", params: str = "num_output: 4 kernel_size: 3 pad: 1") -> str:
    return layer("Convolution", name, bottoms, tops, f"convolution_param {{ {params} }}")


def pool(name: str, bottom: str, params: str) -> str:
    return layer("Pooling", name, bottom, params=f"pooling_param {{ {params} }}")


def silence(name: str, bottom: str) -> str:
    return f'layer {{ name: "{name}" type: "Silence" bottom: "{bottom}" }}\n'


SHARED = 'param { name: "w" } param { name: "bias" }'

PITFALLS = {
    "ceil_pooling": data(1, 3, 13, 18)
    + pool("max", "data", "pool: MAX kernel_size: 3 stride: 2")
    + pool("max_padded", "data", "pool: MAX kernel_size: 3 stride: 2 pad: 1")
    + pool("average", "data", "pool: AVE kernel_size: 3 stride: 2")
    + pool("average_padded", "data", "pool: AVE kernel_size: 3 stride: 2 pad: 1")
    + pool("average_far", "data", "pool: AVE kernel_size: 5 stride: 3 pad: 2")
    + pool("average_even", "data", "pool: AVE kernel_size: 2 stride: 2 pad: 1")
    + pool("oblong", "data", "pool: AVE kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 0")
    + pool("sparse", "data", "pool: MAX kernel_size: 2 stride: 4 pad: 1"),
    # Layers that an engine may compute in another form: wide kernels with a stride, an image's own channels, and sums
    # over many channels.
    "other_forms": data(1, 3, 29, 31)
    + conv("strided", "data", params="num_output: 24 kernel_size: 11 stride: 4")
    + conv("oblong", "data", params="num_output: 8 kernel_h: 5 kernel_w: 6 stride: 2 pad_h: 0 pad_w: 4")
    + conv("narrow", "data", params="num_output: 4 kernel_size: 5 stride: 3 pad: 1 bias_term: false")
    + conv("image", "data", params="num_output: 48 kernel_size: 3 pad: 1")
    + layer("ReLU", "leaky", "image", "image", "relu_param { negative_slope: 0.1 }")
    + layer("LRN", "norm", "image", params="lrn_param { local_size: 5 alpha: 0.01 beta: 0.75 }")
    + layer("LRN", "wide", "image", params="lrn_param { local_size: 17 alpha: 0.3 beta: 0.75 }")
    + layer("LRN", "one", "strided", params="lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }")
    + conv("deep", "norm", params="num_output: 40 kernel_size: 3")
    + layer("ReLU", "relu", "deep", "deep"),
    # Caffe leaves out a last window that would begin in the padding.
    "clipped_pooling": data(1, 2, 5, 7)
    + pool("max", "data", "pool: MAX kernel_size: 2 stride: 2 pad: 1")
    + pool("average", "data", "pool: AVE kernel_size: 2 stride: 2 pad: 1")
    + pool("wide", "data", "pool: AVE kernel_size: 4 stride: 3 pad: 3")
    + pool("whole", "data", "pool: AVE kernel_h: 5 kernel_w: 7"),
    "padding_below_zero": data(1, 2, 5, 5)
    + layer("Power", "negative", "data", params="power_param { scale: 0.01 shift: -7 }")
    + pool("max", "negative", "pool: MAX kernel_size: 3 stride: 2 pad: 1"),
    "floor_pooling": data(1, 3, 12, 17)
    + pool("max", "data", "pool: MAX kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR")
    + pool("average", "data", "pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR")
    + pool("oblong", "data", "pool: AVE kernel_h: 2 kernel_w: 5 stride_h: 3 stride_w: 2 round_mode: FLOOR"),
    # Both ways of rounding give the same here.
    "round_mode": data(1, 3, 11, 17)
    + pool("max", "data", "pool: MAX kernel_size: 3 stride: 2 round_mode: FLOOR")
    + pool("average", "data", "pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR")
    + pool("up", "data", "pool: AVE kernel_size: 2 stride: 2 round_mode: CEIL")
    + pool("global", "data", "pool: AVE global_pooling: true round_mode: FLOOR"),
    "global_pooling": data(1, 6, 5, 7)
    + pool("max", "data", "pool: MAX global_pooling: true")
    + pool("average", "data", "pool: AVE global_pooling: true")
    + layer("Softmax", "prob", "average"),
    "lrn": data(1, 7, 4, 5)
    + layer("LRN", "usual", "data", params="lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    + layer("LRN", "strong", "data", params="lrn_param { local_size: 3 alpha: 2 beta: 0.75 }")
    + layer("LRN", "power", "data", params="lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }")
    + layer("LRN", "wide", "data", params="lrn_param { local_size: 15 alpha: 1 beta: 0.75 }"),
    "lrn_k": data(1, 7, 4, 5)
    + layer("LRN", "far", "data", params="lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 k: 2.5 }")
    + layer("LRN", "near", "data", params="lrn_param { local_size: 5 alpha: 0.1 beta: 0.5 k: 0.25 }"),
    "lrn_within_channel": data(1, 3, 6, 7)
    + layer(
        "LRN", "three", "data", params="lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL beta: 0.75 }"
    )
    + layer("LRN", "five", "data", params="lrn_param { local_size: 5 norm_region: WITHIN_CHANNEL beta: 0.6 }"),
    "groups_and_dilation": data(1, 4, 11, 12)
    + conv("groups", "data", params="num_output: 6 kernel_size: 3 group: 2")
    + conv("depthwise", "data", params="num_output: 4 kernel_size: 3 pad: 1 group: 4 bias_term: false")
    + conv("spread", "data", params="num_output: 3 kernel_size: 3 dilation: 2 pad: 2")
    + conv("oblong", "data", params="num_output: 3 kernel_h: 1 kernel_w: 4 stride_h: 2 stride_w: 3 pad_h: 0 pad_w: 2")
    + conv(
        "spread_oblong", "data", params="num_output: 4 kernel_size: 3 kernel_size: 2 dilation: 1 dilation: 3 group: 2"
    )
    + conv("strided", "data", params="num_output: 3 kernel_size: 5 stride: 4 pad: 1"),
    "in_place_chain": data(1, 3, 6, 6)
    + conv("conv", "data")
    + layer("ReLU", "leaky", "conv", "conv", "relu_param { negative_slope: 0.1 }")
    + layer("Scale", "scale", "conv", "conv", "scale_param { bias_term: true }")
    + layer("Dropout", "drop", "conv", "conv")
    + layer("Power", "power", "conv", "conv", "power_param { scale: -2 shift: 0.5 }")
    + conv("next", "conv")
    + layer("ReLU", "relu", "next", "next"),
    "in_place_input": data(1, 3, 4, 4)
    + layer("Power", "centre", "data", "data", "power_param { shift: -1 }")
    + conv("conv", "data"),
    "concat_of_in_place": data(1, 3, 6, 7)
    + conv("a", "data")
    + layer("ReLU", "relu_a", "a", "a")
    + conv("b", "data", params="num_output: 5 kernel_size: 1")
    + layer("ReLU", "relu_b", "b", "b")
    + layer("Concat", "both", "a b")
    + layer("Concat", "alone", "both")
    + layer("Concat", "below", "a a", params="concat_param { axis: 2 }")
    + layer("Concat", "old", "a b a", params="concat_param { concat_dim: 1 }")
    + layer("Concat", "beside", "a a", params="concat_param { axis: -1 }")
    + layer("ReLU", "relu_both", "old", "old"),
    "concat_of_one": data(1, 1, 3, 3)
    + layer("LRN", "norm", "data", params="lrn_param { local_size: 1 }")
    + layer("Softmax", "rows", "norm", params="softmax_param { axis: 2 }")
    + layer("Concat", "thrice", "rows rows rows"),
    "slice": data(1, 6, 4, 5)
    + layer("Slice", "cut", "data", "first second third", "slice_param { slice_point: 1 slice_point: 3 }")
    + layer("ReLU", "relu", "second", "second")
    + layer("Slice", "halves", "data", "upper lower", "slice_param { axis: 2 }")
    + layer("Slice", "old", "data", "left right", "slice_param { slice_dim: 1 }")
    + layer("Eltwise", "sum", "left right"),
    "deconvolution": data(1, 4, 5, 6)
    + layer(
        "Deconvolution", "twice", "data", params="convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 }"
    )
    + layer(
        "Deconvolution",
        "groups",
        "data",
        params="convolution_param { num_output: 6 kernel_size: 3 group: 2 bias_term: false }",
    )
    + layer(
        "Deconvolution",
        "spread",
        "data",
        params="convolution_param { num_output: 2 kernel_size: 3 dilation: 2 stride: 3 pad: 1 }",
    )
    + layer("Crop", "crop", "twice data", params="crop_param { axis: 2 offset: 3 offset: 1 }"),
    "batch_norm": data(1, 3, 4, 5)
    + layer("BatchNorm", "norm", "data")
    + layer("Scale", "scale", "norm", "norm", "scale_param { bias_term: true }")
    + layer("BatchNorm", "loose", "data", params="batch_norm_param { eps: 0.5 use_global_stats: true }")
    + layer("InnerProduct", "fc", "norm", params="inner_product_param { num_output: 6 }")
    + layer("BatchNorm", "flat", "fc"),
    "scale": data(1, 3, 4, 5)
    + data(1, 3, name="gate")
    + layer("Scale", "channels", "data")
    + layer("Scale", "planes", "data", params="scale_param { axis: 1 num_axes: 2 bias_term: true }")
    + layer("Scale", "columns", "data", params="scale_param { axis: -1 }")
    + layer("Scale", "one", "data", params="scale_param { num_axes: 0 bias_term: true }")
    + layer("Scale", "all", "data", params="scale_param { num_axes: -1 }")
    + layer("Scale", "gated", "data gate", params="scale_param { axis: 0 }")
    + layer("Scale", "whole", "data channels", params="scale_param { axis: 0 }"),
    "eltwise": data(1, 2, 4, 5)
    + data(1, 2, 4, 5, name="more")
    + conv("third", "data", params="num_output: 2 kernel_size: 1")
    + layer("Eltwise", "sum", "data more third")
    + layer(
        "Eltwise",
        "weighted",
        "data more third",
        params="eltwise_param { coeff: 0.5 coeff: -2 coeff: 1 operation: SUM }",
    )
    + layer("Eltwise", "product", "data more third", params="eltwise_param { operation: PROD }")
    + layer("Eltwise", "largest", "data more third", params="eltwise_param { operation: MAX }")
    + layer("Eltwise", "square", "data data", params="eltwise_param { operation: PROD }")
    + layer("ReLU", "relu", "sum", "sum"),
    "activations": data(1, 3, 4, 5)
    + layer("PReLU", "prelu", "data")
    + layer("PReLU", "prelu_shared", "data", params="prelu_param { channel_shared: true }")
    + layer("ELU", "elu", "data", params="elu_param { alpha: 0.7 }")
    + layer("Sigmoid", "sigmoid", "data")
    + layer("TanH", "tanh", "data")
    + layer("AbsVal", "abs", "data")
    + layer("Power", "square", "data", params="power_param { power: 2 scale: 0.5 shift: 1 }")
    + layer("Power", "cube", "data", params="power_param { power: 3 }")
    + layer("Power", "root", "abs", params="power_param { power: 0.5 shift: 0.1 }")
    + layer("Power", "inverse", "abs", params="power_param { power: -1 shift: 0.5 }")
    + layer("Power", "constant", "data", params="power_param { scale: 0 shift: 3 power: 2 }")
    + layer("InnerProduct", "fc", "data", params="inner_product_param { num_output: 6 }")
    + layer("PReLU", "prelu_flat", "fc")
    + layer("ELU", "elu_flat", "fc"),
    "inner_product": data(1, 3, 4, 5)
    + layer("InnerProduct", "fc", "data", params="inner_product_param { num_output: 6 }")
    + layer("InnerProduct", "without_bias", "fc", params="inner_product_param { num_output: 4 bias_term: false }")
    + layer("InnerProduct", "rows", "data", params="inner_product_param { num_output: 7 axis: -1 }")
    + layer("Softmax", "prob", "fc"),
    "inner_product_transpose": data(1, 3, 4, 5)
    + layer("InnerProduct", "turned", "data", params="inner_product_param { num_output: 6 transpose: true }")
    + layer("InnerProduct", "planes", "data", params="inner_product_param { num_output: 2 axis: 2 transpose: true }"),
    "shapes": data(1, 4, 3, 6)
    + layer("Flatten", "flat", "data")
    + layer("Flatten", "planes", "data", params="flatten_param { axis: 2 }")
    + layer("Flatten", "middle", "data", params="flatten_param { axis: 1 end_axis: 2 }")
    + layer("Reshape", "reshaped", "data", params="reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 9 } }")
    + layer("Reshape", "inner", "data", params="reshape_param { shape { dim: 3 dim: 4 } axis: 1 num_axes: 2 }")
    + layer("Reshape", "added", "planes", params="reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }")
    + conv("conv", "reshaped")
    + layer("Softmax", "across", "data")
    + layer("Softmax", "along", "data", params="softmax_param { axis: -1 }")
    + layer("Split", "split", "conv", "one two")
    + layer("ReLU", "relu", "one", "one"),
    "crop": data(1, 4, 7, 8)
    + data(1, 3, 4, 5, name="like")
    + layer("Crop", "planes", "data like", params="crop_param { axis: 2 offset: 2 }")
    + layer("Crop", "channels", "data like", params="crop_param { axis: 1 offset: 1 offset: 3 offset: 0 }"),
    "exp": data(1, 3, 4, 5)
    + layer("Exp", "natural", "data")
    + layer("Exp", "two", "data", params="exp_param { base: 2 scale: 0.5 shift: -1 }")
    + layer("Exp", "ten", "data", params="exp_param { base: 10 shift: 0.3 }")
    + layer("Exp", "falling", "data", params="exp_param { scale: -0.5 shift: 2 }")
    + layer("Exp", "again", "falling", "falling", "exp_param { base: 0.5 }"),
    "log": data(1, 3, 4, 5)
    + layer("AbsVal", "size", "data")
    + layer("Power", "positive", "size", params="power_param { shift: 0.1 }")
    + layer("Log", "two", "positive", params="log_param { base: 2 scale: 0.5 shift: 0.25 }")
    + layer("Log", "ten", "positive", params="log_param { base: 10 }")
    + layer("Log", "again", "size", params="log_param { shift: 0.5 }"),
    "log_sum_exp": data(1, 3, 4, 6)
    + layer("Exp", "exp", "data")
    + pool("mean", "exp", "pool: AVE global_pooling: true")
    + layer("Log", "log", "mean"),
    "reduction": data(1, 3, 4, 6)
    + layer("Reduction", "sum", "data", params="reduction_param { axis: 1 }")
    + layer("Reduction", "rows", "data", params="reduction_param { axis: -1 operation: MEAN coeff: 3 }")
    + layer("Reduction", "planes", "data", params="reduction_param { axis: 2 operation: ASUM coeff: 0.5 }")
    + layer("Reduction", "squares", "data", params="reduction_param { axis: 2 operation: SUMSQ coeff: -2 }"),
    "tile": data(1, 2, 3, 4)
    + layer("Tile", "channels", "data", params="tile_param { tiles: 3 }")
    + layer("Tile", "columns", "data", params="tile_param { axis: -1 tiles: 2 }")
    + layer("Tile", "once", "data", params="tile_param { axis: 2 tiles: 1 }"),
    # The zeros of the ReLU are many equal values.
    "argmax": data(1, 4, 3, 5)
    + layer("ReLU", "relu", "data")
    + layer("ArgMax", "best", "relu")
    + layer("ArgMax", "three", "relu", params="argmax_param { top_k: 3 }")
    + layer("ArgMax", "both", "relu", params="argmax_param { top_k: 50 out_max_val: true }")
    + layer("ArgMax", "channels", "relu", params="argmax_param { axis: 1 top_k: 2 }")
    + layer("ArgMax", "values", "relu", params="argmax_param { axis: -1 top_k: 2 out_max_val: true }")
    + layer("InnerProduct", "fc", "relu", params="inner_product_param { num_output: 6 }")
    + layer("ReLU", "fc_relu", "fc", "fc")
    + layer("ArgMax", "flat", "fc", params="argmax_param { top_k: 6 }")
    + layer("ArgMax", "flat_both", "fc", params="argmax_param { top_k: 2 out_max_val: true }")
    + layer("Flatten", "planes", "relu", params="flatten_param { axis: 2 }")
    + layer("ArgMax", "of_three_axes", "planes", params="argmax_param { top_k: 2 out_max_val: true }")
    + layer("Reduction", "one", "fc", params="reduction_param { axis: 1 }")
    + layer("ArgMax", "of_one_axis", "one"),
    "silence": data(1, 4, 3, 5)
    + layer("Slice", "cut", "data", "first second")
    + silence("quiet", "second")
    + layer("ReLU", "relu", "first"),
    "equal_names": data(1, 3, 4, 4)
    + layer("Power", "same", "data", "a", "power_param { scale: 2 }")
    + layer("Power", "same", "data", "b", "power_param { scale: 3 }")
    + layer("ReLU", "same", "b", "b")
    + layer("Power", "same", "b", "b", "power_param { shift: 1 }")
    + layer("Eltwise", "sum", "a b"),
    "shared_parameters": data(1, 3, 4, 4)
    + layer("InnerProduct", "one", "data", params=f"{SHARED} inner_product_param {{ num_output: 48 }}")
    + layer("InnerProduct", "two", "one", params=f"{SHARED} inner_product_param {{ num_output: 48 }}")
    + layer("InnerProduct", "two", "two", "other", f"{SHARED} inner_product_param {{ num_output: 48 }}")
    + layer("InnerProduct", "three", "two", params='param { name: "w" } inner_product_param { num_output: 48 }')
    + layer("Scale", "factors", "three", params='param { name: "bias" } scale_param { bias_term: true }'),
    "shared_counts": data(1, 3, 4, 4)
    + layer("InnerProduct", "one", "data", params='param { name: "w" } inner_product_param { num_output: 6 }')
    + layer(
        "InnerProduct",
        "two",
        "one",
        params='param { name: "w" share_mode: PERMISSIVE } inner_product_param { num_output: 48 }',
    ),
    "data_layers": 'layer { name: "memory" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 3 channels: 2 height: 3 width: 5 } }\n"
    'layer { name: "fillers" type: "DummyData" top: "x" top: "y" '
    'dummy_data_param { num: 3 channels: 2 height: 3 width: 5 data_filler { type: "gaussian" std: 1 } } }\n'
    'layer { name: "shape" type: "DummyData" top: "z" dummy_data_param { shape { dim: 3 dim: 2 } } }\n'
    + layer("ReLU", "relu", "data", "data")
    + layer("Eltwise", "sum", "data x y")
    + layer("Scale", "gated", "sum z", params="scale_param { axis: 0 }"),
    "batch_in_the_file": data(2, 30)
    + layer("Reshape", "map", "data", params="reshape_param { shape { dim: 2 dim: 3 dim: 5 dim: 2 } }")
    + conv("conv", "map")
    + layer("Reshape", "flat", "conv", params="reshape_param { shape { dim: 2 dim: -1 } }"),
}
"""Nets by the pitfall that they test."""


def message_of(name: str) -> Any:
    """Return the net of a pitfall or of a released name."""
    return prototxt.parse(PITFALLS[name], name).message if name in PITFALLS else pycam.architectures.build(name)


def seeded_net(message: Any, seed: int = 0) -> Net:
    """Return a net with weights of a fixed seed; a classifier gives its first class the score `CERTAINTY`."""
    net = net_from_message(message)
    rng = np.random.default_rng(seed)
    net = net.with_params({layer.name: _params(layer, rng) for layer in net.layers if layer.param_shapes})
    head = net.layers[-1]
    if head.type != "Softmax" or not net.params or net.value_shapes[head.outputs[0]][1] < 100:
        return net
    with engines.make("onnxruntime", net, head.inputs) as engine:
        logits = engine.forward(images(net, 1))[head.inputs[0]].ravel().astype(np.float64)
    return _scaled(net, _factor(logits))


def _params(layer: Layer, rng: np.random.Generator) -> list[np.ndarray]:
    def normal(shape: tuple[int, ...], spread: float, mean: float = 0) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(spread) + np.float32(mean)

    first, *rest = layer.param_shapes
    if layer.type == "BatchNorm":
        factor = np.float32(998.5)
        return [normal(first, 10) * factor, (normal(first, 5) ** 2 + 1) * factor, np.full(1, factor)]
    if layer.type in ("Scale", "PReLU"):
        return [normal(shape, 0.3, 0.5) for shape in layer.param_shapes]
    inputs = np.prod(first) / layer.num_output
    return [normal(first, np.sqrt(2 / inputs)), *(normal(shape, 0.1) for shape in rest)]


def _factor(logits: np.ndarray) -> float:
    """Return the factor of the logits with which the highest score becomes `CERTAINTY`."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        highest = 1 / np.exp(middle * (logits - logits.max())).sum()
        low, high = (middle, high) if highest < CERTAINTY else (low, middle)
    return low


def _scaled(net: Net, factor: float) -> Net:
    last = [layer.name for layer in net.layers if layer.param_shapes][-1]
    scaled = [array * np.float32(factor) for array in net.params[last]]
    return net.with_params({**net.params, last: scaled})


def images(net: Net, count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Return random inputs with the range of images minus their mean."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal((count, *net.shapes[name][1:]), np.float32) * (50 if "prob" in net.shapes else 2)
        for name in net.inputs
    }


@st.composite
def small_nets(draw: st.DrawFn) -> str:
    """Draw a net of a few layers that Caffe nearly always accepts."""
    text = data(1, *draw(st.tuples(st.integers(1, 6), st.integers(3, 9), st.integers(3, 9))))
    for number in range(draw(st.integers(1, 8))):
        net = net_from_message(prototxt.parse(text).message)
        bottom = draw(st.sampled_from(sorted(net.shapes)))
        write = draw(st.sampled_from([*ANY_RANK, *(FOUR_AXES if len(net.shapes[bottom]) == 4 else ())]))
        changeable = bottom in net.outputs and net.producer[bottom].type not in SHARING
        in_place = write in IN_PLACE and changeable and draw(st.booleans())
        name = f"layer{number}"
        text += write(draw, name, bottom, bottom if in_place else name, net.shapes)
    return text


def _sides(draw: st.DrawFn, **bounds: tuple[int, int]) -> str:
    return " ".join(f"{name}: {draw(st.integers(*bound))}" for name, bound in bounds.items())


def _draw_filter(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    channels, *size = shapes[bottom][1:]
    group = draw(st.sampled_from([n for n in (1, 2, 3) if channels % n == 0]))
    outputs = group * draw(st.integers(1, 4))
    kernel = _sides(draw, kernel_h=(1, min(4, size[0])), kernel_w=(1, min(4, size[1])))
    strides = _sides(draw, stride_h=(1, 3), stride_w=(1, 3))
    kind, pads = draw(st.sampled_from([("Convolution", (0, 2)), ("Deconvolution", (0, 0))]))
    params = f"{kernel} {strides} {_sides(draw, pad_h=pads, pad_w=pads)} num_output: {outputs} group: {group}"
    bias = draw(st.sampled_from(["true", "false"]))
    return layer(kind, name, bottom, top, f"convolution_param {{ {params} bias_term: {bias} }}")


def _draw_dilated(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    spread = draw(st.integers(1, 3))
    return conv(name, bottom, top, f"num_output: 3 kernel_size: 2 dilation: {spread} pad: {spread}")


def _draw_pooling(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    method = draw(st.sampled_from(["MAX", "AVE"]))
    if draw(st.integers(0, 4)) == 0:
        return pool(name, bottom, f"pool: {method} global_pooling: true")
    kernels = [draw(st.integers(1, min(5, side))) for side in shapes[bottom][2:]]
    params = "".join(
        f" kernel_{axis}: {kernel} stride_{axis}: {draw(st.integers(1, min(3, kernel)))}"
        f" pad_{axis}: {draw(st.integers(0, min(2, kernel - 1)))}"
        for axis, kernel in zip("hw", kernels, strict=True)
    )
    return pool(name, bottom, f"pool: {method}{params}")


def _draw_lrn(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    numbers = f"local_size: {draw(st.sampled_from([1, 3, 5]))} alpha: {draw(st.sampled_from([0.0001, 0.1, 2]))}"
    numbers += f" beta: {draw(st.sampled_from([0.5, 0.75, 1]))} k: {draw(st.sampled_from([1, 2]))}"
    region = draw(st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]))
    return layer("LRN", name, bottom, top, f"lrn_param {{ {numbers} norm_region: {region} }}")


def _draw_crop(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    (_, _, height, width), (x, y) = shapes[bottom], (draw(st.integers(0, 1)), draw(st.integers(0, 1)))
    like = pool(f"{name}_like", bottom, f"kernel_h: {min(2, height)} kernel_w: {min(2, width)}")
    offsets = f"offset: {min(y, height - 1)} offset: {min(x, width - 1)}"
    crop = layer("Crop", name, f"{bottom} {name}_like", params=f"crop_param {{ axis: 2 {offsets} }}")
    # A kernel of 2 leaves one row and column fewer, and so room for an offset of 1.
    return like + crop


def _draw_activation(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    kinds = {
        "ReLU": "",
        "PReLU": "",
        "ELU": "elu_param { alpha: 0.5 }",
        "Sigmoid": "",
        "TanH": "",
        "Dropout": "",
        "BatchNorm": "",
        "Power": "power_param { scale: -0.5 shift: 1 }",
        "Scale": "scale_param { bias_term: true }",
    }
    kind = draw(st.sampled_from(list(kinds)))
    return layer(kind, name, bottom, top, kinds[kind])


def _draw_leaky(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    return layer("ReLU", name, bottom, top, "relu_param { negative_slope: 0.2 }")


def _draw_abs(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    return layer("AbsVal", name, bottom, top)


# Squares and products get bounded values, and softmax small ones: single precision must suffice.


def _draw_square(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    return layer("TanH", f"{name}_bound", bottom) + layer(
        "Power", name, f"{name}_bound", params="power_param { power: 2 scale: 0.5 shift: 1 }"
    )


def _draw_exp(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    numbers = f"base: {draw(st.sampled_from([-1, 2, 10]))} scale: {draw(st.sampled_from([-0.5, 1]))} shift: 0.5"
    return layer("TanH", f"{name}_bound", bottom) + layer(
        "Exp", name, f"{name}_bound", params=f"exp_param {{ {numbers} }}"
    )


def _draw_log(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    return layer("Sigmoid", f"{name}_bound", bottom) + layer(
        "Log", name, f"{name}_bound", params="log_param { base: 3 scale: 2 shift: 0.5 }"
    )


def _draw_reduction(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis, operation = draw(st.integers(2, 3)), draw(st.sampled_from(["SUM", "ASUM", "MEAN"]))
    # Sums of values around zero lose digits.
    return layer("Sigmoid", f"{name}_bound", bottom) + layer(
        "Reduction", name, f"{name}_bound", params=f"reduction_param {{ axis: {axis} operation: {operation} coeff: 2 }}"
    )


def _draw_tile(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis = draw(st.integers(1, len(shapes[bottom]) - 1))
    return layer("Tile", name, bottom, params=f"tile_param {{ axis: {axis} tiles: {draw(st.integers(1, 3))} }}")


def _draw_softmax(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis = draw(st.integers(1, len(shapes[bottom]) - 1))
    return layer("Power", f"{name}_small", bottom, params="power_param { scale: 0.05 }") + layer(
        "Softmax", name, f"{name}_small", params=f"softmax_param {{ axis: {axis} }}"
    )


def _draw_eltwise(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    operation = draw(st.sampled_from(["SUM", "SUM coeff: 0.5 coeff: 2", "MAX", "PROD"]))
    others = sorted(blob for blob in shapes if shapes[blob] == shapes[bottom])
    bound = layer("TanH", f"{name}_bound", draw(st.sampled_from(others)))
    return bound + layer(
        "Eltwise", name, f"{bottom} {name}_bound", params=f"eltwise_param {{ operation: {operation} }}"
    )


def _draw_concat(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    def fits(blob: str) -> bool:
        shape, other = shapes[blob], shapes[bottom]
        return len(shape) == len(other) and all(
            a == b for i, (a, b) in enumerate(zip(shape, other, strict=True)) if i != 1
        )

    others = draw(st.lists(st.sampled_from(sorted(filter(fits, shapes))), min_size=1, max_size=3))
    return layer("Concat", name, " ".join([bottom, *others]))


def _draw_slice(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis = draw(st.integers(1, len(shapes[bottom]) - 1))
    side = shapes[bottom][axis]
    points = sorted(draw(st.sets(st.integers(1, side - 1), min_size=1, max_size=2))) if side > 1 else []
    tops = " ".join(f"{name}_{i}" for i in range(len(points) + 1))
    cuts = " ".join(f"slice_point: {point}" for point in points)
    return layer("Slice", name, bottom, tops, f"slice_param {{ axis: {axis} {cuts} }}")


def _draw_inner_product(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis = draw(st.integers(1, len(shapes[bottom]) - 1))
    turned, bias = (draw(st.sampled_from(["true", "false"])) for _ in range(2))
    params = f"num_output: {draw(st.integers(1, 9))} axis: {axis} transpose: {turned} bias_term: {bias}"
    return layer("InnerProduct", name, bottom, params=f"inner_product_param {{ {params} }}")


def _draw_flatten(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    axis = draw(st.integers(1, len(shapes[bottom]) - 1))
    return layer("Flatten", name, bottom, params=f"flatten_param {{ axis: {axis} }}")


def _draw_reshape(draw: st.DrawFn, name: str, bottom: str, top: str, shapes: Shapes) -> str:
    asked = draw(
        st.sampled_from(
            ["dim: 0 dim: -1", "dim: 0 dim: 1 dim: -1", "dim: 0 dim: -1 dim: 1 dim: 1", "dim: 0 dim: 0 dim: 1 dim: -1"]
        )
    )
    return layer("Reshape", name, bottom, params=f"reshape_param {{ shape {{ {asked} }} }}")


IN_PLACE = (_draw_activation, _draw_leaky)
# Caffe sometimes gives top and bottom the same memory: a change of one in place changes the other.
SHARING = ("Flatten", "Reshape", "Concat", "Slice")
FOUR_AXES = (
    _draw_filter,
    _draw_filter,
    _draw_dilated,
    _draw_pooling,
    _draw_pooling,
    _draw_lrn,
    _draw_crop,
    _draw_reduction,
)
ANY_RANK = (
    _draw_activation,
    _draw_activation,
    _draw_leaky,
    _draw_abs,
    _draw_square,
    _draw_exp,
    _draw_log,
    _draw_tile,
    _draw_softmax,
    _draw_eltwise,
    _draw_concat,
    _draw_slice,
    _draw_inner_product,
    _draw_flatten,
    _draw_reshape,
)


def worst(values: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> tuple[float, str]:
    """Return the largest difference of all values, relative to the largest value of each, and its blob.

    It is infinite where the shapes differ, or a difference is not a number.
    """

    def difference(name: str) -> float:
        if values[name].shape != truth[name].shape:
            return np.inf
        found = np.abs(values[name] - truth[name]).max() / max(np.abs(truth[name]).max(), np.finfo(np.float32).tiny)
        return np.inf if np.isnan(found) else float(found)

    return max((difference(name), name) for name in truth)
