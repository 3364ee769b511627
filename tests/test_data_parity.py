"""Data layers in training against real Caffe's: three iterations from the same weights, for every field."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam.engines.caffe import find_caffe
from pycam.formats import caffemodel, prototxt, schema
from pycam.net import Params
from pycam.training.fillers import fill
from pycam.training.solver import read_solver

pytestmark = [pytest.mark.caffe, pytest.mark.torch]

LEARNED = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 5 stride: 3
    weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" %s }'
SMALL = "scale: 0.01"
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 max_iter: 3 solver_mode: CPU'

LISTED = """layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { %s } image_data_param { batch_size: 4 %s } }
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  image_data_param { source: "missing.txt" batch_size: 1 } }"""
STORED = """layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { %s } data_param { backend: LMDB batch_size: 3 %s } }"""
ROWS = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "PLACE/arrays.txt" batch_size: 4 } }"""


def listed(transform: str = SMALL, param: str = "") -> str:
    if "source" not in param:
        param += ' source: "PLACE/list.txt"'
    if "root_folder" not in param:
        param += ' root_folder: "PLACE/images/"'
    return LISTED % (transform, param) + LEARNED + LOSS % ""


def ignoring(label: int, param: str) -> str:
    return listed(SMALL, param).replace(LOSS % "", LOSS % f"loss_param {{ ignore_label: {label} }}")


def stored(source: str, transform: str = SMALL, param: str = "") -> str:
    return STORED % (transform, f'source: "PLACE/{source}" {param}') + LEARNED + LOSS % ""


