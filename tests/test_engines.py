"""Every engine computes what Caffe computes, or refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from nets import ENGINES, EVERY_ENGINE, PITFALLS, conv, data, images, layer, message_of, seeded_net, worst

import pycam.architectures
from pycam import engines
from pycam.cli import main
from pycam.engines.base import Engine
from pycam.engines.threads import Turn
from pycam.errors import EngineError, NetError, UsageError
from pycam.formats import prototxt
from pycam.images.read import read_image
from pycam.images.views import net_input, view_of
from pycam.net import CamHead, Net, find_heads, read_net

# Of a blob's largest value.
TOLERANCE = 2e-5

GRADIENTS = pytest.param("gradients", marks=pytest.mark.torch)

REFUSED = {
    ("ncnn", "argmax"): "'best'.* has no ArgMax",
    ("opencv", "floor_pooling"): "'max'.* ignores round_mode FLOOR",
    ("opencv", "lrn_k"): "'far'.* ignores k 2.5",
    ("opencv", "deconvolution"): "'spread'.* ignores dilation",
    ("opencv", "slice"): "'second@cut'.* only the first top",
    ("opencv", "scale"): "'one'.* single factor",
    ("opencv", "activations"): "'prelu_shared'.* single factor",
    ("opencv", "inner_product_transpose"): "'turned'.* ignores transpose",
    ("opencv", "log"): "'two'.* ignores base",
    ("opencv", "reduction"): "'sum'.* has no Reduction",
    ("opencv", "tile"): "'channels'.* has no Tile",
    ("opencv", "argmax"): "'best'.* has no ArgMax",
    ("opencv", "silence"): "'second'.* only the first top",
}
"""What an engine that cannot be exact says of which layer, by engine and net."""

# GoogLeNet-GMP is GoogLeNet-CAM but for the method of a pooling.
RELEASED = [name for name in pycam.architectures.RELEASED if name != "deploy_googlenetGMP"]

Blobs = dict[str, np.ndarray]


def make(name: str, net: Net, outputs: list[str], **options) -> Engine:
    return engines.make(name, net, outputs, engines.Options(**options))


@lru_cache(1)
def net_and_caffes_blobs(net_name: str) -> tuple[Net, Blobs, Blobs]:
    """A net, inputs, and every value that Caffe computes from them."""
    message = message_of(net_name)
    for each in message.layer:
        if each.type == "InnerProduct" and each.inner_product_param.num_output > 1000:
            # 4096 numbers are computed as 400 are, but their weights take half a minute to fill and copy.
            each.inner_product_param.num_output = 400
    net = seeded_net(message)
    inputs = images(net, 2)
    with engines.make("caffe", net, computed(net)) as caffe:
        return net, inputs, caffe.forward(inputs)


def computed(net: Net) -> list[str]:
    return [value for value in net.value_shapes if value not in net.input_values.values()]


def assert_same(engine: Engine, inputs: Blobs, truth: Blobs) -> None:
    with engine:
        values = engine.forward(inputs)
    assert list(values) == list(truth)
    assert {name: array.shape for name, array in values.items()} == {n: a.shape for n, a in truth.items()}
    assert {array.dtype for array in values.values()} == {np.dtype(np.float32)}
    assert worst(values, truth) < (TOLERANCE, "")


@pytest.mark.caffe
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("net_name", PITFALLS)
def test_pitfalls_have_caffes_values(name, net_name):
    net, inputs, truth = net_and_caffes_blobs(net_name)
    if (name, net_name) in REFUSED:
        with pytest.raises(EngineError, match=REFUSED[name, net_name]):
            engines.make(name, net, list(truth))
    else:
        assert_same(engines.make(name, net, list(truth)), inputs, truth)


@pytest.mark.caffe
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("net_name", RELEASED)
def test_released_nets_have_caffes_values(name, net_name):
    net, inputs, truth = net_and_caffes_blobs(net_name)
    assert 0.05 < truth[net.outputs[-1]].max() < 0.9
    assert_same(engines.make(name, net, list(truth)), inputs, truth)
    # Asked for less, engines fuse layers.
    wanted = {blob: truth[blob] for blob in maps_and_scores(net)}
    assert_same(engines.make(name, net, list(wanted)), inputs, wanted)


def maps_and_scores(net: Net) -> list[str]:
    heads = [head for head in find_heads(net).values() if isinstance(head, CamHead)]
    return [heads[0].feature_blob, heads[0].score_blob] if heads else list(net.outputs)


@pytest.mark.caffe
@pytest.mark.shared
@pytest.mark.parametrize("name", ENGINES)
def test_trained_weights_and_images_have_caffes_values(name, shared, squeezenet_of_caffe):
    net, inputs, truth = squeezenet_of_caffe
    assert_same(engines.make(name, net, list(truth)), inputs, truth)


@pytest.fixture(scope="module")
def squeezenet_of_caffe(shared) -> tuple[Net, Blobs, Blobs]:
    folder = Path(pycam.architectures.__file__).parents[2] / "prototxt"
    net = read_net(folder / "deploy_squeezenet_v1.0.prototxt", shared / "data/weights/squeezenet_v1.0.caffemodel")
    paths = sorted((shared / "data/samples").glob("*.JPEG"))[:3]
    mean = np.array([104, 117, 123], np.float32)
    views = [cv2.resize(cv2.imread(str(path)), (227, 227)).astype(np.float32) - mean for path in paths]
    inputs = {"data": np.stack(views).transpose(0, 3, 1, 2)}
    with engines.make("caffe", net, computed(net)) as caffe:
        return net, inputs, caffe.forward(inputs)


@pytest.fixture(scope="module")
def small_net() -> Net:
    return seeded_net(message_of("concat_of_in_place"))


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_gives_what_single_images_give(name, small_net):
    inputs = images(small_net, 3)
    with engines.make(name, small_net, ["old"]) as engine:
        batch = engine.forward(inputs)["old"]
        single = [engine.forward({"data": inputs["data"][i : i + 1]})["old"] for i in range(3)]
    np.testing.assert_allclose(np.concatenate(single), batch, rtol=0, atol=1e-6 * np.abs(batch).max())


@pytest.mark.parametrize("name", ENGINES)
def test_a_second_run_gives_the_same_and_leaves_the_first_alone(name, small_net):
    first, second = images(small_net, 2, seed=1), images(small_net, 2, seed=2)
    with engines.make(name, small_net, ["old", "a"]) as engine:
        values = engine.forward(first)
        kept = {blob: array.copy() for blob, array in values.items()}
        other = engine.forward(second)
        again = engine.forward(first)
    for blob in kept:
        assert not np.array_equal(other[blob], kept[blob])
        np.testing.assert_array_equal(values[blob], kept[blob])
        np.testing.assert_array_equal(again[blob], kept[blob])


@pytest.mark.parametrize("name", ENGINES)
def test_what_else_is_asked_for_changes_nothing(name, small_net):
    inputs = images(small_net, 2)
    with engines.make(name, small_net, ["both", "a", "b"]) as engine:
        several = engine.forward(inputs)
    with engines.make(name, small_net, ["both"]) as engine:
        (both,) = engine.forward(inputs).values()
    assert list(several) == ["both", "a", "b"]
    np.testing.assert_array_equal(several["both"], np.concatenate([several["a"], several["b"]], axis=1))
    np.testing.assert_allclose(both, several["both"], rtol=0, atol=1e-6 * np.abs(both).max())


@pytest.mark.parametrize("name", ENGINES)
def test_views_and_other_strides_are_taken(name, small_net):
    inputs = images(small_net, 2)["data"]
    turned = np.asfortranarray(inputs)
    with engines.make(name, small_net, ["a"]) as engine:
        np.testing.assert_array_equal(engine.forward({"data": turned})["a"], engine.forward({"data": inputs})["a"])


@pytest.mark.parametrize("name", ENGINES)
def test_one_thread_gives_what_two_give(name, small_net):
    inputs = images(small_net, 2)
    values = []
    for threads in (1, 2):
        with make(name, small_net, ["old"], threads=threads) as engine:
            values.append(engine.forward(inputs)["old"])
    np.testing.assert_allclose(*values, rtol=0, atol=1e-6 * np.abs(values[0]).max())


@pytest.mark.parametrize("name", ENGINES)
def test_several_at_once_give_what_they_give_in_turn(name, small_net):
    batches = [images(small_net, 1 + seed % 2, seed) for seed in range(12)]
    with make(name, small_net, ["old"]) as engine:
        in_turn = [engine.forward(batch)["old"] for batch in batches]
    # New engines, because the first runs of a stream differ from the later ones.
    for streams in (1, 2, 3) * 2 if engine.concurrent else (1,):
        with make(name, small_net, ["old"], streams=streams) as engine, ThreadPoolExecutor(4) as pool:
            at_once = [values["old"] for values in pool.map(engine.forward, batches, timeout=60)]
        for one, other in zip(in_turn, at_once, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ENGINES)
def test_the_best_number_of_streams_is_one_that_the_engine_takes(name, small_net):
    most = engines.cores() if engines.engine_class(name).concurrent else 1
    # More threads than cores are no more streams.
    for threads, best in ((None, most), (1, 1), (1000, most)):
        options = engines.Options(threads=threads, streams=engines.best_streams(name, engines.Options(threads=threads)))
        assert options.streams == best
    assert engines.best_streams(name, engines.Options(device="cuda")) == 1
    with engines.make(name, small_net, ["old"], options) as engine:
        assert engine.options.streams == most


@pytest.mark.parametrize("name", [*EVERY_ENGINE, GRADIENTS])
def test_one_model_in_several_threads_gives_what_it_gives_in_turn(name):
    rng = np.random.default_rng(0)
    shown = [rng.integers(0, 256, (240, 250, 3), np.uint8) for _ in range(2)]
    how = {"method": "gradcam"} if name == "gradients" else {"engine": name}
    with pycam.load("squeezenet-cam-caltech101", **how) as cam:

        def found(image: np.ndarray) -> bytes:
            prediction = cam(image, top=1)
            return prediction.scores.tobytes() + prediction.top[0].map.tobytes()

        in_turn = [found(image) for image in shown]
        for threads in (1, 2, 4):
            with ThreadPoolExecutor(threads) as pool:
                assert list(pool.map(found, shown * 3)) == in_turn * 3


@pytest.mark.parametrize("name", EVERY_ENGINE)
def test_a_closed_engine_says_so(name, small_net):
    engine = engines.make(name, small_net, ["old"])
    inputs = images(small_net, 1)
    engine.forward(inputs)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=f"^this engine '{name}' was closed: make a new one$"):
        engine.forward(inputs)


FORKED = """
import os, sys
import numpy as np
import pycam
from pycam.engines import Options
from pycam.errors import EngineError

