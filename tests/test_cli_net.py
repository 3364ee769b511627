from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pycam import architectures
from pycam.cli.net import app
from pycam.errors import FormatError, NetError, UsageError
from pycam.formats import caffemodel, prototxt

FOLDER = Path(__file__).parents[1] / "prototxt"

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
PARAMETERS = {
    "conv": [np.ones((4, 3, 3, 3), np.float32), np.ones(4, np.float32)],
    "fc": [np.ones((5, 4), np.float32), np.ones(5, np.float32)],
}


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_show_prints_layers_shapes_and_sums(small):
    result = run("show", small)
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.output.splitlines() if line}
    assert [*rows["name"]] == [*json.loads(run("show", small, "--json").output)["layers"][0]]
    assert rows["conv"] == [
        "conv",
        "Convolution",
        "data",
        "conv",
        "1×4×6×6",
        "4×3×3×3,",
        "4",
        "112",
        "3,888",
        "3",
        "every",
        "1",
    ]
    assert rows["relu"] == ["relu", "ReLU", "conv", "conv", "1×4×6×6", "-", "-", "-", "3", "every", "1"]
    assert rows["fc"] == ["fc", "InnerProduct", "pool", "fc", "1×5", "5×4,", "5", "25", "20", "8"]
    assert rows["input"] == ["input", "data", "1×3×8×8"]
    assert rows["output"] == ["output", "prob", "1×5"]
    assert rows["parameters"] == ["parameters", "137"]
    assert rows["multiply-adds"] == ["multiply-adds", "3,908", "per", "image"]
    assert "class maps    feature blob 'conv', weights of 'fc'" in result.output


def test_show_keeps_a_layer_on_one_line_when_piped(small):
    result = run("show", FOLDER / "deploy_bvlc_googlenet.prototxt")
    (concat,) = (line for line in result.output.splitlines() if line.startswith("inception_5b/output"))
    bottoms = ", ".join(f"inception_5b/{part}" for part in ("1x1", "3x3", "5x5", "pool_proj"))
    assert bottoms in concat
    assert "1×1024×7×7" in concat


def test_show_as_json_has_everything(small):
    shown = json.loads(run("show", small, "--json").output)
    assert shown["name"] == "small"
    assert shown["layers"][1] == {
        "name": "conv",
        "type": "Convolution",
        "bottoms": ["data"],
        "tops": ["conv"],
        "output_shapes": [[1, 4, 6, 6]],
        "param_shapes": [[4, 3, 3, 3], [4]],
        "parameters": 112,
        "multiply_adds": 3888,
        "receptive_fields": [{"size": [3, 3], "center": [1.0, 1.0], "distance": [1, 1]}],
    }
    assert shown["blobs"] == {
        "data": [1, 3, 8, 8],
        "conv": [1, 4, 6, 6],
        "pool": [1, 4, 1, 1],
        "fc": [1, 5],
        "prob": [1, 5],
    }
    assert (shown["inputs"], shown["outputs"]) == (["data"], ["prob"])
    assert (shown["parameters"], shown["multiply_adds"]) == (137, 3908)
    assert (shown["feature_blob"], shown["class_layer"]) == ("conv", "fc")


def test_show_says_when_there_is_no_place_for_maps():
    path = FOLDER / "deploy_vgg16.prototxt"
    assert "class maps    none" in run("show", path).output
    shown = json.loads(run("show", path, "--json").output)
    assert shown["feature_blob"] is shown["class_layer"] is None


def test_show_holds_weights_to_the_net(small, tmp_path):
    message = prototxt.read(small).message
    weights = tmp_path / "small.caffemodel"
    caffemodel.write(weights, message, PARAMETERS)
    assert run("show", small, weights).exit_code == 0

    caffemodel.write(weights, message, {"conv": PARAMETERS["conv"]})
    with pytest.raises(NetError, match="'fc'"):
        run("show", small, weights)


def test_show_lists_weights_that_the_net_does_not_use(small, tmp_path):
    message = prototxt.read(small).message
    message.layer.add(name="aux", type="InnerProduct", inner_product_param={"num_output": 1})
    weights = tmp_path / "more.caffemodel"
    caffemodel.write(weights, message, {**PARAMETERS, "aux": [np.ones((1, 4), np.float32)]})
    assert "not in the net: aux" in run("show", small, weights).output
    assert json.loads(run("show", small, weights, "--json").output)["ignored_weights"] == ["aux"]


