"""Nets, blobs and solvers of pycaffe: beside real Caffe, beside pycam's own functions, and what is refused."""

from __future__ import annotations

import builtins
import contextlib
import io
import re
import subprocess
import sys
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nets import data, layer
from scipy.io import loadmat

import pycam
from pycam import errors, pycaffe, zoo
from pycam.engines.caffe import find_caffe
from pycam.errors import EngineError, FormatError, NetError, TrainingError, UsageError
from pycam.formats import caffemodel, prototxt
from pycam.pycaffe import errors as pycaffe_errors

with suppress(ImportError):
    import torch

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
shapes += [blob.data.shape for name, blob in net.blobs.items()]
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
    inputs=list(net.inputs), outputs=list(net.outputs), keys=sorted(out), early=sorted(early), blobs=list(net.blobs),
    layers=list(net._layer_names), resized=resized, given=given, back=back,
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
    for name in ("params", "inputs", "outputs", "keys", "early", "blobs", "layers"):
        assert here[name].tolist() == there[name].tolist(), name
    np.testing.assert_array_equal(here["shapes"], there["shapes"])
    for name in ("given", "back", "resized", "prob", "fire2", "pool1"):
        assert here[name].dtype == np.float32, name
        scale = np.abs(there[name]).max()
        np.testing.assert_allclose(here[name], there[name], atol=2e-5 * scale, err_msg=name)