NETS = {
    "plain": listed(),
    "scale": listed("scale: 0.013"),
    "mean_value": listed("scale: 0.01 mean_value: 104"),
    "mean_values": listed("scale: 0.01 mean_value: 104 mean_value: 117 mean_value: 123"),
    "mean_file": listed('scale: 0.01 mean_file: "PLACE/mean.binaryproto"'),
    "mean_file and crop_size": listed(
        'scale: 0.01 mean_file: "PLACE/square.binaryproto" crop_size: 20', 'source: "PLACE/square.txt"'
    ),
    "is_color: false": listed("scale: 0.01 mean_value: 110", "is_color: false"),
    "mean_file for one channel": listed('scale: 0.01 mean_file: "PLACE/grey.binaryproto"', "is_color: false"),
    "force_gray of ImageData": listed("scale: 0.01 force_gray: true"),
    "old fields": listed(SMALL, 'scale: 0.5 mirror: true crop_size: 8 mean_file: "lost.binaryproto"'),
    "new_height and new_width": listed(SMALL, "new_height: 10 new_width: 11 "),
    "root_folder without a slash": listed(SMALL, 'source: "PLACE/slashes.txt" root_folder: "PLACE/images"'),
    "a prefix as root_folder": listed(SMALL, 'source: "PLACE/prefixes.txt" root_folder: "PLACE/images/im"'),
    "labels with a loss": listed(SMALL, 'source: "PLACE/labels.txt" '),
    "no labels": listed(SMALL, 'source: "PLACE/unlabelled.txt" '),
    "ignore_label": ignoring(255, 'source: "PLACE/ignore.txt"'),
    "negative ignore_label": ignoring(-1, 'source: "PLACE/negative.txt"'),
    "old fields of the format V1": """
layers { name: "data" type: IMAGE_DATA top: "data" top: "label" image_data_param { source: "PLACE/list.txt"
  root_folder: "PLACE/images/" batch_size: 4 scale: 0.01 mean_file: "PLACE/mean.binaryproto" mirror: false } }
layers { name: "fc" type: INNER_PRODUCT bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" top: "loss" }""",
    "two data layers": listed().replace(LOSS % "", "").replace('"label"', '"unused"') + """
layer { name: "more" type: "ImageData" top: "more" top: "label" include { phase: TRAIN } transform_param { scale: 0.02 }
  image_data_param { source: "PLACE/ignore.txt" root_folder: "PLACE/images/" batch_size: 4 is_color: false } }
layer { name: "fc2" type: "InnerProduct" bottom: "more" top: "fc2"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "fc2" top: "both" }
layer { name: "s" type: "Silence" bottom: "unused" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "both" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 } }
""",
}  # fmt: skip
DATABASES = {
    "raw": stored("raw"),
    "rand_skip of Data": stored("raw", param="rand_skip: 5"),
    "old fields of Data": stored("raw", param='scale: 0.5 mirror: true crop_size: 8 mean_file: "lost"'),
    "force_gray of raw images": stored("raw", "scale: 0.01 force_gray: true mean_value: 7 mean_value: 8 mean_value: 9"),
    "encoded": stored("encoded"),
    "encoded, force_gray": stored("encoded", "scale: 0.01 force_gray: true mean_value: 99"),
    "encoded, force_color": stored("encoded", "scale: 0.01 force_color: true"),
    "grey, encoded, force_color": stored("grey", "scale: 0.01 force_color: true mean_value: 99"),
    "grey, encoded": stored("grey", 'scale: 0.01 mean_file: "PLACE/grey.binaryproto"'),
    "floats": stored("floats", "scale: 0.5"),
    "one top": (STORED % (SMALL, 'source: "PLACE/raw"')).replace('top: "label"', "") + LEARNED + """
layer { name: "label" type: "DummyData" top: "label" dummy_data_param { shape { dim: 3 } data_filler { value: 2 } } }
""" + LOSS % "",
}  # fmt: skip
ARRAYS = {
    "several files": ROWS + LEARNED + LOSS % "",
    "other tops": ROWS.replace('top: "label"', 'top: "targets" top: "whole numbers"')
    + LEARNED
    + """
layer { name: "cut" type: "Slice" bottom: "targets" top: "label" top: "second" slice_param { axis: 1 } }
layer { name: "mask" type: "InnerProduct" bottom: "whole numbers" top: "mask"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } bias_filler { value: 0.1 } } }
layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "mask" top: "both" }
layer { name: "one" type: "SoftmaxWithLoss" bottom: "both" bottom: "label" top: "loss" }
layer { name: "two" type: "SoftmaxWithLoss" bottom: "fc" bottom: "second" top: "loss2" loss_weight: 0.5 }
""",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Ten images, lists of them, and means."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rng = np.random.default_rng(1)
    names = []
    for number in range(10):
        names.append(f"im{number}.{('png', 'jpg')[number % 2]}")
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (20, 22, 3), np.uint8), (3, 3), 0)
        cv2.imwrite(str(folder / "images" / names[-1]), pixels)
        cv2.imwrite(str(folder / f"images/square{number}.png"), pixels[:, :20])
    lists: Mapping[str, list[str]] = {
        "list": [f"{name} {number % 3}" for number, name in enumerate(names)],
        "square": [f"square{number}.png {number % 3}" for number in range(10)],
        "slashes": [f"/{name} {number % 3}" for number, name in enumerate(names)],
        "prefixes": [f"{name[2:]} {number % 3}" for number, name in enumerate(names)],
        "labels": [
            f"{name} {label}"
            for name, label in zip(names, ("0.7", "1.0", "x", "2", "+1", "2.9", "1e3", "-0", "02", "1,5"), strict=True)
        ],
        "unlabelled": [*names[:3]],
        "ignore": [f"{name} {(0, 255, 2)[number % 3]}" for number, name in enumerate(names)],
        "negative": [f"{name} {(-1, 1, 2)[number % 3]}" for number, name in enumerate(names)],
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    for name, shape in {"mean": (3, 20, 22), "square": (3, 20, 20), "grey": (1, 20, 22)}.items():
        blob = schema.BlobProto(num=1, channels=shape[0], height=shape[1], width=shape[2])
        blob.data.extend(rng.uniform(0, 255, shape).ravel().tolist())
        (folder / f"{name}.binaryproto").write_bytes(blob.SerializeToString())
    return folder


def follow(caffe, folder: Path, text: str) -> None:
    """Train a net from its fillers' weights, and compare."""
    text = text.replace("PLACE", str(folder))
    (folder / "net.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text(f'{SOLVER} net: "net.prototxt" snapshot_prefix: "net"')
    compare(caffe, folder / "solver.prototxt", text)


def compare(caffe, path: Path, text: str, given: Params | None = None) -> None:
    """Train in Caffe and in pycam from the same weights, and compare losses and weights."""
    from pycam.engines.torch import at_work, torch_device
    from pycam.training.learner import Learner
    from pycam.training.nets import open_net

    solver = read_solver(path)
    fed = open_net(solver.training_net, solver.random_seed)
    net = fed.net.with_params(fill(fed.net, 3) if given is None else given)
    fields = path.read_text()
    caffe.load_solver(re.sub('net: ".*?"', "", fields).encode(), text.encode(), "net")
    caffe.set_params(net.params)
    losses = [caffe.step({}, ["loss"])["loss"] for _ in range(solver.max_iter)]
    with at_work(torch_device("cpu"), threads=1):
        learner = Learner(net, solver)
        batches = fed.stream(0, solver.max_iter * solver.iter_size)
        mine = [learner.step(islice(batches, solver.iter_size), number) for number in range(solver.max_iter)]
    # Caffe's blob holds the loss of the last of several passes, and of one of several losses.
    if solver.iter_size == 1 and text.count("Loss") == 1:
        assert mine == pytest.approx(list(map(float, losses)), rel=1e-5)
    for name, blobs in caffe.get_params().items():
        for theirs, own, first in zip(blobs, learner.params[name], net.params[name], strict=True):
            assert np.abs(theirs - first).max() > 1e-5, f"{name} learns nothing"
            np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.opencv] * ("new_height" in name)) for name in NETS]
)
def test_lists(name, place, caffe):
    follow(caffe, place, NETS[name])


