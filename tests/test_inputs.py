"""Nets whose input is no square of three channels: from the image to the map, against plain definitions and Caffe."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pycam import engines
from pycam.cli import main
from pycam.engines.base import Engine
from pycam.errors import EngineError, FormatError, ImageError, PycamError, UsageError
from pycam.evaluation.plan import Recipe, identity_of
from pycam.formats import caffemodel, prototxt
from pycam.images.read import Image, read_image
from pycam.maps.class_weights import ClassWeightMaps
from pycam.model import Model, Preprocessing, load_model
from pycam.net import find_head, net_from_message, read_net
from pycam.predict import Cam, load, make_cam
from pycam.protocols import protocol
from pycam.verification.certificate import noise
from pycam.zoo.labels import Labels

NET = """
name: "any"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: %d dim: %d dim: %d } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
RNG = np.random.default_rng(5)
CARD = "name: mine\nprototxt: net.prototxt\nweights: net.caffemodel\n"


def write_net(folder: Path, channels: int, height: int = 20, width: int = 28) -> dict[str, Path]:
    """Write a net with random weights: arguments for `load`."""
    text = NET % (channels, height, width)
    weights = {
        "conv": (RNG.normal(0, 0.01, (6, channels, 3, 3)).astype(np.float32), np.zeros(6, np.float32)),
        "fc": (RNG.normal(size=(4, 6)).astype(np.float32), np.zeros(4, np.float32)),
    }
    (folder / "net.prototxt").write_text(text)
    caffemodel.write(folder / "net.caffemodel", prototxt.parse(text).message, weights)
    return {"prototxt": folder / "net.prototxt", "weights": folder / "net.caffemodel"}


def files(net: dict[str, Path]) -> list[str]:
    return [f"--{name}={path}" for name, path in net.items()]


def write_image(folder: Path, name: str = "made.png", channels: int = 3) -> Path:
    cv2.imwrite(str(folder / name), np.random.default_rng(1).integers(0, 256, (50, 70, channels), np.uint8))
    return folder / name


def one_line(capsys) -> str:
    """Return the only line on stderr that begins with pycam's name."""
    error = capsys.readouterr().err
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("pycam: ")]
    return line


# ---- the cases, and real Caffe

CASES = {
    "non-square": ("02-non-square/deploy", 3),
    "grey": ("03-grey/grey", 1),
    "alpha": ("03-grey/four", 4),
    "large": ("04-large-input/deploy", 3),
}


def case(shared: Path, name: str) -> dict[str, Path]:
    stem = shared / "data/cases" / CASES[name][0]
    return {"prototxt": stem.with_suffix(".prototxt"), "weights": stem.with_suffix(".caffemodel")}


def photograph(folder: Path, channels: int) -> Path:
    """Write a smooth image as a JPEG, or as a PNG with alpha."""
    values = RNG.integers(0, 256, (9, 11, max(channels, 3)), np.uint8)
    smooth = cv2.resize(values, (130, 90), interpolation=cv2.INTER_CUBIC)
    path = folder / ("made.png" if channels == 4 else "made.jpg")
    cv2.imwrite(str(path), smooth)
    return path


