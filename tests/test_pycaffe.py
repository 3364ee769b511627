"""Scripts for Caffe's Python, run unchanged but for their import, beside the same scripts in real Caffe."""

from __future__ import annotations

import subprocess

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

import pycam
from pycam import pycaffe, zoo
from pycam.engines.caffe import find_caffe
from pycam.errors import EngineError, NetError, UsageError
from pycam.formats import caffemodel, prototxt

CARD = zoo.card("squeezenet-cam-caltech101")
NET, WEIGHTS = zoo.prototxt_path(CARD), zoo.weights_path(CARD)

# What the released driver does. `CANVAS` is the image at 256×256.
DRIVER = """
import numpy as np
import caffe

side = 227
caffe.set_mode_cpu()
net = caffe.Net(NET, WEIGHTS, caffe.TEST)
class_weights = net.params['CAM_fc'][0].data

canvas = np.load(CANVAS)
first, last = int(128 - side / 2.0), int(128 + side / 2.0)
net.blobs['data'].reshape(1, 3, side, side)
transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
transformer.set_transpose('data', (2, 0, 1))
transformer.set_mean('data', np.array([104.0, 117.0, 123.0]))
net.blobs['data'].data[...] = transformer.preprocess('data', canvas[first:last, first:last])
out = net.forward()

scores = out['prob'].mean(axis=0)
best = np.argsort(scores)[::-1][:5]
features = net.blobs['fire9/concat'].data
maps = np.einsum('tk,khw->thw', class_weights[best], features[0])
np.savez(FOUND, scores=scores, best=best, maps=maps)
"""

# What else scripts do: other shapes, every step of the Transformer, blobs by name. Images are enlarged, for Debian's
# scikit-image smooths when it shrinks them, which that of Caffe's time did not.
OTHER = """
import numpy as np
import caffe

net = caffe.Net(NET, caffe.TEST, weights=WEIGHTS)
shapes = [net.blobs['data'].data.shape]
net.blobs['data'].reshape(2, 3, 195, 259)
net.reshape()
shapes += [blob.data.shape for name, blob in net.blobs.items() if '_split_' not in name]
image = np.load(CANVAS)[40:190, 20:230, ::-1].astype(np.float32) / 255
resized = caffe.io.resize_image(image, (180, 290))
transformer = caffe.io.Transformer({'data': net.blobs['data'].data.shape})
transformer.set_transpose('data', (2, 0, 1))
transformer.set_channel_swap('data', (2, 1, 0))
transformer.set_raw_scale('data', 255)
transformer.set_mean('data', np.linspace(90, 130, 3 * 195 * 259).reshape(3, 195, 259).astype(np.float32))
transformer.set_input_scale('data', 0.5)
given = transformer.preprocess('data', image)
back = transformer.deprocess('data', given)
out = net.forward(blobs=['fire2/concat'], data=np.stack([given, given[:, ::-1]]))
early = net.forward(end='pool1')
np.savez(
    FOUND, shapes=np.array([(shape + (0, 0))[:4] for shape in shapes]), params=list(net.params),
    inputs=list(net.inputs), outputs=list(net.outputs), keys=sorted(out), early=sorted(early),
    resized=resized, given=given, back=back,
    prob=out['prob'], fire2=out['fire2/concat'], pool1=early['pool1'])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an image, and the image as the driver's canvas."""
    folder = tmp_path_factory.mktemp("pycaffe")
    rng = np.random.default_rng(5)
    pixels = cv2.resize(rng.integers(0, 256, (12, 17, 3), np.uint8), (340, 240), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / "image.png"), pixels)
    np.save(folder / "canvas.npy", cv2.resize(pixels, (256, 256)))
    return folder


def script(text, place, found):
    files = {"NET": NET, "WEIGHTS": WEIGHTS, "CANVAS": place / "canvas.npy", "FOUND": found}
    return "".join(f"{name} = {str(path)!r}\n" for name, path in files.items()) + text


def run_here(text, place):
    found = place / "here.npz"
    changed = script(text, place, found).replace("import caffe\n", "from pycam import pycaffe as caffe\n")
    exec(compile(changed, "script", "exec"), {})
    return np.load(found)


