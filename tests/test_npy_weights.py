"""Weights in a `.npy`: read without running code, and in the right order."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest

from pycam.cli import main
from pycam.errors import FormatError, NetError
from pycam.formats import caffemodel, npy, prototxt
from pycam.formats.npy import read_tensors
from pycam.net import net_from_message
from pycam.net.tensorflow import with_tf_weights

RNG = np.random.default_rng(0)
TENSORS = {
    "conv": {"weights": RNG.normal(size=(3, 3, 2, 6)).astype(np.float32), "biases": np.arange(6, dtype=np.float32)},
    "fc": {"weights": RNG.normal(size=(2, 5)), "biases": np.zeros(5)},
}


def save(path, content, protocol=None):
    """Save a dictionary as np.save does; with a protocol, as NumPy of an older Python did."""
    if protocol is None:
        np.save(path, content, allow_pickle=True)
        return path
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (117 - len(header)) + b"\n"
    array = np.empty((), object)
    array[()] = content
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + pickle.dumps(array, protocol))
    return path


class Python2Pickler:
    """Write the protocol 2 of Python 2's cPickle for a dictionary of dictionaries of float32 arrays."""

    def __init__(self):
        self.out = io.BytesIO()

    def string(self, data: bytes):
        self.out.write(b"T" + struct.pack("<i", len(data)) + data)

    def array(self, shape, dtype: bytes, order: bytes, write_data):
        self.out.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85")
        self.string(b"b")
        self.out.write(b"tR(K\x01(")
        for side in shape:
            self.out.write(b"M" + struct.pack("<H", side))
        self.out.write(b"tcnumpy\ndtype\n")
        self.string(dtype)
        self.out.write(b"K\x00K\x01\x87R(K\x03")
        self.string(order)
        self.out.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + (b"?" if order == b"|" else b"\x00") + b"tb\x89")
        write_data()
        self.out.write(b"tb")

    def content(self, layers):
        self.out.write(b"}(")
        for layer, tensors in layers.items():
            self.string(layer.encode())
            self.out.write(b"}(")
            for name, values in tensors.items():
                self.string(name.encode())
                self.array(values.shape, b"f4", b"<", lambda values=values: self.string(values.tobytes()))
            self.out.write(b"u")
        self.out.write(b"u")

    def dump(self, layers):
        self.out.write(b"\x80\x02")
        self.array((), b"O8", b"|", lambda: (self.out.write(b"]"), self.content(layers), self.out.write(b"a")))
        self.out.write(b".")
        return self.out.getvalue()


def check(tensors):
    assert tensors.keys() == TENSORS.keys()
    for layer, expected in TENSORS.items():
        assert tensors[layer].keys() == expected.keys()
        for name, values in expected.items():
            assert tensors[layer][name].dtype == np.float32
            np.testing.assert_array_equal(tensors[layer][name], values.astype(np.float32))


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_weights_saved_by_numpy_are_read(protocol, tmp_path):
    check(read_tensors(save(tmp_path / "w.npy", TENSORS, protocol)))


def test_a_pickle_of_python_2(tmp_path):
    layers = {layer: {k: v.astype(np.float32) for k, v in tensors.items()} for layer, tensors in TENSORS.items()}
    head = save(tmp_path / "w.npy", {}, 2).read_bytes()[:128]
    path = tmp_path / "old.npy"
    path.write_bytes(head + Python2Pickler().dump(layers))
    # Python itself reads the same values from the pickle.
    own = np.load(path, allow_pickle=True, encoding="latin1").item()
    np.testing.assert_array_equal(own["conv"]["weights"], TENSORS["conv"]["weights"])
    check(read_tensors(path))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("place", ["instead of the dictionary", "among the layers", "among the arrays"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(place, tmp_path):
    import os

    mark = tmp_path / "was here"
    evil = Evil(os.mkdir, str(mark))
    content = {
        "instead of the dictionary": evil,
        "among the layers": {"conv": evil},
        "among the arrays": {"conv": {"weights": evil}},
    }[place]
    path = save(tmp_path / "w.npy", content, 2)
    with pytest.raises(FormatError, match=r"w\.npy: its pickle asks for (posix|nt|os)\.mkdir: not run"):
        read_tensors(path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)  # what NumPy does
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a dictionary of layers, found dict"),
        ([1, 2], "expected a dictionary of layers, found list"),
        ({"conv": 3}, "layer 'conv': expected a dictionary of its arrays, found int"),
        ({"conv": {"weights": 3.0}}, "'weights' must be an array of floats, it is float"),
        ({"conv": {"weights": np.arange(3)}}, "'weights' must be an array of floats, it is int64"),
        ({"conv": {"weights": np.array([None, 2])}}, "asks for an array of objects: not run"),
        ({"conv": {"weights": Evil(bytearray, 3)}}, r"asks for (__builtin__|builtins)\.bytearray: not run"),
    ],
)
def test_files_without_weights(content, message, tmp_path):
    with pytest.raises(FormatError, match=message):
        read_tensors(save(tmp_path / "w.npy", content, 2))


