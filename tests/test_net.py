from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from nets import SHARED, conv, data, layer, pool, seeded_net

import pycam.architectures
from pycam import engines
from pycam.errors import EngineError, NetError, UnsupportedLayerError, UsageError
from pycam.formats import caffemodel, prototxt, schema
from pycam.formats.upgrade import CAFFE_TYPES
from pycam.net import Net, net_from_message, read_net
from pycam.net.layers import LAYER_TYPES


def net_of(text: str, **options) -> Net:
    read = prototxt.parse(text, "net.prototxt")
    return net_from_message(read.message, read.lines, read.path, **options)


# Values


def test_values_are_written_once():
    net = net_of(
        data(1, 3, 6, 6)
        + conv("conv", "data")
        + layer("ReLU", "relu", "conv", "conv")
        + pool("side", "conv", "kernel_size: 2 stride: 2")
        + layer("Dropout", "drop", "side", "side")
        + layer("ReLU", "other", "side", "side")
    )
    assert [(step.inputs, step.outputs) for step in net.layers] == [
        ((), ("data",)),
        (("data",), ("conv@conv",)),
        (("conv@conv",), ("conv",)),
        (("conv",), ("side@side",)),
        (("side@side",), ("side@drop",)),
        (("side@drop",), ("side",)),
    ]
    assert list(net.shapes) == ["data", "conv", "side"]
    assert net.producer["conv"].name == "relu"
    assert net.outputs == ("side",)


def test_an_input_may_be_changed_in_place():
    net = net_of(data(1, 3, 6, 6) + layer("Power", "centre", "data", "data", "power_param { shift: -1 }"))
    assert net.inputs == ("data",)
    assert net.input_values == {"data": "data@data"}
    assert net.value_shapes == {"data@data": (1, 3, 6, 6), "data": (1, 3, 6, 6)}


def test_shapes_are_at_batch_one():
    net = net_of(data(10, 3, 6, 6) + conv("conv", "data"))
    assert net.shapes == {"data": (1, 3, 6, 6), "conv": (1, 4, 6, 6)}


def test_blobs_that_nobody_reads_are_outputs():
    net = net_of(data(1, 4) + layer("Slice", "cut", "data", "a b") + layer("ReLU", "relu", "a", "c"))
    assert net.outputs == ("b", "c")


def test_phases_select_layers():
    text = data(1, 3, 4, 4) + "".join(
        layer("ReLU", f"{phase}_{i}", "data", "top", f"include {{ phase: {phase} }}")
        for i, phase in enumerate(["TRAIN", "TEST"])
    )
    assert [step.name for step in net_of(text).layers] == ["data", "TEST_1"]
    assert [step.name for step in net_of(text, phase="TRAIN").layers] == ["data", "TRAIN_0"]


def test_layers_count_their_multiplications():
    net = net_of(
        data(1, 4, 5, 6)
        + conv("conv", "data", params="num_output: 6 kernel_size: 3 group: 2")
        + layer("InnerProduct", "fc", "conv", params="inner_product_param { num_output: 7 }")
    )
    assert [step.multiply_adds for step in net.layers] == [0, 6 * 3 * 4 * 2 * 9, 6 * 3 * 4 * 7]
    assert net.param_count == 6 * 2 * 9 + 6 + 6 * 3 * 4 * 7 + 7


# Refusals

