"""`NetSpec` and the messages of `caffe_pb2`: the same text as real Caffe's, byte for byte."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

from pycam import zoo
from pycam.engines.caffe import find_caffe
from pycam.errors import UsageError
from pycam.formats import schema
from pycam.net import read_net
from pycam.pycaffe import NetSpec, layers as L, params as P, proto, to_proto
from pycam.pycaffe.errors import SpecError
from pycam.pycaffe.proto import caffe_pb2

ROOT = Path(__file__).parents[1]

# Runs in real Caffe and here, and prints the texts of nets.
SCRIPT = r"""
import json, sys
import numpy as np
import caffe
from caffe import layers as L, params as P
from caffe.proto import caffe_pb2
from google.protobuf import text_format

texts = {}

def lenet(phase):
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=64, backend=P.Data.LMDB, source="mnist", ntop=2, include=dict(phase=phase),
        transform_param=dict(scale=1. / 255, mean_value=[104, 117.3]))
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"),
                            bias_filler=dict(type="constant", value=0.1),
                            param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)])
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool1, num_output=500, weight_filler=dict(type="gaussian", std=1e-4), param=dict(name="w"))
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.drop = L.Dropout(n.relu1, in_place=True, dropout_param=dict(dropout_ratio=0.7))
    n.score = L.InnerProduct(n.drop, num_output=10, name="other")
    n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param=dict(ignore_label=-1, normalization=P.Loss.BATCH_SIZE),
                               loss_weight=0.3, propagate_down=[True, False])
    n.accuracy = L.Accuracy(n.score, n.label, top_k=5, include=[dict(phase=caffe.TEST, stage=["a", "b"])])
    n.silence = L.Silence(n.label, ntop=0)
    return n.to_proto()

def block(bottom, channels, stride=1):
    conv = L.Convolution(bottom, num_output=channels, kernel_size=3, stride=stride, pad=1, bias_term=False)
    norm = L.BatchNorm(conv, in_place=True, use_global_stats=True, param=[dict(lr_mult=0)] * 3)
    scale = L.Scale(norm, in_place=True, bias_term=True)
    return L.ReLU(L.Eltwise(scale, bottom, operation=P.Eltwise.SUM, coeff=[1, -0.5]), in_place=True)

def automatic():
    data = L.Input(shape=[dict(dim=[1, 3, 5, 5])])
    parts = L.Slice(data, slice_point=[1, 2], axis=1, ntop=3)
    first = block(block(parts[0], 4), 8, stride=2)
    L.ReLU(first)
    joined = L.Concat(first, parts[2], parts[2], concat_param={"axis": 1})
    up = L.Deconvolution(joined, convolution_param=dict(num_output=2, kernel_size=[4, 5], stride=2))
    pooled = L.Pooling(up, global_pooling=True, pool=P.Pooling.AVE)
    return caffe.to_proto(pooled, L.Softmax(up), pooled)

def renamed():
    n = caffe.NetSpec()
    n["data"] = L.Input(input_param=dict(shape=dict(dim=[2, 4])))
    n["a/b"] = L.Python(n["data"], module="m", layer="l", param_str="{'x': \"1\\t\"}", ntop=1)
    n.both = L.Split(n["a/b"], ntop=2)[1]
    n.again = n.both
    n.prelu = L.PReLU(n.again, filler=dict(value=0.25), phase=caffe.TEST, type="PReLU")
    return n.to_proto()

texts["lenet"] = lenet(caffe.TRAIN)
texts["test"] = lenet(1)
texts["automatic"] = automatic()
texts["renamed"] = renamed()
texts["one"] = L.Softmax(L.HDF5Data(source="x", batch_size=2)).to_proto()
texts["nothing"] = caffe.to_proto()

# Every scalar field of the parameters of every type, with any value.
random = np.random.RandomState(3)

def value(field):
    kinds = {field.CPPTYPE_STRING: "a'b", field.CPPTYPE_BOOL: bool(random.randint(2))}
    if field.enum_type:
        return field.enum_type.values[random.randint(len(field.enum_type.values))].number
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return float(random.randn() * 10.0 ** random.randint(-8, 9))
    return kinds.get(field.cpp_type, int(random.randint(0, 1000)))

bottom = L.Input(shape=dict(dim=[1, 3, 8, 8]))
for param in caffe_pb2.LayerParameter.DESCRIPTOR.fields:
    if param.name.endswith("_param") and param.name != "shuffle_channel_param":
        name = param.message_type.name[:-len("Parameter")]
        for turn in range(2):
            given = {}
            for field in param.message_type.fields:
                if field.message_type is None:
                    repeated = hasattr(getattr(getattr(caffe_pb2, param.message_type.name)(), field.name), "extend")
                    given[field.name] = [value(field), value(field)] if repeated and turn else value(field)
            texts[name + str(turn)] = getattr(L, name)(bottom, name="one", **given).to_proto()