@pytest.fixture(scope="module")
def databases(place) -> Path:
    """Databases by Caffe's own tool, and one of floats."""
    import lmdb

    for name, options in {"raw": [], "encoded": ["--encoded"]}.items():
        command = [find_caffe()[0], "convert_imageset", *options, f"{place}/images/", str(place / "list.txt")]
        subprocess.run([*command, str(place / name)], check=True, capture_output=True)
    rng = np.random.default_rng(2)
    floats = rng.normal(size=(5, 2 * 8 * 9)).tolist()
    grey = [cv2.imencode(".png", rng.integers(0, 256, (20, 22), np.uint8))[1].tobytes() for _ in range(5)]
    for name, datums in {
        "floats": [schema.Datum(channels=2, height=8, width=9, float_data=values) for values in floats],
        "grey": [schema.Datum(encoded=True, data=data) for data in grey],
    }.items():
        with lmdb.open(str(place / name), map_size=1 << 20) as made, made.begin(write=True) as writing:
            for number, datum in enumerate(datums):
                datum.label = number % 3
                writing.put(b"%03d" % number, datum.SerializeToString())
    return place


@pytest.mark.caffe_root
@pytest.mark.lmdb
@pytest.mark.parametrize("name", DATABASES)
def test_databases(name, databases, caffe):
    follow(caffe, databases, DATABASES[name])


@pytest.fixture(scope="module")
def arrays(place) -> Path:
    """Files of 3, 4 and 2 rows: float, double, integers, compressed or not."""
    import h5py

    rng = np.random.default_rng(3)
    kinds = [("f4", {}), ("f8", {"compression": "gzip", "shuffle": True}), ("f4", {"chunks": True, "fletcher32": True})]
    for number, (rows, (kind, options)) in enumerate(zip((3, 4, 2), kinds, strict=True)):
        with h5py.File(place / f"{number}.h5", "w") as file:
            file.create_dataset("data", data=rng.normal(size=(rows, 2, 8, 9)).astype(kind), **options)
            file.create_dataset("label", data=rng.integers(3, size=(rows, 1)).astype("i8"), **options)
            file.create_dataset("targets", data=rng.uniform(0, 2.99, (rows, 2)).astype(kind))
            file.create_dataset("whole numbers", data=rng.integers(0, 9, (rows, 5), np.uint8))
    (place / "arrays.txt").write_text(f"{place}/0.h5 {place}/1.h5\n\n{place}/2.h5\n")
    return place


@pytest.mark.hdf5
@pytest.mark.parametrize("name", ARRAYS)
def test_hdf5(name, arrays, caffe):
    follow(caffe, arrays, ARRAYS[name])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["par_forcegray", "par_grey", "par_greyonly"])
def test_nets_of_others(name, shared, caffe):
    folder = shared / "data/cases/08-training"
    message = prototxt.read(folder / f"{name}.prototxt").message
    param = message.layer[0].image_data_param
    param.source, param.root_folder = str(folder / param.source), f"{folder}/"
    given = caffemodel.read(folder / f"init_{name}.caffemodel").layers
    compare(caffe, folder / f"{name}_solver.prototxt", prototxt.dumps(message), given)
