"""Mean images and MATLAB files, good and bad; a bad file must not end this process."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from pycam.errors import FormatError
from pycam.formats import sandbox, schema
from pycam.formats.mat import read_mat
from pycam.formats.mean import read_mean

MEAN = np.random.default_rng(0).uniform(0, 255, (3, 4, 5)).astype(np.float32)


def saved(folder: Path, data: bytes | Any, name: str = "mean") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return path


def as_npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "mean.npy", array)
    return folder / "mean.npy"


def as_mat(folder: Path, **variables: Any) -> Path:
    scipy.io.savemat(folder / "mean.mat", variables)
    return folder / "mean.mat"


# Means


@pytest.mark.shared
def test_the_published_means_are_equal(shared: Path):
    npy = read_mean(shared / "data" / "mean" / "ilsvrc_2012_mean.npy")
    mat = read_mean(shared / "data" / "mean" / "ilsvrc_2012_mean.mat")
    np.testing.assert_array_equal(npy, mat, strict=True)
    assert npy.shape == (3, 256, 256)
    # blue, green, red: the mean value that Caffe's users know
    np.testing.assert_allclose(npy.mean(axis=(1, 2)), [104.007, 116.669, 122.679], atol=1e-3)


@pytest.mark.parametrize(
    "blob",
    [
        schema.BlobProto(num=1, channels=3, height=4, width=5, data=MEAN.ravel()),
        schema.BlobProto(shape={"dim": [3, 4, 5]}, data=MEAN.ravel()),
        schema.BlobProto(shape={"dim": [1, 3, 4, 5]}, double_data=MEAN.ravel().tolist()),
    ],
)
def test_a_binaryproto_is_read(tmp_path: Path, blob: Any):
    np.testing.assert_array_equal(read_mean(saved(tmp_path, blob)), MEAN, strict=True)


@pytest.mark.parametrize(
    "array", [MEAN, MEAN.astype(np.float64), MEAN[None], np.asfortranarray(MEAN), MEAN.astype(">f4")]
)
def test_an_npy_is_read(tmp_path: Path, array: np.ndarray):
    mean = read_mean(as_npy(tmp_path, array))
    np.testing.assert_array_equal(mean, MEAN, strict=True)
    assert mean.flags.c_contiguous
    assert mean.flags.owndata


@pytest.mark.parametrize("name", ["mean_data", "image_mean"])
def test_a_mat_is_read_from_width_by_height_by_channels(tmp_path: Path, name: str):
    mean = read_mean(as_mat(tmp_path, **{name: MEAN.transpose(2, 1, 0)}))
    np.testing.assert_array_equal(mean, MEAN, strict=True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (MEAN[:2], "expected a mean of shape 3×H×W or 3 values, found 2×4×5"),
        (MEAN.transpose(1, 2, 0), "expected a mean of shape 3×H×W or 3 values, found 4×5×3"),
        (MEAN[0], "expected a mean of shape 3×H×W or 3 values, found 4×5"),
        (np.zeros(2), "found 2$"),
        (np.float64([np.nan, 1, 1]), "expected a mean of pixels from 0 to 255, found nan"),
        (np.float32(1), "found a number"),
        (np.zeros((3, 0, 5)), "found 3×0×5"),
        (np.array([["a"]]), "expected a mean of numbers, found <U1"),
        (MEAN + 1j, "expected a mean of numbers, found complex"),
        (np.where(MEAN[0, 0, 0] == MEAN, np.nan, MEAN), "expected a mean of pixels from 0 to 255, found nan"),
        (np.where(MEAN[0, 0, 0] == MEAN, np.inf, MEAN), "from 0 to 255, found .* to inf"),
        (MEAN - 128, "expected a mean of pixels from 0 to 255, found -1"),
    ],
)
def test_arrays_that_are_no_mean_are_refused(tmp_path: Path, array: np.ndarray, message: str):
    with pytest.raises(FormatError, match=message):
        read_mean(as_npy(tmp_path, array))


def test_mean_values_are_read_from_an_npy(tmp_path: Path):
    for values in (np.float64([104, 117, 123]), np.uint8([[[104]], [[117]], [[123]]])):
        np.testing.assert_array_equal(read_mean(as_npy(tmp_path, values)), np.float32([104, 117, 123]), strict=True)


@pytest.mark.parametrize("channels", [1, 2, 4, 20])
def test_a_mean_has_the_channels_of_the_net(tmp_path: Path, channels: int):
    mean = np.random.default_rng(1).uniform(0, 255, (channels, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(read_mean(as_npy(tmp_path, mean), channels), mean, strict=True)
    np.testing.assert_array_equal(read_mean(as_npy(tmp_path, mean), None), mean, strict=True)
    blob = schema.BlobProto(num=1, channels=channels, height=4, width=5, data=mean.ravel())
    np.testing.assert_array_equal(read_mean(saved(tmp_path, blob), channels), mean, strict=True)
    with pytest.raises(FormatError, match=f"expected a mean of shape 3×H×W or 3 values, found {channels}×4×5"):
        read_mean(as_npy(tmp_path, mean))


def test_a_grey_mean_may_have_two_dimensions(tmp_path: Path):
    np.testing.assert_array_equal(read_mean(as_npy(tmp_path, MEAN[0]), 1), MEAN[:1], strict=True)
    np.testing.assert_array_equal(read_mean(as_mat(tmp_path, mean_data=MEAN[0].T), 1), MEAN[:1], strict=True)


def test_the_mean_of_other_things_than_pixels_may_be_any_finite_number(tmp_path: Path):
    flow = np.random.default_rng(1).normal(0, 300, (10, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(read_mean(as_npy(tmp_path, flow), 10), flow)
    flow[3, 1, 1] = np.inf
    with pytest.raises(FormatError, match=r"finite numbers, found .* to inf: give another mean file"):
        read_mean(as_npy(tmp_path, flow), 10)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-run"),))


def test_pickles_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="it is a pickle, which could run any code"):
        read_mean(as_npy(tmp_path, np.array([Evil()], dtype=object)))
    with pytest.raises(FormatError, match="expected a mean file, found a Python pickle"):
        read_mean(saved(tmp_path, pickle.dumps(Evil())))
    assert not Path("was-run").exists()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000, 322000)}\n") + b"\0" * 100,
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, -1, 5)}\n") + b"\0" * 100,
        npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 99999999999999999999)}\n"),
        npy_header("{'descr': '<f4'"),
        npy_header("(" * 9000),
        npy_header("{'descr': '<f4'" + " " * 20_000),
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY",
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, data: bytes):
    with pytest.raises(FormatError, match=r"not a readable \.npy of numbers") as caught:
        read_mean(saved(tmp_path, data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a mean file, found an empty file"),
        (b"<html>", "expected a mean file, found a web page"),
        (b"PK\x03\x04", "found a zip archive: unpack it"),
        (b"\0" * 100, "found nothing but zeros"),
        (schema.NetParameter(name="\x01", layer=[{"name": "a"}]), "found Caffe weights: were two files swapped"),
        (b'name: "net"', "found text such as a prototxt"),
        (schema.BlobProto(num=1, channels=3, height=4, width=5, data=[1]), "byte 0: a blob of shape 1×3×4×5 has 1"),
        (schema.BlobProto(num=1, channels=3).SerializeToString()[:-1], "a number is cut off"),
        (b"\x01\x02\x03", "byte 0: no protobuf field begins with 1"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, data: bytes | Any, message: str):
    with pytest.raises(FormatError, match=message):
        read_mean(saved(tmp_path, data))


def test_a_missing_file_is_explained(tmp_path: Path):
    with pytest.raises(FormatError, match="absent: expected a mean file, but: No such file"):
        read_mean(tmp_path / "absent")


# MATLAB files


def test_numbers_text_cells_and_structs_are_read(tmp_path: Path):
    struct_array = np.array([(1.0, "kit fox")], dtype=[("id", "O"), ("label", "O")])
    cells = np.array([["tench", np.arange(3.0)]], dtype=object)
    path = as_mat(tmp_path, number=np.float32([[1, 2]]), text="abc", cells=cells, structs=struct_array, other=1)
    found = read_mat(path, ["number", "text", "cells", "structs", "absent"])
    expected = scipy.io.loadmat(path)
    assert set(found) == {"number", "text", "cells", "structs"}
    np.testing.assert_array_equal(found["number"], expected["number"], strict=True)
    assert found["text"] == ["abc"]
    assert found["cells"][0, 0] == ["tench"]
    np.testing.assert_array_equal(found["cells"][0, 1], [[0, 1, 2]])
    assert found["structs"].dtype.names == ("id", "label")
    assert found["structs"][0, 0]["label"] == ["kit fox"]


@pytest.mark.shared
def test_published_structs_are_read(shared: Path):
    path = shared / "data" / "ilsvrc-mini" / "devkit" / "data" / "meta_clsloc.mat"
    synsets = read_mat(path, ["synsets"])["synsets"]
    assert synsets.shape == (1000, 1)
    assert synsets[0, 0]["WNID"] == ["n02119789"]


def test_a_missing_variable_lists_those_present(tmp_path: Path):
    path = as_mat(tmp_path, meanData=1, scores=2)
    with pytest.raises(FormatError, match="expected a variable mean_data or image_mean, found meanData, scores"):
        read_mean(path)


def test_version_7_3_is_explained(tmp_path: Path):
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n"
    with pytest.raises(FormatError, match=r"a MATLAB 7.3 file, which is HDF5: save it with `save\(…, '-v7'\)`"):
        read_mean(saved(tmp_path, head))


@pytest.mark.parametrize("data", [b"<html>", b"\x89HDF\r\n\x1a\n\0", b"", b"PK\x03\x04"])
def test_other_files_than_matlabs_are_recognised(tmp_path: Path, data: bytes):
    with pytest.raises(FormatError, match="expected a MATLAB file, found"):
        read_mat(saved(tmp_path, data), ["a"])


@pytest.fixture(scope="module")
def good_mat(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = as_mat(tmp_path_factory.mktemp("mat"), mean_data=MEAN.transpose(2, 1, 0))
    return path.read_bytes()


def test_one_byte_that_crashes_scipy_is_an_error(tmp_path: Path, good_mat: bytes):
    bad = bytearray(good_mat)
    bad[200] = 0x7F  # the type of the numbers, an index of a table in SciPy
    with pytest.raises(FormatError, match=r"damaged or cut off: its reader crashed|cannot be read as a MATLAB"):
        read_mean(saved(tmp_path, bytes(bad)))


@pytest.mark.parametrize("end", ["SIGSEGV", "SIGXCPU"])
def test_a_child_that_dies_is_an_error(tmp_path: Path, good_mat: bytes, monkeypatch: pytest.MonkeyPatch, end: str):
    monkeypatch.setattr(sandbox, "CHILD", f"import os, signal; os.kill(os.getpid(), signal.{end})")
    with pytest.raises(FormatError, match=rf"damaged or cut off: its reader crashed or hung on it \({end}\)"):
        read_mean(saved(tmp_path, good_mat))


@pytest.mark.parametrize("answer", [b"", b"junk", pickle.dumps(Evil()), pickle.dumps({"mean_data": Evil()})])
def test_a_child_that_was_taken_over_gets_nothing_in(
    tmp_path: Path, good_mat: bytes, monkeypatch: pytest.MonkeyPatch, answer: bytes
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sandbox, "CHILD", f"import sys; sys.stdout.buffer.write({answer!r})")
    with pytest.raises(FormatError, match="cannot be read as a MATLAB file"):
        read_mean(saved(tmp_path, good_mat))
    assert not Path("was-run").exists()


@pytest.mark.parametrize("length", [128, 150, -1])
def test_a_file_cut_off_is_an_error(tmp_path: Path, good_mat: bytes, length: int):
    with pytest.raises(FormatError, match=r"cannot be read as a MATLAB file|found no variables"):
        read_mean(saved(tmp_path, good_mat[:length]))


@pytest.mark.parametrize("side", [2000, 5000])
def test_a_mean_that_unpacks_to_much_more_than_its_file_is_refused(tmp_path: Path, side: int):
    path = tmp_path / "mean.mat"
    scipy.io.savemat(path, {"mean_data": np.zeros((side, side, 3))}, do_compression=True)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(FormatError, match="its content is too large to be unpacked"):
        read_mean(path)


PEAKS = """
import resource, sys
from contextlib import suppress
from pycam.errors import FormatError
from pycam.formats.mat import read_mat

