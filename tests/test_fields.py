"""No field of a net or a solver is dropped silently: each is carried out, refused by name, or listed as without effect.

A field counts as carried out if a value of it changes what is computed: the layers, the initial parameters, the
batches, the parameters after two iterations of training, or the outputs. It counts as refused if a value of it is an
error that names it. All others are in the list of docs/formats.md, and no others are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import text_format
from nets import data, layer

from pycam.errors import FormatError, PycamError, UnsupportedLayerError
from pycam.formats import prototxt, schema
from pycam.formats.lmdb import Database
from pycam.formats.upgrade import CAFFE_TYPES, V1_PARAM_SPECS
from pycam.net.layers import LAYER_TYPES
from pycam.training.nets import feed
from pycam.training.solver import Solver, read_solver

pytestmark = pytest.mark.torch
with suppress(ImportError):  # without PyTorch, the marker skips every test
    from pycam.training.fillers import fill
    from pycam.training.learner import Learner, judge

DOCS = Path(__file__).parents[1] / "docs/formats.md"
RULE = Solver(path=Path("rule"), net="net", base_lr=0.1, lr_policy="fixed", max_iter=9, snapshot_prefix="x")
RULE = replace(RULE, momentum=0.9, weight_decay=0.1)

NUMBERS = ["1", "2", "3", "5", "7", "0", "-1", "0.3", "true", "false"]
# Paths and messages; a field takes those that fit its type.
OTHERS = ['"gaussian"', '"mean.binaryproto"', '"list2.txt"', '"other"', '{ type: "gaussian" std: 1 }', "{ value: 0.3 }"]
OTHERS += ["{ dim: 1 dim: 1 }", "{ dim: 2 dim: 4 dim: 3 dim: 12 }", '{ stage: "other" }', '{ name: "x" }']


def undocumented(message: str, without: set[str], kind: str = "") -> set[str]:
    """Compare the fields of a message without effect, in a type of layer, with the documentation."""
    section = DOCS.read_text("utf-8").split("## Fields without effect")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w ]+) \| ([^|]+) \|", section, re.MULTILINE)
    names = (message, f"{message} of {kind}")
    return without ^ {field for name, fields in rows if name in names for field in re.findall(r"`(\w+)`", fields)}


def values_of(field: Any) -> Iterator[str]:
    """Yield values of a field in prototxt, other than its default."""
    if field.enum_type:
        candidates = [value.name for value in field.enum_type.values]
    else:
        candidates = NUMBERS + OTHERS
    for value in candidates:
        text = f"{field.name}{'' if value.startswith('{') else ':'} {value}"
        with suppress(text_format.ParseError):
            yield text_format.MessageToString(text_format.Parse(text, schema.MESSAGES[field.containing_type.name]()))


def with_field(text: str, path: str, field: Any, value: str) -> str:
    """Return a layer's text in which the field of the message at `path`, a field of the layer or "", has a value."""
    message = text_format.Parse(text, schema.LayerParameter())
    target = message
    for name in filter(None, path.split(".")):
        target = getattr(target, name)
        target = (target[0] if len(target) else target.add()) if hasattr(target, "add") else target
    if len(target.DESCRIPTOR.fields) and field.name in target.DESCRIPTOR.fields_by_name:
        target.ClearField(field.name)
    text_format.Merge(value, target)
    return text_format.MessageToString(message)


def computed(text: str, folder: Path, trained: bool = True) -> list[Any]:
    """Return all that a training net computes, or only what it starts from."""
    fed = feed(prototxt.parse(text, str(folder / "net.prototxt")), "TRAIN")
    net = fed.net.with_params(fill(fed.net, 1))
    found: list[Any] = [net.layers, *(values for blobs in net.params.values() for values in blobs)]
    if not trained:
        return [*found, *(values for number in range(2) for values in fed[number].values())]
    learner = Learner(net, RULE)
    rng = np.random.default_rng(0)
    for iteration in range(2):
        batch = dict(fed[iteration])
        for name in fed.open_inputs:
            shape = (2, *net.shapes[name][1:])
            made = rng.integers(0, 2, shape) if name in ("label", "pairs") else rng.normal(size=shape)
            batch[name] = made.astype(np.float32)
        found += [*batch.values(), learner.step([batch], iteration)]
    found += [values for blobs in learner.params.values() for values in blobs]
    # The outputs, as in a test.
    return [*found, *judge(net.with_params(learner.params), [batch], learner._device).values()]