def test_show_prints_names_that_look_like_markup(tmp_path):
    path = tmp_path / "odd.prototxt"
    path.write_text(SMALL.replace('"conv"', '"[red]conv:smile:"'))
    assert "[red]conv:smile:" in run("show", path).output


def test_show_of_a_missing_file(tmp_path):
    with pytest.raises(FormatError, match=r"none\.prototxt"):
        run("show", tmp_path / "none.prototxt")


def test_write_one_net(tmp_path):
    result = run("write", "deploy_vgg16CAM", "--out", tmp_path / "new")
    path = tmp_path / "new" / "deploy_vgg16CAM.prototxt"
    assert result.output.split() == [str(path)]
    assert path.read_bytes() == (FOLDER / path.name).read_bytes()


def test_write_all_nets(tmp_path):
    assert run("write", "--all", "--out", tmp_path).exit_code == 0
    assert {path.stem for path in tmp_path.iterdir()} == set(architectures.FILES)


@pytest.mark.parametrize("arguments", [["write"], ["write", "deploy_vgg16", "--all"]])
def test_write_wants_names_or_all(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="or --all; the nets are deploy_alexnetplusCAM_imagenet"):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_files(tmp_path: Path) -> tuple[Path, Path]:
    text, weights = tmp_path / "small.prototxt", tmp_path / "small.caffemodel"
    text.write_text(SMALL)
    rng = np.random.default_rng(0)
    message = prototxt.parse(SMALL).message
    shapes = {"conv": [(4, 3, 3, 3), (4,)], "fc": [(5, 4), (5,)]}
    params = {name: [rng.normal(0, 0.1, shape).astype(np.float32) for shape in own] for name, own in shapes.items()}
    caffemodel.write(weights, message, params)
    return text, weights


@pytest.mark.onnx
def test_exported_maps_run_without_pycam(small_files, tmp_path):
    text, weights = small_files
    out = tmp_path / "small.onnx"
    arguments = [
        "export",
        "--prototxt",
        str(text),
        "--weights",
        str(weights),
        "--onnx",
        str(out),
        "--maps",
        "--top",
        "2",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "scores, classes, maps" in result.output

    import onnx
    import onnxruntime

    onnx.checker.check_model(str(out), full_check=True)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).uniform(-100, 100, (3, 3, 8, 8)).astype(np.float32)
    scores, classes, maps = session.run(["scores", "classes", "maps"], {"data": x})
    assert scores.shape == (3, 5)
    assert maps.shape == (3, 2, 6, 6)
    np.testing.assert_array_equal(classes, np.argsort(-scores, axis=1)[:, :2])
    # A map's mean is its class's score before softmax, less the bias.
    bias = caffemodel.read(weights).layers["fc"][1]
    logits = maps.mean(axis=(2, 3)) + bias[classes]
    best = np.take_along_axis(scores, classes, axis=1)
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], np.log(best[:, 0] / best[:, 1]), rtol=1e-3, atol=1e-4)


def test_export_without_maps_gives_the_nets_outputs(small_files, tmp_path):
    text, weights = small_files
    out = tmp_path / "small.onnx"
    result = CliRunner().invoke(app, ["export", "--prototxt", str(text), "--weights", str(weights), "--onnx", str(out)])
    assert result.output.strip().endswith("small.onnx: prob")


def test_a_layer_with_several_outputs_is_shown(tmp_path):
    """A label with four axes is no image: the fields are those of the image."""
    text = """
        layer { name: "in" type: "Input" top: "data" top: "label" input_param {
            shape { dim: 1 dim: 3 dim: 8 dim: 8 } shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 2 } }
        layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }
    """
    (tmp_path / "net.prototxt").write_text(text)
    output = run("show", tmp_path / "net.prototxt").output
    shown = [line.rstrip().split("  ")[-1].strip() for line in output.splitlines()[1:5]]
    assert shown == ["1 every 1, -", "3 every 1", "8", "8"]
