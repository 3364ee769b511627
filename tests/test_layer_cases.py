"""Small nets after public reports: layers, inputs and states are taken as Caffe takes them, or refused truly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import images, worst

from pycam import engines
from pycam.cli import main
from pycam.errors import NetError, UnsupportedLayerError
from pycam.net import read_net

pytestmark = pytest.mark.shared

TOLERANCE = 2e-5

ENGINES = [
    "onnxruntime",
    pytest.param("ncnn", marks=pytest.mark.ncnn),
    pytest.param("opencv", marks=pytest.mark.opencv),
]


@pytest.fixture
def cases(shared) -> Path:
    return shared / "data/cases"


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("case", "state", "shapes"),
    [
        ("zoo-03-same-name-layers", {}, {"a": (1, 3, 8, 8), "b": (1, 3, 8, 8), "sum": (1, 3, 8, 8)}),
        ("zoo-05-memory-data", {}, {"data": (1, 3, 8, 8), "label": (1,), "relu": (1, 3, 8, 8)}),
        ("zoo-06-dummy-data", {}, {"data": (1, 3, 8, 8), "relu": (1, 3, 8, 8)}),
        ("zoo-08-stage-deploy", {"stages": ["deploy"]}, {"data": (1, 3, 8, 8), "fc": (1, 4), "prob": (1, 4)}),
        ("zoo-09-reshape-batch", {}, {"data": (1, 100), "r": (1, 100, 1, 1)}),
        ("zoo-10-opencv-output-name", {}, {"data": (1, 3, 8, 8), "scores": (1, 4, 8, 8)}),
    ],
)
@pytest.mark.parametrize("name", ENGINES)
def test_nets_that_caffe_takes_have_its_values(case, state, shapes, name, cases):
    path = cases / case / "net.prototxt"
    read = read_net(path, **state)
    assert shapes.items() <= read.shapes.items()
    # Caffe reads the user's own file.
    net = read.with_params(seeded_params(read))
    computed = [blob for blob in net.shapes if blob not in net.inputs]
    inputs = images(net, net.fixed_batch or 2)
    with engines.make("caffe", net, computed) as caffe, engines.make(name, net, computed) as engine:
        truth = caffe.forward(inputs)
        assert worst(engine.forward(inputs), truth) < (TOLERANCE, "")


def seeded_params(net):
    rng = np.random.default_rng(0)
    return {
        layer.name: [rng.standard_normal(shape, np.float32) for shape in layer.param_shapes]
        for layer in net.layers
        if layer.param_shapes
    }


@pytest.mark.caffe
@pytest.mark.torch
def test_a_loss_without_a_top_has_caffes_value(cases):
    read = read_net(cases / "zoo-04-loss-without-top/net.prototxt")
    assert read.outputs == ()
    net = read.with_params(seeded_params(read))
    inputs = {"data": np.ones((2, 3), np.float32), "label": np.array([1, 3], np.float32)}
    found = []
    for name in ("torch", "caffe"):
        with engines.make(name, net, ["(automatic)"]) as engine:
            found.append(engine.forward(inputs)["(automatic)"])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_a_missing_stage_is_asked_for(cases, capsys):
    path = str(cases / "zoo-08-stage-deploy/net.prototxt")
    with pytest.raises(NetError, match=r"'data' \(line 2\): stage deploy\): choose with --phase, --stage or --level"):
        read_net(path)
    assert main(["net", "show", path]) == 4
    assert main(["net", "show", path, "--stage", "deploy"]) == 0
    assert "prob 1×4" in capsys.readouterr().out


@pytest.mark.caffe
@pytest.mark.torch
@pytest.mark.parametrize("net", ["net", "accuracy"])
def test_compare_gives_labels_to_a_loss(net, cases):
    folder = cases / "zoo-12-noise-labels"
    files = ["--prototxt", str(folder / f"{net}.prototxt"), "--weights", str(folder / "w.caffemodel")]
    assert main(["compare", "torch", "caffe", *files]) == 0


@pytest.mark.caffe
@pytest.mark.opencv
@pytest.mark.parametrize("net", ["dup_relu_name", "dummy_data", "memory_data"])
def test_other_spellings_of_one_net_have_its_values(net, cases):
    folder = cases / "06-prototxt-text"
    files = ["--prototxt", str(folder / f"{net}.prototxt"), "--weights", str(folder / "net.caffemodel")]
    for name in ("onnxruntime", "opencv"):
        assert main(["compare", name, "caffe", *files]) == 0


def test_two_sources_of_one_blob_are_refused_as_by_caffe(cases):
    with pytest.raises(NetError, match="layer 'data' writes blob 'data', which 'input' already writes"):
        read_net(cases / "06-prototxt-text/input_dims_and_layer.prototxt")


def layer_nets() -> list[str]:
    taken = "concat0 eltwise_head fc_on_map flatten_conv gap_7_of_8 gap_hw gap_pad gap_then_gap group_fc"
    return (
        f"{taken} mean_scale_in_net reshape0 reshape1 slice_head softmax_spatial split_layer strided_gap_conv".split()
    )


@pytest.mark.caffe
@pytest.mark.parametrize("net", [*layer_nets(), "transposed", "two_inputs_shapes", "unused_input"])
def test_variants_of_layers_have_caffes_values(net, cases):
    files = [str(cases / f"13-layers/{net}.{suffix}") for suffix in ("prototxt", "caffemodel")]
    assert main(["compare", "onnxruntime", "caffe", "--prototxt", files[0], "--weights", files[1]]) == 0


@pytest.mark.parametrize(
    "name",
    [*ENGINES, pytest.param("caffe", marks=pytest.mark.caffe)],
)
@pytest.mark.parametrize("net", ["unused_input", "two_inputs_shapes"])
def test_an_unused_input_may_be_left_out(net, name, cases):
    read = read_net(*(cases / f"13-layers/{net}.{suffix}" for suffix in ("prototxt", "caffemodel")))
    assert len(read.inputs) == 2
    with engines.make(name, read, ["prob"]) as engine:
        prob = engine.forward({"data": images(read, 2)["data"]})["prob"]
    np.testing.assert_allclose(prob.sum(1), 1, rtol=1e-5)


@pytest.mark.caffe
@pytest.mark.parametrize("net", ["argmax", "reduction_gap", "silence"])
def test_heads_with_the_rarer_layers_have_caffes_values(net, cases):
    files = [str(cases / f"05-heads/{net}.{suffix}") for suffix in ("prototxt", "caffemodel")]
    assert main(["compare", "onnxruntime", "caffe", "--prototxt", files[0], "--weights", files[1]]) == 0


@pytest.mark.caffe
@pytest.mark.parametrize("name", ENGINES)
def test_log_sum_exp_pooling_has_caffes_values(name, cases):
    net = read_net(*(cases / f"05-heads/lse.{suffix}" for suffix in ("prototxt", "caffemodel")))
    computed = [value for value in net.value_shapes if value != "data"]
    # With the values of an image, exp overflows, in Caffe as well.
    inputs = {"data": images(net, 2)["data"] / 50}
    with engines.make("caffe", net, computed) as caffe, engines.make(name, net, computed) as engine:
        assert worst(engine.forward(inputs), caffe.forward(inputs)) < (TOLERANCE, "")


@pytest.mark.parametrize(("case", "kind"), [("05-heads/python_layer", "Python"), ("13-layers/bias_layer", "Bias")])
def test_layers_that_stay_out_are_caffes(case, kind, cases):
    with pytest.raises(UnsupportedLayerError, match=f"type '{kind}': Caffe has it, pycam does not; pycam reads"):
        read_net(cases / f"{case}.prototxt")