def load(threads):
    return pycam.load("squeezenet-cam-caltech101", engine=sys.argv[1], options=Options(threads=threads))

image = np.zeros((240, 240, 3), np.uint8)
parent = {threads: load(threads) for threads in (1, 2)}
expected = {threads: cam(image).scores.tobytes() for threads, cam in parent.items()}
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for threads, cam in parent.items():
    for find in (lambda: cam(image), lambda: load(threads)(image)):
        try:
            print(threads, find().scores.tobytes() == expected[threads], flush=True)
        except EngineError as error:
            print(threads, str(error).replace(str(os.getppid()), "N"), flush=True)
os._exit(0)
"""


@pytest.mark.posix
@pytest.mark.parametrize(
    "name",
    [
        "onnxruntime",
        pytest.param("ncnn", marks=pytest.mark.ncnn),
        pytest.param("torch", marks=pytest.mark.torch),
    ],
)
def test_a_forked_process_computes_the_same_or_says_why_not(name):
    command = [sys.executable, "-W", "ignore", "-c", FORKED, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    refused = (
        "PyTorch has computed in process N, from which this process was forked, and would hang here: "
        "use one thread (threads=1), or start processes with 'spawn'"
    )
    two = refused if name == "torch" else "True"
    assert done.stdout.splitlines() == ["1 True", "1 True", f"2 {two}", f"2 {two}"], done.stderr


def test_a_fork_while_another_thread_has_its_turn():
    turn = Turn()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with turn:
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    here = os.getpid()
    with pytest.MonkeyPatch.context() as child:
        child.setattr(os, "getpid", lambda: here + 1)  # as in a child, without a fork of pytest
        with turn, turn:
            assert turn.first == here
    over.set()
    holder.join()


@pytest.mark.parametrize(("number", "hint"), [(0, "use at least one"), (100_000, "use at most 1024")])
@pytest.mark.parametrize("what", ["threads", "streams"])
def test_numbers_of_threads_that_cannot_be(what, number, hint):
    with pytest.raises(UsageError, match=f"^{number} {what}: {hint}"):
        engines.Options(**{what: number})


def test_too_many_threads_are_refused_before_anything_else(capsys):
    assert main(["heatmap", "no-such-image.jpg", "--model", "squeezenet-cam-caltech101", "--threads", "100000"]) == 2
    assert capsys.readouterr().err == (
        f"pycam: 100000 threads: use at most 1024; this process may use {engines.cores()} cores\n"
    )


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_says_what_it_is(name, small_net):
    with engines.make(name, small_net, ["a"]) as engine:
        assert engine.name == name
        assert "cpu" in engine.description
        assert "fp32" in engine.description


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"data": np.zeros((1, 2, 6, 7), np.float32)}, "1×2×6×7"),
        ({"data": np.zeros((3, 6, 7), np.float32)}, "3×6×7"),
        ({"data": np.zeros((0, 3, 6, 7), np.float32)}, "0×3×6×7"),
        ({"date": np.zeros((1, 3, 6, 7), np.float32)}, "nothing"),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(name, inputs, found, small_net):
    with engines.make(name, small_net, ["old"]) as engine:
        with pytest.raises(EngineError, match=f"^input 'data': expected shape 1×3×6×7, [^\n]* found {found}$"):
            engine.forward(inputs)
        assert np.isfinite(engine.forward(images(small_net, 1))["old"]).all()


@pytest.mark.parametrize("name", ENGINES)
def test_any_kind_of_number_is_taken_as_float32(name, small_net):
    values = np.rint(images(small_net, 2)["data"])
    with engines.make(name, small_net, ["old"]) as engine:
        expected = engine.forward({"data": values})["old"]
        for dtype in (">f4", np.float64, np.int8):
            np.testing.assert_array_equal(engine.forward({"data": values.astype(dtype)})["old"], expected)


@pytest.mark.parametrize("name", ENGINES)
def test_blobs_may_have_any_names(name):
    blobs, power = ["c.weight", "c.bias", "constant#0", "Mul#0", "Add#1"], "power_param { scale: 2 shift: 1 }"
    text = data(1, 3, 6, 7, name=blobs[0]) + conv("c", blobs[0], blobs[1])
    text += "".join(layer("Power", f"p{top}", bottom, top, power) for bottom, top in pairwise(blobs[1:]))
    net = seeded_net(prototxt.parse(text).message)
    plain = seeded_net(prototxt.parse(text.replace(blobs[0], "x").replace(blobs[1], "y").replace("#", "-")).message)
    values = images(plain, 2)["x"]
    with engines.make(name, net, blobs[1:]) as engine, engines.make(name, plain, ["y", "Add-1"]) as other:
        found, expected = engine.forward({blobs[0]: values}), other.forward({"x": values})
    for own, others in ((blobs[1], "y"), ("Add#1", "Add-1")):
        np.testing.assert_allclose(found[own], expected[others], rtol=0, atol=1e-6 * np.abs(expected[others]).max())


@pytest.mark.parametrize("name", ENGINES)
def test_an_unknown_device_is_named(name, small_net):
    with pytest.raises(EngineError, match="abacus"):
        make(name, small_net, ["a"], device="abacus")
    with make(name, small_net, ["a"], device="CPU") as engine:
        assert ", cpu, " in engine.description


@pytest.mark.torch
@pytest.mark.parametrize("device", ["xpu", "hpu", "mtia", "fpga", "cuda:99"])
def test_a_device_that_pytorch_knows_and_this_machine_lacks(device, small_net, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(EngineError, match=f"^torch cannot use device '{device}' here: [^\n]*: use cpu or cuda$"):
        make("torch", small_net, ["a"], device=device)


STARVED = """
import resource, sys
from pathlib import Path
import numpy as np
from nets import data, layer, seeded_net
from pycam import engines
from pycam.formats import prototxt

