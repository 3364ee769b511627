"""Prototxt: old formats against Caffe's upgrade tool, text against protobuf's parser, and every kind of bad text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given, strategies as st

from pycam.errors import FormatError, UnsupportedLayerError
from pycam.formats import prototxt, schema

UPGRADES = Path(__file__).parent / "upgrades"
"""Each `NAME.caffe.prototxt` is the output of Caffe 1.0's upgrade_net_proto_text for `NAME.prototxt`."""

NET = """\
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }

# the only convolution
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 }
}
"""


def saved(folder: Path, data: bytes | str, name: str = "net.prototxt") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# Old formats


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("v0", (0, 5, 11, 12, 13, 15, 16, 17, 18, 19)),
        ("v0_data", (2, 3, 4, 5, 6, 7, 8)),
        ("v1", (0, 6, 7, 8, 9, 10, 11, 12)),
        ("batch_norm", (1, 2)),
    ],
)
def test_old_formats_are_converted_as_caffe_converts_them(name: str, lines: tuple[int, ...]):
    net = prototxt.read(UPGRADES / f"{name}.prototxt")
    expected = text_format.Parse((UPGRADES / f"{name}.caffe.prototxt").read_text(), schema.NetParameter())
    assert net.message == expected
    assert net.lines == lines


def test_the_three_forms_of_an_input_are_equal():
    layer = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    dims = "dim: 1 dim: 3 dim: 8 dim: 9"
    nets = [
        prototxt.parse(f'input: "data" {dims.replace("dim", "input_dim")} {layer}'),
        prototxt.parse(f'input: "data" input_shape {{ {dims} }} {layer}'),
        prototxt.parse(
            f'layer {{ name: "input" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }} {layer}'
        ),
    ]
    assert nets[0].message == nets[1].message == nets[2].message
    assert nets[0].lines == (0, 1)


@pytest.mark.parametrize(
    "text",
    [
        'layers { layer { name: "c" type: "conv" blobs { num: 1 data: 2 } } bottom: "a" top: "c" }',
        'layers { name: "c" type: CONVOLUTION blobs { num: 1 data: 2 } bottom: "a" top: "c" }',
        'layer { name: "c" type: "Convolution" blobs { shape { dim: 1 } data: 2 } bottom: "a" top: "c" }',
    ],
)
def test_parameters_in_the_text_are_not_dropped(text):
    with pytest.raises(FormatError, match=r"net:1: layer 'c' has learned parameters in its text \(blobs\)"):
        prototxt.parse(text, "net")


def test_a_layer_with_both_kinds_of_rules():
    text = 'layer { name: "c" type: "ReLU" include { phase: TEST } exclude { stage: "x" } }'
    with pytest.raises(FormatError, match="net:1: layer 'c' has include and exclude rules"):
        prototxt.parse(text, "net")


def test_lines_are_those_of_the_layers():
    assert prototxt.parse(NET).lines == (2, 5)
    assert prototxt.parse(NET.replace("\n", "\r\n")).lines == (2, 5)


# Writing


def test_text_is_written_as_people_write_it():
    net = schema.NetParameter(name="n")
    net.layer.add(name="données", type="Input", top=["data"]).input_param.shape.add(dim=[1, 3, 4, 4])
    net.layer.add(name="norm", type="LRN").lrn_param.MergeFrom(
        schema.LRNParameter(local_size=5, alpha=0.0001, beta=0.75, k=2)
    )
    assert prototxt.dumps(net) == (
        'name: "n"\n'
        "layer {\n"
        '  name: "données"\n'
        '  type: "Input"\n'
        '  top: "data"\n'
        "  input_param {\n"
        "    shape { dim: 1 dim: 3 dim: 4 dim: 4 }\n"
        "  }\n"
        "}\n"
        "layer {\n"
        '  name: "norm"\n'
        '  type: "LRN"\n'
        "  lrn_param {\n"
        "    local_size: 5\n"
        "    alpha: 0.0001\n"
        "    beta: 0.75\n"
        "    k: 2\n"
        "  }\n"
        "}\n"
    )