def plain_crops(path: Path, view: str, size: tuple[int, int], channels: int) -> np.ndarray:
    """Make the input by its definition: the canvas has 256/224 of the sides of the net."""
    flag = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}[channels]
    values = np.atleast_3d(cv2.imread(str(path), flag))
    (height, width), (tall, wide) = size, [round(side * 256 / 224) for side in size]
    if view == "full":
        tall, wide = size
    mean = [104.00698793, 116.66876762, 122.67891434] if channels == 3 else [0] * channels
    canvas = np.atleast_3d(cv2.resize(values, (wide, tall))) - np.float32(mean)
    bottom, right = tall - height, wide - width
    corners = [(0, 0), (bottom, 0), (0, right), (bottom, right), ((bottom + 1) // 2, (right + 1) // 2)]
    places = corners if view == "ten" else [(bottom // 2, right // 2)]
    crops = [canvas[y : y + height, x : x + width] for y, x in places]
    if view == "ten":
        crops += [crop[:, ::-1] for crop in crops]
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), np.float32)


@pytest.mark.shared
@pytest.mark.caffe
@pytest.mark.parametrize("view", ["center", "full", "ten"])
@pytest.mark.parametrize("name", CASES)
def test_scores_and_maps_are_those_of_real_caffe(shared, name, view, tmp_path):
    given, channels = case(shared, name), CASES[name][1]
    path = photograph(tmp_path, channels)
    with load(**given, view=view) as cam:
        prediction = cam(path, classes=[0, 1, 2, 3])
        crops = plain_crops(path, view, cam.model.input_size, channels)
        with engines.make("caffe", cam.model.net, ["conv2", "prob"]) as caffe:
            blobs = caffe.forward({"data": crops})
        weights = cam.model.net.params["fc"][0]
    np.testing.assert_allclose(prediction.scores, blobs["prob"].mean(axis=0), atol=1e-5)
    maps = np.einsum("tk,nkhw->nthw", weights, blobs["conv2"])
    np.testing.assert_allclose(prediction.feature_maps, maps, atol=2e-5 * np.abs(maps).max())
    for item in prediction.top:
        assert item.image_map.shape == (90, 130)
        x0, y0, x1, y1 = item.box
        assert 0 <= x0 < x1 <= 130
        assert 0 <= y0 < y1 <= 90


@pytest.mark.shared
@pytest.mark.caffe
@pytest.mark.parametrize("name", CASES)
def test_compare_agrees_on_images_and_noise(shared, name, tmp_path):
    given = files(case(shared, name))
    assert main(["compare", "onnxruntime", "caffe", *given]) == 0
    assert main(["compare", "onnxruntime", "caffe", *given, f"--image={photograph(tmp_path, CASES[name][1])}"]) == 0


@pytest.mark.shared
def test_weights_of_a_net_whose_input_grew(shared, tmp_path, capsys):
    folder = shared / "data/cases/04-large-input"
    arguments = [f"--weights={folder / 'res.caffemodel'}", f"--out={tmp_path}", str(write_image(tmp_path))]
    assert main(["heatmap", f"--prototxt={folder / 'res_small.prototxt'}", *arguments]) == 0
    assert "input: 32×32: the middle of the image, 86 % of its height and width" in capsys.readouterr().err


@pytest.mark.shared
def test_real_means_and_wrong_ones(shared, tmp_path, capsys):
    net = shared / "data/cases/10-cli/net"
    given = [f"--prototxt={net}.prototxt", f"--weights={net}.caffemodel", f"--out={tmp_path / 'out'}"]
    image = str(shared / "data/cases/10-cli/grey.png")
    values, damaged, grey = (tmp_path / name for name in ("values.npy", "damaged.npy", "grey.npy"))
    np.save(values, np.float32([104, 117, 123]))
    np.save(damaged, np.full((3, 4, 4), np.nan))
    np.save(grey, np.full((1, 4, 4), 99.0))
    found = []
    for mean in (values, "104,117,123", "104, 117, 123"):
        assert main(["heatmap", image, *given, f"--mean={mean}", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)[0]["top"])
    assert found[0] == found[1] == found[2]
    for mean, code, reason in (
        ("nan,1,1", 2, "mean is nan,1,1; expected finite numbers"),
        ("1e39,1,1", 2, "mean is 1e39,1,1; expected finite numbers"),
        (damaged, 3, "damaged.npy: expected a mean of pixels from 0 to 255, found nan to nan: give another mean file"),
        (grey, 3, "grey.npy: expected a mean of shape 3×H×W or 3 values, found 1×4×4"),
        ("1,2", 2, "mean is 1,2: 2 values, but"),
        ("1,x,3", 2, "mean is 1,x,3; expected a file, or one number per channel"),
    ):
        assert main(["heatmap", image, *given, f"--mean={mean}"]) == code
        assert reason in one_line(capsys)


# ---- where the map lies


class Identity(Engine):
    """Gives the input as its features, and its mean as the only score."""

    name = "identity"

    def _load(self, net):
        pass

    def _run(self, inputs):
        (values,) = inputs.values()
        return [values, values.mean(axis=(1, 2, 3)).reshape(-1, 1)]

    @property
    def description(self) -> str:
        return "identity"


IDENTITY = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: %d dim: %d } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 1 kernel_size: 1 bias_term: false } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 1 bias_term: false } }
"""


def identity_cam(height: int, width: int, view: str) -> Cam:
    """Make a net whose map is its input."""
    one = {"conv": (np.ones((1, 1, 1, 1), np.float32),), "fc": (np.ones((1, 1), np.float32),)}
    net = net_from_message(prototxt.parse(IDENTITY % (height, width)).message).with_params(one)
    row = protocol("default").with_choices(view=view, merge="absolute_mean" if view == "ten" else None)
    model = Model("identity", net, Preprocessing(None, channels=1), Labels(("all",)))
    return Cam(model, ClassWeightMaps(net, find_head(net)), Identity(net, ["conv", "fc"]), row, np.zeros(1, np.float32))


@settings(max_examples=60)
@given(
    st.sampled_from(["center", "full", "ten"]),
    st.integers(16, 90),
    st.integers(16, 90),
    st.integers(40, 200),
    st.integers(40, 200),
)
def test_the_map_lies_where_its_pixels_were(view, height, width, tall, wide):
    down, across = np.mgrid[:tall, :wide]
    ramp = (60 + 80 * (down + 0.5) / tall + 100 * (across + 0.5) / wide).astype(np.float32)
    prediction = identity_cam(height, width, view)(ramp)
    found = prediction.top[0].image_map
    assert found.shape == (tall, wide)
    x0, y0, x1, y1 = prediction.placement.region(tall, wide)
    # Resizing blurs, and at the edges of a crop one pixel of the canvas is between it and nothing.
    edge_y, edge_x = (2 + 2 * size // side for size, side in ((tall, height), (wide, width)))
    inner = np.s_[y0 + edge_y : y1 - edge_y, x0 + edge_x : x1 - edge_x]
    step = 80 / height + 100 / width
    assert np.abs(found[inner] - ramp[inner]).max(initial=0) <= step
    if view == "center":
        outside = np.ones((tall, wide), bool)
        outside[max(y0 - edge_y, 0) : y1 + edge_y, max(x0 - edge_x, 0) : x1 + edge_x] = False
        assert not found[outside].any()
        assert abs((x1 - x0) / wide - 7 / 8) <= 1 / wide + 1 / width
        assert abs((y1 - y0) / tall - 7 / 8) <= 1 / tall + 1 / height
    assert prediction.base.shape == prediction.overlay(box=True).shape == (tall, wide, 3)


@pytest.mark.parametrize("name", ["py_demo", "matlab_demo", "released", "cells", "paper"])
def test_every_protocol_takes_any_shape(name, tmp_path):
    given = write_net(tmp_path, 3, 33, 20)
    with load(**given, protocol=name, mean="1,2,3") as cam:
        prediction = cam(np.full((40, 61, 3), 99, np.uint8))
        assert prediction.strip(box=True).ndim == 3
        assert prediction.top[0].image_map.shape == (40, 61)
        base = {"image": (40, 61), "canvas": (38, 23), "input": (33, 20)}[cam.protocol.base]
        assert prediction.base.shape[:2] == base


# ---- what the output says


def test_the_output_says_what_the_net_got(tmp_path, capsys):
    given, image = write_net(tmp_path, 1, 32, 48), write_image(tmp_path)
    arguments = ["heatmap", str(image), *files(given), f"--out={tmp_path / 'out'}"]
    assert main([*arguments, "--view=full", "--mean=127.5", "--input-scale=1/255", "--json"]) == 0
    output = capsys.readouterr()
    assert "input: 32×48, read as grey: the whole image, resized; less the mean 127.5, times 0.00392157\n" in output.err
    assert json.loads(output.out)[0]["input"] == {
        "channels": 1,
        "size": [32, 48],
        "canvas": [32, 48],
        "crops": [{"box": [0, 0, 70, 50], "mirrored": False}],
    }
    assert main([*arguments]) == 0
    assert (
        "input: 32×48, read as grey: the middle of the image, 86 % of its height and 87 % of its width; "
        "no mean is subtracted (none is known for 1 channel: --mean gives one)\n"
    ) in capsys.readouterr().err
    written = json.loads((tmp_path / "out/made/made.json").read_text())["input"]
    assert (written["canvas"], written["crops"]) == ([37, 55], [{"box": [4, 3, 65, 46], "mirrored": False}])
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_nets_of_many_channels_take_arrays(tmp_path, capsys):
    given = write_net(tmp_path, 20)
    flow = RNG.normal(0, 40, (50, 70, 20)).astype(np.float32)
    np.save(tmp_path / "flow.npy", flow)
    out = tmp_path / "out"
    assert main(["heatmap", str(tmp_path / "flow.npy"), *files(given), f"--out={out}", "--boxes", "--mean=3"]) == 0
    assert "input: 20×28, 20 channels: the middle" in capsys.readouterr().err
    with load(**given, mean="3") as cam:
        prediction = cam(flow, classes=[0])
        canvas = np.dstack([cv2.resize(np.ascontiguousarray(plane), (32, 23)) for plane in np.moveaxis(flow, 2, 0)])
        crop = np.ascontiguousarray((canvas[1:21, 2:30] - 3).transpose(2, 0, 1)[None], np.float32)
        np.testing.assert_allclose(prediction.scores, cam.engine.forward({"data": crop})["prob"][0], atol=1e-6)
    found = json.loads((out / "flow/flow.json").read_text())
    assert [item["score"] for item in found["top"] if item["index"] == 0] == [
        pytest.approx(float(prediction.scores[0]))
    ]
    assert main(["heatmap", str(write_image(tmp_path)), *files(given), f"--out={out}"]) == 6
    assert "an image file, but the net takes 20 channels: give a .npy" in one_line(capsys)
    assert main(["activations", str(tmp_path / "flow.npy"), "--layers=conv", *files(given), f"--out={out}"]) == 0
    assert (
        main(["compare", "onnxruntime", *files(given), f"--image={tmp_path / 'flow.npy'}", f"--save={out}/a.npz"]) == 0
    )


def test_an_image_of_other_channels_is_refused(tmp_path):
    with load(**write_net(tmp_path, 1)) as cam:
        image = read_image(write_image(tmp_path))
        with pytest.raises(ImageError, match="read with 3 channels, but the net takes 1: read it with channels=1"):
            cam(image)
        assert isinstance(cam(read_image(image.path, channels=1)).image, Image)


@pytest.mark.parametrize("shape", ["dim: 10", "dim: 1 dim: 10", "dim: 1 dim: 3 dim: 8"])
def test_an_input_that_is_no_image_is_refused(shape, tmp_path, capsys):
    text = (
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }} '
        'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }'
    )
    (tmp_path / "net.prototxt").write_text(text)
    caffemodel.write(tmp_path / "net.caffemodel", prototxt.parse(text).message, {})
    given = files({"prototxt": tmp_path / "net.prototxt", "weights": tmp_path / "net.caffemodel"})
    image = str(write_image(tmp_path))
    for command in (["heatmap", image], ["compare", "onnxruntime", "--save=x.npz", f"--image={image}"]):
        assert main([*command, *given]) in (2, 3, 4)
        assert "pycam: " in one_line(capsys)


# ---- mean, scale and std


def test_the_transformation_is_caffes(tmp_path):
    given = write_net(tmp_path, 3)
    (tmp_path / "card.yaml").write_text(
        f"{CARD}mean: {{value: [103.94, 116.78, 123.68]}}\ninput_scale: 0.017\nstd: [1, 2, 4]\ninput_size: [20, 28]\n"
    )
    pixels = RNG.integers(0, 256, (50, 70, 3), np.uint8)
    resized = cv2.resize(pixels, (28, 20)).astype(np.float64)
    blob = (resized - [103.94, 116.78, 123.68]) * 0.017 / [1, 2, 4]
    with load(tmp_path / "card.yaml", view="full") as cam:
        ((_, crops),) = cam.prepare([pixels])
        np.testing.assert_allclose(crops[0], blob.transpose(2, 0, 1), atol=1e-5)
    options = {"mean": "103.94,116.78,123.68", "std": "1,2,4", "input_scale": "0.017"}
    with load(**given, **options, view="full") as cam:
        ((_, same),) = cam.prepare([pixels])
        np.testing.assert_array_equal(same, crops)


def test_who_decides_the_scale(tmp_path):
    write_net(tmp_path, 3)
    card = tmp_path / "card.yaml"
    card.write_text(f"{CARD}input_scale: 0.5\nstd: 4\n")

    def scale(row: str, **options: str) -> float:
        with load(card, protocol=row, **options) as cam:
            return float(cam.scale[0])

    assert scale("default") == 0.125
    assert scale("default", std="2") == 0.25
    assert scale("default", input_scale="1") == 0.25
    assert scale("cells") == np.float32(1 / 255 / 4)
    assert scale("cells", input_scale="2", std="1") == 2


def test_rows_with_a_scale_keep_their_bytes(tmp_path):
    pixels = RNG.integers(0, 256, (50, 70, 3), np.uint8)
    with load(**write_net(tmp_path, 3), protocol="cells") as cam:
        ((_, crops),) = cam.prepare([pixels])
    resized = cv2.resize(pixels, (28, 20), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(crops[0], (resized.astype(np.float32) * np.float32(1 / 255)).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("key", "channels", "reason"),
    [
        (
            "mean: {value: [1, 2]}",
            3,
            r"card.yaml: mean has 2 values, but .*net.prototxt takes 3 channels: give one value, or 3",
        ),
        ("mean: {value: [1, 2, 3]}", 1, "mean has 3 values, but .* takes 1 channel: give one value$"),
        ("mean: ilsvrc-2012", 4, "mean has 3 values, but .* takes 4 channels"),
        ("std: [1, 2, 3, 4]", 3, "std has 4 values, but .* takes 3 channels"),
        ("input_size: 20", 3, "input_size is 20×20, but the input of its net is 20×28: correct it, or leave it out"),
    ],
)
def test_a_card_that_does_not_fit_its_net(key, channels, reason, tmp_path):
    write_net(tmp_path, channels)
    (tmp_path / "card.yaml").write_text(f"{CARD}{key}\n")
    with pytest.raises(FormatError, match=reason):
        load(tmp_path / "card.yaml")
    if not key.startswith("input_size"):
        load(tmp_path / "card.yaml", mean="1", std="1").close()  # what replaces it is used


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"std": "0"}, "std is 0; expected numbers above 0"),
        ({"std": "1,-1,1"}, "std is 1,-1,1; expected numbers above 0"),
        ({"std": "nan"}, "std is nan; expected finite numbers"),
        ({"std": "57,57"}, "std is 57,57: 2 values, but .* takes 3 channels: give one value, or 3"),
        ({"std": "x"}, "std is x; expected one number per channel"),
        ({"mean": "1,2,3,4"}, "mean is 1,2,3,4: 4 values"),
        ({"std": "1e-300"}, r"input_scale / std is 1e\+300; expected a number from"),
        ({"input_scale": "1e-60"}, "input_scale / std is 1e-60; expected a number from"),
        ({"input_scale": "0"}, "input_scale is 0.0; expected a finite number above 0"),
    ],
)
def test_options_that_do_not_fit_the_net(options, reason, tmp_path):
    with pytest.raises(UsageError, match=reason):
        load(**write_net(tmp_path, 3), **options)


def test_a_mean_of_one_value_is_for_all_channels(tmp_path):
    model = load_model(**write_net(tmp_path, 5), mean="127.5")
    assert model.preprocessing.mean_values().tolist() == [127.5] * 5
    assert load_model(**write_net(tmp_path, 5)).preprocessing.mean_values("image").tolist() == [0] * 5


@pytest.mark.parametrize("row", ["tf_vgg16cam", "mpii"])
def test_the_colour_of_a_protocol_is_refused_for_other_channels(row, tmp_path):
    given = write_net(tmp_path, 1)
    with pytest.raises(UsageError, match="of the protocol is a colour, BGR, but the net takes 1 channel: give --mean"):
        load(**given, protocol=row)
    with load(**given, protocol=row, mean="99") as cam:
        assert cam.mean.tolist() == [99]


def test_a_mean_image_of_the_nets_channels(tmp_path):
    given = write_net(tmp_path, 2, 224, 224)
    mean = RNG.uniform(0, 255, (2, 256, 256)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    model = load_model(**given, mean=tmp_path / "mean.npy")
    with make_cam(model, protocol=protocol("released")) as cam:
        ((_, crops),) = cam.prepare([np.zeros((256, 256, 2), np.uint8)])
    np.testing.assert_array_equal(crops[0], -mean[:, :224, :224])
    with pytest.raises(FormatError, match=r"mean.npy: expected a mean of shape 3×H×W or 3 values, found 2×256×256"):
        load_model(**write_net(tmp_path, 3), mean=tmp_path / "mean.npy")


def test_a_card_may_name_a_mean_image_of_any_channels(tmp_path):
    write_net(tmp_path, 1)
    np.save(tmp_path / "grey.npy", np.full((1, 4, 5), 77, np.uint8))
    (tmp_path / "card.yaml").write_text(f"{CARD}mean: {{image: grey.npy}}\n")
    with load(tmp_path / "card.yaml") as cam:
        assert cam.mean.tolist() == [77]
    write_net(tmp_path, 2)
    with pytest.raises(FormatError, match=r"grey.npy: expected a mean of shape 2×H×W or 2 values, found 1×4×5"):
        load(tmp_path / "card.yaml")


def test_scale_and_std_belong_to_a_runs_identity(model):
    prototxt_file, weights = map(str, model)

    def identity(row: str | None, std: str | None) -> dict[str, str]:
        recipe = Recipe(
            protocol("paper").with_choices(input_scale=row), prototxt=prototxt_file, weights=weights, std=std
        )
        with recipe.make(recipe.load()) as cam:
            return dict(identity_of(cam))

    found = [identity(None, None), identity("0.5", None), identity(None, "2"), identity(None, "2,2,4")]
    assert [each["scale"] for each in found] == ["1, 1, 1", "0.5, 0.5, 0.5", "0.5, 0.5, 0.5", "0.5, 0.5, 0.25"]


def test_a_scale_is_chosen_once(tmp_path, capsys):
    arguments = ["--images=x", "--ground-truth=x", f"--out={tmp_path}", "--input-scale=2", "--set", "input_scale=3"]
    assert main(["evaluate", "--model=squeezenet-v1.0", *arguments]) == 2
    assert "--set input_scale=3: the input_scale is already chosen: 2" in one_line(capsys)


@pytest.mark.torch
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_gradients_of_any_shape(method, tmp_path):
    with load(**write_net(tmp_path, 4), method=method) as cam:
        prediction = cam(RNG.integers(0, 256, (50, 70, 4), np.uint8), classes=[1])
        assert prediction.top[0].image_map.shape == (50, 70)
        assert prediction.feature_maps.shape[2:] == ((20, 28) if method == "saliency" else (9, 13))


def test_a_page_of_arrays(tmp_path):
    given = write_net(tmp_path, 5)
    np.save(tmp_path / "flow.npy", RNG.normal(size=(50, 70, 5)).astype(np.float32))
    page = tmp_path / "page.html"
    assert main(["report", "html", str(tmp_path / "flow.npy"), *files(given), f"--out={page}", "--quiet"]) == 0
    assert "flow.npy" in page.read_text()


def test_noise_has_the_scale_of_the_model(tmp_path):
    net = read_net(*write_net(tmp_path, 3).values())
    plain = noise(net)["data"]
    assert (plain.min() < -100) and (plain.max() > 100)
    scaled = noise(net, scale=np.float32([0.017, 1, 2]))["data"]
    np.testing.assert_array_equal(scaled, plain * np.float32([0.017, 1, 2])[:, None, None])
    mask = 'layer { name: "mask" type: "Input" top: "mask" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 5 } } }'
    two = net_from_message(prototxt.parse(NET % (3, 20, 28) + mask).message)
    scaled = noise(two, scale=np.full(3, 2, np.float32))
    np.testing.assert_array_equal(scaled["data"], 2 * noise(two)["data"])
    np.testing.assert_array_equal(scaled["mask"], noise(two)["mask"])
    (tmp_path / "card.yaml").write_text(f"{CARD}input_scale: 1/128\n")
    saved = tmp_path / "blobs.npz"
    assert main(["compare", "onnxruntime", f"--model={tmp_path / 'card.yaml'}", f"--save={saved}"]) == 0
    np.testing.assert_array_equal(np.load(saved)["data"], plain / 128)


# ---- what a data layer says

DATA = """layer { name: "images" type: "Data" top: "data" top: "label" include { phase: %s }
  transform_param { %s } data_param { batch_size: 2 } }
