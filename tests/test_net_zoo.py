"""Public nets of other people: pycam makes of them what real Caffe makes of them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pycam.errors import PycamError
from pycam.net import Net, read_net

pytestmark = pytest.mark.shared

REFUSED = {
    "intel+caffe__examples__LRCN_activity_recognition__deploy_lstm.prototxt": (
        r"layer 'reshape-data' \(Reshape\): its shape 16×10×4096 mixes the images of a batch",
        "a recurrent net over the images of a batch",
    ),
}
"""Files that Caffe builds and pycam refuses: its message, and the reason."""

NO_DATABASE = "Caffe opens the database, which is missing there; pycam only needs the shape of its images"
FORK = "it is a net of a fork of Caffe, which pycam converts"
TAKEN = {
    "BVLC+caffe__models__bvlc_googlenet__train_val.prototxt": NO_DATABASE,
    "DeepScale+SqueezeNet__SqueezeNet_v1.1__train_val.prototxt": NO_DATABASE,
    "HolmesShuan+ResNet-18-Caffemodel-on-ImageNet__train.prototxt": NO_DATABASE,
    "PKU-ICST-MIPL+OPAM_TIP2018__Part_Detect__train_val_vgg16CAM_1.prototxt": "Caffe reads the mean, missing there",
    "cvjena+cnn-models__AlexNet_cvgj__train.prototxt": "Caffe reads the list of images, empty there",
    "metalbubble+CAM__models__train_val_googlenetCAM.prototxt": NO_DATABASE,
    "sanghoon+pva-faster-rcnn__models__pvanet__imagenet__pva9.1_preAct_test.prototxt": NO_DATABASE,
    "farmingyard+ShuffleNet__shufflenet_1x_g3_deploy.prototxt": FORK,
    "farmingyard+ShuffleNet__shufflenet_v2_1x_deploy.prototxt": FORK,
    "hujie-frank+SENet__models__SE-ResNet-50.prototxt": FORK,
    "hujie-frank+SENet__models__SENet-154.prototxt": FORK,
    "shicai+DenseNet-Caffe__DenseNet_121.prototxt": FORK,
    "shicai+DenseNet-Caffe__DenseNet_169.prototxt": FORK,
    "soeaver+caffe-model__cls__densenet__deploy_densenet121.prototxt": FORK,
}
"""Files that Caffe refuses and pycam takes, with the reason."""


@cache
def caffes(shared: Path) -> dict[str, Any]:
    """What Caffe makes of each file: blobs and parameters, or `refused`."""
    return json.loads((shared / "data/prototxt-zoo/caffe.json").read_text())


@cache
def ours(shared: Path) -> dict[str, Net | PycamError]:
    """What pycam makes of each file."""

    def read(path: Path) -> Net | PycamError:
        try:
            return read_net(path)
        except PycamError as error:
            return error

    return {name: read(shared / "data/prototxt-zoo/files" / name) for name in caffes(shared)}


def test_every_file_that_caffe_builds_is_read_or_refused_for_a_reason(shared):
    builds = {name for name, found in caffes(shared).items() if "refused" not in found}
    refused = {name: str(ours(shared)[name]) for name in builds if isinstance(ours(shared)[name], PycamError)}
    assert refused.keys() == REFUSED.keys()
    for name, message in refused.items():
        assert re.search(REFUSED[name][0], message)


def test_every_file_that_caffe_refuses_is_refused_or_taken_for_a_reason(shared):
    refused = {name for name, found in caffes(shared).items() if "refused" in found}
    assert {name for name in refused if isinstance(ours(shared)[name], Net)} == TAKEN.keys()


def test_shapes_of_blobs_and_parameters_are_caffes(shared):
    compared = 0
    for name, caffe in caffes(shared).items():
        net = ours(shared)[name]
        if "refused" in caffe or isinstance(net, PycamError):
            continue
        # Axis 0 is the batch, and Caffe adds splits by itself.
        blobs = {blob: shape[1:] for blob, shape in caffe["blobs"].items() if "_split_" not in blob}
        assert {blob: list(shape[1:]) for blob, shape in net.shapes.items() if blob in blobs} == blobs, name
        params = {each.name: [list(shape) for shape in each.param_shapes] for each in net.layers if each.param_shapes}
        assert params == caffe["params"], name
        compared += 1
    assert compared > 50


def test_the_documented_counts_are_these(shared):
    def count(builds: bool, reads: bool) -> int:
        return sum(
            ("refused" not in found) == builds and isinstance(ours(shared)[name], Net) == reads
            for name, found in caffes(shared).items()
        )

    text = (Path(__file__).parents[1] / "docs/formats.md").read_text(encoding="utf-8")
    for row, builds in (("Caffe builds", True), ("Caffe refuses", False)):
        (found,) = re.findall(rf"^\| {row} \| (\d+) \| (\d+) \|$", text, re.M)
        assert tuple(map(int, found)) == (count(builds, True), count(builds, False)), row