SCALARS = {
    "bool": st.booleans(),
    "double": st.floats(allow_nan=False),
    "float": st.floats(allow_nan=False, width=32),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint32": st.integers(0, 2**32 - 1),
    "string": st.text(),
}
KINDS = {1: "double", 2: "float", 3: "int64", 5: "int32", 8: "bool", 9: "string", 13: "uint32"}


@st.composite
def messages(draw: st.DrawFn, kind: str, without: tuple[str, ...] = ()):
    """Draw a message with random values in some of its fields and of their fields."""
    message = schema.MESSAGES[kind]()
    fields = [field for field in message.DESCRIPTOR.fields if field.name not in without]
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda field: field.name)):
        if field.message_type:
            values = messages(field.message_type.name)
        elif field.enum_type:
            values = st.sampled_from([value.number for value in field.enum_type.values])
        else:
            values = SCALARS[KINDS[field.type]]
        target = getattr(message, field.name)
        if hasattr(target, "CopyFrom"):
            target.CopyFrom(draw(values))
        elif hasattr(target, "extend"):
            target.extend(draw(st.lists(values, max_size=3)))
        else:
            setattr(message, field.name, draw(values))
    return message


@given(
    layers=st.lists(messages("LayerParameter", without=("param", "blobs", "exclude")), min_size=1, max_size=3),
    name=st.text(),
)
def test_any_net_is_read_as_it_was_written(layers, name):
    net = schema.NetParameter(name=name, layer=layers)
    assert prototxt.parse(prototxt.dumps(net)).message == net


@given(net=messages("LayerParameter"))
def test_protobuf_reads_what_is_written(net):
    assert text_format.Parse(prototxt.dumps(net), schema.LayerParameter()) == net


def test_written_files_are_complete_or_absent(tmp_path: Path):
    net = prototxt.parse(NET).message
    prototxt.write(tmp_path / "net.prototxt", net)
    assert prototxt.read(tmp_path / "net.prototxt").message == net
    with pytest.raises(AttributeError):
        prototxt.write(tmp_path / "other.prototxt", "not a message")
    assert [path.name for path in tmp_path.iterdir()] == ["net.prototxt"]


# Solvers


def test_a_solver_is_read(tmp_path: Path):
    path = saved(tmp_path, 'net: "train.prototxt"\nbase_lr: 0.001\nsolver_type: ADAM\nsolver_mode: CPU\n')
    solver = prototxt.read_solver(path)
    assert (solver.net, solver.type, solver.solver_mode) == ("train.prototxt", "Adam", solver.CPU)
    assert solver.momentum2 == pytest.approx(0.999)


def test_a_solver_with_its_net_inside_is_read(tmp_path: Path):
    solver = prototxt.read_solver(saved(tmp_path, f"net_param {{ {NET} }}"))
    assert [layer.name for layer in solver.net_param.layer] == ["data", "conv1"]


def test_a_solver_with_two_types_is_refused(tmp_path: Path):
    with pytest.raises(FormatError, match="`type` and its old name `solver_type`"):
        prototxt.read_solver(saved(tmp_path, 'type: "SGD" solver_type: SGD'))


def test_net_and_solver_are_distinguished(tmp_path: Path):
    with pytest.raises(FormatError, match=r":1:1: unknown field 'base_lr': this is a solver, give its net"):
        prototxt.read(saved(tmp_path, "base_lr: 0.1"))
    with pytest.raises(FormatError, match=r":2:1: unknown field 'layer': this is a net, give its solver"):
        prototxt.read_solver(saved(tmp_path, 'type: "x"\nlayer { name: "a" }'))


