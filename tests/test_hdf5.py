"""Caffe's snapshots in HDF5: read as Caffe writes them; anything else in such a file is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from pycam.errors import FormatError, TrainingError
from pycam.formats import caffemodel, hdf5
from pycam.net import read_net
from pycam.training.snapshots import read_state

pytestmark = pytest.mark.hdf5

VALUES = np.float32([[1, 2], [3, 4]])


def write(path: Path, make) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        make(file, h5py)
    return path


def weights(**blobs):
    def make(file, _):
        for name, values in blobs.items():
            file[f"data/{name.replace('__', '/')}"] = values

    return make


@pytest.mark.shared
def test_weights_that_caffe_wrote_are_those_of_its_own_format(shared):
    folder = shared / "data/cases/07-caffemodels"
    net = read_net(folder / "bn.prototxt", folder / "bn.caffemodel.h5")
    assert net == read_net(folder / "bn.prototxt", folder / "bn.caffemodel")
    assert net.sources.foreign == (str(folder / "bn.caffemodel.h5"),)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    layers=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,8}(/[a-z0-9]{1,6})?", fullmatch=True),
        st.lists(arrays.arrays(st.sampled_from(["<f4", "<f8", ">f4", "<f2"]), arrays.array_shapes()), min_size=1),
        min_size=1,
        max_size=3,
    )
)
def test_any_layers_are_read(tmp_path, layers):
    # A group and an array cannot have the same name.
    layers = {name: blobs for name, blobs in layers.items() if not name.split("/")[-1].isdigit()} or {"a": [VALUES]}
    path = write(
        tmp_path / "a.h5",
        lambda file, _: [
            file.__setitem__(f"data/{name}/{index}", values)
            for name, blobs in layers.items()
            for index, values in enumerate(blobs)
        ],
    )
    found = caffemodel.read(path).layers
    assert found.keys() == layers.keys()
    for name, blobs in layers.items():
        for ours, theirs in zip(found[name], blobs, strict=True):
            assert ours.dtype == np.float32
            with np.errstate(over="ignore", invalid="ignore"):
                np.testing.assert_array_equal(ours, theirs.astype(np.float32))


def test_more_than_ten_blobs_keep_their_order(tmp_path):
    path = write(tmp_path / "a.h5", weights(**{f"a__{index}": np.float32([index]) for index in range(12)}))
    assert [blob[0] for blob in caffemodel.read(path).layers["a"]] == list(range(12))


def external_link(file, h5py):
    file["data/a/0"] = h5py.ExternalLink("/etc/passwd", "/x")


def link_behind_a_group(file, h5py):
    file.create_group("data/a")
    file["data/b"] = h5py.ExternalLink("other.h5", "/data")


def soft_link(file, h5py):
    file["data/a/0"] = VALUES
    file["data/b"] = h5py.SoftLink("/data/a")


def linked_data(file, h5py):
    file["data"] = h5py.ExternalLink("other.h5", "/data")


def external_values(file, _):
    file.create_dataset("data/a/0", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file, h5py):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (4,))
    file.create_virtual_dataset("data/a/0", layout)


def compressed(file, _):
    file.create_dataset("data/a/0", (1 << 20,), "f4", np.zeros(1 << 20, "f4"), compression="gzip")


def never_written(file, _):
    file.create_dataset("data/a/0", (1 << 40,), "f4")


def circle(file, _):
    file["data/a/0"] = VALUES
    file["data/a/again"] = file["data"]


def wide(file, _):
    for index in range(400):
        file[f"data/{index // 20}/x{index}/0"] = np.zeros(0, "f4")
    data = file["data"]
    for index in range(400):
        data[f"0/l{index}"] = data[f"{index % 20}"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (external_link, "'0' is a link, perhaps to another file"),
        (link_behind_a_group, "'b' is a link"),
        (soft_link, "'b' is a link"),
        (linked_data, "'data' is a link"),
        (external_values, "the values of 'a/0' are in another file"),
        (virtual, "the values of 'a/0' are in another file"),
        (compressed, "'a/0' is compressed or filtered: unpack it with `h5repack -f NONE OLD NEW`"),
        (never_written, "'a/0' of .* values is larger than the file"),
        (circle, "groups are nested more than 16 deep|larger than the file"),
        (wide, "nested more than|more than 50,000 groups"),
        (weights(a__0=np.int32([1])), "'a/0' has values of type int32: expected float or double"),
        (weights(a__0=np.array([b"text"])), "'a/0' has values of type"),
        (weights(a__0=np.zeros(3, [("x", "f4")])), "'a/0' has values of type"),
        (weights(a__1=VALUES), r"layer 'a' has the blobs 1: blob 0 is missing"),
        (weights(a__0=VALUES, a__x=VALUES), r"layer 'a' has the blobs 0, x: blob 1 is missing"),
        (lambda file, _: file.create_group("data/relu"), "no layer has weights"),
        (
            lambda file, _: file.create_group("model_weights"),
            "Caffe's HDF5 with 'data', found model_weights: .*another",
        ),
        (lambda file, _: file.__setitem__("data", VALUES), "'data' is not a group"),
        (lambda file, _: file.__setitem__("data/a", np.dtype("f4")), "'a' is neither a group nor an array"),
        (lambda file, _: None, "with 'data', found nothing"),
    ],
)
def test_what_caffe_does_not_write_is_refused(tmp_path, make, message):
    path = write(tmp_path / "a.caffemodel.h5", make)
    with pytest.raises(FormatError, match=message) as caught:
        caffemodel.read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_damaged_file_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", weights(a__0=VALUES))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(FormatError, match="cannot be read as Caffe's HDF5"):
        caffemodel.read(path)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", weights(a__0=VALUES))
    monkeypatch.setattr(hdf5, "find_spec", lambda name: None)
    with pytest.raises(FormatError, match=r"a.h5: reading HDF5 needs `pip install 'caffe-cam\[hdf5\]'`"):
        caffemodel.read(path)


def test_h5py_is_imported_by_the_reader_only():
    code = "import sys, pycam.net, pycam.training.snapshots; print('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def state(history, iteration=5, name=np.bytes_(b"net_iter_5.caffemodel")):
    def make(file, _):
        file["iter"] = np.int32([iteration])
        file["learned_net"] = name
        file["current_step"] = np.int32([0])
        file.create_group("history")
        for index, values in enumerate(history):
            file[f"history/{index}"] = values

    return make


def test_a_solvers_state_is_read(tmp_path):
    write(tmp_path / "net_iter_5.caffemodel", weights(a__0=VALUES))
    found = read_state(write(tmp_path / "a.solverstate.h5", state([VALUES, 2 * VALUES])))
    assert found.iteration == 5
    assert list(found.weights.layers) == ["a"]
    np.testing.assert_array_equal(found.history, [VALUES, 2 * VALUES])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (weights(a__0=VALUES), "these are weights, from which no training can be resumed"),
        (state([VALUES], name=np.bytes_(b"x" * 5000)), "learned_net is not a text of up to 4096 bytes"),
        (state([VALUES], iteration=-1), "it names no caffemodel, or no iteration"),
        (state([VALUES.astype("i4")]), "has values of type int32"),
        (lambda file, _: [file.__setitem__(name, VALUES) for name in ("iter", "learned_net")], "not a solverstate"),
        (state([VALUES], name=VALUES), "learned_net is not a text: not a solverstate"),
    ],
)
def test_other_states_are_refused(tmp_path, make, message):
    with pytest.raises(TrainingError, match=message):
        read_state(write(tmp_path / "a.solverstate.h5", make))