@pytest.mark.shared
@pytest.mark.torch
def test_the_reported_calls_print_what_caffe_prints(shared, monkeypatch, tmp_path):
    folder = shared / "data/cases/09-pycaffe"
    monkeypatch.setattr(sys, "argv", ["script.py", "--pycam"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.warns(RuntimeWarning, match="constant mean"):
        code = compile((folder / "script.py").read_text(), "script", "exec")
        exec(code, {"__name__": "__main__", "__file__": str(folder / "script.py")})
    here = dict(line.split(" | ", 1) for line in said.getvalue().splitlines())
    there = dict(line.split(" | ", 1) for line in (folder / "caffe.txt").read_text().splitlines())
    # Debian's scikit-image is too young for Caffe's load_image.
    broken = {name for name, outcome in there.items() if "as_grey" in outcome}
    assert broken == {"classifier", "grey_load", "load"}
    number = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
    for name in there.keys() - broken:
        expected, found = there[name], here[name]
        if expected.startswith("EXC"):
            assert issubclass(_exception(found), _exception(expected)), (name, found)
        elif name == "backward":  # printed with the shape of arrays, cut off
            assert found.split("array(")[0] == expected.split("array(")[0]
        else:
            found = found.replace("OrderedDict({", "OrderedDict([(").replace("})", ")])")
            assert number.sub("#", found).replace(": ", ", ") == number.sub("#", expected).replace(": ", ", "), name
            numbers = [[float(each) for each in number.findall(text)] for text in (found, expected)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=1.01e-4), name


def _exception(outcome):
    name = outcome.split()[1]
    return next(getattr(module, name) for module in (pycaffe_errors, errors, builtins) if hasattr(module, name))


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


# Small nets.

SMALL = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "flat" type: "Flatten" bottom: "conv" top: "flat" }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "fc" top: "sum" }
layer { name: "prob" type: "Softmax" bottom: "sum" top: "prob" }
"""


def small(folder, text=SMALL, phase=pycaffe.TEST):
    (folder / "small.prototxt").write_text(text)
    net = pycaffe.Net(folder / "small.prototxt", phase)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.normal(0, 0.3, blob.shape)
    return net


def test_the_next_run_overwrites_what_the_last_one_gave(tmp_path):
    net = small(tmp_path)
    first = net.forward(data=np.zeros((2, 3, 6, 6)))["prob"]
    before = first.copy()
    second = net.forward(data=np.full((2, 3, 6, 6), 9))["prob"]
    assert first is second is net.blobs["prob"].data
    assert np.abs(before - second).max() > 1e-3
    np.testing.assert_array_equal(net.forward(data=np.zeros((2, 3, 6, 6)))["prob"], before)


@settings(max_examples=25)
@given(st.data())
def test_blobs_keep_their_memory_as_in_caffe(data):
    blob, memory = pycaffe.Blob((2, 3)), np.zeros(6, np.float32)
    for _ in range(data.draw(st.integers(1, 6))):
        shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
        blob.reshape(*shape)
        if blob.count > memory.size:
            memory = np.zeros(blob.count, np.float32)
        assert blob.data.shape == blob.diff.shape == blob.shape == tuple(shape)
        np.testing.assert_array_equal(blob.data.ravel(), memory[: blob.count])
        assert (blob.num, blob.channels, blob.height, blob.width) == (*shape, 1, 1, 1, 1)[:4]
        blob.data[...] = memory[: blob.count] = data.draw(st.floats(-9, 9, width=32))


def test_blobs_share_memory_as_in_caffe(tmp_path):
    net = small(tmp_path)
    net.blobs["flat"].data[1, 3] = 7
    assert net.blobs["conv"].data[1].ravel()[3] == 7
    assert net.blobs["fc_fc_0_split_1"].data.base is net.blobs["fc"].data.base


@pytest.mark.parametrize("phase", ["TEST", pytest.param("TRAIN", marks=pytest.mark.torch)])
def test_written_parameters_count_in_the_next_run(tmp_path, phase):
    net = small(tmp_path, phase=getattr(pycaffe, phase))
    x = np.random.default_rng(1).random((2, 3, 6, 6))
    kept = net.params["fc"][1].data
    for value in (1, -2):
        kept[...] = value
        net.params["fc"][0].data[...] = 0
        np.testing.assert_allclose(net.forward(["fc"], data=x)["fc"], value)
    net.params["fc"][0].data.flat[::2] = np.nan
    assert np.isnan(net.forward(["fc"])["fc"]).all()
    net.params["fc"][0].data[...] = 0
    np.testing.assert_allclose(net.forward(["fc"])["fc"], -2)


def test_an_engine_is_made_again_only_when_a_parameter_changed(tmp_path, monkeypatch):
    net, made, make = small(tmp_path), [], pycaffe.net.engines.make
    monkeypatch.setattr(pycaffe.net.engines, "make", lambda *arguments: made.append(1) or make(*arguments))
    for _ in range(3):
        net.forward()
    assert len(made) == 1
    _ = net.params["conv"][0].data
    net.forward()
    assert len(made) == 1
    net.params["conv"][0].data[0] = 3
    net.forward()
    net.forward(start="fc")
    net.forward(start="fc")
    assert len(made) == 3
    net.blobs["data"].reshape(5, 3, 6, 6)
    assert net.forward()["prob"].shape == (5, 5)


def test_any_range_of_layers_runs_on_what_the_blobs_hold(tmp_path):
    net = small(tmp_path)
    x = np.random.default_rng(1).random((2, 3, 6, 6))
    whole = net.forward(data=x)["prob"].copy()
    for name in net._layer_names:
        assert set(net.forward(start=name, end=name)) == set(net.top_names[name])
    np.testing.assert_allclose(net.blobs["prob"].data, whole, rtol=1e-6)
    net.blobs["flat"].data[...] = 1
    weights, bias = (blob.data for blob in net.params["fc"])
    np.testing.assert_allclose(net.forward(start="fc", end="fc")["fc"][0], weights.sum(1) + bias, rtol=1e-5)
    seen = []
    net.before_forward(lambda index: seen.append(net._layer_names[index]))
    np.testing.assert_allclose(net.forward(data=x)["prob"], whole, rtol=1e-6)
    assert seen == net._layer_names


def test_a_middle_blob_of_another_shape_is_taken(tmp_path):
    net = small(tmp_path)
    net.blobs["flat"].reshape(7, 64)
    net.blobs["flat"].data[...] = 0
    np.testing.assert_allclose(net.forward(start="fc", end="fc")["fc"], [net.params["fc"][1].data] * 7)
    net.blobs["flat"].reshape(7, 63)
    with pytest.raises(NetError, match=r"layer 'fc': its bottom is now 7×63, which needs parameters of 5×63 and 5"):
        net.forward(start="fc")


@pytest.mark.torch
def test_the_first_run_backward_keeps_what_the_engine_computed(tmp_path):
    text = SMALL.replace('name: "small"', "force_backward: true")
    x, gradient = np.random.default_rng(1).random((2, 3, 6, 6)), np.random.default_rng(2).random((2, 5))
    engine, layers = small(tmp_path, text), small(tmp_path, text)
    layers.backward()  # PyTorch from the start
    layers.clear_param_diffs()
    for net in (engine, layers):
        net.forward(data=x)
        net.blobs["flat"].data[...] += 1
        net.forward(start="fc")
        net.backward(prob=gradient)
    for name in engine.blobs:
        np.testing.assert_allclose(engine.blobs[name].data, layers.blobs[name].data, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(engine.blobs[name].diff, layers.blobs[name].diff, rtol=1e-4, atol=1e-6)
    for name, blobs in engine.params.items():
        for mine, other in zip(blobs, layers.params[name], strict=True):
            np.testing.assert_allclose(mine.diff, other.diff, rtol=1e-4, atol=1e-6)


@pytest.mark.torch
def test_gradients_are_those_of_autograd(tmp_path):
    net = small(tmp_path, SMALL.replace('name: "small"', "force_backward: true"))
    x = np.random.default_rng(1).random((2, 3, 6, 6)).astype(np.float32)
    net.forward(data=x)
    gradient = np.random.default_rng(2).random((2, 5)).astype(np.float32)
    net.backward(prob=gradient)
    tensors = {name: [torch.tensor(b.data, requires_grad=True) for b in blobs] for name, blobs in net.params.items()}
    data = torch.tensor(x, requires_grad=True)
    hidden = torch.nn.functional.conv2d(data, *tensors["conv"]).relu().flatten(1)
    (2 * torch.nn.functional.linear(hidden, *tensors["fc"])).softmax(1).backward(torch.tensor(gradient))
    np.testing.assert_allclose(net.blobs["data"].diff, data.grad, rtol=1e-4, atol=1e-7)
    for name, blobs in net.params.items():
        for blob, tensor in zip(blobs, tensors[name], strict=True):
            np.testing.assert_allclose(blob.diff, tensor.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.hdf5
def test_weights_are_saved_and_read_in_both_formats(tmp_path):
    net = small(tmp_path)
    net.save(tmp_path / "small.caffemodel")
    net.save_hdf5(tmp_path / "small.caffemodel.h5")
    for name in ("small.caffemodel", "small.caffemodel.h5"):
        other = pycaffe.Net(tmp_path / "small.prototxt", pycaffe.TEST)
        assert not other.params["fc"][0].data.any()
        other.copy_from(tmp_path / name)
        for layer_name, blobs in net.params.items():
            for mine, its in zip(blobs, other.params[layer_name], strict=True):
                np.testing.assert_array_equal(mine.data, its.data)
    wrong = SMALL.replace("num_output: 5", "num_output: 6")
    with pytest.raises(NetError, match=r"layer 'fc' .* has weights of 5×64 and 5, the net expects 6×64 and 6"):
        small(tmp_path, wrong).copy_from(tmp_path / "small.caffemodel")


DATA = """
layer { name: "data" type: "MemoryData" top: "data" top: "label"
        memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@pytest.mark.torch
def test_a_solver_s_parameters_may_be_written_between_steps(tmp_path):
    (tmp_path / "net.prototxt").write_text(DATA)
    (tmp_path / "solver.prototxt").write_text(f"""
        net: "{tmp_path}/net.prototxt" base_lr: 0.5 lr_policy: "fixed" max_iter: 4 snapshot_prefix: "{tmp_path}/x"
        test_iter: 1 test_interval: 2""")
    solver = pycaffe.get_solver(tmp_path / "solver.prototxt")
    images = np.random.default_rng(0).random((4, 1, 1, 3)).astype(np.float32)
    for net in (solver.net, *solver.test_nets):
        net.set_input_arrays(images, np.array([0, 1, 1, 0], np.float32))
    calls = []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    for step in range(4):
        weights = solver.net.params["fc"][0].data
        weights[...] = step
        solver.step(1)
        rows, labels = images[2 * step % 4 :][:2, 0, 0], np.array([0, 1, 1, 0])[2 * step % 4 :][:2]
        gradient = (0.5 - np.eye(2)[labels]).T @ rows / 2
        if step == 0:  # of the bias, too, which was zero before
            np.testing.assert_allclose(weights, step - 0.5 * gradient, rtol=1e-5)
            np.testing.assert_allclose(solver.net.params["fc"][0].diff, 0.5 * gradient, rtol=1e-5, atol=1e-7)
    assert calls == ["start", "gradients"] * 4
    assert solver.iter == 4
    assert (solver.param.max_iter, solver.lr) == (4, 0.5)
    assert solver.test_nets[0].params["fc"][0].data.base is weights.base
    solver.net.save(tmp_path / "weights.caffemodel")
    solver.snapshot()
    solver.net.params["fc"][0].data[...] = 9
    solver.restore(tmp_path / "x_iter_4.solverstate")
    found = caffemodel.read(tmp_path / "weights.caffemodel").layers["fc"]
    np.testing.assert_array_equal(solver.net.params["fc"][0].data, found[0])


def test_what_is_not_there_is_said(tmp_path):
    net = small(tmp_path)
    for call, kind, message in (
        (lambda: net.forward(start="con"), ValueError, "the net has no layer 'con': did you mean 'conv'"),
        (lambda: net.forward(end="xyz"), ValueError, "no layer 'xyz': there are data, conv, relu"),
        (lambda: net.forward(blobs=["cone"]), KeyError, "^the net has no blob 'cone': did you mean 'conv'"),
        (lambda: net.forward(dada=1), Exception, r"values for dada: give all inputs of the net .* \['data'\]"),
        (lambda: net.forward(data=np.zeros((1, 3, 6, 6))), Exception, r"1×3×6×6 for a blob of 2×3×6×6: .* reshape"),
        (
            lambda: net.forward(data=np.zeros((2, 3, 6, 5))),
            ValueError,
            "^'data': values of 2×3×6×5 for a blob of 2×3×6×6: ",
        ),
        (lambda: net.forward_all(), RuntimeError, "at least one input"),
        (lambda: net.forward_all(data=5), RuntimeError, "^values for data: give all of one length, at least one input"),
        (
            lambda: net.forward_all(data=np.zeros((0, 3, 6, 6))),
            RuntimeError,
            "^values for data: give all of one length",
        ),
        (
            lambda: pycaffe.Net(tmp_path / "small.prototxt", pycaffe.TEST, stages="deploy"),
            UsageError,
            r"^stages is 'deploy'; expected a list, as in \['deploy'\]$",
        ),
        (lambda: net.set_input_arrays(0, 0), RuntimeError, "the first layer is of type Input, not MemoryData"),
        (lambda: net.share_with(3), TypeError, "expected a Net, found an object of type int"),
        (lambda: net.blobs["data"].reshape("1"), TypeError, "one by one, as integers"),
        (lambda: net.blobs["data"].reshape(-1), RuntimeError, "a side is negative"),
        (
            lambda: pycaffe.Net(tmp_path / "small.prototxt", tmp_path / "w.caffemodel", pycaffe.TEST, 1),
            TypeError,
            "Net: 4 arguments: expected network_file, weights, phase",
        ),
        (lambda: pycaffe.Net(tmp_path / "small.prototxt"), TypeError, "no phase: give caffe.TEST or caffe.TRAIN"),
        (lambda: pycaffe.Net(tmp_path / "small.prototxt", 2), Exception, "phase 2: give caffe.TEST"),
        (lambda: pycaffe.set_device(1), Exception, r"set_device\(1\): .* CUDA_VISIBLE_DEVICES=1"),
        (lambda: pycaffe.SGDSolver(3), TypeError, "expected the path of a file, found 3"),
    ):
        with pytest.raises(kind, match=message) as caught:
            call()
        assert isinstance(caught.value, UsageError)
    with pytest.raises(FormatError, match="nowhere"):
        net.copy_from(tmp_path / "nowhere")
    with pytest.raises(NetError, match="the parameters of layer 'fc' have other shapes"):
        net.share_with(small(tmp_path, SMALL.replace("num_output: 5", "num_output: 6")))


@pytest.mark.torch
def test_arrays_for_a_memory_data_are_checked(tmp_path):
    net = small(tmp_path, DATA)
    with pytest.raises(RuntimeError, match=r"layer 'data' \(MemoryData\) has no data: call net.set_input_arrays"):
        net.forward()
    images, labels = np.zeros((4, 1, 1, 3), np.float32), np.zeros(4, np.float32)
    for wrong, message in (
        ((images.astype(float), labels), "data of dtype float64: give np.ascontiguousarray"),
        ((images[..., ::2], labels), "not contiguous"),
        ((images[:, :, :, :2].copy(), labels), "data of 4×1×1×2: layer 'data' takes N×1×1×3"),
        ((images[:3], labels[:3]), "3 images and 3 labels: .* a multiple of the batch size, 2"),
        ((images, labels[:2]), "4 images and 2 labels"),
    ):
        with pytest.raises(RuntimeError, match=message):
            net.set_input_arrays(*wrong)


def test_without_pytorch_one_line_says_what_to_install(tmp_path, monkeypatch):
    def engine_class(name):
        raise EngineError(f"engine {name!r} is not installed: pip install it")

    net = small(tmp_path)
    before = net.forward()["prob"].copy()
    monkeypatch.setattr(pycaffe.net.engines, "engine_class", engine_class)
    with pytest.raises(EngineError, match=r"nets in phase TRAIN and runs backward need PyTorch: .*pip install it"):
        net.backward()
    with pytest.raises(EngineError, match="need PyTorch"):
        small(tmp_path, phase=pycaffe.TRAIN)
    np.testing.assert_array_equal(net.forward()["prob"], before)


@pytest.mark.torch
def test_random_numbers_follow_from_the_seed(tmp_path):
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 50 }
                data_filler { type: "gaussian" } } }
        layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" }
        layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc"
                inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }""")

    def numbers():
        net = pycaffe.Net(tmp_path / "net.prototxt", pycaffe.TRAIN)
        return [net.params["fc"][0].data.copy()] + [net.forward()["fc"].copy() for _ in range(2)]

    pycaffe.set_random_seed(7)
    first, second = numbers(), numbers()
    pycaffe.set_random_seed(7)
    for one, other, again in zip(first, second, numbers(), strict=True):
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 0
    assert np.abs(first[1] - first[2]).max() > 0
    with pytest.raises(UsageError, match=r"set_random_seed\(-1\): give 0 or more"):
        pycaffe.set_random_seed(-1)


def test_a_filler_that_is_not_there_matters_only_without_weights(tmp_path):
    text = SMALL.replace("num_output: 5", 'num_output: 5 weight_filler { type: "of_a_fork" }')
    small(tmp_path).save(tmp_path / "small.caffemodel")
    (tmp_path / "fork.prototxt").write_text(text)
    net = pycaffe.Net(tmp_path / "fork.prototxt", tmp_path / "small.caffemodel", pycaffe.TEST)
    assert net.forward()["prob"].shape == (2, 5)
    with pytest.raises(TrainingError, match="layer 'fc': filler 'of_a_fork' is not supported"):
        pycaffe.Net(tmp_path / "fork.prototxt", pycaffe.TEST)


def test_the_mode_is_that_of_nets_made_later(monkeypatch, tmp_path):
    wanted = []

    def make(name, net, outputs, options):
        wanted.append(options.device)
        raise EngineError("no engine")

    monkeypatch.setattr(pycaffe.net.engines, "make", make)
    nets = [small(tmp_path)]
    pycaffe.set_mode_gpu()
    pycaffe.set_device(0)
    nets.append(small(tmp_path))
    pycaffe.set_mode_cpu()
    for net in nets:
        with pytest.raises(EngineError, match="no engine"):
            net.forward()
    assert wanted == ["cpu", "cuda"]


@pytest.mark.parametrize("given", ["first", "second"])
def test_weights_of_one_of_the_layers_that_share_them(given, tmp_path):
    head = data(2, 3)
    shared = (
        "param { name: 'w' } inner_product_param { num_output: 3 bias_term: false weight_filler { type: 'xavier' } }"
    )
    first = layer("InnerProduct", "first", "data", params=shared)
    (tmp_path / "both.prototxt").write_text(head + first + layer("InnerProduct", "second", "first", params=shared))
    (tmp_path / "one.prototxt").write_text(head + first.replace("first", given))
    pycaffe.set_random_seed(3)
    one = pycaffe.Net(tmp_path / "one.prototxt", pycaffe.TEST)
    one.save(tmp_path / "one.caffemodel")
    both = pycaffe.Net(tmp_path / "both.prototxt", tmp_path / "one.caffemodel", pycaffe.TEST)
    for name in ("first", "second"):
        np.testing.assert_array_equal(both.params[name][0].data, one.params[given][0].data)
