"""Caffemodels: compared with protobuf's reading of the same bytes; cut, damaged and foreign files."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as st_numpy

from pycam import engines
from pycam.errors import FormatError, NetError, PycamError
from pycam.formats import caffemodel, schema, wire
from pycam.formats.wire import varint
from pycam.net import read_net

WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7
BIAS = np.array([0.5, -1.25], np.float32)


def saved(folder: Path, data: bytes | Any, name: str = "net.caffemodel") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return path


def blob(values: np.ndarray) -> Any:
    return schema.BlobProto(shape={"dim": values.shape}, data=values.ravel())


def net(**layers: list[Any]) -> Any:
    message = schema.NetParameter(name="net")
    for name, blobs in layers.items():
        message.layer.add(name=name, type="Convolution", bottom=["data"], blobs=blobs)
    return message


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | wire.BYTES) + varint(len(payload)) + payload


def net_of_blob(blob_bytes: bytes) -> bytes:
    return field(100, field(1, b"conv") + field(2, b"Convolution") + field(7, blob_bytes))


SMALL = net(conv1=[blob(WEIGHT), blob(BIAS)], relu1=[], conv2=[blob(WEIGHT[::-1])])


# Reading


def as_protobuf_reads(data: bytes) -> dict[str, list[np.ndarray]]:
    """Read the same bytes with protobuf and Caffe's rules for shapes and doubles."""
    message = schema.NetParameter()
    message.ParseFromString(data)
    layers = {}
    for layer in message.layer:
        if layer.blobs:
            layers[layer.name] = [
                np.array(each.double_data or each.data, np.float32).reshape(
                    (each.num, each.channels, each.height, each.width)
                    if each.HasField("num")
                    else tuple(each.shape.dim)
                )
                for each in layer.blobs
            ]
    return layers


def assert_same(read: dict[str, tuple[np.ndarray, ...]], expected: dict[str, list[np.ndarray]]) -> None:
    assert list(read) == list(expected)
    for name, blobs in expected.items():
        for ours, theirs in zip(read[name], blobs, strict=True):
            assert ours.dtype == np.float32
            assert ours.flags.aligned
            assert ours.flags.c_contiguous
            np.testing.assert_array_equal(ours, theirs, strict=True)


def test_a_caffemodel_is_read(tmp_path: Path):
    weights = caffemodel.read(saved(tmp_path, SMALL))
    assert_same(weights.layers, {"conv1": [WEIGHT, BIAS], "conv2": [WEIGHT[::-1]]})
    assert weights.path == str(tmp_path / "net.caffemodel")


@pytest.mark.shared
def test_released_weights_are_read_as_protobuf_reads_them(shared: Path):
    path = shared / "data" / "weights" / "squeezenet_v1.0.caffemodel"
    weights = caffemodel.read(path)
    assert_same(weights.layers, as_protobuf_reads(path.read_bytes()))
    assert len(weights.layers) == 26
    assert weights.layers["conv1"][0].shape == (96, 3, 7, 7)


shapes = st_numpy.array_shapes(min_dims=0, max_dims=5, max_side=4)


@st.composite
def blobs(draw: st.DrawFn) -> Any:
    values = draw(st_numpy.arrays(np.float32, shapes, elements=st.floats(width=32)))
    message = schema.BlobProto()
    if values.ndim == 4 and draw(st.booleans()):
        message.num, message.channels, message.height, message.width = values.shape
    else:
        message.shape.dim.extend(values.shape)
    (message.double_data if draw(st.booleans()) else message.data).extend(values.ravel().tolist())
    if draw(st.booleans()):
        message.diff.extend(values.ravel().tolist())
    return message


@given(layers=st.dictionaries(st.text(max_size=5), st.lists(blobs(), max_size=3), min_size=1, max_size=4))
def test_any_net_is_read_as_protobuf_reads_it(tmp_path_factory: pytest.TempPathFactory, layers: dict[str, list[Any]]):
    path = saved(tmp_path_factory.getbasetemp(), net(**layers))
    if not any(layers.values()):
        with pytest.raises(FormatError, match="no layer has weights"):
            caffemodel.read(path)
    else:
        assert_same(caffemodel.read(path).layers, as_protobuf_reads(path.read_bytes()))