BASE = data(1, 3, 8, 8) + conv("conv", "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("ReLU", "x", "a", "b", "include { phase: TRAIN }"), r"^net.prototxt: no layers in phase TEST: all are "),
        (
            'layer { name: "x" top: "a" }',
            r"^net.prototxt:1: layer 'x' has no type: write it, as in type: .Convolution.$",
        ),
        (
            data(1, 3, 8, 8) + conv("a", "b") + conv("b", "a"),
            r"net.prototxt:2: layer 'a' reads blob 'b', which only a later layer, 'b' \(line 3\), writes: .* cycle",
        ),
        (BASE + conv("next", "conf"), r"net.prototxt:3: .*blob 'conf', which no layer writes: did you mean 'conv'\?"),
        (BASE + conv("next", "xyz"), r":3: layer 'next' reads blob 'xyz', which no layer writes: check its name$"),
        (BASE + conv("next", "data", "conv"), r":3: layer 'next' writes blob 'conv', which 'conv' already writes"),
        (BASE + layer("Slice", "cut", "data", "a a"), r":3: layer 'cut' writes blob 'a'"),
        (
            BASE + conv("next", "conv") + layer("ReLU", "relu", "conv", "conv"),
            r":4: layer 'relu' changes blob 'conv' in place, but another layer reads its values from before",
        ),
        (BASE + conv("next", "conv", "conv"), r":3: layer 'next' writes its own bottom 'conv'.*a top of its own"),
        (BASE + 'layer { type: "ReLU" bottom: "conv" top: "x" }', r":3: layer '' \(type 'ReLU'\) has no name"),
        (BASE + 'layer { name: "x" type: "ReLU" bottom: "conv" top: "" }', r":3: layer 'x' .*has a top without a name"),
        (BASE + layer("ReLU", "relu", "conv data", "x"), r":3: .*\(ReLU\) has 2 bottoms, the type takes 1$"),
        (BASE + layer("Eltwise", "sum", "conv"), r":3: .*has 1 bottoms, the type takes 2 or more"),
        (BASE + layer("ReLU", "relu", "conv", "x y"), r":3: .*has 2 tops, the type takes 1$"),
        (
            BASE + layer("ReLU", "relu", "conv", "x", "loss_weight: 1 loss_weight: 2"),
            r":3: .*\(ReLU\) has 1 tops and 2 loss_weight: give one per top",
        ),
        (data(1, 3, 0, 8), r":1: layer 'data' \(Input\): a shape with a side that is not positive: 1×3×0×8"),
        (data(1, 3, 2**20, 2**20), r":1: .*blob 'data' of 1×3×1048576×1048576 has more values than Caffe can count"),
    ],
)
def test_nets_that_contradict_themselves_are_refused(text, message):
    with pytest.raises(NetError, match=message):
        net_of(text)


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("Convolution", "", "no kernel_size is given"),
        ("Convolution", "num_output: 4 kernel_size: 9", r"kernel 9×9 .* does not fit its bottom of 1×3×8×8"),
        ("Convolution", "num_output: 4 kernel_size: 5 dilation: 2", "does not fit"),
        ("Convolution", "num_output: 4 kernel_size: 0", "kernel 0×0: its sides must be positive"),
        ("Convolution", "num_output: 4 kernel_size: 3 stride: 0", "stride 0×0: must be positive"),
        ("Convolution", "num_output: 4 kernel_size: 3 dilation: 0", "dilation"),
        ("Convolution", "kernel_size: 3", "num_output must be positive"),
        ("Convolution", "num_output: 4 kernel_size: 3 group: 2", "3 channels do not divide into 2 groups"),
        ("Convolution", "num_output: 4 kernel_size: 3 group: 3", "num_output 4 does not divide into 3 groups"),
        (
            "Convolution",
            "num_output: 4 kernel_size: 3 kernel_size: 3 kernel_size: 3",
            "3 axes; pycam supports two",
        ),
        ("Convolution", "num_output: 4 kernel_size: 3 axis: 2", "axis 2"),
        ("Deconvolution", "num_output: 4 kernel_size: 1 pad: 4", "does not fit"),
        ("Pooling", "kernel_size: 0", "kernel 0×0"),
        ("Pooling", "kernel_size: 2 pad: 2", "pad 2×2 must be smaller than kernel 2×2"),
        ("Pooling", "kernel_size: 9", "does not fit"),
        ("Pooling", "kernel_size: 1 stride: 5", "leaves a window without a value"),
        ("Pooling", "kernel_size: 2 pool: STOCHASTIC", "stochastic pooling is not supported"),
        ("Pooling", "kernel_size: 4000000000 pad: 3900000000", "windows along a side"),
        ("LRN", "local_size: 4", "local_size 4 must be odd"),
        ("LRN", "alpha: 1e999", "alpha inf: must be a finite number"),
        ("ReLU", "negative_slope: nan", "negative_slope nan: must be a finite number"),
        ("Power", "shift: -inf", "shift -inf: must be a finite number"),
        ("Dropout", "dropout_ratio: 1", r"dropout_ratio 1\.0: must be a fraction"),
        ("Dropout", "dropout_ratio: -0.5", r"dropout_ratio -0\.5: must be a fraction"),
        ("InnerProduct", "", "num_output must be positive"),
        ("InnerProduct", "num_output: 4 axis: 0", "one vector of all the images"),
        ("InnerProduct", "num_output: 4 axis: 4", r"axis 4 of a blob with 4 axes \(1×3×8×8\)"),
        ("Softmax", "axis: -5", "axis -5"),
        ("BatchNorm", "use_global_stats: false", "for training only"),
        ("Scale", "axis: 0", "by their position in the batch"),
        ("Scale", "axis: 3 num_axes: 2", "exceeds the 4 axes"),
        ("Flatten", "axis: 3 end_axis: 1", "axis 3 is behind end_axis 1"),
        ("Reshape", "shape { dim: 0 dim: 5 dim: -1 }", "does not divide"),
        ("Reshape", "shape { dim: 0 dim: -1 dim: -1 }", "only one can be computed"),
        ("Reshape", "shape { dim: 0 dim: 7 }", "1×3×8×8 cannot become 1×7"),
        ("Reshape", "shape { dim: 4 dim: 3 dim: 4 dim: 4 }", "mixes the images of a batch .*1×3×8×8 in the file"),
        ("Reshape", "shape { dim: 2 dim: 3 dim: 8 dim: 8 }", "fixes the batch at 2, .*: make the first side 0"),
        ("Reshape", "shape { dim: 2 dim: 7 }", "1×3×8×8 cannot become 2×7"),
        ("Exp", "base: 0", "base 0.0: must be positive, or -1 for e"),
        ("Exp", "base: 10 shift: 100", r"base\^shift inf: must be a finite number"),
        ("Log", "base: 1", "base 1: no number but 1"),
        ("Log", "base: -2", "base -2.0: must be positive"),
        ("Reduction", "", "axis 0, the default, would sum over the images of a batch"),
        ("Reduction", "axis: 4", "axis 4 of a blob with 4 axes"),
        ("Tile", "axis: 0 tiles: 2", "axis 0 would repeat the images of a batch"),
        ("Tile", "", "tiles 0: must be positive"),
        ("ArgMax", "axis: 0", "axis 0 would compare the images of a batch"),
        ("ArgMax", "axis: 1 top_k: 4", "top_k 4: must be from 1 to the number of values, 3"),
        ("ArgMax", "top_k: 0", "top_k 0: must be from 1 to the number of values, 192"),
    ],
)
def test_layers_that_cannot_be_are_refused(kind, params, message):
    field = {
        "Deconvolution": "convolution_param",
        "ArgMax": "argmax_param",
        "InnerProduct": "inner_product_param",
        "BatchNorm": "batch_norm_param",
    }
    params = f"{field.get(kind, f'{kind.lower()}_param')} {{ {params} }}"
    with pytest.raises(NetError, match=rf"net.prototxt:2: layer 'x' \({kind}\): .*{message}"):
        net_of(data(1, 3, 8, 8) + layer(kind, "x", "data", params=params))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("Concat", "x", "a b", params="concat_param { axis: 1 }"), "'b' of 1×3×4×5 does not match 'a'"),
        (layer("Eltwise", "x", "a b"), "'b' of 1×3×4×5 differs from 'a'"),
        (layer("Eltwise", "x", "a a", params="eltwise_param { coeff: 1 }"), "1 coefficients for 2 bottoms"),
        (layer("Eltwise", "x", "a a", params="eltwise_param { coeff: 1 coeff: inf }"), "coeff inf: must be a finite"),
        (layer("Eltwise", "x", "a a", params="eltwise_param { operation: MAX coeff: 1 coeff: 1 }"), "are for SUM"),
        (layer("Scale", "x", "a b"), "factors of 1×3×4×5 do not fit 1×2×6×5 from axis 1 on"),
        (layer("Crop", "x", "a b", params="crop_param { axis: 1 }"), "exceed the 2 values of axis 1"),
        (layer("Crop", "x", "a b", params="crop_param { axis: 2 offset: 3 }"), "offset 3 and size 4 exceed the 6"),
        (layer("Crop", "x", "a b", params="crop_param { axis: 1 offset: 3 offset: 3 }"), "2 offsets for 3 axes"),
        (layer("Crop", "x", "a b", params="crop_param { axis: 0 }"), "axis 0 would crop the batch"),
        (layer("Slice", "x", "a", "p q r"), "2 values along axis 1 do not divide into 3 tops"),
        (layer("Slice", "x", "a", "p q", "slice_param { slice_point: 2 }"), "must increase and lie within the 2"),
        (layer("Slice", "x", "a", "p q r", "slice_param { slice_point: 1 }"), "1 slice points for 3 tops"),
        (layer("Slice", "x", "a", "p q", "slice_param { axis: 0 }"), "axis 0 would cut the batch"),
    ],
)  # fmt: skip
def test_blobs_that_do_not_fit_are_refused(text, message):
    with pytest.raises(NetError, match=f"net.prototxt:3: layer 'x' .*{message}"):
        net_of(data(1, 2, 6, 5, name="a") + data(1, 3, 4, 5, name="b") + text)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Convolutoin", "Convolution"),
        ("InnerProdcut", "InnerProduct"),
        ("relu", "ReLU"),
        ("Relu", "ReLU"),
        ("INNER_PRODUCT", "InnerProduct"),
        ("SoftmaxLoss", "SoftmaxWithLoss"),
        ("Poolling", "Pooling"),
    ],
)
def test_a_misspelled_type_is_corrected(name, meant):
    with pytest.raises(UnsupportedLayerError, match=rf":2: layer 'x' has .*: did you mean '{meant}'\?$"):
        net_of(data(1, 3, 8, 8) + layer(name, "x", "data"))


