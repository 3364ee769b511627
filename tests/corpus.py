"""A corpus for every reader of files: small sound files, made here by code, and the ways to damage them.

A reader gets a file and returns a checked value, or raises a `PycamError` of one line. `attempt` checks this;
`test_fuzz.py` tries a few files in every test run, `fuzz.py` tries as many as it has time for.
"""

from __future__ import annotations

import io
import json
import math
import random
import re
import struct
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from runs import made_report

from pycam import engines, zoo
from pycam.errors import EngineError, PycamError
from pycam.evaluation.figures import errors_table
from pycam.evaluation.image_file import FileState
from pycam.evaluation.plan import Plan
from pycam.evaluation.record import RECORD, Result
from pycam.evaluation.results import read_report
from pycam.evaluation.store import Store
from pycam.formats import caffemodel, onnx_messages, prototxt, schema
from pycam.formats.hdf5_arrays import check_arrays, read_arrays
from pycam.formats.mean import read_mean
from pycam.formats.npy import read_tensors
from pycam.formats.onnx_file import float_array, read_onnx_file
from pycam.ilsvrc.annotations import read_annotation
from pycam.ilsvrc.classes import MOST
from pycam.ilsvrc.devkit import check_meta, read_blacklist, read_cache, read_class_list
from pycam.ilsvrc.maps import read_map
from pycam.ilsvrc.predictions import read_predictions
from pycam.ilsvrc.synsets import synsets
from pycam.ilsvrc.wsol_metadata import read_metadata
from pycam.images.read import read_image
from pycam.net import read_net
from pycam.paper.sources import Run, Sources
from pycam.paper.tables import paper_tables
from pycam.protocols import protocol
from pycam.tables import FORMS, text
from pycam.training.database import open_database
from pycam.training.lists import list_files
from pycam.training.log import read_rows
from pycam.training.snapshots import read_state
from pycam.training.solver import read_solver
from pycam.verification.compare import load_blobs
from pycam.zoo.cards import read_card
from pycam.zoo.checksums import pinned
from pycam.zoo.label_files import read_labels

Random = random.Random


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes
    ----------
    name : str
        The kind of files that it reads.
    file : str
        The name of its file.
    read : callable
        Reads the file at a path, and fails if the value is not sound.
    seeds : sequence of bytes
        Contents of sound files.
    pieces : sequence of bytes
        Bytes to insert, in addition to those that damage any file.
    beside : mapping
        Name -> content of other files that it reads.
    needs : str
        The marker of an optional package that it needs.
    slow : bool
        True if it starts a process for each file.
    noisy : bool
        True if its decoder may write to stderr.
    """

    name: str
    file: str
    read: Callable[[Path], None]
    seeds: Sequence[bytes]
    pieces: Sequence[bytes] = ()
    beside: Mapping[str, bytes] = field(default_factory=dict)
    needs: str = ""
    slow: bool = False
    noisy: bool = False


def attempt(reader: Reader, folder: Path, data: bytes) -> str:
    """Run a reader; return the message of its refusal, or "". Anything else is a failure."""
    for name, content in reader.beside.items():
        (folder / name).write_bytes(content)
    path = folder / reader.file
    path.write_bytes(data)
    message = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            reader.read(path)
        except PycamError as error:
            message = str(error)
            assert message.isprintable(), f"a message of more than a line: {message!r}"
            assert str(folder) in message, f"a message that names no file: {message}"
    assert not warned, f"a warning: {warned[0].message}"
    return message


# ---- damage

NUMBERS = [b"0", b"-1", b"0.5", b"1e999", b"nan", b"", b"2147483648", b"9223372036854775807", b"9" * 30, b"9" * 5000]
BYTES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0" * 8, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\xff" * 9 + b"\1", b"\n"]
BYTES += [struct.pack("<Q", 1 << 42), struct.pack(">I", 1 << 20), b"\xef\xbb\xbf", "é".encode("latin-1"), "狐".encode()]
LARGEST = 1 << 18


def damaged(data: bytes, rng: Random, reader: Reader) -> bytes:
    """Damage the content of a file in one to four ways."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(DAMAGES)(data, rng, reader)[:LARGEST]
    return data


def _part(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, len(data))))


def _cut(data: bytes, rng: Random, reader: Reader) -> bytes:
    return data[: rng.randint(0, len(data))]


