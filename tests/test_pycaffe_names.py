"""Every name of real Caffe's Python is here, or its error says what to do instead; and the classes that use nets."""

from __future__ import annotations

import importlib
import json
import subprocess

import cv2
import numpy as np
import pytest

from pycam import pycaffe as caffe
from pycam.engines.caffe import find_caffe
from pycam.errors import UsageError
from pycam.formats import caffemodel, prototxt
from pycam.pycaffe.absent import ABSENT
from pycam.pycaffe.errors import MissingName

MODULES = ("", ".classifier", ".detector", ".io", ".net_spec", ".proto")

NAMES = """
import importlib, json, sys
modules = {name: importlib.import_module("caffe" + name) for name in json.loads(sys.argv[1])}
print(json.dumps({name: [each for each in dir(module) if each[0] != "_"] for name, module in modules.items()}))
"""

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 6 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.mark.caffe
def test_every_name_of_caffe_is_here_or_says_what_to_do():
    ended = subprocess.run([*find_caffe(), "-c", NAMES, json.dumps(MODULES)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    absent = set()
    for module, names in json.loads(ended.stdout).items():
        ours = importlib.import_module(f"pycam.pycaffe{module}")
        for name in names:
            try:
                getattr(ours, name)
            except MissingName as error:
                title = f"{module}.{name}".lstrip(".")
                assert str(error) == f"Caffe has caffe.{title}, pycam does not: {ABSENT[title]}"
                absent.add(title)
    # The others are private, or not imported before they are asked for.
    assert absent == ABSENT.keys() - {"_caffe", "draw", "coord_map"}


def test_a_name_that_neither_has_is_an_ordinary_error():
    with pytest.raises(AttributeError, match=r"^module 'pycam.pycaffe' has no attribute 'Nett': did you mean 'Net'\?$"):
        _ = caffe.Nett
    with pytest.raises(AttributeError, match=r"^module 'pycam.pycaffe' has no attribute 'zzzzzzz'$"):
        _ = caffe.zzzzzzz
    with pytest.raises(AttributeError, match=r"did you mean 'resize_image'\?"):
        _ = caffe.io.resize_images
    assert not hasattr(caffe, "NCCL")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import pycam.pycaffe.draw", "Caffe has caffe.draw, pycam does not: use `pycam net show PROTOTXT`"),
        ("from pycam.pycaffe.draw import draw_net", "use `pycam net show"),
        ("from pycam.pycaffe import NCCL", "trains on one device"),
        ("from pycam.pycaffe import coord_map", "compute the offset"),
        ("import pycam.pycaffe.drew", "No module named"),
    ],
)
def test_imports_of_absent_names_say_what_to_do(statement, message):
    with pytest.raises(ImportError, match=message):
        exec(statement)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Prototxt and caffemodel of a net, and an image."""
    folder = tmp_path_factory.mktemp("net")
    rng = np.random.default_rng(1)
    (folder / "net.prototxt").write_text(NET)
    weights = {"fc": (rng.normal(size=(5, 144)).astype(np.float32), rng.normal(size=5).astype(np.float32))}
    caffemodel.write(folder / "net.caffemodel", prototxt.parse(NET).message, weights)
    cv2.imwrite(str(folder / "image.png"), rng.integers(0, 256, (20, 30, 3), np.uint8))
    return folder / "net.prototxt", folder / "net.caffemodel", folder / "image.png"


@pytest.mark.parametrize("count", [1, 3])
def test_a_classifier_takes_the_mean_over_its_crops(files, count):
    net_file, weights, image_file = files
    steps = {"mean": [1.0, 2, 3], "raw_scale": 255, "input_scale": 0.1, "channel_swap": (2, 1, 0)}
    classifier = caffe.Classifier(net_file, weights, image_dims=(11, 9), **steps)
    images = [np.roll(caffe.io.load_image(image_file), i, axis=0) for i in range(count)]
    net = caffe.Net(net_file, weights, caffe.TEST)
    resized = [caffe.io.resize_image(image, (11, 9)) for image in images]
    crops = caffe.io.oversample(resized, (8, 6))
    inputs = np.stack([(crop.transpose(2, 0, 1)[::-1] * 255 - [[[1]], [[2]], [[3]]]) * 0.1 for crop in crops])
    expected = net.forward_all(data=inputs)["fc"].reshape(count, 10, 5)
    np.testing.assert_allclose(classifier.predict(images), expected.mean(axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(classifier.predict(images, oversample=False), expected[:, 4], rtol=1e-4, atol=1e-4)


def test_a_detector_classifies_windows(files):
    net_file, weights, image_file = files
    detector = caffe.Detector(net_file, weights, mean=np.array([0.1, 0.2, 0.3]), input_scale=2)
    windows = [(0, 0, 20, 30), (3, 4, 11, 10), np.array([12, 20, 13, 21])]
    found = detector.detect_windows([(image_file, windows[:2]), (str(image_file), windows[2:])])
    assert [each["window"] for each in found[:2]] == windows[:2]
    assert found[2]["filename"] == str(image_file)
    image = caffe.io.load_image(image_file)
    net = caffe.Net(net_file, weights, caffe.TEST)
    for (top, left, bottom, right), each in zip(windows, found, strict=True):
        crop = caffe.io.resize_image(image[top:bottom, left:right], (8, 6)).transpose(2, 0, 1)
        expected = net.forward_all(data=(crop[np.newaxis] - [[[0.1]], [[0.2]], [[0.3]]]) * 2)["fc"][0]
        np.testing.assert_allclose(each["prediction"], expected, rtol=1e-4, atol=1e-4)


def test_what_they_refuse(files, tmp_path):
    net_file, weights, image_file = files
    with pytest.raises(UsageError, match=r"image_dims \(8, 5\): give height and width of at least \(8, 6\)"):
        caffe.Classifier(net_file, weights, image_dims=(8, 5))
    with pytest.raises(UsageError, match=r"image_dims \(8,\): give height and width"):
        caffe.Classifier(net_file, weights, image_dims=(8,))
    with pytest.raises(UsageError, match=r"a mean of shape \(4,\)"):
        caffe.Classifier(net_file, weights, mean=np.ones(4))
    with pytest.raises(UsageError, match="predict: there is no image"):
        caffe.Classifier(net_file, weights).predict([])
    with pytest.raises(UsageError, match="no image"):
        caffe.Classifier(net_file, weights).predict([], oversample=False)
    with pytest.raises(UsageError, match="context_pad=4 is not supported"):
        caffe.Detector(net_file, weights, context_pad=4)
    detector = caffe.Detector(net_file, weights)
    with pytest.raises(UsageError, match="there is no window"):
        detector.detect_windows([])
    for window in ((0, 0, 21, 30), (3, 3, 3, 5), (-1, 0, 5, 5)):
        with pytest.raises(UsageError, match=r"window .*: give \(ymin, xmin, ymax, xmax\) within the image of 20×30"):
            detector.detect_windows([(image_file, [window])])
    with pytest.raises(UsageError, match="no selective search"):
        detector.detect_selective_search([image_file])
    flat = tmp_path / "flat.prototxt"
    flat.write_text('layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 9 } } }')
    with pytest.raises(UsageError, match="a net with an input of four axes"):
        caffe.Classifier(flat, None)