@pytest.mark.parametrize("name", ["ReLU6", "Convolution3D", "Mish", "PELU", "Data2", "GroupNorm"])
def test_a_type_of_a_fork_is_no_misspelling(name):
    with pytest.raises(UnsupportedLayerError, match=f"type '{name}': Caffe 1.0 has no such type$"):
        net_of(data(1, 3, 8, 8) + layer(name, "x", "data"))


@pytest.mark.parametrize(
    "name", ["Permute", "Normalize", "PriorBox", "ROIPooling", "PSROIPooling", "Interp", "Upsample"]
)
def test_layers_for_detection_and_segmentation_are_named_so(name):
    with pytest.raises(
        UnsupportedLayerError, match="detection and segmentation layers of Caffe forks are not supported"
    ):
        net_of(data(1, 3, 8, 8) + layer(name, "x", "data"))


@pytest.mark.parametrize("name", sorted(CAFFE_TYPES - LAYER_TYPES.keys()))
def test_a_type_that_only_caffe_has_is_named_so(name):
    advice = "pycam reads the net without this layer and the layers that depend on it"
    with pytest.raises(UnsupportedLayerError, match=f"type '{name}': Caffe has it, pycam does not; {advice}$"):
        net_of(data(1, 3, 8, 8) + layer(name, "x", "data"))