def _drop(data: bytes, rng: Random, reader: Reader) -> bytes:
    start, end = _part(data, rng)
    return data[:start] + data[end:]


def _flip(data: bytes, rng: Random, reader: Reader) -> bytes:
    flipped = bytearray(data)
    for _ in range(rng.randint(1, 3) if data else 0):
        flipped[rng.randint(0, len(data) - 1)] ^= 1 << rng.randint(0, 7)
    return bytes(flipped)


def _insert(data: bytes, rng: Random, reader: Reader) -> bytes:
    start, _ = _part(data, rng)
    return data[:start] + rng.choice((*BYTES, *reader.pieces)) + data[start:]


def _replace(data: bytes, rng: Random, reader: Reader) -> bytes:
    start, _ = _part(data, rng)
    piece = rng.choice((*BYTES, *reader.pieces))
    return data[:start] + piece + data[start + len(piece) :]


def _repeat(data: bytes, rng: Random, reader: Reader) -> bytes:
    start, end = _part(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 10, 300)) + data[end:]


def _splice(data: bytes, rng: Random, reader: Reader) -> bytes:
    other = rng.choice(reader.seeds)
    start, end = _part(other, rng)
    place, _ = _part(data, rng)
    return data[:place] + other[start:end] + data[place:]


def _blow_up(data: bytes, rng: Random, reader: Reader) -> bytes:
    found = [match.span() for match in re.finditer(rb"-?\d+(\.\d+)?", data)] or [_part(data, rng)]
    start, end = rng.choice(found)
    return data[:start] + rng.choice(NUMBERS) + data[end:]


DAMAGES = [_cut, _drop, _flip, _insert, _replace, _repeat, _splice, _blow_up]


# ---- sound files

RNG = np.random.default_rng(5)
MEAN = RNG.uniform(0, 255, (3, 4, 5)).astype(np.float32)
WEIGHTS = RNG.normal(size=(2, 3, 1, 1)).astype(np.float32)
BIAS = np.float32([0.5, -0.5])

NET = b"""name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }
"""
V1_NET = b"""input: "data" input_dim: 1 input_dim: 3 input_dim: 20 input_dim: 20
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 group: 1 weight_filler { type: "xavier" } } }
layers { name: "norm" type: LRN bottom: "conv" top: "norm" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layers { name: "drop" type: DROPOUT bottom: "norm" top: "norm" dropout_param { dropout_ratio: 0.5 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "norm" top: "fc" inner_product_param { num_output: 7 } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" include { phase: TEST } }
"""
V0_NET = b"""input: "data" input_dim: 1 input_dim: 3 input_dim: 20 input_dim: 20
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 stride: 1 } bottom: "pad" top: "conv" }
layers { layer { name: "pool" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "conv" top: "pool" }
"""
MANY_LAYERS = b"""layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
layer { name: "slice" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { axis: 1 slice_point: 2 } }
layer { name: "join" type: "Concat" bottom: "b" bottom: "a" top: "join" concat_param { axis: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "join" bottom: "data" top: "sum" eltwise_param { coeff: 1 coeff: -1 } }
layer { name: "scale" type: "Scale" bottom: "sum" top: "scale" scale_param { bias_term: true } }
layer { name: "shape" type: "Reshape" bottom: "scale" top: "shape" reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "crop" type: "Crop" bottom: "data" bottom: "a" top: "crop" crop_param { axis: 2 offset: 0 } }
layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { num_output: 1 kernel_size: 2 } }
layer { name: "power" type: "Power" bottom: "up" top: "power" power_param { power: 2 scale: 0.5 shift: 1 } }
"""
FORK_NET = b"""name: "fork" engine: "MKLDNN" default_forward_type: FLOAT16
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 8 dim: 9 } } }
layer { name: "dw" type: "ConvolutionDepthwise" bottom: "data" top: "dw"
convolution_param { num_output: 4 kernel_size: 3 hole: 2 pad: 2 engine: MKL2017 } }
layer { name: "bn" type: "BN" bottom: "dw" top: "dw" bn_param { slope_filler { value: 1 } eps: 0.001 frozen: true } }
layer { name: "nv" type: "BatchNorm" bottom: "dw" top: "nv" forward_type: FLOAT
batch_norm_param { scale_filler { value: 1 } } }
layer { name: "old" type: "BN" bottom: "nv" top: "old" bn_param { bn_mode: INFERENCE shift_filler { value: 1 } } }
layer { name: "mix" type: "ShuffleChannel" bottom: "old" top: "mix" shuffle_channel_param { group: 2 } }
layer { name: "mean" type: "Pooling" bottom: "mix" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "sum" type: "Axpy" bottom: "mean" bottom: "mix" bottom: "dw" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool"
pooling_param { kernel_size: 3 stride: 2 ceil_mode: false } }
"""
TEXT_PIECES = [b"{", b"}", b"layer {", b"layers {", b":", b'"', b"'", b"#", b"[", b"]", b"<", b">", b"\\x", b"\\400"]
TEXT_PIECES += [b";", b"nan", b'type: "Foo"', b'input: "a"', b"input_dim: 3", b"\\ud800", b"permute_param {", b"net: 1"]
TEXT_PIECES += [b"ceil_mode: true ", b"relu: true ", b"hole_h: 2 ", b"engine: MKLDNN ", b"bn_mode: LEARN "]
TEXT_PIECES += [b" dim: 1000000 dim: 1000000", b"stride: 0 ", b"top: 'conv' ", b"bottom: 'prob' ", b"kernel_h: 2 "]

