from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pycam.cli import main
from pycam.errors import FormatError
from pycam.formats import caffemodel, prototxt
from pycam.net import Net, net_from_message, read_net
from pycam.verification import compare
from pycam.verification.certificate import certify, noise, pitfalls

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 17 dim: 17 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 group: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "wide/conv" type: "Convolution" bottom: "pool" top: "wide/conv"
  convolution_param { num_output: 4 kernel_size: 1 group: 2 } }
layer { name: "mean" type: "Pooling" bottom: "wide/conv" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "mean" top: "prob" }
"""
RNG = np.random.default_rng(1)
WEIGHTS = {
    "conv": (RNG.normal(0, 0.1, (4, 3, 3, 3)).astype(np.float32), RNG.normal(size=4).astype(np.float32)),
    "wide/conv": (RNG.normal(0, 0.1, (4, 2, 1, 1)).astype(np.float32), RNG.normal(size=4).astype(np.float32)),
}


@pytest.fixture
def net() -> Net:
    return net_from_message(prototxt.parse(NET).message).with_params(WEIGHTS)


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    text, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    text.write_text(NET)
    caffemodel.write(weights, prototxt.parse(NET).message, WEIGHTS)
    return text, weights


def test_figures_of_a_row(net):
    a = {
        "conv": np.array([3.0, 4.0], np.float32),
        "prob": np.zeros(2, np.float32),
        "pool": np.ones(3, np.float32),
    }
    b = {
        "conv": np.array([3.0, 5.0], np.float32),
        "prob": np.zeros(2, np.float32),
        "pool": np.ones(2, np.float32),
    }
    conv, pool, prob = compare.compare(net, a, b)
    assert (conv.layer, conv.blob) == ("relu", "conv")
    assert conv.max_abs == 1
    assert conv.max_rel == pytest.approx(1 / 5)
    assert conv.cosine == pytest.approx((9 + 20) / (5 * np.hypot(3, 5)))
    assert (prob.max_abs, prob.max_rel, prob.cosine) == (0, 0, 1)
    assert pool.departs(1e9)


def test_not_a_number_departs(net):
    one = {"conv": np.array([np.nan, 1], np.float32)}
    (row,) = compare.compare(net, one, {"conv": np.ones(2, np.float32)})
    assert row.departs(1e9)


def test_blobs_survive_their_file(net, tmp_path):
    blobs = compare.run(net, "onnxruntime", noise(net))
    assert list(blobs) == list(net.shapes)
    compare.save_blobs(tmp_path / "blobs.npz", blobs)
    read = compare.load_blobs(tmp_path / "blobs.npz")
    assert list(read) == list(blobs)
    for name, values in blobs.items():
        np.testing.assert_array_equal(read[name], values)


def test_foreign_files_are_no_blobs(tmp_path):
    with pytest.raises(FormatError, match=r"none\.npz: expected a file of blobs, but: No such file"):
        compare.load_blobs(tmp_path / "none.npz")
    np.savez_compressed(tmp_path / "packed.npz", conv=np.zeros(10_000_000))
    np.savez(tmp_path / "pickled.npz", conv=np.array([None]))
    np.save(tmp_path / "single.npy", np.zeros(3))
    others = (tmp_path / name for name in ("packed.npz", "pickled.npz", "single.npy"))
    for content in (b"", b"text", b"PK\x03\x04 cut", *(path.read_bytes() for path in others)):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(
            FormatError, match=r"bad\.npz: (not a file of blobs|expected a file of blobs, found an empty)"
        ):
            compare.load_blobs(tmp_path / "bad.npz")


def test_command_compares_an_engine_with_a_file(files, tmp_path, capsys):
    text, weights = map(str, files)
    kept = str(tmp_path / "kept.npz")
    net = ["--prototxt", text, "--weights", weights]
    assert main(["compare", "onnxruntime", "--save", kept, "--seed", "3", *net]) == 0
    assert main(["compare", "onnxruntime", kept, *net]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^5 blobs agree within 2e-05", printed, re.M)
    assert "wide/conv" in printed

    blobs = compare.load_blobs(kept)
    blobs["pool"] = blobs["pool"] + np.float32(0.01) * np.abs(blobs["pool"]).max()
    compare.save_blobs(kept, blobs)
    assert main(["compare", "onnxruntime", kept, *net]) == 11
    assert "the first deviation is at layer pool (blob pool)" in capsys.readouterr().out
    assert main(["compare", "onnxruntime", kept, *net, "--json"]) == 11
    rows = {row["layer"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["pool"]["max_rel"] == pytest.approx(0.01, rel=0.02)
    assert rows["relu"]["max_abs"] == 0
    assert main(["compare", "onnxruntime", kept, *net, "--tolerance", "0.1"]) == 0


def test_command_without_a_second_side(files, capsys):
    text, weights = map(str, files)
    assert main(["compare", "onnxruntime", "--prototxt", text, "--weights", weights]) == 2
    assert "nothing to compare with" in capsys.readouterr().err


def test_certificate_says_what_was_found(files, capsys, tmp_path):
    text, weights = files
    net = read_net(text, weights)
    certificate = certify("made", net, published="made here", names=("onnxruntime",))
    assert certificate.verdict == "no engine could be compared"
    assert not certificate.good
    assert set(certificate.files) == {"net.prototxt", "net.caffemodel"}
    assert certificate.facts["parameters"] == 4 * 27 + 4 + 8 + 4
    assert "wide/conv" in certificate.as_markdown()
    told = certificate.as_markdown().splitlines()
    (blob,) = net.inputs
    assert f"- inputs: {blob} {'×'.join(map(str, net.shapes[blob]))}" in told
    assert "- weights of layers that the net does not have: none" in told
    out = tmp_path / "certificate.json"
    options = ["--prototxt", str(text), "--weights", str(weights), "--engine", "onnxruntime"]
    assert main(["verify", *options, "--out", str(out)]) == 11
    assert json.loads(out.read_text())["verdict"] == certificate.verdict


def test_progress_counts_engines(files, capsys, minutes, tmp_path):
    net = ["--prototxt", str(files[0]), "--weights", str(files[1])]
    for command, count in (
        (["verify", *net, "--engine", "onnxruntime", "--engine", "caffe"], 2),
        (["compare", "onnxruntime", "onnxruntime", *net], 2),
        (["compare", "onnxruntime", "--save", str(tmp_path / "a.npz"), *net], 1),
    ):
        main(command)
        done = [line.partition(", ")[0] for line in capsys.readouterr().err.splitlines()]
        assert done == [f"engines: {number} of {count}" for number in range(1, count + 1)], command


@pytest.mark.torch
def test_certificate_of_agreeing_engines(files):
    certificate = certify("made", read_net(*files), published="", names=("onnxruntime", "torch"))
    assert certificate.verdict == "engines agree, without real Caffe"
    (check,) = certificate.engines
    assert (check.engine, check.reference, check.blobs, check.first_departure) == (
        "torch",
        "onnxruntime",
        5,
        None,
    )
    assert 0 <= check.max_rel < 2e-5


def test_certificate_names_a_departure(files, monkeypatch):
    def wrong(net, engine, inputs, **options):
        blobs = dict(compare.run(net, "onnxruntime", inputs))
        if engine == "torch":
            blobs["mean"] = blobs["mean"] + 1
        return blobs

    monkeypatch.setattr("pycam.verification.certificate.run", wrong)
    monkeypatch.setattr("pycam.engines.ENGINES", {**__import__("pycam.engines").engines.ENGINES})
    from pycam import engines

    monkeypatch.setitem(engines.ENGINES, "torch", engines.ENGINES["onnxruntime"])
    certificate = certify("made", read_net(*files), published="", names=("onnxruntime", "torch"))
    assert certificate.verdict == "departs"
    assert certificate.engines[0].first_departure == "mean"


def test_pitfalls_are_those_of_the_net(net):
    found = "\n".join(pitfalls(net))
    assert "group convolutions: wide/conv" in found
    assert "1 blobs are changed in place" in found
    assert "rounds up: pool" in found
    assert "LRN" not in found