# Bad text: each error names the position, the reason and the fix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("\n  \n", "is empty"),
        ("# nothing\n", "has no layers"),
        (NET[:-3], r":5:7: the block 'convolution_param|'layer' that begins here is never closed"),
        (NET.replace(" } } }", " } }"), r":5:7: a layer begins inside layer 'data' of line 2: a closing brace"),
        (NET + "}", r":12:1: found '}', expected no block to close"),
        (NET.replace("3 }", "3 >"), r":10:52: found '>', expected '}' for line 10"),
        ('layer { name: "a"\n name: "b" }', r":2:8: layer 'a': the field 'name' is given twice"),
        ("layer { lrn_param {} lrn_param {} }", r":1:\d+: the field 'lrn_param' is given twice"),
        (
            NET.replace("kernel_size", "kernl_size"),
            r":10:37: layer 'conv1': unknown field 'kernl_size': did you mean 'kernel_size'\?",
        ),
        (NET.replace("convolution_param", "conv_par"), r"layer 'conv1': unknown field 'conv_par'"),
        (
            "layer { xyzzy: 1 }",
            "unknown field 'xyzzy': LayerParameter has no such field in Caffe 1.0, .* its effect is unknown",
        ),
        (NET.replace("kernel_size: 3", "kernel_size: -1"), r":10:50: layer 'conv1': .*Value out of range: -1"),
        (NET.replace("kernel_size: 3", "kernel_size: 10000000000"), "Value out of range: 10000000000"),
        (NET.replace("kernel_size: 3", f"kernel_size: {'9' * 5000}"), "Couldn't parse integer: 9+…"),
        (NET.replace("kernel_size: 3", "kernel_size: 3.5"), "Couldn't parse integer: 3.5"),
        ("layer { name: conv1 }", "Expected string but found: 'conv1'"),
        ('layer { name "conv1" }', 'Expected ":"'),
        ('layer { name: "conv1 }\n}', "String missing ending quote"),
        ('layer { name: "a\\qb" }', r"unknown escape in \"a\\qb\": write a backslash as \\\\"),
        ('layer { name: "a\\477" }', r"unknown escape in \"a\\477\""),
        ('name: "' + "\\x99" * 2000 + '\\q"', "unknown escape"),
        ("#\n" + "#" * (1 << 20), ":2:1: a line of 1048576 characters: this is not a net"),
        ('layer { name: "\\377" }', "Couldn't parse string"),
        ("layer { pooling_param { pool: AVG } }", "unknown value AVG: use one of MAX, AVE, STOCHASTIC"),
        ("state { phase: 7 }", "unknown value 7: use one of TRAIN, TEST"),
        ('layers { type: "Convolution" }', "belongs in a `layer` block, not in `layers`"),
        ("layer {" * 100, r"'' of line 1: a closing brace is missing before it"),
        ("a {" * 100 + "}" * 100, ":1:99: blocks are nested more than 32 deep"),
        ("a {" * 100_000, "nested more than 32 deep"),
        ("layer {}\n" * 10_001, ":10001:7: more than 10,000 layers"),
        ("just some words", "Expected|unknown field"),
        ("%", "Expected identifier or number"),
    ],
)
def test_bad_text_is_explained(tmp_path: Path, text: str, message: str):
    path = saved(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        prototxt.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('input: "a" layer { name: "b" bottom: "a" }', "input 'a' has no shape: each input needs"),
        ('input: "a" input_dim: 1 input_dim: 3 layer { name: "b" }', "1 `input`, 2 `input_dim`"),
        ('input: "a" input: "b" input_shape {} layer {}', "1 `input_shape`: each input needs"),
        ('input: "a" input_dim: 1 layer {}', "1 `input`, 1 `input_dim`"),
        ("layers { type: RELU } layer { }", "mixes `layers` .* and `layer`"),
        (
            'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "a" top: "p" }\n'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            r":2: layer 'r' of type 'relu' reads a padding layer",
        ),
        (
            'layers { layer { name: "r" type: "relu" kernelsize: 3 } }',
            ":1: layer 'r' of type 'relu' has no 'kernelsize'",
        ),
    ],
)
def test_ambiguous_nets_are_refused(text: str, message: str):
    with pytest.raises(FormatError, match=message):
        prototxt.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        'layer {\n name: "x"\n type: "Permute"\n permute_param { order: 0 } }',
        'layer {\n name: "x"\n norm_param { scale_filler { value: 20 } }\n type: "Permute" }',
        'layer {\n name: "x"\n type: "Permute"\n transform_param { resize_param { prob: 1 } } }',
        "layers {\n name: 'x'\n type: Permute\n bottom: 'a' }",
        "layers { layer {\n name: 'x'\n type: 'Permute' } bottom: 'a' }",
    ],
)
def test_layers_of_other_caffes_are_unsupported(text: str):
    with pytest.raises(UnsupportedLayerError, match=r"^<text>:\d+.*layer 'x'.* type '?Permute"):
        prototxt.parse(text)