def test_a_source_without_a_shape_is_replaced_by_an_input():
    with pytest.raises(UnsupportedLayerError, match="pycam does not; replace it by a layer of type Input"):
        net_of(layer("Python", "x", "", "data label"))
    with pytest.raises(
        NetError, match=r"layer 'x' \(HDF5Data\): only its source.*: replace it by a layer of type Input"
    ):
        net_of(layer("HDF5Data", "x", "", "data label"))
    with pytest.raises(NetError, match=r"layer 'x' \(WindowData\): no crop_size in transform_param"):
        net_of(layer("WindowData", "x", "", "data label"))


# Sources


def test_data_layers_are_inputs():
    net = net_of(
        'layer { name: "m" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 9 channels: 3 height: 4 width: 5 } }\n"
        'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 2 dim: 7 } } }\n'
        'layer { name: "e" type: "DummyData" top: "c" top: "d" '
        "dummy_data_param { num: 1 channels: 2 channels: 3 height: 4 width: 5 } }\n"
        'layer { name: "i" type: "ImageData" top: "image" '
        "image_data_param { batch_size: 3 new_height: 6 new_width: 7 } }"
    )
    assert net.shapes == {
        "data": (1, 3, 4, 5),
        "label": (1,),
        "a": (1, 7),
        "b": (1, 7),
        "c": (1, 2, 4, 5),
        "d": (1, 3, 4, 5),
        "image": (1, 3, 6, 7),
    }
    assert net.inputs == tuple(net.shapes)
    assert net.inputs_before(["data", "d"]) == ("data", "d")


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("DummyData", "dummy_data_param { shape { dim: 1 } num: 1 }", "shape and its old form, num: use one of them"),
        ("DummyData", "dummy_data_param { num: 1 channels: 2 height: 3 }", "0 width for 2 tops"),
        ("DummyData", "", "0 shapes for 2 tops"),
        (
            "MemoryData",
            "memory_data_param { channels: 3 height: 4 width: 5 }",
            "a shape with a side that is not positive: 0×3×4×5",
        ),
    ],
)
def test_sources_without_shapes_are_refused(kind, params, message):
    with pytest.raises(NetError, match=rf":1: layer 'x' \({kind}\): {message}"):
        net_of(layer(kind, "x", "", "a b", params))


# Tops that Caffe adds


def test_a_loss_without_a_top_gets_one_that_is_no_output():
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" }\n'
    net = net_of(data(2, 3) + data(2, name="label") + loss + loss)
    assert net.shapes == {"data": (1, 3), "label": (1,), "(automatic)": ()}
    assert net.value_shapes.keys() == {"data", "label", "(automatic)@loss", "(automatic)"}
    assert net.outputs == ()
    with pytest.raises(NetError, match=r"reads blob '\(automatic\)', which no layer writes"):
        net_of(data(2, 3) + data(2, name="label") + loss + layer("ReLU", "relu", "(automatic)"))


# Layers of one name


