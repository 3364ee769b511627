"""`pycam bench`: what it prints. How long something takes is no matter for a test."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from nets import conv, data, layer

from pycam.cli import main
from pycam.engines import ENGINES
from pycam.formats import prototxt
from pycam.net import net_from_message, random_weights
from pycam.verification import speed
from pycam.verification.compare import TOLERANCE
from pycam.verification.speed import Speed, advice

NET = data(1, 3, 8, 8) + conv("conv", "data") + layer("Softmax", "prob", "conv")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Short turns, small matrices, and a cache without files."""
    for name, value in (("ROUNDS", 2), ("SECONDS", 1e-4), ("SIDE", 32)):
        monkeypatch.setattr(speed, name, value)
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return str(path)


def measured(capsys, *arguments: str) -> dict:
    assert main(["bench", *arguments, "--json", "--threads", "2"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_engine_that_runs_and_one_that_is_missing(net, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "pycam.engines.openvino", raising=False)
    found = measured(capsys, "--prototxt", net, "--engines", "openvino, onnxruntime")
    assert found["weights"] == "random weights: no weights are given" and found["reference"] == "onnxruntime"
    missing, ran = found["engines"]
    assert (missing["engine"], ran["engine"]) == ("openvino", "onnxruntime")
    assert "not installed" in missing["refused"] and "pip install 'caffe-cam[openvino]'" in missing["refused"]
    assert ran["refused"] == "" and ran["max_rel"] is None and ran["streams"] >= 1
    assert ran["one"] > 0 and ran["many"] > 0 and found["sgemm"] > 0
    assert ran["gflops"] == pytest.approx(found["gflop"] * max(ran["one"], ran["many"]))
    assert ran["of_peak"] == pytest.approx(ran["gflops"] / found["sgemm"])
    assert found["advice"] == "fastest: --engine onnxruntime, the default, the only one that runs here"


def test_the_table_has_every_engine_and_ends_with_advice(net, capsys):
    assert main(["bench", "--prototxt", net, "--engines", "onnxruntime,caffe"]) == 0
    title, heading, ours, caffe, machine, weights, refused, advised = capsys.readouterr().out.splitlines()
    assert title == "Images per second" and "largest difference from onnxruntime" in heading
    assert ours.split()[0] == "onnxruntime" and "the reference" in ours
    assert caffe.split() == ["caffe", "does", "not", "run"] and refused.startswith("caffe does not run: no Caffe: ")
    assert "GFLOP/s" in machine and weights == "random weights: no weights are given"
    assert advised.startswith("fastest: --engine onnxruntime, the default")


def test_progress_counts_engines_and_rounds(net, capsys, minutes):
    assert main(["bench", "--prototxt", net, "--engines", "onnxruntime,caffe"]) == 0
    done = [line.partition(", ")[0] for line in capsys.readouterr().err.splitlines()]
    assert done == [f"engines and rounds: {number} of 4" for number in (1, 2, 3, 4)]


def test_a_model_whose_weights_are_missing_is_measured_with_random_ones(capsys, monkeypatch):
    given = {}

    def measure(net, names, options, inputs, progress):
        given.update(net=net, names=names)
        return speed.Comparison(tuple(Speed(name, refused="not now") for name in names), None, 1.0)

    monkeypatch.setattr("pycam.cli.bench.measure", measure)
    found = measured(capsys, "squeezenet-v1.0")
    assert found["weights"] == "random weights: its own are not on this machine"
    assert given["names"] == list(ENGINES) and given["net"].params["conv1"][0].std() > 0
    assert measured(capsys, "squeezenet-cam")["weights"] == "the net's own weights"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--engines", "onnxrutime"], 2, "no engine is called 'onnxrutime': did you mean 'onnxruntime'"),
        (["--engines", ","], 2, "--engines ,: expected names that differ, with commas between them"),
        (["--engines", "onnxruntime", "--threads", "0"], 2, "--threads"),
    ],
)
def test_what_is_refused(net, capsys, arguments, code, message):
    assert main(["bench", "--prototxt", net, *arguments]) == code
    assert message in capsys.readouterr().err


def test_neither_a_model_nor_a_net(capsys):
    assert main(["bench"]) == 2
    assert "no model is given" in capsys.readouterr().err


@pytest.mark.caffe
def test_real_caffe_is_the_reference(net, capsys):
    found = measured(capsys, "--prototxt", net, "--engines", "onnxruntime,caffe")
    ours, caffe = found["engines"]
    assert found["reference"] == "caffe" and caffe["max_rel"] is None and caffe["one"] > 0
    assert 0 <= ours["max_rel"] <= TOLERANCE


A, B, C = "ncnn", "onnxruntime", "openvino"


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({A: (10, 17), B: (8, 10)}, "fastest: --engine ncnn, 1.7 × onnxruntime"),
        ({B: (8, 10), C: (2, 5)}, "fastest: --engine onnxruntime, the default, 2.0 × openvino"),
        ({A: (8, 10.2), B: (8, 10)}, "fastest: --engine onnxruntime, the default, as fast as ncnn"),
        ({A: (8, 20), C: (8, 10)}, "fastest: --engine ncnn, 2.0 × openvino"),
        (
            {A: (5, 20), B: (8, 10), C: (12, 11)},
            "fastest: --engine ncnn, 2.0 × onnxruntime; one image at a time: --engine openvino, 1.5 × onnxruntime",
        ),
        ({A: (5, 5)}, "fastest: --engine ncnn, the only one that runs here"),
        ({}, "no engine runs this net here within the tolerance"),
    ],
)
def test_advice(rates, expected):
    ran = [Speed(name, one=one, many=many, max_rel=1e-6) for name, (one, many) in rates.items()]
    # The others are faster, but refuse the net or compute something else.
    others = [Speed("torch", one=99, many=99, refused="no"), Speed("opencv", one=99, many=99, max_rel=2 * TOLERANCE)]
    assert advice([*others, *ran]) == expected


def test_random_weights_keep_values_in_range_and_are_the_same_every_time():
    deep = data(1, 16, 9, 9) + "".join(
        conv(f"c{i}", f"c{i - 1}" if i else "data", params="num_output: 16 kernel_size: 3") for i in range(3)
    )
    net = net_from_message(prototxt.parse(deep).message)
    first, again, other = random_weights(net), random_weights(net), random_weights(net, seed=1)
    for name, (weights, bias) in first.items():
        assert np.array_equal(weights, again[name][0]) and not np.array_equal(weights, other[name][0])
        assert weights.std() == pytest.approx((2 / weights[0].size) ** 0.5, rel=0.2) and not bias.any()
