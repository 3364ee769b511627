"""The message table, compared with protobuf's classes and with the bytes of Caffe's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pycam.formats import schema


def test_messages_have_caffes_numbers_types_and_defaults():
    layer = schema.LayerParameter(name="a", phase="TEST")
    layer.pooling_param.pool = schema.PoolingParameter.AVE
    # field 1, bytes "a"; field 10, varint 1; field 121, a message with field 1, varint 1
    assert layer.SerializeToString() == b"\x0a\x01a" + b"\x50\x01" + b"\xca\x07\x02\x08\x01"
    assert schema.PoolingParameter().stride == 1
    assert schema.SolverParameter().type == "SGD"
    assert schema.BatchNormParameter().eps == pytest.approx(1e-5)
    assert schema.BiasParameter().axis == 1
    assert schema.SolverParameter().solver_mode == schema.SolverParameter.GPU


def test_packed_fields_are_packed():
    assert schema.BlobShape(dim=[3, 4]).SerializeToString() == b"\x0a\x02\x03\x04"
    assert schema.Datum(float_data=[0, 0]).SerializeToString() == b"\x35\0\0\0\0" * 2


def test_every_message_of_the_table_is_an_attribute():
    assert len(schema.MESSAGES) == 64
    for name, message in schema.MESSAGES.items():
        assert getattr(schema, name) is message
        assert message.DESCRIPTOR.full_name == f"caffe.{name}"
    with pytest.raises(AttributeError, match="'Layer'"):
        _ = schema.Layer


def test_two_fields_are_not_caffes():
    table = json.loads(Path(schema.__file__).with_name("messages.json").read_text("utf-8"))["messages"]
    assert {name: list(message.DESCRIPTOR.fields_by_name) for name, message in schema.MESSAGES.items()} == {
        **{name: list(entry["fields"]) for name, entry in table.items()},
        "LayerParameter": [*table["LayerParameter"]["fields"], "shuffle_channel_param"],
        "ShuffleChannelParameter": ["group"],
        "SolverState": [*table["SolverState"]["fields"], "learned_net_sha256"],
    }


@pytest.mark.shared
def test_the_table_is_caffes(shared):
    """Names, numbers and labels of all fields, as the classes of a real Caffe have them."""
    facts = json.loads((shared / "facts/caffe-messages.json").read_text())
    del facts["_file_enums"]
    table = json.loads(Path(schema.__file__).with_name("messages.json").read_text("utf-8"))["messages"]
    theirs = {name: {field["name"]: field["number"] for field in entry["fields"]} for name, entry in facts.items()}
    ours = {
        name: {field: int(spec.split()[2]) for field, spec in entry["fields"].items()} for name, entry in table.items()
    }
    assert ours == theirs


def test_enum_names_come_in_order():
    assert schema.enum_names("caffe.PoolingParameter.PoolMethod") == ["MAX", "AVE", "STOCHASTIC"]
    assert schema.enum_names("caffe.Phase") == ["TRAIN", "TEST"]


def test_the_messages_stay_out_of_the_default_pool():
    """Another Caffe in the process may register its own `caffe.NetParameter`."""
    code = """
from pycam.formats import schema
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
file.message_type.add(name="NetParameter")
descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
assert descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter").fields == []
print(len(schema.NetParameter.DESCRIPTOR.fields))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "9\n", done.stderr
