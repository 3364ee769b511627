"""Nets of forks of Caffe: their fields and layers against plain NumPy, and what is said of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from corpus import FORK_NET
from google.protobuf import text_format
from nets import ENGINES, conv, data, layer, pool

from pycam import engines
from pycam.cli import main
from pycam.errors import EngineError, FormatError, NetError, UnsupportedLayerError
from pycam.formats import caffemodel, prototxt, schema
from pycam.formats.fork_layers import TYPES, ForkLayer
from pycam.formats.forks import CONVERTED, DROPPED, FIELDS, REFUSED, fork_schema
from pycam.net import Net, net_from_message, read_net

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def above_zero(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


def read(folder: Path, text: str | bytes, weights: dict[str, list[np.ndarray]] | None = None) -> Net:
    """Read a net, with weights under the names of the fork's layers."""
    path = folder / "net.prototxt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if weights is None:
        return read_net(path)
    net = schema.NetParameter(layer=[{"name": name} for name in weights])
    caffemodel.write(folder / "net.caffemodel", net, weights)
    return read_net(path, folder / "net.caffemodel")


# Layers, as plain NumPy defines them


def batch_norm(x, mean, variance, eps, slope, bias):
    def along(values):
        return np.float64(values).reshape(1, -1, 1, 1)

    return (x - along(mean)) / np.sqrt(along(variance) + eps) * along(slope) + along(bias)


def axpy(a, x, y):
    return np.float64(a).reshape(*x.shape[:2], 1, 1) * x + y