def test_layers_of_one_name_need_no_weights():
    net = net_of(data(1, 3, 4, 4) + conv("x", "data", "a") + conv("x", "a", "b"))
    assert [step.name for step in net.layers] == ["data", "x", "x"]
    assert net.by_name["x"] is net.layers[2]
    weights = [np.zeros(shape, np.float32) for shape in net.layers[1].param_shapes]
    with pytest.raises(NetError, match=r"share the name 'x' \(lines 2 and 3 of the net\): Caffe fills only the first"):
        net.with_params({"x": weights})


@pytest.mark.caffe
def test_caffe_fills_the_first_layer_of_a_name(tmp_path):
    text = data(1, 3, 4, 4) + conv("x", "data", "a") + layer("ReLU", "x", "a", "b")
    seeded = seeded_net(prototxt.parse(text).message)
    prototxt_path, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt_path.write_text(text)
    caffemodel.write(weights, schema.NetParameter(layer=seeded.message.layer[1:2]), seeded.params)
    net, inputs = read_net(prototxt_path, weights), {"data": np.ones((1, 3, 4, 4), np.float32)}
    assert net.by_name["x"] is net.layers[1]
    found = []
    for name in ("onnxruntime", "caffe"):
        with engines.make(name, net, ["a", "b"]) as engine:
            found.append(engine.forward(inputs))
    np.testing.assert_allclose(found[0]["b"], found[1]["b"], rtol=1e-5)
    with pytest.raises(NetError, match="share the name 'x'"):
        net_of(data(1, 3, 4, 4) + layer("ReLU", "x", "data", "a") + conv("x", "a", "b")).with_params(net.params)


@pytest.mark.caffe
def test_caffe_runs_no_layer_that_differs_in_training():
    stored = layer("BatchNorm", "norm", "data", params="batch_norm_param { use_global_stats: true }")
    net = seeded_net(prototxt.parse(data(1, 3, 4, 4) + stored).message)
    drop = net_of(data(1, 3, 4, 4) + layer("Dropout", "drop", "data"), phase="TRAIN")
    with pytest.raises(EngineError, match="layer 'drop' in phase TRAIN: Caffe's Dropout computes something else"):
        engines.make("caffe", drop, ["drop"])
    train = net_from_message(net.message, phase="TRAIN").with_params(net.params)
    inputs = {"data": np.ones((1, 3, 4, 4), np.float32)}
    with engines.make("caffe", train, ["norm"]) as caffe, engines.make("onnxruntime", net, ["norm"]) as engine:
        np.testing.assert_allclose(caffe.forward(inputs)["norm"], engine.forward(inputs)["norm"], rtol=1e-5)


# Shared parameters

TWICE = (
    data(1, 3)
    + layer("InnerProduct", "one", "data", params=f"{SHARED} inner_product_param {{ num_output: 3 }}")
    + layer("InnerProduct", "two", "one", params=f"{SHARED} inner_product_param {{ num_output: 3 }}")
)


def weights_of(value: float) -> list[np.ndarray]:
    return [np.full((3, 3), value, np.float32), np.full(3, value, np.float32)]


@pytest.mark.parametrize(
    ("given", "value"), [({"one": 1, "two": 2}, 2), ({"two": 2, "one": 1}, 1), ({"one": 1}, 1), ({"two": 2}, 2)]
)
def test_of_shared_parameters_the_last_in_the_file_count(given, value):
    net = net_of(TWICE).with_params({name: weights_of(each) for name, each in given.items()})
    assert {(name, array.min(), array.max()) for name, arrays in net.params.items() for array in arrays} == {
        ("one", value, value),
        ("two", value, value),
    }
    assert net.param_count == 12


@pytest.mark.caffe
@pytest.mark.parametrize("given", [{"one": 1, "two": 2}, {"two": 2, "one": 1}, {"one": 1}, {"two": 2}])
def test_caffe_reads_the_same_shared_parameters(given, tmp_path):
    message = prototxt.parse(TWICE).message
    layers = {each.name: each for each in message.layer}
    written = schema.NetParameter(layer=[layers[name] for name in given])
    text, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    text.write_text(TWICE)
    caffemodel.write(weights, written, {name: weights_of(each) for name, each in given.items()})
    net, inputs = read_net(text, weights), {"data": np.ones((1, 3), np.float32)}
    found = []
    for name in ("onnxruntime", "caffe"):
        with engines.make(name, net, ["one", "two"]) as engine:
            found.append(engine.forward(inputs))
    np.testing.assert_array_equal(found[0]["two"], found[1]["two"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ('param { name: "w" } inner_product_param { num_output: 4 }', "'w' of 4×3 is that of layer 'one', of 3×3"),
        ('param { name: "w" lr_mult: 2 } inner_product_param { num_output: 3 }', "'w' has another lr_mult than in"),
    ],
)
def test_parameters_that_cannot_be_shared_are_refused(params, message):
    text = TWICE.replace('param { name: "w" }', 'param { name: "w" lr_mult: 1 }')
    with pytest.raises(NetError, match=rf":4: layer 'three' \(InnerProduct\): its parameter {message}"):
        net_of(text + layer("InnerProduct", "three", "two", params=params))