def pickled(path, steps):
    """Save these steps of a pickle in a file of weights."""
    header = save(path, {}, 2).read_bytes()[:128]
    path.write_bytes(header + b"\x80\x02" + steps)
    return path


TOO_LARGE = "its content is too large to be unpacked"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (b"cos\nsystem\nU\6exit 1\x85R.", r"its pickle asks for os\.system: not run"),
        (b"cbuiltins\neval\nU\0011\x85R.", r"its pickle asks for builtins\.eval: not run"),
        (b"(S'exit 1'\nios\nsystem\n.", r"its pickle asks for os\.system: not run"),
        (b"cnumpy\ndtype\nU\2V8\x85R.", "its pickle asks for an array of other values than numbers: not run"),
        (b"}r\xff\xff\xff\x7f.", TOO_LARGE),  # a memo of 2^31 places
        (b"\x8e" + struct.pack("<Q", 1 << 42) + b"x.", f"{TOO_LARGE}|cannot be read"),  # a text of 4 TiB
        (b"(" * 2_000_000, "cannot be read as a .npy with weights: .*(truncated|ran out|Ran out)"),
        (b"]q\0" + b"h\0h\0\x86q\0" * 99 + b".", "expected a dictionary of layers, found tuple"),
        (b"]" * 500_000 + b"a" * 499_999 + b".", "expected a dictionary of layers, found list"),
        (b"}U\1a]" + b"(]" * 300 + b"e" * 300 + b"s.", "layer 'a': expected a dictionary of its arrays, found list"),
        (b"U\1a.", "expected a dictionary of layers, found str"),
        (b"(dp0\n.", "expected a dictionary of layers, found dict"),
        (b"}K\1}s.", "expected names of layers and arrays as text, found int"),
        (b"}U\1a})Ns" + b"s.", "expected names of layers and arrays as text, found tuple"),
        (b"P1\n.", "cannot be read as a .npy with weights"),
        (b"", "cannot be read as a .npy with weights"),
    ],
    # pytest hands the ID of a test to its processes, and Linux takes at most 128 KiB per variable.
    ids=lambda value: "" if isinstance(value, bytes) else value[:40],
)
def test_pickles_that_would_harm_are_refused(steps, message, tmp_path):
    with pytest.raises(FormatError, match=rf"w\.npy: .*({message})") as caught:
        read_tensors(pickled(tmp_path / "w.npy", steps))
    assert str(caught.value).isprintable()


def test_a_pickle_that_computes_for_years_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(npy, "SECONDS", 1)
    key = b")" + b"q\0h\0\x86" * 60 + b"\x85"  # of 2^60 empty tuples, to be hashed
    with pytest.raises(FormatError, match=r"w\.npy: damaged or cut off: .* crashed or hung on it \(SIG"):
        read_tensors(pickled(tmp_path / "w.npy", b"}" + key + b"Ns."))


@pytest.mark.linux
def test_a_small_pickle_of_many_copies_does_not_fill_the_memory(tmp_path):
    """A thousand copies of a text of 4 MB, each as separate bytes."""
    copies = b"c_codecs\nencode\nq\0X" + struct.pack("<i", 1 << 22) + bytes(1 << 22) + b"q\1U\6latin1q\0020"
    copies += b"00](" + b"h\0h\1h\2\x86R" * 1000 + b"e."
    with pytest.raises(FormatError, match=TOO_LARGE):
        read_tensors(pickled(tmp_path / "w.npy", copies))