wide = layer("Convolution", "wide", "data", params="convolution_param { num_output: 64 kernel_size: 3 }")
net = seeded_net(prototxt.parse(data(1, 3, 64, 64) + wide).message)
engine = engines.make(sys.argv[1], net, ["wide"], engines.Options(threads=1))
few, many = (np.zeros((count, 3, 64, 64), np.float32) for count in (1, 4096))
engine.forward({"data": few})
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (500 << 20),) * 2)
try:
    engine.forward({"data": many})
except MemoryError as error:
    engine.forward({"data": few})
    print(error)
"""


@pytest.mark.linux
@pytest.mark.parametrize("name", ENGINES)
def test_out_of_memory_is_pythons_own_error(name, small_net):
    paths = [str(Path(__file__).parent), *sys.path]
    process = subprocess.run(
        [sys.executable, "-c", STARVED, name],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.returncode == 0, process.stderr
    assert re.match(r"(ONNX Runtime|OpenVINO|ncnn|torch|OpenCV) failed.*alloc", process.stdout), process.stdout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openvino", marks=[pytest.mark.openvino, pytest.mark.bf16]),
        pytest.param("torch", marks=pytest.mark.torch),
    ],
)
def test_bf16_is_near_and_said(name, small_net):
    inputs = images(small_net, 2)
    half = make(name, small_net, ["old"], precision="bf16")
    with half, engines.make(name, small_net, ["old"]) as full:
        assert "bf16" in half.description
        rough, exact = half.forward(inputs)["old"], full.forward(inputs)["old"]
    assert rough.dtype == np.float32
    assert 1e-5 < np.abs(rough - exact).max() / np.abs(exact).max() < 0.05


@pytest.mark.parametrize(
    ("name", "outputs", "options", "error", "message"),
    [
        ("onnxruntme", ["a"], {}, UsageError, "did you mean 'onnxruntime'"),
        ("onnxruntime", ["A1"], {}, NetError, "no blob 'A1'"),
        ("onnxruntime", ["a"], {"threads": 0}, UsageError, "0 threads"),
        ("onnxruntime", ["a"], {"streams": 0}, UsageError, "0 streams"),
        pytest.param("torch", ["a"], {"streams": 2}, UsageError, "'torch' computes one image", marks=pytest.mark.torch),
        ("onnxruntime", ["a"], {"precision": "fp8"}, UsageError, "has no precision 'fp8': it has fp32"),
        ("onnxruntime", ["a"], {"precision": "tf32"}, EngineError, "tf32 only on CUDA"),
    ],
)
def test_what_cannot_be_made_is_refused(name, outputs, options, error, message, small_net):
    with pytest.raises(error, match=message):
        make(name, small_net, outputs, **options)


def test_a_net_without_weights_is_refused(small_net):
    with pytest.raises(NetError, match="no weights"):
        engines.make("onnxruntime", replace(small_net, params={}), ["a"])


def test_cuda_without_a_build_that_has_it_says_what_to_install(small_net, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        engines.make("onnxruntime", small_net, ["a"], engines.Options(device="cuda"))


def test_cuda_out_of_reach_is_never_taken_for_cuda(small_net, monkeypatch):
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.warns(UserWarning, match="Specified provider"), pytest.raises(EngineError, match="cannot use a GPU"):
        engines.make("onnxruntime", small_net, ["a"], engines.Options(device="cuda"))


@pytest.mark.opencv
def test_opencv_cannot_give_a_second_top():
    sliced = 'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }'
    net = seeded_net(prototxt.parse(data(1, 3, 2, 2) + sliced).message)
    with pytest.raises(EngineError, match="cannot return blob 'b': OpenCV names only the first top"):
        engines.make("opencv", net, ["b"])


@pytest.mark.ncnn
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (layer("Concat", "both", "data data", params="concat_param { axis: 0 }"), "blob 'both' mixes those of a batch"),
        (layer("Softmax", "over", "data", params="softmax_param { axis: 0 }"), "adds those of a batch up"),
        (
            layer("Reshape", "deep", "data", params="reshape_param { axis: 4 num_axes: 0 shape { dim: 1 dim: 1 } }"),
            "at most 4 axes",
        ),
    ],
)
def test_ncnn_computes_images_one_by_one(text, reason):
    net = seeded_net(prototxt.parse(data(1, 3, 2, 2) + text).message)
    with pytest.raises(EngineError, match=f"^engine 'ncnn' cannot be exact on layer '[a-z]+': [^\n]*{reason}"):
        engines.make("ncnn", net, list(net.outputs))


@pytest.mark.ncnn
def test_ncnn_is_given_one_batch_size():
    net = seeded_net(message_of("eltwise"))
    inputs = {"data": images(net, 2)["data"], "more": images(net, 3)["more"]}
    with engines.make("ncnn", net, ["sum"]) as engine, pytest.raises(EngineError, match="have batches of 2 and 3"):
        engine.forward(inputs)


@lru_cache(1)
def mini_set_in_caffe(shared: Path) -> tuple[Net, np.ndarray, np.ndarray]:
    """SqueezeNet with real weights, the 300 images as it sees them, and Caffe's scores of them."""
    net = read_net(
        Path(__file__).parents[1] / "prototxt/deploy_squeezenet_v1.0.prototxt",
        shared / "data/weights/squeezenet_v1.0.caffemodel",
    )
    folder = shared / "data/ilsvrc-mini/ILSVRC2012_img_val"
    view, mean = view_of("center", (227, 227)), np.array([104.00698793, 116.66876762, 122.67891434])
    inputs = np.concatenate([net_input(read_image(path).pixels, view, mean) for path in sorted(folder.iterdir())])
    with engines.make("caffe", net, ["prob"]) as caffe:
        return net, inputs, scores_of(caffe, inputs)


def scores_of(engine: Engine, inputs: np.ndarray) -> np.ndarray:
    batches = np.split(inputs, len(inputs) // 20)
    return np.concatenate([engine.forward({"data": batch})["prob"].reshape(len(batch), -1) for batch in batches])


@pytest.mark.shared
@pytest.mark.caffe
@pytest.mark.parametrize("name", ENGINES)
def test_the_mini_sets_best_five_are_caffes(shared, name):
    net, inputs, expected = mini_set_in_caffe(shared)
    assert len(inputs) == 300
    with engines.make(name, net, ["prob"]) as engine:
        found = scores_of(engine, inputs)
    for ours, caffes in zip(found, expected, strict=True):
        best = np.argsort(-caffes, kind="stable")[:5]
        # Only scores closer than 1e-5 may change places.
        np.testing.assert_allclose(caffes[np.argsort(-ours, kind="stable")[:5]], caffes[best], atol=1e-5)
