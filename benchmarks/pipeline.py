"""How fast the pipeline is beside real Caffe's: `python benchmarks/pipeline.py [--nets …] [--engines …]`.

Images a second, fp32, on all cores, medians of interleaved rounds:

(a)  the released Python driver's steps (docs/release.md, section 2) with real Caffe and OpenBLAS, windows left out:
     the forward pass timed inside Caffe's own process, the other steps here;
(b)  pycam's whole pipeline as `pycam heatmap` runs it: read a JPEG, view, forward, five maps, five overlays;
(b') the same without overlays; also with other packages for the maps, where they are installed (`others.py`);
(c)  the engine alone: one image after another, each on all cores.

GFLOP/s are those of direct convolution at the best of (b') and (c), beside the product of two matrices that the
same cores compute in the same rounds (SGEMM): an engine that needs fewer multiplications can exceed it.

Weights are random with a fixed seed: they do not change how long a net takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from others import OTHERS, Maps
from skimage import data

from pycam import engines, zoo
from pycam.drawing.overlays import normalize, py_map2jpg
from pycam.engines import Options, cores
from pycam.engines.caffe import find_caffe
from pycam.engines.processor import instruction_set
from pycam.engines.threads import beside_an_engine
from pycam.errors import EngineError
from pycam.formats import caffemodel
from pycam.maps.cam import py_returnCAMmap
from pycam.net import head_weights, random_weights, read_net
from pycam.predict import Cam, load
from pycam.prediction import Prediction
from pycam.verification.speed import sgemm_peak

NETS = {
    "alexnetplus-cam": "AlexNet+-CAM",
    "googlenet-cam": "GoogLeNet-CAM",
    "vgg16-cam": "VGG16-CAM",
}
MEAN = np.array([104.00698793, 116.66876762, 122.67891434], np.float32)

CAFFE_SCRIPT = """
import sys, time
import numpy as np
import caffe
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
shape = (1,) + net.blobs["data"].data.shape[1:]
net.blobs["data"].reshape(*shape)
net.reshape()
x = np.random.RandomState(0).uniform(-120, 140, shape).astype(np.float32)
times = []
for _ in range(int(sys.argv[3])):
    start = time.time()
    net.blobs["data"].data[...] = x
    net.forward()
    times.append(time.time() - start)