for path in json.loads(sys.argv[1]):
    texts[path] = text_format.Merge(open(path).read(), caffe_pb2.NetParameter())
datum = caffe_pb2.Datum(channels=1, height=-2, data=bytes(range(256)), float_data=[1, 0.1, 1e30, float("nan")])
texts["datum"] = caffe_pb2.Datum.FromString(datum.SerializeToString())
solver = caffe_pb2.SolverParameter(base_lr=0.001, stepvalue=[10, 20], test_state=[dict(stage=["x"])], solver_mode=0)
solver.net_param.layer.add(name="\u00fc\n", type="ReLU").relu_param.negative_slope = 1e-5
texts["solver"] = solver
names = {name: list(getattr(caffe_pb2, name).DESCRIPTOR.fields_by_name)
         for name in dir(caffe_pb2) if isinstance(getattr(caffe_pb2, name), type(caffe_pb2.Datum))}
values = {name + "." + enum.name: {each.name: getattr(getattr(caffe_pb2, name), each.name) for each in enum.values}
          for name in names for enum in getattr(caffe_pb2, name).DESCRIPTOR.enum_types}
phases = [caffe_pb2.TRAIN, caffe_pb2.TEST, caffe_pb2.Phase.Value("TEST"), caffe_pb2.Phase.Name(0)]
texts = {name: [str(text), str(type(text).__name__)] for name, text in texts.items()}
print(json.dumps([texts, names, values, phases]))
"""

PROTOTXTS = [str(path) for path in sorted((ROOT / "prototxt").glob("*.prototxt")) if "solver" not in path.name]


def printed(*command):
    ended = subprocess.run([*command, json.dumps(PROTOTXTS)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.caffe
def test_nets_and_messages_have_the_text_that_they_have_in_caffe():
    changed = SCRIPT.replace("import caffe\n", "from pycam import pycaffe as caffe\n")
    ours = printed(sys.executable, "-c", changed.replace("from caffe", "from pycam.pycaffe"))
    theirs = printed(*find_caffe(), "-c", SCRIPT)
    (texts, names, values, phases) = ours
    assert len(texts) > 100
    for name, text in theirs[0].items():
        assert texts[name] == text, name
    assert [names, values, phases] == theirs[1:]


def test_a_written_net_can_be_read(tmp_path):
    n = NetSpec()
    n.data = L.Input(shape=[{"dim": [1, 3, 9, 9]}])
    n.conv1 = L.Convolution(n.data, num_output=4, kernel_size=3, weight_filler={"type": "xavier"})
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    (tmp_path / "net.prototxt").write_text(str(n.to_proto()))
    net = read_net(tmp_path / "net.prototxt")
    assert net.shapes["conv1"][1:] == (4, 7, 7)
    assert [layer.name for layer in net.layers if layer.tops == ("conv1",)] == ["conv1", "relu1"]


def test_the_parts_of_a_spec():
    n = NetSpec()
    n.data, n.label = L.Data(ntop=2, source="x")
    assert list(n.tops) == ["data", "label"]
    assert n["label"] is n.label
    assert n.label.n == 1
    fn = L.ReLU(n.data, in_place=True, negative_slope=0.1).fn
    assert (fn.type_name, fn.inputs, fn.params, fn.ntop, fn.in_place) == (
        "ReLU",
        (n.data,),
        {"negative_slope": 0.1},
        1,
        True,
    )
    assert L.Silence(n.data, ntop=0).tops == ()
    assert to_proto(L.Silence(n.label, ntop=0)).layer[1].name == "Silence1"
    assert not hasattr(n, "copy")
    assert copy.copy(n).tops == n.tops


def test_lists_and_messages_are_values():
    data = L.Input(shape={"dim": (1, 3)})
    spec = L.Convolution(data, param=[caffe_pb2.ParamSpec(lr_mult=3)], kernel_size=(3, 4)).to_proto()
    assert spec.layer[1].param[0].lr_mult == 3
    assert list(spec.layer[1].convolution_param.kernel_size) == [3, 4]
    assert list(spec.layer[0].input_param.shape[0].dim) == [1, 3]


SPEC = NetSpec()
SPEC.data = L.Input(shape={"dim": [1, 3]})


@pytest.mark.parametrize(
    ("refused", "kind", "message"),
    [
        (lambda: SPEC.dada, KeyError, r"^no top 'dada': did you mean 'data'\?$"),
        (lambda: SPEC["x"], KeyError, "no top 'x': the NetSpec has 1 others"),
        (lambda: SPEC.data.fn.type, AttributeError, "type"),
        (lambda: setattr(SPEC, "x", 3), UsageError, "x = 3: assign what a layer function returned"),
        (lambda: setattr(SPEC, "x", L.Split(SPEC.data, ntop=2)), UsageError, "each to a name"),
        (lambda: L.ReLU("data"), TypeError, "ReLU: input 0 is 'data', not a top: give what a layer function returned"),
        (lambda: L.ReLU(L.Split(SPEC.data, ntop=2)), TypeError, "with several tops, one of them"),
        (
            lambda: L.Convolution(SPEC.data, num_outputs=3).to_proto(),
            AttributeError,
            r"layer 'Convolution1' of type Convolution has no field 'num_outputs': did you mean 'num_output'\?",
        ),
        (
            lambda: L.Deconvolution(SPEC.data, kernel_size=3).to_proto(),
            AttributeError,
            r"within the parameters that the type has: convolution_param=dict\(kernel_size=…\), pooling_param",
        ),
        (
            lambda: L.ReLU(SPEC.data, xyz=3).to_proto(),
            AttributeError,
            "of type ReLU has no field 'xyz': see the fields of LayerParameter",
        ),
        (
            lambda: L.Convolution(SPEC.data, convolution_param={"strides": 3}).to_proto(),
            AttributeError,
            r"ConvolutionParameter has no field 'strides': did you mean 'stride'\?",
        ),
        (
            lambda: L.Convolution(SPEC.data, weight_filler={"typ": "xavier"}).to_proto(),
            AttributeError,
            r"FillerParameter has no field 'typ': did you mean 'type'\?",
        ),
        (
            lambda: L.Convolution(SPEC.data, weight_filler="xavier").to_proto(),
            AttributeError,
            "ConvolutionParameter cannot have weight_filler='xavier'",
        ),
        (lambda: L.Convolution(SPEC.data, num_output="a").to_proto(), TypeError, "cannot have num_output='a'"),
        (lambda: L.Convolution(SPEC.data, num_output=-1).to_proto(), ValueError, "cannot have num_output=-1"),
        (lambda: L.Convolution(SPEC.data, num_output=None).to_proto(), TypeError, "cannot have num_output=None"),
        (lambda: L.Convolution(SPEC.data, param=3).to_proto(), TypeError, "LayerParameter cannot have param=3"),
        (
            lambda: L.Convolution(SPEC.data, num_output={"a": 1}).to_proto(),
            TypeError,
            "cannot have num_output={'a': 1}",
        ),
        (lambda: to_proto([SPEC.data]), UsageError, r"to_proto takes tops, not \[.*: give them one by one"),
        (lambda: P.Poling, AttributeError, r"Caffe has no parameters 'Poling': did you mean 'Pooling'\?"),
        (lambda: P.Pooling.MEAN, AttributeError, "PoolingParameter has no value 'MEAN'; it has MAX, AVE, STOCHASTIC"),
        (lambda: P.ReLU.to, AttributeError, "no value 'to'; it has DEFAULT, CAFFE, CUDNN"),
        (lambda: L._repr_html_, AttributeError, "begins with an underscore"),
        (lambda: caffe_pb2.BlobProtos, AttributeError, r"no message 'BlobProtos': did you mean 'BlobProto'\?"),
    ],
)
def test_what_caffe_refuses_is_refused(refused, kind, message):
    with pytest.raises(kind, match=message):
        refused()


def test_the_messages_are_caffe_s_alone():
    layer = caffe_pb2.LayerParameter
    assert "shuffle_channel_param" in schema.LayerParameter.DESCRIPTOR.fields_by_name
    assert "shuffle_channel_param" not in layer.DESCRIPTOR.fields_by_name
    with pytest.raises(SpecError, match="has no field 'group'"):
        L.ShuffleChannel(SPEC.data, group=2).to_proto()
    assert proto.caffe_pb2 is caffe_pb2
    assert caffe_pb2.DESCRIPTOR.package == "caffe"
    # The text of pycam's own messages is protobuf's still.
    assert schema.PowerParameter.__str__ is not caffe_pb2.PowerParameter.__str__


def test_messages_read_what_they_write():
    net = text_format.Merge(zoo.prototxt_path(zoo.card("alexnet-cam")).read_text(), caffe_pb2.NetParameter())
    assert text_format.Merge(str(net), caffe_pb2.NetParameter()) == net
    assert text_format.Parse(text_format.MessageToString(net), caffe_pb2.NetParameter()) == net
    assert caffe_pb2.NetParameter.FromString(net.SerializeToString()) == net
    assert copy.deepcopy(net) == net
    with pytest.raises(text_format.ParseError, match="no field named"):
        text_format.Merge("layer { shuffle_channel_param { group: 2 } }", caffe_pb2.NetParameter())