# States

STATES = (
    'layer { name: "train" type: "Data" top: "data" include { stage: "train" } '
    "transform_param { crop_size: 8 } data_param { batch_size: 1 } }\n"
    + data(1, 3, 8, 8).replace("input_param", 'include { stage: "deploy" } input_param')
    + conv("conv", "data")
    + layer("ReLU", "deep", "conv", "deep", "include { min_level: 2 }")
    + layer("Softmax", "prob", "conv", params='exclude { stage: "train" } exclude { phase: TRAIN }')
)


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ({"stages": ["deploy"]}, ["data", "conv", "prob"]),
        ({"stages": ["deploy"], "level": 2}, ["data", "conv", "deep", "prob"]),
        ({"stages": ["train"]}, ["train", "conv"]),
        ({"stages": ("deploy",), "phase": "TRAIN"}, ["data", "conv"]),
    ],
)
def test_a_state_selects_layers(state, names):
    assert [step.name for step in net_of(STATES, **state).layers] == names


def test_a_nets_own_stages_count_and_its_level_does_not():
    net = net_of('state { stage: "deploy" level: 3 } ' + STATES)
    assert [step.name for step in net.layers] == ["data", "conv", "prob"]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (
            {},
            NetError,
            r":3: layer 'conv' reads blob 'data', which no layer writes in phase TEST \('train' \(line 1\): "
            r"stage train; "
            r"'data' \(line 2\): stage deploy\): choose with --phase, --stage or --level$",
        ),
        ({"stages": ["depoly"]}, UsageError, r"no stage 'depoly': did you mean 'deploy'\?"),
        ({"stages": ["x"]}, UsageError, "no stage 'x': its stages are deploy, train"),
        ({"stages": "deploy"}, UsageError, r"stages is 'deploy'; expected a list, as in \['deploy'\]$"),
        ({"phase": "test"}, UsageError, "phase 'test': use one of TRAIN, TEST"),
    ],
)
def test_states_that_select_nothing_are_refused(state, error, message):
    with pytest.raises(error, match=message):
        net_of(STATES, **state)


def test_the_message_names_levels_and_the_state_that_was_asked_for():
    text = data(1, 3).replace("input_param", 'include { stage: "deploy" min_level: 2 max_level: 4 } input_param')
    with pytest.raises(
        NetError,
        match=r"no layers in phase TEST, stages deploy, level 1: all .* 'data' \(line 1\) for "
        "stage deploy with level 2 or more with level 4 or less: choose",
    ):
        net_of(text, stages=["deploy"], level=1)


def test_a_net_of_stages_alone_names_them():
    with pytest.raises(
        NetError,
        match=r"no layers in phase TEST: all .* 'data' \(line 1\) for stage deploy: choose with --phase,",
    ):
        net_of(data(1, 3).replace("input_param", 'include { stage: "deploy" } input_param'))
    with pytest.raises(UsageError, match="level 2 selects nothing"):
        net_of(BASE, level=2)


# The batch in the file


def test_a_reshape_to_the_batch_of_the_file_is_open():
    reshape = layer("Reshape", "map", "data", params="reshape_param { shape { dim: 64 dim: 100 dim: 1 dim: 1 } }")
    net = net_of(data(64, 100) + reshape)
    assert net.shapes["map"] == (1, 100, 1, 1)
    assert net.layers[1].target == (0, 100, 1, 1)
    assert net.fixed_batch == 64
    assert net == net_of(data(1, 100) + reshape.replace("dim: 64", "dim: 0"))
    assert net_of(data(1, 100) + reshape.replace("dim: 64", "dim: 0")).fixed_batch is None


@pytest.mark.caffe
def test_caffe_runs_a_fixed_batch_only():
    net = net_of(
        data(3, 4) + layer("Reshape", "map", "data", params="reshape_param { shape { dim: 3 dim: 2 dim: 2 } }")
    )
    with engines.make("caffe", net, ["map"]) as caffe:
        with pytest.raises(EngineError, match="with a batch of 3 only, not of 1: the net has a Reshape that fixes it"):
            caffe.forward({"data": np.zeros((1, 4), np.float32)})
        assert caffe.forward({"data": np.zeros((3, 4), np.float32)})["map"].shape == (3, 2, 2)


SHARED_MEMORY = data(1, 3, 8, 8) + layer("Flatten", "flat", "data")