def depthwise(x, weights, bias):
    """Convolve each channel with its own 3×3 kernel, padded by 1."""
    _, channels, height, width = x.shape
    padded = np.pad(np.float64(x), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros(x.shape) + bias.reshape(1, -1, 1, 1)
    for row in range(3):
        for column in range(3):
            tap = weights[:, 0, row, column].reshape(1, channels, 1, 1)
            out += tap * padded[:, :, row : row + height, column : column + width]
    return out


def shuffled(x, group):
    """Channel i of group g becomes channel i · group + g."""
    size = x.shape[1] // group
    out = np.empty_like(x)
    for g in range(group):
        for i in range(size):
            out[:, i * group + g] = x[:, g * size + i]
    return out


X = normal(2, 6, 5, 7)
MEAN, VARIANCE, SLOPE, BIAS = normal(6), above_zero(6), normal(6), normal(6)
KERNELS = normal(6, 1, 3, 3)
ONES = np.ones(1, np.float32)
CONV = "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }"
STATISTICS = [SLOPE, BIAS, MEAN, VARIANCE]
FLAT = [values.reshape(1, -1, 1, 1) for values in STATISTICS]
NVIDIA = [MEAN, VARIANCE, ONES, SLOPE, BIAS]
INPUT = data(1, 6, 5, 7)

CASES = {
    "BN": (layer("BN", "top", "data"), {"top": STATISTICS}, batch_norm(X, MEAN, VARIANCE, 1e-5, SLOPE, BIAS)),
    "BN with eps": (
        layer("BN", "top", "data", params="bn_param { eps: 0.01 slope_filler { value: 1 } frozen: true }"),
        {"top": FLAT},
        batch_norm(X, MEAN, VARIANCE, 0.01, SLOPE, BIAS),
    ),
    "BN in place": (
        layer("Power", "top", "data") + layer("BN", "bn", "top", "top") + layer("ReLU", "relu", "top", "top"),
        {"bn": STATISTICS},
        np.maximum(batch_norm(X, MEAN, VARIANCE, 1e-5, SLOPE, BIAS), 0),
    ),
    "SegNet's BN": (
        layer("BN", "top", "data", params="bn_param { bn_mode: INFERENCE scale_filler { value: 1 } }"),
        {"top": FLAT[:2]},
        X * SLOPE.reshape(1, -1, 1, 1) + BIAS.reshape(1, -1, 1, 1),
    ),
    "NVIDIA's BatchNorm": (
        layer("BatchNorm", "top", "data", params="batch_norm_param { scale_bias: true eps: 0.001 engine: CUDNN }"),
        {"top": NVIDIA},
        batch_norm(X, MEAN, VARIANCE, 0.001, SLOPE, BIAS),
    ),
    "NVIDIA's BatchNorm with fillers": (
        layer("BatchNorm", "top", "data", params="batch_norm_param { use_global_stats: false bias_filler { } }"),
        {"top": [values.reshape(1, -1, 1, 1) if values.size > 1 else values for values in NVIDIA]},
        batch_norm(X, MEAN, VARIANCE, 1e-5, SLOPE, BIAS),
    ),
    "NVIDIA's BatchNorm of early versions": (
        layer("BatchNorm", "top", "data", params="batch_norm_param { scale_bias: true }"),
        {"top": [MEAN, VARIANCE, 0 * ONES, SLOPE, BIAS]},
        batch_norm(X, MEAN, VARIANCE, 1e-5, SLOPE, BIAS),
    ),
    "Axpy": (
        pool("a", "data", "pool: AVE global_pooling: true")
        + layer("Power", "y", "data", params="power_param { shift: 1 }")
        + layer("Axpy", "top", "a data y"),
        {},
        axpy(X.mean((2, 3)), X, X + 1),
    ),
    "Axpy with factors of two axes": (
        pool("mean", "data", "pool: AVE global_pooling: true")
        + layer("Flatten", "a", "mean")
        + layer("Axpy", "top", "a data data"),
        {},
        axpy(X.mean((2, 3)), X, X),
    ),
    "ConvolutionDepthwise": (
        layer("ConvolutionDepthwise", "top", "data", params=CONV),
        {"top": [KERNELS, BIAS]},
        depthwise(X, KERNELS, BIAS),
    ),
    "DepthwiseConvolution": (
        layer("DepthwiseConvolution", "top", "data", params=CONV.replace("{", "{ group: 6")),
        {"top": [KERNELS, BIAS]},
        depthwise(X, KERNELS, BIAS),
    ),
    "ShuffleChannel": (
        layer("ShuffleChannel", "top", "data", params="shuffle_channel_param { group: 3 }"),
        {},
        shuffled(X, 3),
    ),
    "ShuffleChannel by default": (layer("ShuffleChannel", "top", "data"), {}, X),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_layers_of_forks_compute_their_definition(tmp_path, case, engine):
    text, weights, expected = CASES[case]
    net = read(tmp_path, INPUT + text, weights or None)
    if engine == "opencv" and "Shuffle" in case:
        with pytest.raises(EngineError, match=r"'top'.* does not read its group"):
            engines.make(engine, net, ["top"])
        return
    with engines.make(engine, net, ["top"]) as made:
        found = made.forward({"data": X})["top"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.caffe
@pytest.mark.parametrize("case", [case for case in CASES if "Shuffle" not in case])
def test_real_caffe_computes_the_converted_layers(tmp_path, case):
    text, weights, expected = CASES[case]
    net = read(tmp_path, INPUT + text, weights or None)
    converted = net_from_message(net.message).with_params(net.params)
    with engines.make("caffe", converted, ["top"]) as made:
        found = made.forward({"data": X})["top"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_net_knows_its_layers_of_forks(tmp_path):
    net = read(tmp_path, FORK_NET)
    assert net.forks == (
        ForkLayer("dw", "ConvolutionDepthwise", 3, ("dw",)),
        ForkLayer("bn", "BN", 5, ("bn", "bn/scale")),
        ForkLayer("nv", "BatchNorm", 6, ("nv", "nv/scale")),
        ForkLayer("old", "BN", 8, ("old",)),
        ForkLayer("mix", "ShuffleChannel", 9, ("mix",)),
        ForkLayer("sum", "Axpy", 11, ("sum/factors", "sum/scaled", "sum")),
    )
    assert net.fork_types["bn/scale"] == "BN"
    assert [each.line for each in net.layers] == [2, 3, 5, 5, 6, 6, 8, 9, 10, 11, 11, 11, 12]


def test_new_layers_get_names_of_their_own(tmp_path):
    text = INPUT + layer("BN", "bn", "data") + layer("ReLU", "bn/scale", "bn", "bn/scale_")
    assert [each.name for each in read(tmp_path, text).layers] == ["data", "bn", "bn/scale__", "bn/scale"]


def test_phases_choose_among_the_new_layers(tmp_path):
    text = INPUT + layer("BN", "bn", "data", params="include { phase: TRAIN }") + layer("ReLU", "relu", "data")
    net = read(tmp_path, text)
    assert [each.name for each in net.layers] == ["data", "relu"]
    assert net.fork_types == {}


def test_what_is_written_is_caffes_own(tmp_path):
    net = read(
        tmp_path,
        FORK_NET.replace(b'type: "ShuffleChannel"', b'type: "ReLU"').replace(
            b"shuffle_channel_param { group: 2 }", b""
        ),
    )
    written = prototxt.dumps(net.message)
    assert text_format.Parse(written, schema.NetParameter()) == net.message
    again = prototxt.parse(written)
    assert (again.message, again.notes, again.forks) == (net.message, (), ())


def test_weights_of_the_converted_net_are_taken_too(tmp_path):
    """Such weights come from `pycam train` and `pycam net cam`."""
    text, weights, _ = CASES["BN"]
    net = read(tmp_path, INPUT + text, weights or None)
    caffemodel.write(tmp_path / "own.caffemodel", net.message, net.params)
    assert read_net(tmp_path / "net.prototxt", tmp_path / "own.caffemodel") == net


@pytest.mark.parametrize(
    ("text", "weights", "message"),
    [
        (
            CASES["BN"][0],
            {"top": STATISTICS[:2]},
            r"'top' \(line 2 of the net\): 2 blobs, expected slope.*bn_mode: INFER",
        ),
        (CASES["BN"][0], {"top": STATISTICS[:3]}, "3 blobs, expected slope, bias, mean and variance"),
        (CASES["SegNet's BN"][0], {"top": STATISTICS}, "4 blobs, expected scale and shift.*remove its bn_mode"),
        (CASES["NVIDIA's BatchNorm"][0], {"top": NVIDIA[:3]}, "three blobs.*remove scale_bias, scale_filler"),
        (CASES["NVIDIA's BatchNorm"][0], {"top": NVIDIA[:4]}, "4 blobs, expected mean, variance, factor, scale"),
        (CASES["NVIDIA's BatchNorm"][0], {"top": [SLOPE, -VARIANCE, ONES, MEAN, VARIANCE]}, "variance has negative"),
        (CASES["BN"][0], {"top": [SLOPE, BIAS, MEAN, -VARIANCE]}, "variance has negative values"),
        (CASES["BN"][0], {"top": [values[:5] for values in STATISTICS]}, "weights of 5 and 5 and 1, the net expects 6"),
        (layer("BatchNorm", "top", "data"), {"top": NVIDIA}, "as in NVIDIA's Caffe: write `scale_bias: true` in the"),
    ],
)
def test_blobs_that_do_not_belong_to_a_layer_are_explained(tmp_path, text, weights, message):
    with pytest.raises(NetError, match=message):
        read(tmp_path, INPUT + text, weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("Axpy", "top", "data data"), r"net.prototxt:2: layer 'top' \(Axpy\): 2 bottoms, the type takes 3"),
        (layer("BN", "top", "data", "top mean"), r"2 tops, the type takes 1"),
        (
            layer("BN", "top", "data", params="bn_param { shift_filler { } }"),
            "without `bn_mode: INFERENCE` uses the st",
        ),
        (layer("BN", "top", "data", params="bn_param { bn_mode: LEARN }"), "uses the statistics of the batch"),
        (layer("BN", "top", "data", params='param { name: "a" }'), "shares parameters by name"),
        (layer("BN", "top", "data", params="bn_param { epsilon: 1 }"), "unknown field 'epsilon': did you mean 'eps'"),
        (layer("ReLU", "top", "data", params="bn_param { eps: 1 }"), "'bn_param' belongs to a layer of another type"),
        (
            conv("top", "data", params="num_output: 4 kernel_size: 3 relu: true"),
            "'relu' is a field of forks .*ReLU layer",
        ),
        (conv("top", "data", params="num_output: 4 kernel_size: 3 negative_slope: 0.1"), "put a ReLU layer behind"),
        (
            layer("Dropout", "top", "data", params="dropout_param { scale_train: false }"),
            "multiplies by 1 − dropout_ratio in inference: make this a layer of type Power",
        ),
        (pool("top", "data", "kernel_size: 2 round_mode: FLOOR ceil_mode: true"), "contradict each other: remove one"),
        (conv("top", "data", params="num_output: 4 kernel_size: 3 dilation: 3 hole: 2"), "contradict each other"),
        (
            pool("top", "data", "kernel_size: 2 engine: OPENCL"),
            "unknown value OPENCL: use one of DEFAULT, CAFFE, CUDNN$",
        ),
        (layer("ReLU", "top", "data", params="forward_type: HALF"), "unknown value HALF: use one of DOUBLE, FLOAT"),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path, text, message):
    with pytest.raises(FormatError, match=message):
        read(tmp_path, INPUT + text)


@pytest.mark.parametrize(
    ("kind", "field", "message"),
    [
        (
            "PriorBox",
            "prior_box_param { }",
            "type 'PriorBox': .* detection and segmentation layers of Caffe forks are not supported",
        ),
        (
            "Interp",
            "interp_param { }",
            "type 'Interp': .* detection and segmentation layers of Caffe forks are not supported",
        ),
        ("Mystery", "mystery_param { }", "type 'Mystery': Caffe 1.0 has no such type"),
    ],
)
def test_layers_that_stay_out_say_what_they_are_for(kind, field, message):
    with pytest.raises(UnsupportedLayerError, match=message):
        prototxt.parse(layer(kind, "top", "data", params=field))


# Fields


@pytest.mark.parametrize(
    ("text", "same", "notes"),
    [
        (
            pool("p", "data", "kernel_size: 3 stride: 2 ceil_mode: false"),
            pool("p", "data", "kernel_size: 3 stride: 2 round_mode: FLOOR"),
            ("net:1: p: ceil_mode: false was read as round_mode: FLOOR",),
        ),
        (
            pool("p", "data", "kernel_size: 3 stride: 2 ceil_mode: true"),
            pool("p", "data", "kernel_size: 3 stride: 2 round_mode: CEIL"),
            ("net:1: p: ceil_mode: true was read as round_mode: CEIL",),
        ),
        (
            'layers { name: "p" type: POOLING bottom: "data" top: "p" pooling_param { ceil_mode: false } }',
            'layers { name: "p" type: POOLING bottom: "data" top: "p" pooling_param { round_mode: FLOOR } }',
            ("net:1: p: ceil_mode: false was read as round_mode: FLOOR",),
        ),
        (
            conv("c", "data", params="hole: 2 engine: MKL2017"),
            conv("c", "data", params="dilation: 2"),
            (
                "net:1: c: engine: MKL2017 was dropped: it chooses the library that computes the layer",
                "net:1: c: hole: 2 was read as dilation",
            ),
        ),
        (
            conv("c", "data", params="hole_h: 2 hole_w: 3"),
            conv("c", "data", params="dilation: 2 dilation: 3"),
            ("net:1: c: hole_h: 2 was read as dilation", "net:1: c: hole_w: 3 was read as dilation"),
        ),
        (
            conv("c", "data", params="hole_w: 3"),
            conv("c", "data", params="dilation: 1 dilation: 3"),
            ("net:1: c: hole_w: 3 was read as dilation",),
        ),
        (
            conv("c", "data", params="relu: false"),
            conv("c", "data", params=""),
            ("net:1: c: relu was dropped: with this value it changes nothing",),
        ),
        (
            'engine: "MKLDNN" ' + "".join(layer("ReLU", name, "data", params='engine: "CAFFE"') for name in "abcde"),
            "".join(layer("ReLU", name, "data") for name in "abcde"),
            (
                "net: engine was dropped: it chooses the library that computes the layer",
                "net: engine was dropped: it chooses the library that computes the layer in 5 layers: a, b, c, d, …",
            ),
        ),
        (
            "default_forward_type: FLOAT16 global_grad_scale: 1000 "
            + layer("BatchNorm", "b", "data", params="batch_norm_param { scale_bias: false eps: 0.1 }"),
            layer("BatchNorm", "b", "data", params="batch_norm_param { eps: 0.1 }"),
            None,
        ),
        (
            layer(
                "ReLU",
                "r",
                "data",
                params="quantization_param { bw_layer_in: 8 bw_params: 8 precision: MINIFLOAT }",
            ),
            layer("ReLU", "r", "data"),
            (
                "net:1: r: quantization_param was dropped: it is the precision of the arithmetic; pycam computes in "
                "single precision",
            ),
        ),
    ],
)
def test_fields_are_dropped_or_converted_and_said(text, same, notes):
    found, expected = prototxt.parse(text, "net"), prototxt.parse(same, "net")
    assert found.message == expected.message
    assert found.lines == expected.lines
    assert expected.notes == ()
    if notes is not None:
        assert found.notes == notes


def test_every_field_of_the_table_is_taken_or_refused():
    for field in FIELDS:
        message = fork_schema().messages[field.owner]
        descriptor = message.DESCRIPTOR.fields_by_name[field.name]
        assert field.treatment in (DROPPED, CONVERTED, REFUSED)
        assert bool(field.advice) == (field.treatment == REFUSED), field
        assert field.name not in schema.MESSAGES[field.owner].DESCRIPTOR.fields_by_name
        assert descriptor.number >= 10_000


def test_a_real_mistake_behind_a_field_of_a_fork_is_found_where_it_is():
    text = pool("p", "data", "ceil_mode: false") + conv("c", "data", params="num_outputs: 4")
    with pytest.raises(
        FormatError, match=r"^net:2:\d+: layer 'c': unknown field 'num_outputs': did you mean 'num_output'"
    ):
        prototxt.parse(text, "net")


def test_the_document_has_every_field_and_layer():
    document = (Path(__file__).parents[1] / "docs/formats.md").read_text("utf-8")
    rows: dict[tuple[str, ...], list[str]] = {}
    for field in FIELDS:
        done = f"refused: {field.advice}" if field.treatment == REFUSED else field.treatment
        rows.setdefault((field.owner, field.fork, field.meaning, done), []).append(f"`{field.name}`")
    for (owner, fork, meaning, done), names in rows.items():
        assert f"| {owner} | {', '.join(names)} | {fork} | {meaning} | {done} |\n" in document
    assert document.split("## Fields without effect")[0].count("Parameter | `") == len(rows)
    assert [kind for kind in TYPES if f"`{kind}`" not in document] == []


# Commands


@pytest.fixture
def files(tmp_path) -> list[str]:
    text = (
        data(1, 3, 16, 16)
        + conv("conv", "data", params="num_output: 6 kernel_size: 3 pad: 1")
        + layer("BN", "bn", "conv", "conv")
        + pool("pool", "conv", "pool: AVE global_pooling: true")
        + layer("InnerProduct", "fc", "pool", params="inner_product_param { num_output: 4 }")
        + layer("Softmax", "prob", "fc")
    )
    read(
        tmp_path,
        text,
        {"conv": [normal(6, 3, 3, 3), BIAS], "bn": STATISTICS, "fc": [normal(4, 6), normal(4)]},
    )
    return ["--prototxt", str(tmp_path / "net.prototxt"), "--weights", str(tmp_path / "net.caffemodel")]


NOTE = "net.prototxt:3: bn: BN was read as BatchNorm and Scale"


def test_notes_are_part_of_net_show(files, capsys):
    assert main(["net", "show", files[1]]) == 0
    assert f"note          {files[1]}:3: bn: BN was read" in capsys.readouterr().out
    assert main(["net", "show", files[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fork_layers"] == {"bn": "BN", "bn/scale": "BN"}
    assert len(found["notes"]) == 1


@pytest.mark.torch
def test_compare_marks_the_layers_of_forks(files, capsys):
    assert main(["compare", "onnxruntime", "torch", *files]) == 0
    said = capsys.readouterr()
    assert NOTE in said.err
    assert re.search(r"bn/scale +conv .* BN *\n", said.out)
    assert "Caffe 1.0 lacks the layers of forks that write the marked blobs (BN)" in said.out
    assert main(["compare", "onnxruntime", "torch", *files, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["blob"]: row["fork"] for row in rows} == {"conv": "BN", "pool": "", "fc": "", "prob": ""}


@pytest.mark.caffe
def test_real_caffe_is_not_given_files_that_it_cannot_read(files, capsys):
    assert main(["compare", "onnxruntime", "caffe", *files]) == 7
    assert "engine 'caffe' runs the net's own file, which has what only forks of Caffe know" in capsys.readouterr().err


def test_heatmap_says_the_notes_once_unless_it_is_quiet(files, capsys, tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 20), (200, 100, 50)).save(tmp_path / "a.png")
    command = ["heatmap", str(tmp_path / "a.png"), *files, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert capsys.readouterr().err.count(NOTE) == 1
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["image"]


# Files of others


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("engine_mkl", ["conv1: engine was dropped"]),
        ("engine_intel", []),
        ("nv_bn", ["bn1: BatchNorm with scale and bias was read"]),
        ("digits_bn", ["bn1: BatchNorm with scale and bias was read"]),
        ("ceil_false", ["p1: ceil_mode: false was read as round_mode: FLOOR"]),
        ("dilation_hw", []),
    ],
)
def test_public_spellings_of_forks_are_read(shared, name, notes):
    net = read_net(shared / f"data/cases/06-prototxt-text/{name}.prototxt")
    assert [note.partition(": ")[2][: len(text)] for note, text in zip(net.notes, notes, strict=True)] == notes


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "kinds"),
    [
        ("hujie-frank+SENet__models__SE-ResNet-50", {"Axpy": 16}),
        ("farmingyard+ShuffleNet__shufflenet_1x_g3_deploy", {"ConvolutionDepthwise": 16, "ShuffleChannel": 15}),
        ("farmingyard+ShuffleNet__shufflenet_v2_1x_deploy", {"ConvolutionDepthwise": 19, "ShuffleChannel": 16}),
        ("shicai+DenseNet-Caffe__DenseNet_121", {}),
    ],
)
def test_public_nets_of_forks_are_read(shared, file, kinds):
    net = read_net(shared / f"data/prototxt-zoo/files/{file}.prototxt")
    assert {kind: sum(fork.type == kind for fork in net.forks) for kind in kinds} == kinds
    assert len(net.forks) == sum(kinds.values())
    assert net.notes


@pytest.mark.shared
@pytest.mark.parametrize(
    "file", ["TimoSaemann+ENet__prototxts__enet_deploy_final", "chuanqi305+MobileNet-SSD__voc__MobileNetSSD_deploy"]
)
def test_public_nets_for_other_tasks_say_so(shared, file):
    with pytest.raises(
        UnsupportedLayerError, match="detection and segmentation layers of Caffe forks are not supported"
    ):
        read_net(shared / f"data/prototxt-zoo/files/{file}.prototxt")