SOLVER = b"""net: "net.prototxt"
test_iter: 2 test_interval: 10 base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 100 max_iter: 450 momentum: 0.9
weight_decay: 0.0005 snapshot: 40 snapshot_prefix: "out/net" solver_mode: CPU random_seed: 3
"""
OTHER_SOLVER = b"""train_net: "a.prototxt" base_lr: 0.001 lr_policy: "multistep" stepvalue: 3 stepvalue: 5 gamma: 2
max_iter: 45 solver_type: ADAM momentum2: 0.99 delta: 1e-8 clip_gradients: 35 snapshot_prefix: "b" iter_size: 2
"""


def _net_message(*layers: schema.Message) -> bytes:
    return schema.NetParameter(name="small", layer=layers).SerializeToString()


def _blob(values: np.ndarray) -> schema.Message:
    return schema.BlobProto(shape={"dim": values.shape}, data=values.ravel())


CONV = schema.LayerParameter(name="conv", type="Convolution", blobs=[_blob(WEIGHTS), _blob(BIAS)])
CAFFEMODEL = _net_message(schema.LayerParameter(name="relu", type="ReLU"), CONV)
LEGACY = [
    schema.BlobProto(num=2, channels=3, height=1, width=1, data=WEIGHTS.ravel()),
    schema.BlobProto(num=1, channels=1, height=1, width=2, data=BIAS),
]
V1_CAFFEMODEL = schema.NetParameter(layers=[{"name": "conv", "type": 4, "blobs": LEGACY}]).SerializeToString()
V0_CAFFEMODEL = schema.NetParameter(
    layers=[{"layer": {"name": "conv", "type": "conv", "blobs": LEGACY}}]
).SerializeToString()
# Values with one tag each, doubles, and gradients.
UNPACKED = b"\x3a\x04\x08\x02\x08\x03" + b"".join(b"\x2d" + value.tobytes() for value in WEIGHTS.ravel())
DOUBLES = schema.BlobProto(shape={"dim": [2]}, double_data=[1.5, 2.5], double_diff=[0, 0]).SerializeToString()
UNUSUAL = b"\xa2\x06" + bytes([8 + len(UNPACKED) + 2 + len(DOUBLES)]) + b"\x0a\x04conv"
# NVIDIA's raw_data, in half precision.
RAW = b"\x3a\x04\x0a\x02\x02\x03\x50\x02\x62\x0c" + WEIGHTS.astype("<f2").tobytes()
RAW_CAFFEMODEL = b"\xa2\x06" + bytes([8 + len(RAW)]) + b"\x0a\x04conv\x3a" + bytes([len(RAW)]) + RAW
UNUSUAL += b"\x3a" + bytes([len(UNPACKED)]) + UNPACKED + b"\x3a" + bytes([len(DOUBLES)]) + DOUBLES


def _saved(save: Callable[..., object], *content: object, **options: object) -> bytes:
    stream = io.BytesIO()
    save(stream, *content, **options)
    return stream.getvalue()


