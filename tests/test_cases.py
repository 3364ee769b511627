"""Nets, cards and weights of the kinds that people ask about: the commands do what they expect, or say why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pycam.cli import main

pytestmark = pytest.mark.shared


@pytest.fixture
def photograph(tmp_path: Path) -> str:
    """A colour image with edges."""
    ramp = np.add.outer(np.arange(70), 2 * np.arange(90)).astype(np.uint8)
    Image.fromarray(np.dstack([ramp, ramp.T.copy().reshape(70, 90), 255 - ramp])).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def heatmap(capsys, photograph: str, *arguments: object) -> tuple[int, str, str]:
    """Run `pycam heatmap`; return the exit code, and what it printed to both streams."""
    out = Path(photograph).parent / "out"
    code = main(["heatmap", photograph, "--out", str(out), *map(str, arguments)])
    output = capsys.readouterr()
    assert code != 70 and "Traceback" not in output.err
    if code:
        assert len(output.err.strip().splitlines()) == 1
    return code, output.out, output.err


def files(shared: Path, name: str) -> list[str]:
    case = shared / "data/cases" / name
    return ["--prototxt", f"{case}.prototxt", "--weights", f"{case}.caffemodel"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("05-heads/accuracy_left", "weights of 'fc', scores 'prob'"),
        ("05-heads/argmax", "weights of 'fc', scores 'prob'"),
        ("05-heads/bn_after_gap", "weights of 'fc', scores 'prob', including 'bn', 'sc'"),
        ("05-heads/conv_head_drop", "feature blob 'cccp', one channel per class"),
        ("05-heads/feature_out", "weights of 'fc', scores 'prob'"),
        ("05-heads/fullconv", "each score is the mean over 2×2 positions"),
        ("05-heads/gmp", "global max pooling"),
        ("05-heads/nobias_drop", "weights of 'fc', scores 'prob'"),
        ("05-heads/power_after_gap", "weights of 'fc', scores 'prob', including 'p'"),
        ("05-heads/reduction_gap", "feature blob 'conv2', weights of 'fc'"),
        ("05-heads/relu_after_gap", "weights of 'fc', scores 'prob'"),
        ("05-heads/scale_after_fc", "including 't'"),
        ("05-heads/silence", "weights of 'fc', scores 'prob'"),
        ("05-heads/two_fc", "including 'hid'"),
        ("13-layers/eltwise_head", "including 'f1', 'el'"),
        ("13-layers/flatten_conv", "weights of 'fc'"),
        ("13-layers/gap_hw", "weights of 'fc'"),
        ("13-layers/gap_pad", "weights of 'fc'"),
        ("13-layers/gap_then_gap", "feature blob 'p1', weights of 'fc'"),
        ("13-layers/group_fc", "weights of 'fc'"),
        ("13-layers/mean_scale_in_net", "weights of 'fc'"),
        ("13-layers/reshape0", "weights of 'fc'"),
        ("13-layers/reshape1", "weights of 'fc'"),
        ("13-layers/softmax_spatial", "feature blob 'cls', one channel per class"),
        ("13-layers/split_layer", "feature blob 'x1', weights of 'fc'"),
        ("13-layers/strided_gap_conv", "weights of 'fc'"),
        ("13-layers/transposed", "weights of 'fc'"),
        ("13-layers/two_inputs_shapes", "weights of 'fc'"),
        ("13-layers/unused_input", "weights of 'fc'"),
    ],
)
def test_heads_are_found(name, told, shared, photograph, capsys):
    code, _, error = heatmap(capsys, photograph, *files(shared, name), "--view", "full", "--boxes")
    assert code == 0 and told in error
    (written,) = Path(photograph).parent.glob("out/photo/photo.json")
    scores = [item["score"] for item in json.loads(written.read_text())["top"]]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("05-heads/concat_two_pools", "the scores combine several poolings, 'a' and 'm'"),
        ("05-heads/lse", "layer 'l' (Log) is not linear, between the pooling and the scores"),
        (
            "05-heads/two_heads",
            "scores 'prob_age'); prob_sex (feature blob 'conv2', weights of 'fc_sex'",
        ),
        ("13-layers/slice_head", "2 heads: prob ("),
        ("13-layers/concat0", "layer 'cc' (Concat) works along axis 0"),
        (
            "13-layers/fc_on_map",
            "no global pooling before the scores; use method gradcam or scorecam, which need none, or",
        ),
        ("13-layers/gap_7_of_8", "layer 'fc' (InnerProduct) mixes the 2×2 positions"),
    ],
)
def test_heads_are_denied_for_the_true_reason(name, told, shared, photograph, capsys):
    code, _, error = heatmap(capsys, photograph, *files(shared, name), "--view", "full")
    assert code in (2, 4) and told in error


@pytest.mark.parametrize(("head", "classes"), [("prob_age", 4), ("fc_age", 4), ("prob_sex", 2)])
def test_a_head_is_chosen(head, classes, shared, photograph, capsys):
    code, out, _ = heatmap(
        capsys, photograph, *files(shared, "05-heads/two_heads"), "--view", "full", "--head", head, "--json"
    )
    assert code == 0 and len(json.loads(out)[0]["top"]) == classes


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("age", ""),
        (
            "conv1f",
            "class_layer 'fc' has weights of 4×12, but the scores 'prob' are 4 classes and feature_blob 'conv1'",
        ),
        ("flat", "feature_blob 'gap' is 1×12×1×1: maps need rows and columns"),
        ("flat2", "feature_blob 'fc' is 1×4: maps need rows and columns"),
        ("fo", ""),
        ("fo3", ""),
        ("full", ""),
        ("full2", ""),
        ("gmpc", ""),
        ("hidden", "class_layer 'hid' has weights of 6×12, but the scores 'prob' are 4 classes"),
        ("nocl", ""),
        ("nofeat", "no blob 'conv9' for feature_blob: did you mean 'conv2'?"),
        ("nolayer", "no layer 'fc9' for class_layer"),
        ("pow", ""),
        ("relu", ""),
        ("wrongk", ""),
    ],
)
def test_cards_are_checked_against_their_nets(card, told, shared, photograph, capsys):
    path = shared / f"data/cases/05-heads/{card}.yaml"
    code, out, error = heatmap(capsys, photograph, "--model", path, "--view", "full", "--json")
    assert code == (4 if told else 0) and told in error
    if told:
        assert f"{card}.yaml: " in error
    else:
        assert len(json.loads(out)[0]["top"]) == 4


@pytest.mark.torch
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
@pytest.mark.parametrize(
    "name", ["05-heads/fullconv", "05-heads/lse", "05-heads/concat_two_pools", "13-layers/fc_on_map"]
)
def test_gradients_need_no_head(name, method, shared, photograph, capsys):
    # Exp overflows on pixels of 0 to 255.
    options = ["--view", "full", "--method", method, "--input-scale", "1/255", "--json"]
    code, out, error = heatmap(capsys, photograph, *files(shared, name), *options)
    assert code == 0 and len(json.loads(out)[0]["top"]) == 4
    assert ("mean over 2×2 positions" in error) == ("fullconv" in name)


def cases(shared: Path) -> list[tuple[Path, Path]]:
    """Return the nets of the cases about nets, each with every caffemodel of its folder, or its own if it has one."""
    found = []
    for net in sorted((shared / "data/cases").glob("*/*.prototxt")):
        own = net.with_suffix(".caffemodel")
        weights = [own] if own.exists() else sorted(net.parent.glob("*.caffemodel*"))
        if net.parent.name != "08-training":
            found += [(net, each) for each in weights]
    return found


def test_no_command_fails_in_an_unknown_way(shared, photograph, capsys):
    assert len(cases(shared)) > 50
    for net, weights in cases(shared):
        out = Path(photograph).parent / "out"
        pair = ["--prototxt", str(net), "--weights", str(weights)]
        for arguments in (
            ["net", "show", str(net), str(weights)],
            ["heatmap", photograph, *pair, "--out", str(out), "--quiet"],
            ["net", "export", "--maps", "--onnx", str(out / "a.onnx"), *pair],
        ):
            code, error = main(arguments), capsys.readouterr().err
            assert code in (0, 2, 3, 4, 6, 7), arguments
            assert "Traceback" not in error and (code == 0 or error.strip().count("\npycam: ") == 0), arguments