def equal(ours: list[Any], others: list[Any]) -> bool:
    return len(ours) == len(others) and all(
        np.array_equal(a, b, equal_nan=True) if isinstance(a, np.ndarray) else a == b
        for a, b in zip(ours, others, strict=True)
    )


def without_effect(message: Any, wrap: Any, base: str, path: str, folder: Path, trained: bool = True) -> set[str]:
    """Return the fields of a message of which no value changes anything, or is refused by name."""
    before = computed(wrap(base), folder, trained)
    found = set()
    for field in message.fields:
        for value in values_of(field):
            try:
                if not equal(computed(wrap(with_field(base, path, field, value)), folder, trained), before):
                    break
            except PycamError as error:
                if re.search(rf"\b{field.name.split('_')[0]}|\b{path.split('.')[-1] or None}\b", str(error)):
                    break
        else:
            found.add(field.name)
    return found


# One layer of each type between a convolution that learns and a loss, or in its place.

SIDE = 6
FIRST = layer(
    "Convolution",
    "first",
    "data",
    params="convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: 'xavier' } }",
)
HEAD = data(2, 4, SIDE, SIDE) + FIRST
LOSS = layer("Power", "square", "out", params="power_param { power: 2 } loss_weight: 0.01")
FILLED = "weight_filler { type: 'xavier' } bias_filler { value: 0.1 }"
IMAGES = "image_data_param { source: 'list.txt' batch_size: 2 new_height: 9 new_width: 8 }"
DATABASE = "data_param { source: 'base' batch_size: 2 backend: LMDB }"

CASES = {
    "Input": ("", "input_param", "input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } }"),
    "DummyData": ("", "dummy_data_param", "dummy_data_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } }"),
    "ImageData": ("", "image_data_param transform_param", IMAGES),
    "Data": ("", "data_param transform_param", DATABASE),
    "HDF5Data": ("", "hdf5_data_param transform_param", "hdf5_data_param { source: 'files.txt' batch_size: 2 }"),
    "Convolution": ("first", "convolution_param", f"convolution_param {{ num_output: 4 kernel_size: 3 {FILLED} }}"),
    "Deconvolution": ("first", "convolution_param", f"convolution_param {{ num_output: 4 kernel_size: 3 {FILLED} }}"),
    "InnerProduct": ("first", "inner_product_param", f"inner_product_param {{ num_output: 4 {FILLED} }}"),
    "Pooling": ("first", "pooling_param", "pooling_param { kernel_size: 3 stride: 2 }"),
    "LRN": ("first", "lrn_param", ""),
    "BatchNorm": ("first", "batch_norm_param", ""),
    "Scale": ("first", "scale_param", "scale_param { bias_term: true }"),
    "PReLU": ("first", "prelu_param", ""),
    "ELU": ("first", "elu_param", ""),
    "ReLU": ("first", "relu_param", ""),
    "Sigmoid": ("first", "sigmoid_param", ""),
    "TanH": ("first", "tanh_param", ""),
    "AbsVal": ("first", "", ""),
    "Power": ("first", "power_param", ""),
    "Exp": ("first", "exp_param", "exp_param { scale: 0.1 }"),
    "Log": ("positive", "log_param", ""),
    "Softmax": ("first", "softmax_param", ""),
    "Dropout": ("first", "dropout_param", ""),
    "Split": ("first", "", ""),
    "Silence": ("first", "", ""),
    "Slice": ("first", "slice_param", ""),
    "Concat": ("first data", "concat_param", ""),
    "Eltwise": ("first data", "eltwise_param", ""),
    "Tile": ("first", "tile_param", "tile_param { tiles: 2 }"),
    "Reduction": ("first", "reduction_param", "reduction_param { axis: 1 }"),
    "ArgMax": ("first", "argmax_param", ""),
    "Flatten": ("first", "flatten_param", ""),
    "Reshape": ("first", "reshape_param", "reshape_param { shape { dim: 0 dim: -1 } }"),
    "Crop": ("first small", "crop_param", ""),
    "ShuffleChannel": ("first", "shuffle_channel_param", "shuffle_channel_param { group: 2 }"),
    "SoftmaxWithLoss": ("first label", "softmax_param loss_param", ""),
    "Accuracy": ("first label", "accuracy_param", ""),
    "HingeLoss": ("scores numbers", "hinge_loss_param", ""),
    "MultinomialLogisticLoss": ("shares numbers", "", ""),
    "SigmoidCrossEntropyLoss": ("first targets", "loss_param", ""),
    "EuclideanLoss": ("first targets", "", ""),
    "ContrastiveLoss": ("left right pairs", "contrastive_loss_param", ""),
}
"""Type -> its bottoms, its messages, and the parameters without which it has no meaning."""

