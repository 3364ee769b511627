"""Figure 13: units, their best images and their segmentations, held to planted units and to plain definitions."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pycam.cli import main
from pycam.errors import UsageError
from pycam.formats import caffemodel
from pycam.images.matlab import imresize
from pycam.model import load_model
from pycam.net import read_net
from pycam.paper.outputs import read_outputs
from pycam.protocols import protocol
from pycam.units.activations import unit_cam
from pycam.units.best_images import ranked_units
from pycam.units.measured import GRID, PATCH, measured_field, patch_count
from pycam.units.segmentation import bilinear_region, disk, masked, smooth_region, stamped_region

COLOURS = """
name: "colours"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 48 dim: 48 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 1 stride: 4 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> tuple[Path, list[str]]:
    """A net with a unit for each colour and one that is never above 0, images of one spot each, and the options."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "net.prototxt").write_text(COLOURS)
    kernels = np.concatenate([2 * np.eye(3) - 1, np.zeros((1, 3))]).astype(np.float32).reshape(4, 3, 1, 1)
    weights = np.array([[3, 0, 0, 1], [0, 3, 0, 1], [-1, -1, 3, 2]], np.float32)
    params = {"conv": (kernels, np.array([0, 0, 0, -1], np.float32)), "fc": (weights, np.zeros(3, np.float32))}
    caffemodel.write(folder / "net.caffemodel", read_net(folder / "net.prototxt").message, params)
    (folder / "labels.txt").write_text("\n".join(NAMES))
    (folder / "images/more").mkdir(parents=True)
    for channel, name in enumerate(NAMES):
        for level in (100, 150, 200):
            pixels = np.zeros((60, 90, 3), np.uint8)
            pixels[20:40, 30:50, channel] = level
            place = folder / "images" / ("more" if level == 150 else ".") / f"{name}-{level}.png"
            cv2.imwrite(str(place), pixels)
    flags = {"prototxt": "net.prototxt", "weights": "net.caffemodel", "labels": "labels.txt"}
    options = [word for flag, name in flags.items() for word in (f"--{flag}", str(folder / name))]
    return folder / "images", [*options, "--mean", "0"]


def test_a_planted_unit_finds_its_images_first(colours, tmp_path, capsys):
    images, options = colours
    arguments = ["--class", "red", "--class", "blue", "--units", "2", "--images-per-unit", "2", "--json"]
    assert main(["paper", "figure13", str(images), *arguments, "--out", str(tmp_path), *options]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "units.json").read_text())
    red, blue = record["classes"]
    assert [unit["unit"] for unit in red["units"]] == [2, 3]
    assert [unit["weight"] for unit in red["units"]] == [3, 2]
    best, never = red["units"]
    assert [Path(each["image"]).name for each in best["images"]] == ["red-200.png", "red-150.png"]
    assert [each["activation"] for each in best["images"]] == [200, 150]
    assert never["images"] == []
    # Every image of a colour is predicted as the colour, and a single unit makes its logit.
    assert (red["predicted_images"], best["share"], never["share"]) == (3, 1, 0)
    assert [unit["unit"] for unit in blue["units"]] == [0, 3]
    for each in best["images"]:
        # The field of a 1×1 kernel: the pixels that one pixel of the input stands for.
        x0, y0, x1, y1 = each["field"]
        assert (x0, y0) == (each["column"] * 4 * 90 // 48, each["row"] * 4 * 60 // 48)
        assert x0 < 50 and x1 > 30 and y0 < 40 and y1 > 20
        assert (x1 - x0, y1 - y0) in [(2, 2), (3, 2), (2, 3), (3, 3)]

    _, found = read_outputs([tmp_path])
    ((path, figure),) = found.items()
    assert (path.parent, figure.figure, figure.images) == (tmp_path, 13, ("2-red.png", "0-blue.png"))
    assert figure.settings["images"] == 9
    sheet = cv2.imread(str(tmp_path / "2-red.png"))
    row = sheet[24 + 3 : 24 + 3 + 120, :120]
    assert sheet.shape == (24 + 2 * (120 + 2 * 3 + 24), 2 * 123 - 3, 3)
    # The spot is kept, and all else is black.
    assert row[60, 55].tolist() == [0, 0, 200]
    assert not row[:25].any() and not row[:, :20].any() and not row[:, 90:].any()
    assert "2 units of conv of colours" in (tmp_path / "index.html").read_text("utf-8")


def test_equal_weights_are_ranked_by_number():
    assert ranked_units(np.array([1.0, 3.0, -5.0, 3.0, 0.0]), 4) == [1, 3, 0, 4]


@pytest.mark.parametrize("way", ["smooth", "disk", "measured"])
def test_other_segmentations_dim_the_rest(colours, tmp_path, way):
    images, options = colours
    more = ["--class", "green", "--units", "1", "--images-per-unit", "1", "--segmentation", way, "-q", *options]
    if way == "disk":
        more += ["--field-size", "7"]
    drawn = []
    for name in "ab":
        out = tmp_path / name
        assert main(["paper", "figure13", str(images), *more, "--out", str(out)]) == 0
        drawn.append((out / "1-green.png").read_bytes())
    assert drawn[0] == drawn[1]
    sheet = cv2.imread(str(tmp_path / "a/1-green.png"))
    assert sheet.shape == (24 + 150 + 6 + 24, 240, 3)
    assert sheet[24 + 3 + 75, 67].tolist() == [0, 200, 0]
    if way == "measured":
        ((unit,),) = [each["units"] for each in json.loads((tmp_path / "a/units.json").read_text())["classes"]]
        # A unit that sees one pixel: every patch of 11×11 pixels over it stops it, those 3 pixels apart.
        assert unit["field_size"] in (3 * GRID, 4 * GRID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "red", "--view", "ten"], "view 'ten' has several crops"),
        (["--class", "red", "--class", "2"], "a class is given twice"),
        (["--class", "red", "--units", "5"], "5 units: the net has 4"),
        (["--class", "purple"], "purple"),
        (["--class", "red", "--segmentation", "measured"], "one unit at a time, with one --class and --units 1"),
        (["--class", "red", "--segmentation", "circle"], "segmentation 'circle': use one of bilinear"),
        (["--class", "red", "--field-size", "5"], "a field size has no effect with bilinear"),
        (["--class", "red", "--field-size", "900", "--segmentation", "disk"], "expected 1 to 48"),
        (["--class", "red", "--seed", "1"], "--seed has no effect here: only segmentation measured has random patches"),
        (["--class", "red", "--seed", "-1", "--segmentation", "measured"], "Invalid value for '--seed'"),
    ],
)
def test_impossible_figures_are_refused(colours, tmp_path, capsys, options, message):
    images, others = colours
    assert main(["paper", "figure13", str(images), *options, "--out", str(tmp_path / "out"), *others]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_are_skipped(colours, tmp_path, capsys):
    images, options = colours
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/bad.png").write_bytes(b"no image")
    out = ["--class", "red", "--units", "1", "--out", str(tmp_path / "out"), *options]
    assert main(["paper", "figure13", str(tmp_path / "empty"), *out]) == 2
    assert "empty: no images in it" in capsys.readouterr().err
    assert main(["paper", "figure13", str(tmp_path / "bad"), *out]) == 6
    assert "no image could be shown" in capsys.readouterr().err
    assert main(["paper", "figure13", str(images / "blue-100.png"), *out]) == 2
    assert "no unit of these classes is above 0 in any of 1 images" in capsys.readouterr().err
    assert main(["paper", "figure13", str(tmp_path / "bad"), str(images), "--json", *out]) == 0
    shown = capsys.readouterr()
    assert "skipped: " in shown.err and "bad.png" in shown.err
    assert json.loads(shown.out)["settings"]["failed_images"] == 1


MAPS = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=7), elements=st.floats(-1, 4, width=32)
)


@settings(max_examples=40)
@given(MAPS, st.integers(20, 40), st.integers(20, 40), st.integers(1, 9))
def test_segmentations_by_plain_definitions(map_, height, width, diameter):
    size = height, width
    largest = 3.5
    grown = cv2.resize(map_ / np.float32(largest), (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(bilinear_region(map_, largest, size), grown > 0.2)

    absolute = np.pad(np.abs(map_.astype(np.float64)), 1)
    means = np.array(
        [[absolute[y : y + 3, x : x + 3].sum() / 9 for x in range(map_.shape[1])] for y in range(map_.shape[0])]
    )
    expected = np.zeros(size, bool)
    if means.max() > 0:
        grown = imresize(means / means.max(), size, "bicubic")
        expected = grown > 0.4
        sure = abs(grown - 0.4) > 1e-9
        np.testing.assert_array_equal(smooth_region(map_, size)[sure], expected[sure])
    else:
        assert not smooth_region(map_, size).any()

    radius = int(diameter / 2 + 0.5)
    steps = height // (map_.shape[0] - 1), width // (map_.shape[1] - 1)
    expected = np.zeros(size, bool)
    for row, column in np.argwhere((map_ > map_.max() / 2) & (map_.max() > 0)):
        for y in range(height):
            for x in range(width):
                near = (y - row * steps[0]) ** 2 + (x - column * steps[1]) ** 2 <= radius**2
                expected[y, x] |= near
    np.testing.assert_array_equal(stamped_region(map_, disk(diameter), size), expected)


def test_the_rest_of_an_image_is_dimmed():
    pixels = np.full((2, 2, 3), 200, np.uint8)
    region = np.array([[True, False], [False, True]])
    assert masked(pixels, region, 0.2)[..., 0].tolist() == [[200, 40], [40, 200]]
    assert disk(65).shape == (67, 67)


def test_measured_fields_by_a_plain_definition(tmp_path):
    text = COLOURS.replace("kernel_size: 1 stride: 4", "kernel_size: 13 stride: 5 pad: 4")
    (tmp_path / "net.prototxt").write_text(text)
    net = read_net(tmp_path / "net.prototxt")
    rng = np.random.default_rng(0)
    kernels = rng.uniform(0, 1, (4, 3, 13, 13)).astype(np.float32)
    params = {"conv": (kernels, np.zeros(4, np.float32)), "fc": (np.ones((3, 4), np.float32), np.zeros(3, np.float32))}
    caffemodel.write(tmp_path / "net.caffemodel", net.message, params)
    model = load_model(prototxt=tmp_path / "net.prototxt", weights=tmp_path / "net.caffemodel", mean="120")
    inputs = [rng.uniform(0, 120, (1, 3, 48, 48)).astype(np.float32) for _ in range(2)]
    unit = 1
    with unit_cam(model, protocol=protocol("default")) as units:
        assert patch_count(units) == 13 * 13
        done = []
        found = measured_field(units, unit, inputs, seed=7, batch=10, progress=done.append)
        assert done[-1] == 2 * 13 * 13

    def convolved(values: np.ndarray, row: int, column: int) -> float:
        padded = np.pad(values[0].astype(np.float64), ((0, 0), (4, 4), (4, 4)))
        window = padded[:, row * 5 : row * 5 + 13, column * 5 : column * 5 + 13]
        return max(0.0, float((window * kernels[unit]).sum()))

    noise = np.random.default_rng(7)
    total, count = np.zeros((25, 25)), np.zeros((25, 25))
    for values in inputs:
        patch = noise.integers(0, 256, (3, PATCH, PATCH)) - 120
        side = (48 + 8 - 13) // 5 + 1
        map_ = np.array([[convolved(values, r, c) for c in range(side)] for r in range(side)])
        row, column = np.unravel_index(map_.argmax(), map_.shape)
        # Centers: of the field, 5 · i + 6 − 4; of a patch, 3 · i + 5.
        middle = [round((5 * at + 2 - 5) / 3) for at in (row, column)]
        for i in range(13):
            for j in range(13):
                altered = values.copy()
                altered[0, :, 3 * i : 3 * i + 11, 3 * j : 3 * j + 11] = patch
                at = 12 + i - max(0, middle[0]), 12 + j - max(0, middle[1])
                total[at] += map_[row, column] - convolved(altered, row, column)
                count[at] += 1
    drop = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    inside = drop > drop.max() / 2
    np.testing.assert_array_equal(found.stamp[1::3, 1::3], inside)
    assert found.size == pytest.approx(3 * np.sqrt(inside.sum()))
    assert found.stamp.shape == (75, 75)


def test_a_unit_that_no_patch_lowers_has_no_measured_field(colours):
    folder = colours[0].parent
    model = load_model(prototxt=folder / "net.prototxt", weights=folder / "net.caffemodel", mean="0")
    with (
        unit_cam(model, protocol=protocol("default")) as units,
        pytest.raises(UsageError, match="unit 3: no patch lowers its activation"),
    ):
        measured_field(units, 3, [np.zeros((1, 3, 48, 48), np.float32)])