def test_unknown_types_without_unknown_fields_are_left_to_the_net():
    assert prototxt.parse('layer { name: "x" type: "Permute" }').message.layer[0].type == "Permute"


# Bad files


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html><html></html>", "expected a prototxt, found a web page: download the file itself"),
        (b"\xef\xbb\xbf\n <html>", "found a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "found a git-LFS pointer: .*git lfs pull"),
        (b"\x1f\x8b\x08\0\0", "found a gzip archive: unpack it first"),
        (b"PK\x03\x04\0\0", "found a zip archive"),
        (b"\0" * 5000, "found nothing but zeros"),
        (b"\x89PNG\r\n\x1a\n\0", "found an image"),
        (NET.encode("utf-16"), "found UTF-16 text: save it as UTF-8"),
        (
            NET.replace("only", "einzige für").encode("latin-1"),
            r":4:16: byte 0xFC is not UTF-8 .*save the file as UTF-8",
        ),
        (
            schema.NetParameter(name="x", layer=[{"name": "a"}]).SerializeToString(),
            "found Caffe weights: were two files",
        ),
        (schema.BlobProto(num=1, channels=3, data=[1]).SerializeToString(), "found a blob such as a mean file"),
        (NET.encode("utf-16-le"), "found UTF-16 text"),
        (b"\x01\x02\x03", "found unknown binary data"),
    ],
)
def test_other_files_are_recognised(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(FormatError, match=message):
        prototxt.read(saved(tmp_path, data))


def test_a_byte_order_mark_is_taken(tmp_path: Path):
    net = prototxt.read(saved(tmp_path, b"\xef\xbb\xbf" + NET.encode()))
    assert net.message == prototxt.parse(NET).message


def test_places_without_a_file_are_explained(tmp_path: Path):
    with pytest.raises(FormatError, match=r"absent.prototxt: expected a prototxt, but: No such file"):
        prototxt.read(tmp_path / "absent.prototxt")
    with pytest.raises(FormatError, match="found a folder"):
        prototxt.read(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FormatError, match="a link to nowhere, which does not exist"):
        prototxt.read(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="found a pipe or device"):
        prototxt.read(tmp_path / "pipe")
    with pytest.raises(FormatError, match=r"^a\\nb\\x00.prototxt: .*null (byte|character)"):
        prototxt.read("a\nb\0.prototxt")


def test_a_huge_text_is_refused(tmp_path: Path):
    path = saved(tmp_path, b" " * (prototxt.LARGEST + 1))
    with pytest.raises(FormatError, match="found more than 8,388,608 bytes"):
        prototxt.read(path)


@pytest.mark.parametrize(
    "fields",
    [
        'input: "data"',
        'input: "nobody_reads_it"',
        "input_dim: 1 input_dim: 3",
        "input_shape { dim: 1 }",
    ],
)
def test_inputs_without_effect_in_caffe_are_ignored(fields):
    layer = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }'
    assert prototxt.parse(f"{fields} {layer}") == prototxt.parse(layer)


def test_shapes_without_an_input_are_ignored():
    read = prototxt.parse('input: "a" input_shape { dim: 1 dim: 2 } input_shape { dim: 3 } layer { name: "b" }')
    (shape,) = read.message.layer[0].input_param.shape
    assert list(shape.dim) == [1, 2]
    read = prototxt.parse('input: "a" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5 layer {}')
    (shape,) = read.message.layer[0].input_param.shape
    assert list(shape.dim) == [1, 2, 3, 4]