"""


@pytest.mark.parametrize(
    ("transform", "advice"),
    [
        (
            "mean_value: 103.94 mean_value: 116.78 mean_value: 123.68 scale: 0.017 crop_size: 20",
            "says mean 103.94,116.78,123.68 and scale 0.017: give --mean 103.94,116.78,123.68 --input-scale 0.017",
        ),
        ("scale: 0.00390625", "says scale 0.00390625: give --input-scale 0.00390625"),
        ("mean_value: 128", "says mean 128: give --mean 128"),
        ('mean_file: "mean.npy"', "says mean {folder}/mean.npy: give --mean {folder}/mean.npy"),
        ('mean_file: "gone.binaryproto"', "says mean gone.binaryproto: give --mean FILE (that file is not here)"),
        ("crop_size: 20", None),
    ],
)
def test_the_transformation_of_a_data_layer_is_suggested(transform, advice, tmp_path, capsys):
    given = write_net(tmp_path, 3)
    np.save(tmp_path / "mean.npy", np.float32([1, 2, 3]))
    given["prototxt"].write_text(DATA % ("TRAIN", transform) + (NET % (3, 20, 28)))
    assert main(["net", "show", str(given["prototxt"])]) == 0
    shown = capsys.readouterr().out
    heatmap = ["heatmap", str(write_image(tmp_path)), *files(given), f"--out={tmp_path / 'out'}"]
    assert main(heatmap) == 0
    said = capsys.readouterr().err
    if advice is None:
        assert "preprocessing" not in shown
        assert "data layer" not in said
        return
    expected = f"data layer 'images' {advice.format(folder=tmp_path)}"
    assert f"preprocessing {expected}\n" in shown
    assert f"{expected}\n" in said
    if "FILE" not in advice:
        assert main([*heatmap, *expected.split("give ")[1].split()]) == 0
        assert "data layer" not in capsys.readouterr().err


def test_the_layer_of_the_test_phase_is_suggested(tmp_path, capsys):
    text = DATA % ("TRAIN", "scale: 2 crop_size: 20") + DATA % ("TEST", "scale: 3 crop_size: 20")
    (tmp_path / "net.prototxt").write_text(text)
    assert main(["net", "show", str(tmp_path / "net.prototxt")]) == 0
    assert "give --input-scale 3" in capsys.readouterr().out


@settings(max_examples=40)
@given(
    st.integers(1, 6),
    st.sampled_from(["1", "1,2", "1,2,3", "0", "nan", "-1,1", "x,1", "", "1/3", "1/0", "1e400", "1e39", "1e-60,1"]),
    st.sampled_from(["mean", "std", "input_scale"]),
)
def test_any_numbers_give_a_model_or_one_line(tmp_path_factory, channels, text, name):
    given = write_net(tmp_path_factory.mktemp("net"), channels, 8, 9)
    try:
        with load(**given, **{name: text}) as cam:
            assert np.isfinite(cam.mean).all()
            assert np.isfinite(cam.scale).all()
            assert cam.scale.shape == cam.mean.shape == (channels,)
    except PycamError as error:
        assert "\n" not in str(error)


def test_a_bad_image_does_not_stop_the_channels_of_others(tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    cv2.imwrite(str(tmp_path / "good.png"), np.full((40, 50, 3), 90, np.uint8))
    images = [str(tmp_path / name) for name in ("bad.png", "good.png", "gone.png")]
    shown = ["--model", "squeezenet-cam-caltech101", "--layers", "conv1", "--out", str(tmp_path / "out")]
    assert main(["activations", *images, *shown]) == 6
    assert [path.name for path in (tmp_path / "out/good").iterdir()] == ["good_conv1.png"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "bad.png" in said[0] and "gone.png" in said[1]
    assert "2 images of 3 could not be read or drawn" in said[2]
    assert main(["activations", images[0], *shown]) == 6
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["activations", images[1], *shown, "--input-scale", "7e36"]) == EngineError.exit_code
    (said,) = capsys.readouterr().err.splitlines()
    assert "onnxruntime gave values of 'conv1' that are not finite for " in said and "good.png" in said