print(sorted(times[1:])[len(times) // 2 - 1])
"""


def caffe_forward(text: Path, weights: Path, runs: int) -> float:
    """Time a forward pass in real Caffe's own process: the median, in seconds."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(cores()), "GLOG_minloglevel": "2"}
    command = [*find_caffe(), "-c", CAFFE_SCRIPT, str(text), str(weights), str(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def driver_steps(image: Path, size: int, features: np.ndarray, weights: np.ndarray) -> None:
    """Do what the released driver does around its forward pass, as it does it."""
    pixels = cv2.resize(cv2.imread(str(image)), (256, 256))
    start = int(128 - size / 2)
    crop = pixels[start : start + size, start : start + size].astype(np.float32)
    np.ascontiguousarray(crop.transpose(2, 0, 1) - MEAN[:, None, None])
    maps = py_returnCAMmap(features, weights)
    for i in range(5):
        map_ = cv2.resize(maps[:, :, i], (256, 256))
        map_ = cv2.normalize(map_, None, 0, 1, cv2.NORM_MINMAX)
        colours = py_map2jpg(map_, None, "jet")
        0.2 * normalize(pixels) + 0.7 * normalize(colours)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Time one repeat, in seconds."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def draw(prediction: Prediction) -> None:
    """Draw the five overlays, and let go of them, as a program does that has written them."""
    for rank in range(5):
        prediction.overlay(rank)


def pipeline(cam: Cam, images: list[Path], overlays: bool) -> None:
    """Walk the pipeline for every image, drawing beside the net's next run as `pycam heatmap` does."""
    with beside_an_engine(), ThreadPoolExecutor(1) as drawer:
        pending = []
        for _, prediction in cam.stream(images):
            if overlays:
                pending.append(drawer.submit(draw, prediction))
            else:
                for item in prediction.top:
                    item.map  # noqa: B018
        for future in pending:
            future.result()


def with_another(maps: Maps, cam: Cam, images: list[Path]) -> None:
    """Walk the pipeline without overlays, with maps of another package, one image after another."""
    for image in images:
        ((_, crops),) = cam.prepare([image])
        maps(crops)


def measure(model: str, names: list[str], folder: Path, images: list[Path], rounds: int) -> None:
    card = zoo.card(model)
    title = NETS.get(model, model)
    bare = read_net(zoo.prototxt_path(card))
    weights = folder / f"{model}.caffemodel"
    caffemodel.write(weights, bare.message, random_weights(bare))
    gflop = 2 * bare.multiply_adds / 1e9
    size = bare.shapes[bare.inputs[0]][-1]
    cams, alone = {}, {}
    for name in names:
        try:
            cams[name] = load(model, weights=weights, engine=name, options=Options(streams=engines.best_streams(name)))
            alone[name] = load(model, weights=weights, engine=name).engine
        except EngineError as error:
            print(f"{title}: {error}")
    some = next(iter(cams.values()))
    others: dict[str, Maps] = {}
    for name, make in OTHERS.items():
        try:
            others[name] = make(some.model.net, some.head)
        except Exception as error:  # each has its own ways not to be importable
            print(f"{title}: {name} is left out: {' '.join(str(error).split())}")
    features = np.zeros(bare.shapes[some.head.feature_blob], np.float32)
    matrix = head_weights(some.model.net, some.head).matrix
    five = (np.eye(features.shape[1], dtype=np.float32) if matrix is None else matrix)[:5]
    x = {bare.inputs[0]: np.random.default_rng(0).uniform(-120, 140, bare.shapes[bare.inputs[0]]).astype(np.float32)}

    times: dict[tuple[str, str], list[float]] = {}
    peak = 0.0

    def note(name: str, what: str, seconds: float) -> None:
        times.setdefault((name, what), []).append(seconds)

    for cam in cams.values():
        pipeline(cam, images[:2], True)
    for _ in range(rounds):
        peak = max(peak, sgemm_peak(cores()))
        try:
            forward = caffe_forward(zoo.prototxt_path(card), weights, 12)
            steps = statistics.median(
                timed(lambda path=path: driver_steps(path, size, features, five), 1) for path in images
            )
            note("caffe", "a", forward + steps)
        except (EngineError, subprocess.CalledProcessError) as error:
            print(f"(a) left out: {error}")
        for name, cam in cams.items():
            note(
                name,
                "c",
                statistics.median(timed(lambda engine=alone[name]: engine.forward(x), 1) for _ in range(12)),
            )
            note(name, "b", timed(lambda cam=cam: pipeline(cam, images, True), 1) / len(images))
            note(name, "b'", timed(lambda cam=cam: pipeline(cam, images, False), 1) / len(images))
        for name, maps in others.items():
            few = images[:8]
            note(name, "b'", timed(lambda maps=maps, few=few: with_another(maps, some, few), 1) / len(few))

    rate = {key: 1 / statistics.median(values) for key, values in times.items()}
    caffe, default = rate.get(("caffe", "a")), rate.get((engines.DEFAULT_ENGINE, "b"))

    def ratio(value: float, base: float | None) -> str:
        return f"{value / base:.2f}" if base else "–"

    if caffe:
        print(f"| {title} | real Caffe | {caffe:.1f} | | | | 1 | {ratio(caffe, default)} | | | |")
    for name in cams:
        whole, without, engine = (rate[name, what] for what in ("b", "b'", "c"))
        speed = gflop * max(without, engine)
        print(
            f"| {title} | {name} | | {whole:.1f} | {without:.1f} | {engine:.1f} | {ratio(whole, caffe)} | "
            f"{ratio(whole, default)} | {without / engine:.2f} | {speed:.0f} | {speed / peak:.2f} |",
            flush=True,
        )
    for name in others:
        without = rate[name, "b'"]
        print(
            f"| {title} | {name} | | | {without:.1f} | | | | | {gflop * without:.0f} | {gflop * without / peak:.2f} |"
        )
    print(f"| {title} | SGEMM | | | | | | | | {peak:.0f} | 1 |", flush=True)
    for name, cam in cams.items():
        cam.close()
        alone[name].close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), help="names of models with class activation maps")
    parser.add_argument("--engines", nargs="+", default=[name for name in engines.ENGINES if name != "caffe"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=48)
    options = parser.parse_args()
    print(f"{platform.machine()}, {cores()} cores: {instruction_set()}; Python {platform.python_version()}\n")
    print("| net | engine | (a) | (b) | (b') | (c) | (b)/(a) | (b)/default | (b')/(c) | GFLOP/s | of SGEMM |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photograph = cv2.resize(data.chelsea()[..., ::-1], (500, 375), interpolation=cv2.INTER_CUBIC)
        images = []
        for i in range(options.images):
            images.append(folder / f"{i}.jpg")
            cv2.imwrite(str(images[-1]), np.roll(photograph, 10 * i, axis=1))
        for model in options.nets:
            measure(model, options.engines, folder, images, options.rounds)


if __name__ == "__main__":
    main()