MEAN_BLOB = schema.BlobProto(num=1, channels=3, height=4, width=5, data=MEAN.ravel()).SerializeToString()
MEAN_NPY = _saved(np.save, MEAN)
TENSORS = {"conv": {"weights": WEIGHTS.transpose(2, 3, 1, 0), "biases": BIAS}}


def _mat(**variables: object) -> list[bytes]:
    return [_saved(scipy.io.savemat, variables, do_compression=packed) for packed in (False, True)]


def _structs(*rows: Mapping[str, object]) -> np.ndarray:
    structs = np.empty((len(rows), 1), [(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        structs[place, 0] = tuple(row.values())
    return structs


THING = {"label": 449.0, "bbox": np.array([[1.0, 2, 30, 40]])}
CACHE = _structs({"objects": _structs(THING, THING)}, {"objects": _structs(THING)})
CLASSES = zip(synsets().wnids, synsets().ids.tolist(), strict=True)
META = _structs(*({"ILSVRC2014_ID": float(number), "WNID": wnid} for wnid, number in CLASSES))


def _images() -> list[bytes]:
    pixels = RNG.integers(0, 256, (7, 9, 4), dtype=np.uint8)
    colour = Image.fromarray(pixels[:, :, :3])
    alpha = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(_saved(colour.save, kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")),
        _saved(colour.save, "JPEG", progressive=True, exif=exif),
        _saved(colour.convert("CMYK").save, "JPEG"),
        _saved(colour.convert("L").save, "JPEG", restart_marker_blocks=1),
        _saved(colour.quantize(8).save, "PNG", transparency=2),
        _saved(colour.convert("1").save, "TIFF", compression="group4"),
        _saved(colour.save, "TIFF", compression="tiff_lzw"),
        _saved(colour.save, "TIFF", compression="jpeg"),
        _saved(alpha.save, "WEBP", lossless=True, save_all=True, append_images=[alpha.rotate(90)]),
        _saved(alpha.save, "PNG", save_all=True, append_images=[alpha.rotate(90)]),
    ]


def _deep_image() -> bytes:
    """Return an image of 16 bits per channel, which a database cannot have."""
    return _saved(Image.fromarray(RNG.integers(0, 65536, (7, 9), np.uint16)).save, "PNG")


XML = b"""<?xml version="1.0"?>
<annotation>
<folder>val</folder><filename>a</filename><source><database>ILSVRC_2012</database></source>
<size><width>50</width><height>40</height><depth>3</depth></size><segmented>0</segmented>
<object><name>n01440764</name><pose>Unspecified</pose>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
</annotation>
"""
XML_PIECES = [b"<!DOCTYPE a [<!ENTITY a 'b'>]>", b"&a;", b"<object>", b"</object>", b"<![CDATA[", b"<?a?>"]

WSOL = {
    "image_ids.txt": b"val/b.JPEG\nval/a.JPEG\n",
    "class_labels.txt": b"val/a.JPEG,0\nval/b.JPEG,1\n",
    "image_sizes.txt": b"val/a.JPEG,50,40\nval/b.JPEG,60,30\n",
    "localization.txt": b"val/a.JPEG,1,2,30,40\nval/b.JPEG,5,5,20,20\nval/a.JPEG,3,3,4,4\n",
}

CARD = b"""name: mine
title: A net of mine
aliases: [my-net, "7"]
prototxt: mine.prototxt
weights: {file: mine.caffemodel, mirrors: ["https://example.org/a?b"], layer_sha256: {fc: "%s"}, sha1: "%s"}
labels: ilsvrc
mean: {value: [104, 117.5, 123]}
input_size: 224
cam: true
feature_blob: conv
class_layer: fc
score_blob: fc
notes: "\xc3\xa9"
""" % (b"0" * 64, b"a" * 40)
CARD_PIECES = [
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!python/object:os.system ",
    b"!!binary ",
    b"---\n",
    b"? ",
    b"- ",
    b"| ",
    b"[" * 99,
]

BLOBS = _saved(np.savez, data=MEAN, conv=WEIGHTS, **{"a/b": BIAS})
STATE = schema.SolverState(iter=5, learned_net="/elsewhere/net_iter_5.caffemodel", history=[_blob(WEIGHTS)])
LEGACY_STATE = schema.SolverState(iter=5, learned_net="net_iter_5.caffemodel", history=LEGACY)
LOG = b"iteration,lr,loss,test accuracy\n0,0.01,,0.25\n10,0.001,1.5,\n20,1e-05,0.75,0.5\n"
DATUM = schema.Datum(channels=3, height=2, width=2, data=bytes(12), label=7).SerializeToString()
FLOAT_DATUM = schema.Datum(channels=1, height=1, width=3, float_data=[1, 2, 3], label=7).SerializeToString()
ENCODED_DATUMS = [schema.Datum(data=each, encoded=True, label=7).SerializeToString() for each in _images()]
PLAN = {
    "recipe": {
        "protocol": asdict(protocol("released")),
        "prototxt": "a.prototxt",
        "weights": "b",
        "options": {"threads": 2},
    },
    "sources": {"images": "FOLDER", "ground_truth": "FOLDER", "limit": 1},
    "batch": 8,
}
LIMITLESS = PLAN | {
    "recipe": {"protocol": asdict(protocol("sweep")), "model": "vgg16-cam", "engine": "torch", "options": {}}
}
REPORTS = [
    made_report("googlenet-cam", notes=["blacklist: none"], skipped=[{"image": "a", "reason": "a.JPEG: cut"}]),
    made_report("mine", submissions=True, overrides={"view": "full"}),
]
JSON_PIECES = [b"null", b"true", b'""', b"{}", b"[]", b"[" * 2000, b'"a": 1, ', b"NaN", b"1e999", b"-3", b'{"top1": 2}']
IDENTITY = (("weights", "0123456789abcdef"), ("engine", "ONNX Runtime"))
KEPT = [
    Result(0, FileState(99, 7), record=np.zeros((), RECORD).tobytes(), maps=MEAN.tobytes(), hits=bytes(9)),
    Result(1, FileState(-1, 0), error="b.JPEG: no such file"),
    Result(2, FileState(5, 2**32 - 1), record=np.ones((), RECORD).tobytes(), maps=bytes(9000)),
]
DATA_LAYER = schema.LayerParameter(name="data", type="Data", data_param={"backend": 1})


# ---- the checks of each reader


def _net(path: Path) -> None:
    net = read_net(path)
    assert all(side >= 0 for shape in net.shapes.values() for side in shape)


def _net_that_runs(path: Path) -> None:
    net = read_net(path)
    assert prototxt.parse(prototxt.dumps(net.message)).message == net.message
    outputs = [output for output in net.outputs if output not in net.inputs]
    if not outputs or sum(math.prod(shape) for shape in net.shapes.values()) > 10**6:
        return
    ones = {
        layer.name: tuple(np.ones(shape, np.float32) for shape in layer.param_shapes)
        for layer in net.layers
        if layer.param_shapes
    }
    if sum(values.size for blobs in ones.values() for values in blobs) > 10**6:
        return
    inputs = {blob: np.ones(net.shapes[blob], np.float32) for blob in net.inputs}
    try:
        with engines.make("onnxruntime", net.with_params(ones), outputs, engines.Options(threads=1)) as engine:
            found = engine.forward(inputs)
    except EngineError as error:
        raise AssertionError("a net that was read does not run") from error
    assert {name: values.shape for name, values in found.items()} == {name: net.shapes[name] for name in outputs}


def _weights(path: Path) -> None:
    for blobs in caffemodel.read(path).layers.values():
        assert blobs
        assert all(blob.dtype == np.float32 and blob.size for blob in blobs)


def _onnx(path: Path) -> None:
    model, _ = read_onnx_file(path)
    assert model.graph.node
    assert all(isinstance(name, str) for node in model.graph.node for name in node.input)
    for tensor in model.graph.initializer:
        array = float_array(tensor, str(path))
        assert array is None or array.shape == tuple(tensor.dims)


def _onnx_file(external: bool) -> bytes:
    graph = onnx_messages.MESSAGES["GraphProto"](
        name="small",
        node=[onnx_messages.node("Gemm", ["x", "w", "b"], ["y"], "fc", {"transB": 1})],
        input=[onnx_messages.value("x", onnx_messages.FLOAT, ["N", 3])],
        output=[onnx_messages.value("y", onnx_messages.FLOAT, ["N", 2])],
        initializer=[onnx_messages.tensor(WEIGHTS.reshape(2, 3), "w"), onnx_messages.tensor(BIAS, "b")],
    )
    if external:
        graph.initializer[0].ClearField("raw_data")
        graph.initializer[0].data_location = 1
        for key, value in {"location": "data.bin", "offset": "8", "length": "24"}.items():
            graph.initializer[0].external_data.add(key=key, value=value)
    return bytes(onnx_messages.model(graph, {"": 13}, 8).SerializeToString())


def _net_with_weights(path: Path) -> None:
    net = read_net(path.with_name("small.prototxt"), path)
    assert [blob.shape for blob in net.params["conv"]] == [(2, 3, 1, 1), (2,)]
    assert all(np.isfinite(blob).all() for blob in net.params["conv"])


def _mean(path: Path) -> None:
    mean = read_mean(path)
    assert mean.dtype == np.float32
    assert mean.ndim == 3
    assert len(mean) == 3
    assert mean.min() >= 0
    assert mean.max() <= 255


def _tensors(path: Path) -> None:
    for tensors in read_tensors(path).values():
        assert all(values.dtype == np.float32 for values in tensors.values())


def _image(path: Path) -> None:
    pixels = read_image(path, largest=10**7).pixels
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size


def _annotation(path: Path) -> None:
    for found in read_annotation(path).boxes:
        x0, y0, x1, y1 = found.box
        assert 0 <= x0 <= x1
        assert 0 <= y0 <= y1


def _class_list(path: Path) -> None:
    found = read_class_list(path)
    assert len(found.classes)
    assert ((found.classes >= 0) & (found.classes < MOST)).all()
    assert found.names is None or len(set(found.names)) == len(found.classes)


def _blacklist(path: Path) -> None:
    left_out, note = read_blacklist(path, 100)
    assert left_out.shape == (100,)
    assert note.isprintable()


def _cache(path: Path) -> None:
    cached = read_cache(path)
    assert (cached.boxes[:, :2] <= cached.boxes[:, 2:]).all()
    assert ((cached.box_classes >= 0) & (cached.box_classes < 1000)).all()
    assert (np.diff(cached.box_images) >= 0).all()


def _predictions(path: Path) -> None:
    found = read_predictions(path)
    assert len(found)
    assert np.isfinite(found.boxes).all()
    assert ((found.classes >= -1) & (found.classes < 1000)).all()


def _metadata(path: Path) -> None:
    found = read_metadata(path.parent)
    assert len(found.names) == len(found.classes) == len(found.sizes)
    assert (found.boxes[:, 2:] <= found.sizes[found.box_images]).all()


def _map(path: Path) -> None:
    found = read_map(path)
    assert found.ndim == 2
    numbers = found[~np.isnan(found)]
    assert ((numbers >= 0) & ((numbers <= 1) | (found.dtype == np.uint8))).all()


def _labels(path: Path) -> None:
    found = read_labels(path)
    assert all(name.strip() and name.replace("\t", " ").isprintable() for name in found.names)


def _card(path: Path) -> None:
    assert read_card(path, zoo.models_folder() / "mean").weights.names[0]


def _pin(path: Path) -> None:
    assert len(pinned(path.with_suffix("")) or "") == 64


def _list(path: Path) -> None:
    found = list_files(path)
    assert all(Path(name).is_file() for name in found.paths)


def _blobs(path: Path) -> None:
    assert all(values.dtype == np.float32 for values in load_blobs(path).values())


def _state(path: Path) -> None:
    state = read_state(path)
    assert state.iteration >= 0
    assert all(values.dtype == np.float32 for values in state.history)


def _log(path: Path) -> None:
    assert all(row.iteration >= 0 for row in read_rows(path))


def _solver(path: Path) -> None:
    solver = read_solver(path)
    # Without iterations, there is no rate.
    assert np.isfinite([solver.rate(iteration) for iteration in (0, solver.max_iter - 1) if solver.max_iter > 0]).all()


def _plan(path: Path) -> None:
    # The seeds cannot contain the path of the folder.
    path.write_bytes(path.read_bytes().replace(b"FOLDER", str(path.parent).encode()))
    plan = Plan.restore(path.parent)
    assert len(plan) == len(plan.truth) == len(plan.images) > 0
    assert plan.batch > 0
    assert [task.position for batch in plan.batches() for task in batch] == [0]


def _report(path: Path) -> None:
    found = read_report(path.parent)
    for form in FORMS:
        text(paper_tables(Sources((Run(found),)), {}), form)
    assert errors_table({"": found}).section()["rows"]


def _store(path: Path) -> None:
    for log in ("run.sqlite-wal", "run.sqlite-shm"):
        path.with_name(log).unlink(missing_ok=True)
    with Store(path, IDENTITY) as store:
        assert [each for each in store.results() if each not in KEPT] == []
        assert store.failures().items() <= {1: KEPT[1].error}.items()
        assert store.files().items() <= {each.position: each.file for each in KEPT}.items()


def _stores() -> list[bytes]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "run.sqlite")
        with Store(path, IDENTITY) as store:
            store.add(KEPT)
        return [path.read_bytes()]


def _datum(path: Path) -> None:
    """Read the file as the value of the only key of a database."""
    import lmdb

    place = path.with_name("database")
    with lmdb.open(str(place), map_size=1 << 22, sync=False) as made, made.begin(write=True) as writing:
        writing.put(b"0", path.read_bytes())
    _first_of(place)


def _database(path: Path) -> None:
    _first_of(path.parent)


def _snapshots() -> tuple[list[bytes], list[bytes]]:
    """Weights and a solver's state in HDF5, as Caffe writes them."""
    if find_spec("h5py") is None:
        return [], []
    import h5py

    with tempfile.TemporaryDirectory() as place:
        weights, state = Path(place, "weights"), Path(place, "state")
        with h5py.File(weights, "w") as file:
            for name, array in {"conv/0": WEIGHTS, "conv/1": BIAS, "a/b/0": BIAS.astype("f8")}.items():
                file[f"data/{name}"] = array
            file.create_group("data/relu")
        with h5py.File(state, "w") as file:
            file["iter"] = np.int32([5])
            file["learned_net"] = np.bytes_(b"net_iter_5.caffemodel")
            file["current_step"] = np.int32([0])
            file["history/0"] = WEIGHTS
        return [weights.read_bytes()], [state.read_bytes()]


H5_WEIGHTS, H5_STATES = _snapshots()


def _arrays(path: Path) -> None:
    names = ("data", "label")
    for shape, values in zip(check_arrays(path, names), read_arrays(str(path), names), strict=True):
        assert values.shape == shape


def _array_files() -> list[bytes]:
    if find_spec("h5py") is None:
        return []
    import h5py

    files = []
    for options in ({}, {"compression": "gzip", "shuffle": True, "chunks": (2,)}):
        content = io.BytesIO()
        with h5py.File(content, "w") as file:
            file["data"] = WEIGHTS
            file.create_dataset("label", data=np.arange(len(WEIGHTS)), **options)
        files.append(content.getvalue())
    return files


def _first_of(place: Path) -> None:
    pixels, _ = open_database(DATA_LAYER, place)[0]
    assert pixels.ndim == 3


def _databases() -> list[bytes]:
    if find_spec("lmdb") is None:
        return []
    import lmdb

    with tempfile.TemporaryDirectory() as place:
        with lmdb.open(place, map_size=1 << 20) as made, made.begin(write=True) as writing:
            for number in range(20):
                writing.put(f"{number:08d}".encode(), (DATUM, FLOAT_DATUM, ENCODED_DATUMS[1] * 40)[number % 3])
        return [Path(place, "data.mdb").read_bytes()]


READERS = [
    Reader("nets", "net.prototxt", _net, (NET, V1_NET, V0_NET, MANY_LAYERS, FORK_NET), TEXT_PIECES),
    Reader(
        "nets that are run",
        "net.prototxt",
        _net_that_runs,
        (NET, V1_NET, V0_NET, MANY_LAYERS, FORK_NET),
        TEXT_PIECES,
    ),
    Reader("solvers", "solver.prototxt", _solver, (SOLVER, OTHER_SOLVER), TEXT_PIECES),
    Reader("weights", "a.caffemodel", _weights, (CAFFEMODEL, V1_CAFFEMODEL, V0_CAFFEMODEL, UNUSUAL, RAW_CAFFEMODEL)),
    Reader(
        "nets in ONNX",
        "m.onnx",
        _onnx,
        (_onnx_file(False), _onnx_file(True)),
        [b"data.bin", b"../data.bin"],
        {"data.bin": bytes(32)},
    ),
    Reader("weights in HDF5", "a.caffemodel.h5", _weights, H5_WEIGHTS, needs="hdf5", slow=True),
    Reader(
        "weights of a net",
        "a.caffemodel",
        _net_with_weights,
        (CAFFEMODEL, V1_CAFFEMODEL, V0_CAFFEMODEL),
        beside={"small.prototxt": NET},
    ),
    Reader("mean images", "mean.binaryproto", _mean, (MEAN_BLOB, MEAN_NPY)),
    Reader("mean images of MATLAB", "mean.mat", _mean, _mat(mean_data=MEAN.transpose(2, 1, 0)), slow=True),
    Reader("weights of NumPy", "weights.npy", _tensors, [_saved(np.save, TENSORS, allow_pickle=True)], slow=True),
    Reader("images", "image.jpg", _image, (*_images(), _deep_image()), noisy=True),
    Reader("annotations", "a.xml", _annotation, (XML,), XML_PIECES),
    Reader("lists of classes", "list.txt", _class_list, (b"449\n1\n1000\n", b"a.JPEG 0\nb c.JPEG 999\n")),
    Reader("blacklists", "list.txt", _blacklist, (b"1\n100\n7\n",)),
    Reader("ground truth of the devkit", "cache.mat", _cache, _mat(rec=CACHE), slow=True),
    Reader("classes of the devkit", "meta.mat", check_meta, _mat(synsets=META), slow=True),
    Reader("submissions", "boxes.txt", _predictions, (b"449 1 2 3 4 1 0.5 6 7 8\n\n1000 -1 2 3e2 4\n",)),
    *(
        Reader(f"WSOL's {name}", name, _metadata, (content,), [b",", b"val/a.JPEG"], WSOL)
        for name, content in WSOL.items()
    ),
    Reader("score maps", "map.npy", _map, [_saved(np.save, np.linspace(0, 1, 12).reshape(3, 4))]),
    Reader(
        "labels",
        "labels.txt",
        _labels,
        (b"index\twnid\tlabel\n0\tn01440764\ttench\n1\tn02119789\tfox, red\n", b"a 1\nb 0\n"),
    ),
    Reader("cards", "card.yaml", _card, (CARD,), CARD_PIECES),
    Reader("pins", "a.caffemodel.sha256", _pin, (b"0" * 64 + b"  a.caffemodel\n",)),
    Reader("lists of images", "list.txt", _list, (b"list.txt 0\nlist.txt 12\n",), beside={"list.txt": b""}),
    Reader("saved blobs", "blobs.npz", _blobs, [BLOBS]),
    Reader(
        "states of solvers",
        "net_iter_5.solverstate",
        _state,
        [STATE.SerializeToString(), LEGACY_STATE.SerializeToString()],
        beside={"net_iter_5.caffemodel": CAFFEMODEL},
    ),
    Reader(
        "states of solvers in HDF5",
        "net_iter_5.solverstate.h5",
        _state,
        H5_STATES,
        beside={"net_iter_5.caffemodel": CAFFEMODEL},
        needs="hdf5",
        slow=True,
    ),
    Reader("logs of trainings", "log.csv", _log, (LOG,)),
    Reader(
        "plans of runs",
        "plan.json",
        _plan,
        [json.dumps(plan).encode() for plan in (PLAN, LIMITLESS)],
        JSON_PIECES,
        beside={"a.xml": XML, "a.png": _images()[1]},
    ),
    Reader("reports of runs", "report.json", _report, [json.dumps(each).encode() for each in REPORTS], JSON_PIECES),
    Reader("stores of runs", "run.sqlite", _store, _stores(), slow=True),
    Reader("arrays in HDF5", "a.h5", _arrays, _array_files(), needs="hdf5", slow=True),
    Reader("databases", "data.mdb", _database, _databases(), needs="lmdb", slow=True, noisy=True),
    Reader("images of a database", "datum", _datum, (DATUM, FLOAT_DATUM, *ENCODED_DATUMS), needs="lmdb", noisy=True),
]