def test_v1_and_v0_layers_are_read(tmp_path: Path):
    message = schema.NetParameter()
    old = {"num": 1, "channels": 1, "height": 1, "width": 2, "data": BIAS}
    message.layers.add(name="fc", type=schema.V1LayerParameter.INNER_PRODUCT, blobs=[old, old])
    message.layers.add(bottom=["a"], layer={"name": "conv", "type": "conv", "blobs": [old]})
    message.layers.add(name="odd", type=schema.V1LayerParameter.TANH)
    weights = caffemodel.read(saved(tmp_path, message))
    four = BIAS.reshape(1, 1, 1, 2)
    assert_same(weights.layers, {"fc": [four, four], "conv": [four]})


def test_unpacked_values_are_read(tmp_path: Path):
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    shape = field(7, schema.BlobShape(dim=values.shape).SerializeToString())
    floats = b"".join(b"\x2d" + struct.pack("<f", value) for value in values)
    gradients = b"".join(b"\x35" + struct.pack("<f", value) for value in values)
    doubles = b"".join(b"\x41" + struct.pack("<d", value) for value in values)
    for data in (floats + gradients + shape, shape + gradients + floats, gradients + doubles + shape):
        weights = caffemodel.read(saved(tmp_path, net_of_blob(data)))
        np.testing.assert_array_equal(weights.layers["conv"][0], values)


def test_values_in_chunks_are_joined(tmp_path: Path):
    shape = field(7, field(1, varint(2)) + field(1, varint(3)))
    values = np.arange(6, dtype="<f4")
    single = b"\x2d" + values[4:5].tobytes()
    data = (
        field(5, values[:3].tobytes())
        + shape
        + field(5, values[3:4].tobytes())
        + single
        + field(5, values[5:].tobytes())
    )
    assert_same(caffemodel.read(saved(tmp_path, net_of_blob(data))).layers, {"conv": [values.reshape(2, 3)]})


def test_fields_of_other_caffes_are_skipped(tmp_path: Path):
    strange = varint(2000 << 3 | wire.BYTES) + b"\x03abc" + varint(2001 << 3 | wire.FIXED32) + b"1234" + b"\x98\x7d\x05"
    data = strange + field(100, strange + field(1, b"c") + field(7, strange + blob(BIAS).SerializeToString()))
    assert_same(caffemodel.read(saved(tmp_path, data)).layers, {"c": [BIAS]})


def test_the_later_of_two_layers_with_one_name_counts(tmp_path: Path):
    data = net(a=[blob(BIAS)]).SerializeToString() + net(a=[blob(BIAS * 2)]).SerializeToString()
    assert_same(caffemodel.read(saved(tmp_path, data)).layers, {"a": [BIAS * 2]})


def test_doubles_beyond_floats_become_infinite(tmp_path: Path):
    message = net(a=[schema.BlobProto(double_data=[1e300, 1], shape={"dim": [2]})])
    assert caffemodel.read(saved(tmp_path, message)).layers["a"][0].tolist() == [np.inf, 1]


def test_reading_takes_the_memory_of_the_file(tmp_path: Path):
    values = np.ones((1000, 2000), np.float32)
    path = tmp_path / "net.caffemodel"
    caffemodel.write(path, net(a=[], b=[]), {"a": [values], "b": [values]})
    tracemalloc.start()
    weights = caffemodel.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(weights.layers) == 2
    assert peak < 1.05 * path.stat().st_size


# Writing


