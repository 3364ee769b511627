"""`pycam explain`: units add up to the logit, for every kind of head; and the fields of their positions."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples
from nets import conv, data, layer, pool

from pycam import engines
from pycam.cli import main
from pycam.errors import NetError
from pycam.formats import caffemodel, prototxt
from pycam.images.views import view_of
from pycam.model import load_model
from pycam.net import CamHead, Net, find_head, net_from_message, random_weights
from pycam.net.fitted_head import fitted_net
from pycam.net.heads import named_head
from pycam.predict import make_cam
from pycam.protocols import protocol
from pycam.units.activations import UnitCam
from pycam.units.head import unit_head

FC = layer("InnerProduct", "fc", "pool", params="inner_product_param { num_output: 5 }")
FEATURES = (
    data(1, 3, 20, 20) + conv("conv", "data", params="num_output: 6 kernel_size: 3") + layer("ReLU", "relu", "conv")
)
GLOBAL = "pool: AVE global_pooling: true"
CLASS_MAPS = conv("maps", "relu", params="num_output: 5 kernel_size: 1 pad: 1")


def softmax(bottom: str) -> str:
    return layer("Softmax", "prob", bottom)


NETS = {
    "average": FEATURES + pool("pool", "relu", GLOBAL) + FC + softmax("fc"),
    "maximum": FEATURES + pool("pool", "relu", "pool: MAX global_pooling: true") + FC + softmax("fc"),
    "overlapping windows": FEATURES
    + pool("windows", "relu", "pool: AVE kernel_size: 8 stride: 5 pad: 1")
    + conv("fc", "windows", params="num_output: 5 kernel_size: 1")
    + softmax("fc"),
    "several layers": FEATURES
    + pool("pool", "relu", GLOBAL)
    + layer("Scale", "scale", "pool", params="scale_param { bias_term: true }")
    + layer("InnerProduct", "fc1", "scale", params="inner_product_param { num_output: 4 }")
    + layer("InnerProduct", "fc", "fc1", params="inner_product_param { num_output: 5 }"),
    "class maps behind a ReLU": FEATURES
    + CLASS_MAPS
    + layer("ReLU", "rectified", "maps")
    + pool("pool", "rectified", GLOBAL)
    + softmax("pool"),
    "class maps behind a leaky ReLU": FEATURES
    + CLASS_MAPS
    + layer("ReLU", "rectified", "maps", params="relu_param { negative_slope: 0.25 }")
    + pool("pool", "rectified", GLOBAL),
    "class maps": FEATURES + CLASS_MAPS + pool("pool", "maps", GLOBAL),
    "class maps of a large kernel": FEATURES
    + conv("maps", "relu", params="num_output: 5 kernel_size: 3")
    + pool("pool", "maps", GLOBAL),
    "scores at positions": FEATURES + CLASS_MAPS + softmax("maps"),
    "sum": FEATURES
    + layer("Reduction", "sum", "relu", params="reduction_param { axis: 2 }")
    + layer("InnerProduct", "fc", "sum", params="inner_product_param { num_output: 5 }"),
}


def with_weights(net: Net, seed: int = 0) -> Net:
    rng = np.random.default_rng(seed)
    weights = random_weights(net, seed)
    return net.with_params(
        {
            name: [a if a.ndim > 1 else rng.normal(0.2, 0.5, a.shape).astype(np.float32) for a in arrays]
            for name, arrays in weights.items()
        }
    )


def parsed(text: str) -> Net:
    return with_weights(net_from_message(prototxt.parse(text).message))


def check(net: Net, head: CamHead, crops: int = 3) -> None:
    """Hold the accounts of all classes to the logits of the net."""
    units = unit_head(net, head)
    outputs = dict.fromkeys([units.blob, head.logits, *filter(None, [units.pooled_value])])
    inputs = np.random.default_rng(1).normal(0, 1, (crops, *net.shapes["data"][1:])).astype(np.float32)
    with engines.make("onnxruntime", net, list(outputs), engines.Options(threads=1)) as engine:
        values = engine.forward({"data": inputs})
    logits = values[head.logits].reshape(crops, len(units.bias), -1).mean(axis=(0, 2), dtype=np.float64)
    pooled = values[units.pooled_value].reshape(crops, -1).astype(np.float64) if units.pooled_value else None
    accounts = units.accounts(values[units.blob], pooled, range(len(logits)))
    for account, logit in zip(accounts, logits, strict=True):
        assert account.total == pytest.approx(logit, rel=1e-5, abs=1e-6)
        assert account.total == account.contributions.sum() + account.bias
        np.testing.assert_allclose(account.contributions, account.weights * account.pooled, rtol=1e-12, atol=1e-15)
        if units.pooling == "average":
            assert account.map.mean() + account.bias == pytest.approx(account.total, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_units_add_up_to_the_logit(name):
    net = parsed(NETS[name])
    head = find_head(net)
    check(net, head)
    found = unit_head(net, head)
    assert found.are_classes == (name == "class maps of a large kernel")
    assert found.blob == ("maps" if found.are_classes else "relu")
    assert (found.slope is not None) == (found.blob == "relu" and ("class maps" in name or "positions" in name))


def test_units_add_up_behind_a_division_by_the_norm():
    net = parsed(NETS["average"])
    rng = np.random.default_rng(2)
    fitted, head = fitted_net(net, "relu", rng.normal(size=(4, 6)), rng.normal(size=4), unit_norm=True)
    assert head.named
    assert unit_head(fitted, head).pooling == "layers"
    check(fitted, head)


def test_scores_that_are_no_sum_are_refused():
    behind = NETS["average"].replace(softmax("fc"), "") + layer("Sigmoid", "s", "fc") + layer("AbsVal", "a", "s")
    net = parsed(behind)
    with pytest.raises(NetError, match="no account: layers change the scores of 'fc' before they are 'a'"):
        unit_head(net, named_head(net, "relu", "fc", "a"))
    net = parsed(FEATURES + CLASS_MAPS + pool("pool", "maps", GLOBAL) + layer("AbsVal", "a", "pool"))
    with pytest.raises(NetError, match="no account: a card names 'maps' as the maps of the classes"):
        unit_head(net, named_head(net, "maps", None, "a"))


def units_of_samples(view: str = "full") -> UnitCam:
    cam = samples.cam(view=view)
    head = unit_head(cam.model.net, cam.head)
    outputs = [head.blob, cam.head.logits, cam.head.score_blob]
    engine = engines.make("onnxruntime", cam.model.net, outputs, engines.Options(threads=1))
    return UnitCam(replace(cam, engine=engine), head, cam.head.logits)


def test_pixels_outside_a_field_change_nothing():
    with units_of_samples() as units:
        ((_, found),) = units.stream([samples.image(3)])
        (prepared,) = units.cam.prepare([samples.image(3)])
        rng = np.random.default_rng(0)
        for unit in range(6):
            place = found.largest(unit)
            x0, y0, x1, y1 = place.field
            assert (x1 - x0, y1 - y0) == (19, 19)
            altered = rng.uniform(-100, 100, prepared[1].shape).astype(np.float32)
            altered[:, :, y0:y1, x0:x1] = prepared[1][:, :, y0:y1, x0:x1]
            values = units.cam.engine.forward({"data": altered})["conv"]
            assert values[0, unit, place.row, place.column] == place.activation


def test_a_field_lies_on_the_image_where_its_crop_does():
    view = view_of("ten", (224, 224))
    # The canvas of 256×256 is an image of 512×128: twice as high, half as wide.
    assert view.on_image(view.crops[3], (0, 0, 10, 20), 512, 128) == (16, 64, 21, 104)
    assert view.on_image(view.crops[8], (214, 0, 224, 20), 512, 128) == (16, 64, 21, 104)  # the same, mirrored


def test_crops_are_averaged():
    with units_of_samples("ten") as units, samples.cam(view="ten") as cam:
        image = samples.image(4)
        ((_, found),) = units.stream([image])
        prediction = cam(image)
        for item in prediction.top:
            account = found.account(item.index)
            assert account.total == pytest.approx(found.logits[item.index], rel=1e-5)
            np.testing.assert_allclose(account.map, item.feature_maps, rtol=1e-5, atol=1e-5)
            assert found.scores[item.index] == pytest.approx(item.score, rel=1e-6)
        place = found.largest(2)
        assert place.activation == found.features[:, 2].max() == found.features[place.crop, 2, place.row, place.column]


@pytest.mark.shared
def test_the_logits_of_300_images_are_sums(shared, tmp_path):
    # The same net with a smaller input.
    deploy = Path(__file__).parents[1] / "prototxt/deploy_squeezenet_v1.0.prototxt"
    small = tmp_path / "small.prototxt"
    small.write_text(deploy.read_text().replace("dim: 227", "dim: 115"))
    weights = shared / "data/weights/squeezenet_v1.0.caffemodel"
    model = load_model(prototxt=small, weights=weights)
    row = protocol("default").with_choices(view="full")
    images = sorted((shared / "data/ilsvrc-mini/ILSVRC2012_img_val").iterdir())
    assert len(images) == 300
    with make_cam(model, protocol=row) as cam:
        units = unit_head(model.net, cam.head)
        names = [units.blob, "conv10", "pool10"]
        engine = engines.make("onnxruntime", model.net, names)
        for image in images:
            (prepared,) = cam.prepare([str(image)])
            values = engine.forward({"data": prepared[1]})
            logits = values["pool10"].reshape(-1).astype(np.float64)
            index = int(logits.argmax())
            # The map of the class, as every heat map shows it, and the same as the sum of 512 units.
            assert values["conv10"][0, index].mean(dtype=np.float64) == pytest.approx(logits[index], rel=1e-6)
            (account,) = units.accounts(values[units.blob], None, [index])
            rounding = 1e-6 * (np.abs(account.contributions).sum() + abs(account.bias))
            assert abs(account.total - logits[index]) <= rounding
            assert account.map.mean() + account.bias == pytest.approx(account.total, rel=1e-12)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """The net of the samples as files, and its options."""
    folder = tmp_path_factory.mktemp("net")
    with samples.cam() as cam:
        caffemodel.write(folder / "net.caffemodel", cam.model.net.message, cam.model.net.params)
    (folder / "net.prototxt").write_text(samples.NET)
    # Whatever a label contains stays text.
    (folder / "labels.txt").write_text("\n".join([f"say {samples.MARKUP}", *(f"blob {i}" for i in range(1, 8))]))
    (folder / "a.jpg").write_bytes(samples.jpeg(3))
    (folder / "b.jpg").write_bytes(samples.jpeg(5))
    flags = {"prototxt": "net.prototxt", "weights": "net.caffemodel", "labels": "labels.txt"}
    given = [word for flag, name in flags.items() for word in (f"--{flag}", str(folder / name))]
    return [str(folder), *given, "--mean", "110"]


def test_json_and_table_add_up(files, capsys):
    folder, *options = files
    assert (
        main(["explain", f"{folder}/a.jpg", f"{folder}/b.jpg", "--json", "--top-units", "2", "--top", "3", *options])
        == 0
    )
    records = json.loads(capsys.readouterr().out)
    for record in records:
        assert (record["unit_blob"], record["pooling"], len(record["classes"])) == ("conv", "average", 3)
        for each in record["classes"]:
            total = sum(unit["contribution"] for unit in each["units"]) + each["bias"]
            total += sum(rest["contribution"] for rest in each["rest"].values())
            assert total == pytest.approx(each["sum"], rel=1e-12)
            assert each["sum"] == pytest.approx(each["logit"], rel=1e-5, abs=1e-6)
            sizes = [abs(unit["contribution"]) for unit in each["units"]]
            assert sizes == sorted(sizes, reverse=True)
    assert main(["explain", f"{folder}/a.jpg", "--class", "blob 4", "--class", "0", *options]) == 0
    shown = capsys.readouterr()
    assert "units are the channels of 'conv'; each adds its weight times the mean of its map" in shown.err
    assert "blob 4 (4): score" in shown.out and samples.MARKUP in shown.out
    sums = [float(line.split()[1]) for line in shown.out.splitlines() if line.startswith("sum ")]
    logits = [float(line.split()[4]) for line in shown.out.splitlines() if line.startswith("logit of the net ")]
    assert len(sums) == 2
    assert sums == pytest.approx(logits, abs=2e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "keras_gradcam"], "protocol 'keras_gradcam' makes maps by gradcam_mean"),
        (["--top", "9"], "--top 9: the net has 8 classes"),
        (["--class", "blob 77"], "blob 77"),
        (["--class", "1", "--top", "2"], "--top has no effect here"),
        (["--view", "none"], "none"),
    ],
)
def test_impossible_explanations_are_refused(files, capsys, options, message):
    folder, *others = files
    assert main(["explain", f"{folder}/a.jpg", *options, *others]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_net_without_maps_is_refused_with_advice_for_units(tmp_path, capsys):
    net = parsed(FEATURES + layer("InnerProduct", "fc", "relu", params="inner_product_param { num_output: 5 }"))
    caffemodel.write(tmp_path / "net.caffemodel", net.message, net.params)
    text = FEATURES + layer("InnerProduct", "fc", "relu", params="inner_product_param { num_output: 5 }")
    (tmp_path / "net.prototxt").write_text(text)
    files = ["--prototxt", str(tmp_path / "net.prototxt"), "--weights", str(tmp_path / "net.caffemodel")]
    assert main(["explain", "a.jpg", *files]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no global pooling before the scores, so that its scores are no sum over units" in line
    assert line.endswith("; convert the net with `pycam net cam`, or choose another model")


def test_an_image_that_cannot_be_read_stops_no_other(files, tmp_path, capsys):
    folder, *options = files
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    images = [str(tmp_path / "bad.jpg"), f"{folder}/a.jpg"]
    assert main(["explain", *images, "--json", "--out", str(tmp_path / "out"), *options]) == 6
    shown = capsys.readouterr()
    assert "bad.jpg: not an image" in shown.err
    assert len(json.loads(shown.out)) == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("a*")) == ["a.html", "a.json"]


@pytest.mark.browser
def test_pages_are_accessible_and_ask_nobody(launch, files, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    folder, *options = files
    out, figure = tmp_path / "out", tmp_path / "figure"
    assert main(["explain", f"{folder}/a.jpg", "--class", "0", "--class", "3", "--out", str(out), "-q", *options]) == 0
    assert main(["paper", "figure13", folder, "--class", "0", "--out", str(figure), "-q", *options]) == 0
    browser = launch()
    for path in (out / "a.html", figure / "index.html"):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems: list[str] = []
        page.on("console", lambda message, into=problems: into.append(message.text))
        page.on("request", lambda request, into=problems: into.append(request.url))
        page.goto(path.as_uri())
        assert [each for each in problems if not each.startswith(("data:", path.as_uri()))] == []
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        assert page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
        assert samples.MARKUP in page.inner_text("main")
        page.set_viewport_size({"width": 390, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert Axe().run(page).response["violations"] == []
        page.close()


def test_a_drawing_has_the_colours_of_the_heat_map(files, tmp_path):
    folder, *options = files
    assert main(["explain", f"{folder}/a.jpg", "--out", str(tmp_path), "-q", "--view", "full", *options]) == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    *_, drawn = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(drawn), np.uint8), cv2.IMREAD_COLOR)
    with samples.cam(view="full") as cam:
        expected = cam(f"{folder}/a.jpg", top=1).overlay()
    assert pixels.shape == expected.shape
    assert cv2.absdiff(pixels, expected).mean() < 4  # a JPEG