def test_files_of_other_kinds(tmp_path):
    np.save(tmp_path / "numbers.npy", np.zeros((2, 3)))
    with pytest.raises(FormatError, match="expected one object, a dictionary of layers; found float64"):
        read_tensors(tmp_path / "numbers.npy")
    (tmp_path / "page.npy").write_text("<html>")
    with pytest.raises(FormatError, match=r"page\.npy: expected a \.npy with weights"):
        read_tensors(tmp_path / "page.npy")


NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 5 dim: 3 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 2 pad: 1 group: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 7 bias_term: false } }
"""


@pytest.mark.torch
def test_the_net_computes_what_tensorflow_does():
    """Compute in NumPy as TensorFlow does: H×W×C, groups as halves of inputs and outputs, a flat fc."""
    import torch

    from pycam.engines.torch_graph import TorchNet

    net = net_from_message(prototxt.parse(NET).message)
    tensors = {
        "conv": {"weights": RNG.normal(size=(3, 2, 2, 6)), "biases": RNG.normal(size=6)},
        "fc": {"weights": RNG.normal(size=(5 * 4 * 6, 7)), "biases": RNG.normal(size=7)},
    }
    image = RNG.normal(size=(5, 3, 4))  # H×W×C
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    features = np.zeros((5, 4, 6))
    for half in range(2):
        inputs = padded[..., 2 * half : 2 * half + 2]
        kernel = tensors["conv"]["weights"][..., 3 * half : 3 * half + 3]
        for y in range(5):
            for x in range(4):
                window = inputs[y : y + 3, x : x + 2]
                features[y, x, 3 * half : 3 * half + 3] = np.einsum("hwi,hwio->o", window, kernel)
    features += tensors["conv"]["biases"]
    expected = features.reshape(-1) @ tensors["fc"]["weights"]

    ours = with_tf_weights(net, tensors)
    given_ = {"data": torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))}
    found = TorchNet(ours)(given_, ["fc"])["fc"].detach().numpy()[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("fc"), "no weights for layer 'fc'; the file has conv"),
        (lambda t: t["conv"].pop("biases"), "layer 'conv' has no biases"),
        (lambda t: t["fc"].update(weights=np.zeros((5, 7))), "weights of 5×7 do not fit layer 'fc'"),
        (
            lambda t: t["conv"].update(weights=np.zeros((3, 2, 4, 6), np.float32)),
            "layer 'conv' has weights of 6×4×3×2 and 6, the net expects",
        ),
    ],
)
def test_weights_of_another_net(change, message):
    tensors = {
        "conv": {"weights": np.zeros((3, 2, 2, 6), np.float32), "biases": np.zeros(6, np.float32)},
        "fc": {"weights": np.zeros((120, 7), np.float32)},
    }
    change(tensors)
    with pytest.raises(NetError, match=message):
        with_tf_weights(net_from_message(prototxt.parse(NET).message), tensors)


def test_a_fully_connected_layer_of_other_axes_is_refused():
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 6 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 5 } }"""
    tensors = {"fc": {"weights": np.zeros((24, 5), np.float32), "biases": np.zeros(5, np.float32)}}
    with pytest.raises(NetError, match=r"weights of 24×5 do not fit layer 'fc' \(InnerProduct\)"):
        with_tf_weights(net_from_message(prototxt.parse(text).message), tensors)


def test_import_from_the_command_line(tmp_path, capsys):
    (tmp_path / "net.prototxt").write_text(NET)
    tensors = {
        "conv": {"weights": RNG.normal(size=(3, 2, 2, 6)), "biases": RNG.normal(size=6)},
        "fc": {"weights": RNG.normal(size=(120, 7))},
        "old": {"weights": np.zeros(2)},
    }
    path, out = save(tmp_path / "w.npy", tensors), tmp_path / "w.caffemodel"
    assert main(["net", "import", str(path), "--prototxt", str(tmp_path / "net.prototxt"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out} (not in the net: old)\n"
    weights = caffemodel.read(out).layers
    np.testing.assert_array_equal(
        weights["conv"][0], tensors["conv"]["weights"].transpose(3, 2, 0, 1).astype(np.float32)
    )
    assert main(["net", "import", str(path), "--out", str(out)]) == 4
    assert "no weights for layer 'conv1_1'" in capsys.readouterr().err