@given(
    layers=st.dictionaries(
        st.text(max_size=5),
        st.lists(st_numpy.arrays(np.float32, shapes), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_written_weights_are_read_equal(tmp_path_factory: pytest.TempPathFactory, layers: dict[str, list[np.ndarray]]):
    path = tmp_path_factory.getbasetemp() / "written.caffemodel"
    frame = net(**{name: [] for name in layers})
    caffemodel.write(path, frame, layers)
    assert_same(caffemodel.read(path).layers, layers)
    message = schema.NetParameter()
    message.ParseFromString(path.read_bytes())
    for layer in message.layer:
        assert [tuple(each.shape.dim) for each in layer.blobs] == [array.shape for array in layers[layer.name]]
        layer.ClearField("blobs")
    assert message == frame


def test_any_array_is_written_as_float32(tmp_path: Path):
    path = tmp_path / "net.caffemodel"
    caffemodel.write(path, net(a=[blob(BIAS)]), {"a": [WEIGHT.T, np.arange(3), BIAS.astype(">f8"), np.float32(3)]})
    expected = [WEIGHT.T, np.arange(3, dtype=np.float32), BIAS, np.array(3, np.float32)]
    assert_same(caffemodel.read(path).layers, {"a": expected})


def test_parameters_of_an_unknown_layer_are_refused(tmp_path: Path):
    with pytest.raises(NetError, match="the parameters are for layer 'b', which the net does not have"):
        caffemodel.write(tmp_path / "net.caffemodel", net(a=[]), {"a": [BIAS], "b": [BIAS]})
    assert not list(tmp_path.iterdir())


def test_more_than_caffe_can_read_is_refused(tmp_path: Path):
    huge = np.broadcast_to(np.float32(0), (1 << 29,))
    with pytest.raises(NetError, match="more than 2 GiB"):
        caffemodel.write(tmp_path / "net.caffemodel", net(a=[]), {"a": [huge]})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_more_than_2_gib_is_read(tmp_path: Path):
    """The values are a hole in the file: it takes no disk."""
    count = (1 << 29) + 1000
    shape = field(7, schema.BlobShape(dim=[count]).SerializeToString())
    start = b"\x2a" + varint(4 * count)
    blob_start = b"\x3a" + varint(len(shape) + len(start) + 4 * count) + shape + start
    layer = field(1, b"a")
    head = varint(100 << 3 | 2) + varint(len(layer) + len(blob_start) + 4 * count) + layer + blob_start
    path = saved(tmp_path, head)
    os.truncate(path, len(head) + 4 * count)
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", 7))
    values = caffemodel.read(path).layers["a"][0]
    assert values.shape == (count,)
    assert values[-1] == 7


# Damage


def test_a_file_cut_anywhere_is_an_error_or_has_fewer_layers(tmp_path: Path):
    data = SMALL.SerializeToString()
    boundaries = []
    for length in range(1, len(data)):
        try:
            weights = caffemodel.read(saved(tmp_path, data[:length]))
        except FormatError as error:
            assert str(tmp_path) in str(error)
            assert "\n" not in str(error)
        else:
            boundaries.append(length)
            assert_same(weights.layers, as_protobuf_reads(data[:length]))
    # after conv1, and after relu1
    assert len(boundaries) == 2


def test_a_cut_names_byte_and_layer(tmp_path: Path):
    with pytest.raises(
        FormatError, match=r"byte \d+: a field needs \d+ bytes, \d+ are left, after layer 'relu1': .*cut off"
    ):
        caffemodel.read(saved(tmp_path, SMALL.SerializeToString()[:-5]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found an empty file"),
        (b"<html>\n", "expected Caffe weights, found a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "found a git-LFS pointer"),
        (b"\x1f\x8b\x08\0", "found a gzip archive"),
        (b"PK\x03\x04", "found a zip archive"),
        (b"PK\x03\x04" + bytes(26) + b"net/data.pklFB", r"found weights of PyTorch \(.pth\): export .* with --onnx"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", r"found weights of PyTorch \(.pth\)"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0", "found an ONNX model: give it as the model, or with --onnx"),
        (b"\x80\x02}q\x00.", "found a Python pickle"),
        (b"\x93NUMPY\x01\0", "found a NumPy array"),
        (b"\0" * 10_000_000, "found nothing but zeros"),
        (b'name: "net"\nlayer { name: "a" }\n', "found text such as a prototxt: were two files swapped"),
        (b'\nlayer { name: "a" }\n', "found text such as a prototxt: were two files swapped"),
        (schema.BlobProto(num=1, channels=3, height=1, width=1, data=[1, 2, 3]), "found a blob such as a mean file"),
        (blob(BIAS), "found a blob such as a mean file"),
        (schema.SolverState(iter=1000, learned_net="a"), "found a solver state: give the .caffemodel"),
        (schema.NetParameter(name="net\x01", layer=[{"name": "a"}]), r"no layer has weights \(1 layers\)"),
        (field(100, b"") * 5_000_000, "byte 30003: more than 10,000 layers"),
        (b"\x08\x00" * 5_000_000, "more than 200,000 fields|found a blob"),
        (b"\xa2\x06" + b"\xff" * 12, "byte 2: a number of more than 10 bytes"),
        (b"\xa2\x06\xff", "byte 2: a number is cut off"),
        (b"\xa2\x06" + varint(1 << 60) + b"123", "a field needs 1152921504606846976 bytes, 3 are left"),
        (b"\x12\x01\x07", "byte 2: in layer '': no protobuf field begins with 7"),
        (field(100, field(1, b"x" * 5000)), "a name of 5000 bytes"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, data: bytes | Any, message: str):
    with pytest.raises(FormatError, match=message) as caught:
        caffemodel.read(saved(tmp_path, data))
    assert "\n" not in str(caught.value)


def test_places_without_a_file_are_explained(tmp_path: Path):
    with pytest.raises(FormatError, match="absent: expected Caffe weights, but: No such file"):
        caffemodel.read(tmp_path / "absent")
    with pytest.raises(FormatError, match="found a folder"):
        caffemodel.read(tmp_path)


@pytest.mark.parametrize(
    ("blob_bytes", "message"),
    [
        (schema.BlobProto(shape={"dim": [2, 3]}, data=[1, 2]), "a blob of shape 2×3 has 2 values"),
        (schema.BlobProto(num=1, channels=2, height=3, width=4, data=[1]), "a blob of shape 1×2×3×4 has 1 values"),
        (schema.BlobProto(shape={"dim": [-1, -2]}, data=[1, 2]), "a blob of shape -1×-2 has 2 values"),
        (schema.BlobProto(num=-1, channels=-2, height=1, width=1, data=[1, 2]), "a blob of shape -1×-2×1×1 has"),
        (schema.BlobProto(shape={"dim": [1 << 40, 1 << 40]}, data=[1]), "shape 1099511627776×1099511627776 has 1"),
        (schema.BlobProto(shape={"dim": [1] * 40}, data=[1]), "a blob of shape 1×1×"),
        (schema.BlobProto(shape={"dim": [0, 1 << 62]}), "a blob of shape 0×4611686018427387904"),
        (schema.BlobProto(), r"a blob of shape \(\) has 0 values"),
        (field(5, b"12345"), "5 bytes are not a whole number of values"),
        (field(7, field(1, b"\xff")), "a number is cut off"),
        (b"\x2d\0\0", "a field needs 4 bytes, 2 are left"),
        (field(5, b"1234")[:-2], "a field needs 4 bytes, 2 are left"),
    ],
)
def test_damaged_blobs_are_explained(tmp_path: Path, blob_bytes: bytes | Any, message: str):
    data = blob_bytes if isinstance(blob_bytes, bytes) else blob_bytes.SerializeToString()
    with pytest.raises(FormatError, match=rf"byte \d+: in layer 'conv': .*{message}"):
        caffemodel.read(saved(tmp_path, net_of_blob(data)))


# Files of forks


def raw(kind: int, values: bytes, count: int) -> bytes:
    """A blob as NVIDIA's Caffe writes it: shape, raw_data_type, raw_data."""
    shape = schema.BlobProto(shape={"dim": [count]}).SerializeToString()
    return shape + b"\x50" + varint(kind) + field(12, values)


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_data_are_read_in_every_precision(tmp_path: Path, kind: int, dtype: str):
    values = np.array([0.5, -2, 1e-3, 65504], dtype)
    found = caffemodel.read(saved(tmp_path, net_of_blob(raw(kind, values.tobytes(), 4))))
    np.testing.assert_array_equal(found.layers["conv"][0], values.astype(np.float32))
    assert found.layers["conv"][0].dtype == np.float32
    assert found.foreign == f"raw_data of type float{np.dtype(dtype).itemsize * 8}, as NVIDIA's Caffe writes it"


def test_caffes_own_values_take_precedence_over_raw_data(tmp_path: Path):
    data = raw(2, np.float16([1, 2]).tobytes(), 2) + schema.BlobProto(data=[3, 4]).SerializeToString()
    found = caffemodel.read(saved(tmp_path, net_of_blob(data)))
    np.testing.assert_array_equal(found.layers["conv"][0], [3, 4])
    assert found.foreign == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            raw(3, b"12345678", 2),
            "a blob as NVIDIA's Caffe stores it, with values of type INT; expected DOUBLE, FLOAT or",
        ),
        (raw(4, b"12345678", 2), "with values of type UINT"),
        (raw(9, b"12345678", 2), "with values of type number 9"),
        (raw(3, b"", 2)[:5] + field(12, b"12345678"), "with values of type none"),
        (
            schema.BlobProto(shape={"dim": [2]}).SerializeToString() + field(40, b"1234"),
            "field 40, which Caffe 1.0 does",
        ),
    ],
)
def test_values_that_only_forks_read_are_not_called_damaged(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(FormatError, match=message) as caught:
        caffemodel.read(saved(tmp_path, net_of_blob(data)))
    assert "damaged" not in str(caught.value)
    assert "in layer 'conv'" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (raw(2, b"123", 1), "3 bytes are not a whole number of values"),
        (raw(2, b"1234", 3), "a blob of shape 3 has 2 values"),
    ],
)
def test_damaged_raw_data_are_explained(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(FormatError, match=f"{message}.*damaged"):
        caffemodel.read(saved(tmp_path, net_of_blob(data)))


@pytest.mark.shared
@pytest.mark.caffe
@pytest.mark.parametrize(
    "name", ["bn", "bn_zero", "dup_fc", "unknown_net_fields", "v1_legacy", "with_diffs", "nv_fp16_raw"]
)
def test_public_forms_of_weights_have_caffes_values(shared: Path, name: str):
    """In half precision, with the weights as pycam reads them: Caffe cannot read that file."""
    folder = shared / "data/cases/07-caffemodels"
    net = read_net(folder / "bn.prototxt", folder / f"{name}.caffemodel")
    inputs = {"data": np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)}
    outputs = ["gap", "fc", "prob"]
    with engines.make("caffe", net, outputs) as caffe, engines.make("onnxruntime", net, outputs) as ours:
        assert caffe.note == (", weights written by pycam" if name == "nv_fp16_raw" else "")
        truth, found = caffe.forward(inputs), ours.forward(inputs)
    for blob in outputs:
        np.testing.assert_allclose(found[blob], truth[blob], atol=1e-6 * max(1, np.abs(truth[blob]).max()))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("net", "weights", "message"),
    [
        (
            "07-caffemodels/bn.prototxt",
            "07-caffemodels/nv_bn5.caffemodel",
            "mean, variance, factor, scale and bias, as in NVIDIA's Caffe: write `scale_bias: true`",
        ),
        ("07-caffemodels/bn.prototxt", "07-caffemodels/text.caffemodel", "weights as text, .* in binary form"),
        (
            "04-large-input/res_big.prototxt",
            "04-large-input/res.caffemodel",
            "with inputs of 3×64×64 the layer reads 972 values, and its weights are for 12, .* write that size",
        ),
    ],
)
def test_public_files_that_do_not_fit_say_why(shared: Path, net: str, weights: str, message: str):
    with pytest.raises(PycamError, match=message):
        read_net(shared / "data/cases" / net, shared / "data/cases" / weights)