def test_blobs_that_caffe_changes_through_shared_memory_are_refused():
    text = SHARED_MEMORY + layer("ReLU", "relu", "flat", "flat") + conv("conv", "data")
    with pytest.raises(
        NetError, match=r":4: layer 'conv' reads blob 'data', .* a blob that 'relu' changed in place before"
    ):
        net_of(text)


@pytest.mark.parametrize(
    "text",
    [
        conv("conv", "data") + layer("ReLU", "relu", "flat", "flat"),
        layer("Dropout", "drop", "flat", "flat") + conv("conv", "data"),
        layer("ReLU", "relu", "flat", "other") + conv("conv", "data"),
        layer("ReLU", "relu", "flat", "flat") + layer("ReLU", "again", "flat", "flat"),
    ],
)
def test_shared_memory_is_accepted_if_no_layer_reads_a_change(text):
    assert len(net_of(SHARED_MEMORY + text).layers) == 4


# Old formats


def alexnet_plus_in_v1() -> schema.NetParameter:
    """Convert the current net to V1, the format of the release."""
    current = pycam.architectures.build("deploy_alexnetplusCAM_imagenet")
    enums = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT"}
    old = schema.NetParameter(name=current.name, input=["data"], input_dim=current.layer[0].input_param.shape[0].dim)
    for new in current.layer[1:]:
        kind = schema.V1LayerParameter.LayerType.Value(enums.get(new.type, new.type.upper()))
        v1 = old.layers.add(name=new.name, type=kind, bottom=new.bottom, top=new.top)
        for field, value in new.ListFields():
            if field.name.endswith("_param"):
                getattr(v1, field.name).CopyFrom(value)
    return old


def alexnet_plus_in_v0() -> schema.NetParameter:
    """Convert the current net to V0: flat layers, and padding in separate layers."""
    current = pycam.architectures.build("deploy_alexnetplusCAM_imagenet")
    kinds = {"Convolution": "conv", "Pooling": "pool", "InnerProduct": "innerproduct"}
    old = schema.NetParameter(name=current.name, input=["data"], input_dim=current.layer[0].input_param.shape[0].dim)
    for new in current.layer[1:]:
        bottom = list(new.bottom)
        flat = schema.V0LayerParameter(name=new.name, type=kinds.get(new.type, new.type.lower()))
        for param, value in new.ListFields():
            for field, number in value.ListFields() if param.name.endswith("_param") else ():
                number = number if isinstance(number, int | float) else number[0]
                if field.name == "pad":
                    padding = old.layers.add(bottom=bottom, top=[f"pad_{new.name}"])
                    padding.layer.name, padding.layer.type, padding.layer.pad = f"pad_{new.name}", "padding", number
                    bottom = list(padding.top)
                else:
                    setattr(flat, {"kernel_size": "kernelsize"}.get(field.name, field.name), number)
        old.layers.add(layer=flat, bottom=bottom, top=new.top)
    return old


@pytest.mark.parametrize("convert", [alexnet_plus_in_v1, alexnet_plus_in_v0])
def test_old_formats_give_the_same_net(convert, tmp_path):
    current = net_from_message(pycam.architectures.build("deploy_alexnetplusCAM_imagenet"))
    path = tmp_path / "old.prototxt"
    path.write_text(str(convert()))
    assert read_net(path) == current


def test_another_number_gives_another_net():
    current = pycam.architectures.build("deploy_alexnetplusCAM_imagenet")
    other = pycam.architectures.build("deploy_alexnetplusCAM_imagenet")
    other.layer[3].pooling_param.pool = schema.PoolingParameter.AVE
    assert net_from_message(current) == net_from_message(pycam.architectures.build("deploy_alexnetplusCAM_imagenet"))
    assert net_from_message(current) != net_from_message(other)


# Weights

CLASSIFIER = (
    data(1, 3, 8, 8)
    + conv("first", "data")
    + layer("ReLU", "relu", "first", "first")
    + conv("second", "first")
    + pool("mean", "second", "pool: AVE global_pooling: true")
    + layer("InnerProduct", "fc", "mean", params="inner_product_param { num_output: 5 }")
    + layer("Softmax", "prob", "fc")
)


@pytest.fixture
def files(tmp_path):
    """The net in two files, and the net itself."""
    read = prototxt.parse(CLASSIFIER)
    net = seeded_net(read.message)
    (tmp_path / "net.prototxt").write_text(CLASSIFIER)
    caffemodel.write(tmp_path / "net.caffemodel", read.message, net.params)
    return tmp_path / "net.prototxt", tmp_path / "net.caffemodel", net


def test_weights_are_matched_by_name(files):
    text, weights, net = files
    read = read_net(text, weights)
    assert read == net
    assert (read.sources.prototxt, read.sources.caffemodel) == (str(text), str(weights))
    assert read.ignored_weights == ()