def run_in_caffe(text, place):
    found = place / "there.npz"
    ended = subprocess.run([*find_caffe(), "-c", script(text, place, found)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return np.load(found)


def test_the_driver_gives_what_heatmap_gives(place):
    found = run_here(DRIVER, place)
    with pycam.load(CARD.name, protocol="py_demo") as cam:
        prediction = cam(place / "image.png")
    np.testing.assert_array_equal(found["best"], [item.index for item in prediction.top])
    np.testing.assert_allclose(found["scores"], prediction.scores, atol=1e-6)
    maps = np.stack([item.feature_maps[0] for item in prediction.top])
    np.testing.assert_allclose(found["maps"], maps, atol=1e-5 * np.abs(maps).max())


@pytest.mark.caffe
def test_the_driver_gives_what_it_gives_in_caffe(place):
    here, there = run_here(DRIVER, place), run_in_caffe(DRIVER, place)
    np.testing.assert_array_equal(here["best"], there["best"])
    np.testing.assert_allclose(here["scores"], there["scores"], atol=1e-5)
    np.testing.assert_allclose(here["maps"], there["maps"], atol=2e-5 * np.abs(there["maps"]).max())


@pytest.mark.caffe
def test_other_habits_give_what_they_give_in_caffe(place):
    here, there = run_here(OTHER, place), run_in_caffe(OTHER, place)
    for name in ("params", "inputs", "outputs", "keys", "early"):
        assert here[name].tolist() == there[name].tolist(), name
    np.testing.assert_array_equal(here["shapes"], there["shapes"])
    for name in ("given", "back", "resized", "prob", "fire2", "pool1"):
        assert here[name].dtype == np.float32, name
        scale = np.abs(there[name]).max()
        np.testing.assert_allclose(here[name], there[name], atol=2e-5 * scale, err_msg=name)


@pytest.mark.shared
def test_published_features_give_the_released_driver_s_maps(shared, tmp_path):
    golden = np.load(shared / "data/golden/py_demo.npz")
    published = loadmat(shared / "data/cam-release/data_net.mat")
    features = loadmat(shared / "data/cam-release/data_img1.mat")["activation_lastconv"]
    text = """
    layer { name: "CAM_conv" type: "Input" top: "CAM_conv" input_param { shape { dim: 1 dim: 1024 dim: 14 dim: 14 } } }
    layer { name: "CAM_pool" type: "Pooling" bottom: "CAM_conv" top: "CAM_pool"
            pooling_param { pool: AVE global_pooling: true } }
    layer { name: "CAM_fc" type: "InnerProduct" bottom: "CAM_pool" top: "CAM_fc"
            inner_product_param { num_output: 1000 bias_term: false } }
    layer { name: "prob" type: "Softmax" bottom: "CAM_fc" top: "prob" }
    """
    weights = {"CAM_fc": (np.ascontiguousarray(published["weights_LR"].T, np.float32),)}
    (tmp_path / "net.prototxt").write_text(text)
    caffemodel.write(tmp_path / "net.caffemodel", prototxt.parse(text).message, weights)

    net = pycaffe.Net(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", pycaffe.TEST)
    net.blobs["CAM_conv"].data[...] = features.transpose(3, 2, 1, 0)[4]
    best = np.argsort(net.forward()["prob"].mean(axis=0))[::-1][:5]
    np.testing.assert_array_equal(best[:3], golden["index"][:3])  # the bias, which was not published, orders the rest
    found = pycam.py_returnCAMmap(net.blobs["CAM_conv"].data, net.params["CAM_fc"][0].data[golden["index"]])
    np.testing.assert_allclose(found, golden["maps"], atol=1e-6 * np.abs(golden["maps"]).max())


def test_the_next_run_overwrites_what_the_last_one_gave():
    net = pycaffe.Net(NET, WEIGHTS, pycaffe.TEST)
    first = net.forward(data=np.zeros((1, 3, 227, 227)))["prob"]
    before = first.copy()
    second = net.forward(data=np.full((1, 3, 227, 227), 90))["prob"]
    assert first is second is net.blobs["prob"].data
    assert np.abs(before - second).max() > 1e-3
    np.testing.assert_array_equal(net.forward(data=np.zeros((1, 3, 227, 227)))["prob"], before)


def test_parameters_cannot_be_written_unnoticed():
    net = pycaffe.Net(NET, WEIGHTS, pycaffe.TEST)
    with pytest.raises(ValueError, match="read-only"):
        net.params["CAM_fc"][0].data[...] = 0


def test_what_is_not_there_is_said():
    with pytest.raises(UsageError, match=r"phase TRAIN: give TEST; `pycam train` trains nets"):
        pycaffe.Net(NET, WEIGHTS, pycaffe.TRAIN)
    net = pycaffe.Net(NET, WEIGHTS, pycaffe.TEST)
    with pytest.raises(UsageError, match=r"forward\(start='conv1'\): pycam runs a net from its beginning"):
        net.forward(start="conv1")
    with pytest.raises(UsageError, match="no layer 'conv99'; there are data, conv1"):
        net.forward(end="conv99")
    with pytest.raises(UsageError, match="no blob 'conv99'; there are data, conv1"):
        net.forward(blobs=["conv99"])
    with pytest.raises(UsageError, match="no input 'dada'; there are data"):
        net.forward(dada=np.zeros((1, 3, 227, 227)))
    with pytest.raises(NetError, match="has no weights"):
        pycaffe.Net(NET, pycaffe.TEST).forward()
    with pytest.raises(UsageError, match=r"set_device\(1\): .* CUDA_VISIBLE_DEVICES=1"):
        pycaffe.set_device(1)


def test_the_mode_is_that_of_nets_made_later(monkeypatch):
    wanted = []

    def make(name, net, outputs, options):
        wanted.append(options.device)
        raise EngineError("no engine")

    monkeypatch.setattr(pycaffe.engines, "make", make)
    nets = [pycaffe.Net(NET, WEIGHTS, pycaffe.TEST)]
    pycaffe.set_mode_gpu()
    pycaffe.set_device(0)
    nets.append(pycaffe.Net(NET, WEIGHTS, pycaffe.TEST))
    pycaffe.set_mode_cpu()
    for net in nets:
        with pytest.raises(EngineError, match="no engine"):
            net.forward()
    assert wanted == ["cpu", "cuda"]