for path in sys.argv[1:]:
    with suppress(FormatError):
        read_mat(path, ["things"])
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
"""


@pytest.mark.linux
def test_a_small_file_of_many_structs_takes_little_memory(tmp_path: Path):
    """Each of 33 million structs takes 8 bytes before it is read."""
    things = np.empty((2, 3), [("name", object)])
    things["name"] = "thing"
    sound, bad = tmp_path / "sound.mat", tmp_path / "bad.mat"
    scipy.io.savemat(sound, {"things": things})
    data = sound.read_bytes()
    sides = struct.pack("<2i", *things.shape)
    assert data.count(sides) == 1
    bad.write_bytes(data.replace(sides, struct.pack("<2i", 2, 2**24)))
    run = subprocess.run([sys.executable, "-c", PEAKS, sound, bad], capture_output=True, text=True, check=True)
    base, peak = map(int, run.stdout.split())
    assert peak - base < 3 * len(data) + (200 << 20)


def test_a_bomb_does_not_fill_the_memory(tmp_path: Path):
    """A compressed variable of some hundred bytes claims 2 GB."""
    count = 2_000_000_000
    variable = struct.pack("<4I", 6, 8, 9, 0) + struct.pack("<2I2i", 5, 8, count, 1)
    variable += struct.pack("<2I", 1, 9) + b"mean_data".ljust(16, b"\0") + struct.pack("<2I", 2, count) + bytes(1000)
    packed = zlib.compress(struct.pack("<2I", 14, count + 56) + variable)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path = saved(tmp_path, head + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(FormatError, match="its content is too large to be unpacked"):
        read_mean(path)