def test_nets_with_different_weights_differ(files):
    net = files[2]
    changed = {**net.params, "fc": (net.params["fc"][0] + 1, net.params["fc"][1])}
    assert net != net.with_params(changed)
    assert net != replace(net, params={})


def test_legacy_shapes_fit(files):
    text, weights, net = files
    legacy = {
        name: [array.reshape((1,) * (4 - array.ndim) + array.shape) for array in arrays]
        for name, arrays in net.params.items()
    }
    caffemodel.write(weights, net.message, legacy)
    assert read_net(text, weights) == net


def test_weights_of_unknown_layers_are_reported(files):
    _, weights, _ = files
    text = weights.with_name("shorter.prototxt")
    text.write_text(CLASSIFIER.replace(conv("second", "first"), layer("ReLU", "second", "first")))
    assert read_net(text, weights).ignored_weights == ("second",)


def test_weights_of_another_net_name_the_first_mismatch_with_both_shapes(files):
    text, weights, _ = files
    text.write_text(CLASSIFIER.replace("kernel_size: 3", "kernel_size: 1"))
    with pytest.raises(
        NetError,
        match=r"layer 'first' \(line 2 of the net\) has weights of 4×3×3×3 and 4, the net expects 4×3×1×1 and 4",
    ):
        read_net(text, weights)


def test_weights_with_a_layer_missing_are_refused(files):
    text, weights, net = files
    caffemodel.write(weights, net.message, {name: arrays for name, arrays in net.params.items() if name != "fc"})
    with pytest.raises(
        NetError,
        match=r"no weights for layer 'fc' \(line 6 of the net\); the file has 2 .* cut off, or .* yet to be",
    ):
        read_net(text, weights)


def test_weights_without_any_of_the_layers_are_those_of_another_net(files):
    text, weights, _ = files
    text.write_text(CLASSIFIER.replace('name: "f', 'name: "F').replace('name: "s', 'name: "S'))
    with pytest.raises(NetError, match=r"0 of the net's 3 layers .* another net"):
        read_net(text, weights)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_unless_allowed(files, bad):
    text, weights, net = files
    net.params["second"][0][0, 0, 0, 0] = bad
    caffemodel.write(weights, net.message, net.params)
    with pytest.raises(NetError, match="layer 'second' has 1 weights that are infinite or not a number"):
        read_net(text, weights)
    assert read_net(text, weights, allow_nonfinite=True).params["second"][0][0, 0, 0, 0] in (bad, *[None]) or np.isnan(
        bad
    )


def test_large_finite_weights_whose_sum_overflows_are_accepted(files):
    text, weights, net = files
    net.params["second"][0][...] = np.finfo(np.float32).max
    caffemodel.write(weights, net.message, net.params)
    assert read_net(text, weights) == net


def test_class_weights_are_classes_by_channels(files):
    net = files[2]
    np.testing.assert_array_equal(net.class_weights("fc"), net.params["fc"][0])
    turned = seeded_net(prototxt.parse(CLASSIFIER.replace("num_output: 5", "num_output: 5 transpose: true")).message)
    assert turned.params["fc"][0].shape == (4, 5)
    np.testing.assert_array_equal(turned.class_weights("fc"), turned.params["fc"][0].T)


@pytest.mark.parametrize(
    ("name", "message"),
    [("prob", "is of type 'Softmax'"), ("nothing", "is not in the net")],
)
def test_class_weights_of_other_layers_are_refused(files, name, message):
    with pytest.raises(NetError, match=message):
        files[2].class_weights(name)


def test_class_weights_need_weights(files):
    with pytest.raises(NetError, match="no weights for 'fc'"):
        read_net(files[0]).class_weights("fc")


def test_a_file_and_its_message_give_the_same_net(files):
    text, _, net = files
    assert read_net(text) == net_from_message(net.message)


def test_nets_differ_by_order_and_not_by_lines():
    spread = net_of(CLASSIFIER.replace("layer {", "\n\nlayer {"))
    assert spread == net_of(CLASSIFIER)
    assert [step.line for step in spread.layers][:3] == [3, 6, 9]
    assert all(a.line < b.line for a, b in pairwise(spread.layers))


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_layer_with_a_phase_of_its_own(phase):
    other = {"TRAIN": "TEST", "TEST": "TRAIN"}[phase]
    text = data(1, 3, 4, 4) + layer("Dropout", "drop", "data", params="phase: %s")
    net_from_message(prototxt.parse(text % phase).message, phase=phase)
    with pytest.raises(NetError, match=rf"'drop' has phase: {other}, but the net is in phase {phase}"):
        net_from_message(prototxt.parse(text % other).message, phase=phase)