MADE = {
    "small": data(2, 4, 3, 3, name="small"),
    "label": data(2, 1, SIDE, SIDE, name="label"),
    "numbers": data(2, name="label"),
    "pairs": data(2, name="pairs"),
    "targets": data(2, 4, SIDE, SIDE, name="targets"),
    "positive": layer("AbsVal", "absolute", "first")
    + layer("Power", "positive", "absolute", "", "power_param { shift: 1 }"),
    "scores": layer("Flatten", "scores", "first"),
    "shares": layer("Flatten", "scores", "first") + layer("Softmax", "shares", "scores"),
    "left": layer("Flatten", "left", "first"),
    "right": data(2, 4 * SIDE * SIDE, name="right"),
}


def net_around(kind: str, bottoms: str) -> Any:
    """Return a function that makes a layer a net."""
    names = bottoms.split()
    before = HEAD if names else ""
    before += "".join(MADE[name] for name in names if name in MADE)
    tops = {"Slice": ["out", "other"], "Silence": []}.get(kind, ["out"])
    if kind in ("Data", "ImageData"):
        tops.append("label")
    no_gradient = kind in ("Silence", "Accuracy", "ArgMax")
    ends = "" if no_gradient or "Loss" in kind else LOSS
    if not names:
        ends = FIRST.replace('"data"', '"out"') + LOSS.replace('"out"', '"first"')
    if no_gradient:
        ends += layer("Power", "own", "first", params="loss_weight: 0.01 power_param { power: 2 }")
    names = ["label" if name == "numbers" else name for name in names]
    blobs = " ".join([f'bottom: "{name}"' for name in names] + [f'top: "{name}"' for name in tops])

    def net(text: str) -> str:
        return f'{before} layer {{ name: "tested" type: "{kind}" {blobs} {text} }} {ends}'

    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Images with their lists, databases, and arrays."""
    import h5py
    import lmdb

    path = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(0)
    for number in range(6):
        cv2.imwrite(str(path / f"{number}.png"), rng.integers(0, 256, (12, 11, 3), np.uint8))
    for name, order in (("list", range(6)), ("list2", range(5, -1, -1))):
        (path / f"{name}.txt").write_text("".join(f"{number}.png {number % 2}\n" for number in order))
    for name, shape in (("base", (9, 8, 3)), ("other", (9, 8, 3)), ("grey", (9, 8))):
        with lmdb.open(str(path / name), map_size=1 << 20) as made, made.begin(write=True) as writing:
            for number in range(6):
                image = cv2.imencode(".png", rng.integers(0, 256, shape, np.uint8))[1].tobytes()
                writing.put(
                    b"%d" % number, schema.Datum(data=image, encoded=True, label=number % 2).SerializeToString()
                )
    with h5py.File(path / "numbers.h5", "w") as file:
        file["out"] = rng.normal(size=(6, 4, SIDE, SIDE)).astype(np.float32)
    (path / "files.txt").write_text("numbers.h5\n")
    mean = schema.BlobProto(num=1, channels=3, height=9, width=8, data=rng.uniform(0, 255, 216).tolist())
    (path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    return path


@pytest.mark.lmdb
@pytest.mark.hdf5
@pytest.mark.parametrize("kind", sorted(CASES))
def test_layers(kind, folder, monkeypatch):
    monkeypatch.chdir(folder)
    # Opening one takes a process.
    monkeypatch.setattr("pycam.training.database.Database", cache(Database))
    bottoms, paths, base = CASES[kind]
    net = net_around(kind, bottoms)
    trained = not kind.endswith("Data")  # a data layer is done when its batches are made
    for path in paths.split():
        message = schema.LayerParameter.DESCRIPTOR.fields_by_name[path].message_type
        bases = [base, DATABASE.replace("base", "grey")] if kind == "Data" else [base]
        found = set.intersection(*(without_effect(message, net, each, path, folder, trained) for each in bases))
        assert not undocumented(message.name, found, kind), path


def test_every_layer_type_has_its_row():
    assert LAYER_TYPES.keys() - {"MemoryData", "WindowData"} == CASES.keys()


@pytest.mark.parametrize("kind", sorted(CAFFE_TYPES - LAYER_TYPES.keys()))
def test_other_layer_types_are_refused_by_name(kind, folder):
    with pytest.raises(
        UnsupportedLayerError, match=f"layer 'tested' has the type '{kind}': Caffe has it, pycam does not"
    ):
        computed(net_around(kind, "first")(""), folder)


# What every layer may have.

CONVOLUTION = net_around("Convolution", "first")
CONVOLVED = CASES["Convolution"][2]


def test_fields_of_any_layer(folder):
    message = schema.LayerParameter.DESCRIPTOR
    found = without_effect(message, CONVOLUTION, f"{CONVOLVED} propagate_down: true", "", folder)
    # The messages of the types have their own rows; what else is a message here has its own test.
    assert not undocumented(message.name, {name for name in found if not message.fields_by_name[name].message_type})


def test_parameters(folder):
    found = without_effect(
        schema.ParamSpec.DESCRIPTOR, CONVOLUTION, f"{CONVOLVED} param {{ name: 'w' }}", "param", folder
    )
    assert not undocumented("ParamSpec", found - {"share_mode"})

    def sharing(text: str) -> str:
        return CONVOLUTION(text).replace('top: "first"', 'top: "first" param { name: "w" }', 1)

    other_shape = "convolution_param { num_output: 8 group: 2 kernel_size: 1 bias_term: false } param { name: 'w' %s }"
    computed(sharing(other_shape % "share_mode: PERMISSIVE"), folder)
    with pytest.raises(PycamError, match="share_mode: PERMISSIVE"):
        computed(sharing(other_shape % ""), folder)


def test_fillers(folder):
    path = "convolution_param.weight_filler"
    text = "convolution_param {{ num_output: 4 group: 4 kernel_size: 2 weight_filler {{ type: '{}' std: 1 }} }}"
    found = [
        without_effect(schema.FillerParameter.DESCRIPTOR, CONVOLUTION, text.format(kind), path, folder, trained=False)
        for kind in ("gaussian", "uniform", "constant", "xavier", "msra", "bilinear", "positive_unitball")
    ]
    assert not undocumented("FillerParameter", set.intersection(*found))


def test_rules(folder):
    rule = schema.NetStateRule.DESCRIPTOR
    for kind in ("include", "exclude"):

        def net(text: str, kind: str = kind) -> str:
            more = layer("Power", "more", "out", "out", f"power_param {{ scale: 3 }} {text}")
            return 'state { stage: "other" level: 3 } ' + CONVOLUTION(CONVOLVED).replace(LOSS, more + LOSS)

        assert not undocumented(rule.name, without_effect(rule, net, f"{kind} {{ }}", kind, folder))


# Nets and solvers.


def test_fields_of_nets(folder):
    before = computed(CONVOLUTION(CONVOLVED), folder)
    without = set()
    for field in schema.NetParameter.DESCRIPTOR.fields:
        if not field.message_type and not field.name.startswith("input"):
            for value in ("true", '"x"'):
                with suppress(FormatError):
                    if equal(computed(f"{field.name}: {value} {CONVOLUTION(CONVOLVED)}", folder), before):
                        without.add(field.name)
    assert not undocumented("NetParameter", without)
    for old in ("input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 6", "input_shape { dim: 2 dim: 4 dim: 6 dim: 6 }"):
        text = CONVOLUTION(CONVOLVED).replace(data(2, 4, SIDE, SIDE), f'input: "data" {old} ')
        assert equal(computed(text, folder)[1:], before[1:])


SOLVER = (
    "net: 'net.prototxt' base_lr: 0.1 lr_policy: 'step' stepsize: 2 max_iter: 9 snapshot_prefix: 'x' test_interval: 1"
)


def test_fields_of_solvers(tmp_path):
    def read(text: str) -> tuple[Any, ...]:
        (tmp_path / "solver.prototxt").write_text(text)
        return astuple(read_solver(tmp_path / "solver.prototxt"))

    base = f"{SOLVER} test_iter: 1"
    before, without = read(base), set()
    for field in schema.SolverParameter.DESCRIPTOR.fields:
        for value in values_of(field):
            message = text_format.Parse(base, schema.SolverParameter())
            message.ClearField(field.name)
            try:
                if read(text_format.MessageToString(message) + value) != before:
                    break
            except PycamError as error:
                if field.name in str(error):
                    break
        else:
            without.add(field.name)
    assert not undocumented("SolverParameter", without)


def test_fields_of_old_formats():
    """V1's fields have today's names, or are converted; those of V0 have a test with real Caffe."""
    today = set(schema.LayerParameter.DESCRIPTOR.fields_by_name)
    assert set(schema.V1LayerParameter.DESCRIPTOR.fields_by_name) <= {*today, *V1_PARAM_SPECS, "layer"}
