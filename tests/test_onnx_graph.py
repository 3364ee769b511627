from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import assume, given, settings, strategies as st
from nets import PITFALLS, conv, data, images, layer, message_of, pool, seeded_net

from pycam import engines
from pycam.engines import onnx_graph
from pycam.engines.onnx_graph import onnx_cam_model, onnx_model
from pycam.errors import NetError, UnsupportedLayerError, UsageError
from pycam.formats import prototxt
from pycam.maps.cam import class_activation_maps
from pycam.net import Net, find_head, layers, net_from_message

with suppress(ImportError):
    import onnx

pytestmark = pytest.mark.onnx


def net_of(text: str) -> Net:
    return seeded_net(prototxt.parse(text).message)


def check(model: Any) -> None:
    """Let the package `onnx` check a model; it reads all that was written."""
    written = model.SerializeToString()
    whole = onnx.ModelProto.FromString(written)
    onnx.checker.check_model(whole, full_check=True)
    assert whole.SerializeToString() == written


def run(model: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    check(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("name", PITFALLS)
def test_models_pass_the_checker_with_every_value_as_output(name):
    net = seeded_net(message_of(name))
    model = onnx_model(net, list(net.value_shapes))
    check(model)
    assert [output.name for output in model.graph.output] == list(net.value_shapes)


def test_every_layer_of_a_deployed_net_has_a_translation():
    # Silence computes nothing.
    without = {*layers.Source.__subclasses__(), layers.Data, layers.ImageData, layers.WindowData, layers.Silence}
    judges = {kind for kind in layers.LAYER_TYPES.values() if issubclass(kind, layers.Comparison)}
    assert set(layers.LAYER_TYPES.values()) - without - judges == set(onnx_graph._TRANSLATIONS)


def test_an_engine_with_the_weights_beside_the_model_gives_the_same_bits():
    text = data(1, 16, 9, 9) + conv("conv", "data", params="num_output: 32 kernel_size: 3")
    net = net_of(text + layer("ReLU", "a", "conv"))
    outside: dict[str, np.ndarray] = {}
    model = onnx_model(net, ["a"], outside)
    assert [array is net.params["conv"][0] for array in outside.values()] == [True]
    assert model.ByteSize() < 1500 < net.params["conv"][0].nbytes
    inputs = images(net, 2)
    (expected,) = run(onnx_model(net, ["a"]), inputs)
    with engines.make("onnxruntime", net, ["a"], engines.Options(threads=1)) as engine:
        net.params["conv"][0][:] = 0  # the engine has its own
        np.testing.assert_array_equal(engine.forward(inputs)["a"], expected)


def test_a_layer_without_a_translation_is_named():
    net = net_from_message(
        prototxt.parse(data(1, 3) + data(1, name="label") + layer("SoftmaxWithLoss", "loss", "data label")).message
    )
    with pytest.raises(UnsupportedLayerError, match=r"'loss'.*'SoftmaxWithLoss'"):
        onnx_model(net, ["loss"])


def test_only_what_the_outputs_need_is_written():
    net = net_of(data(1, 3, 5, 5) + data(1, 3, 5, 5, name="other") + conv("a", "data") + conv("b", "other"))
    model = onnx_model(net, ["b"])
    assert [value.name for value in model.graph.input] == ["other"]
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert [constant.name for constant in model.graph.initializer] == ["b.weight", "b.bias"]


def test_the_batch_is_open():
    net = net_of(data(10, 3, 5, 6) + conv("a", "data"))
    model = onnx_model(net, ["a"])
    for value in (*model.graph.input, *model.graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        assert batch.dim_param == "N"
        assert [side.dim_value for side in rest] == list(net.shapes[value.name][1:])


side = st.integers(1, 9)
window = st.integers(1, 5)


@settings(deadline=None)
@given(
    st.sampled_from(["MAX", "AVE"]),
    st.tuples(side, side),
    st.tuples(window, window),
    st.tuples(window, window),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(0, 2**32 - 1),
)
def test_pooling_is_caffes_definition(method, size, kernel, stride, pad, seed):
    given_ = {"kernel": kernel, "stride": stride, "pad": pad}
    params = " ".join(
        f"{name}_{axis}: {n}" for name, pair in given_.items() for axis, n in zip("hw", pair, strict=True)
    )
    try:
        net = net_of(data(1, 2, *size) + pool("pool", "data", f"pool: {method} {params}"))
    except NetError:
        assume(False)
    x = images(net, 2, seed)["data"]
    (values,) = run(onnx_model(net, ["pool"]), {"data": x})
    truth = pooled(x, method, kernel, stride, pad)
    assert values.shape[1:] == net.shapes["pool"][1:] == truth.shape[1:]
    np.testing.assert_allclose(values, truth, rtol=1e-5, atol=1e-6)


def pooled(x, method, kernel, stride, pad):
    """Pool as docs/caffe.md tells, one window after the other."""
    counts = []
    for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        count = int(np.ceil((n + 2 * p - k) / s)) + 1
        counts.append(count - 1 if p and (count - 1) * s >= n + p else count)
    result = np.empty((*x.shape[:2], *counts))
    for i, j in product(*map(range, counts)):
        starts = [index * s - p for index, s, p in zip((i, j), stride, pad, strict=True)]
        ends = [min(a + k, n + p) for a, k, n, p in zip(starts, kernel, x.shape[2:], pad, strict=True)]
        (top, left), (bottom, right) = starts, ends
        values = x[:, :, max(top, 0) : bottom, max(left, 0) : right]
        if method == "MAX":
            result[:, :, i, j] = values.max((2, 3))
        else:
            result[:, :, i, j] = values.sum((2, 3)) / ((bottom - top) * (right - left))
    return result


@settings(deadline=None)
@given(
    st.integers(1, 12),
    st.sampled_from([1, 3, 5, 7, 9]),
    st.floats(0, 4, width=32),
    st.sampled_from([0.5, 0.75, 1.0, 1.3]),
    st.floats(0.5, 3, width=32),
)
def test_lrn_is_caffes_definition(channels, size, alpha, beta, k):
    text = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}"
    net = net_of(data(1, channels, 3, 2) + layer("LRN", "norm", "data", params=text))
    x = images(net, 2)["data"]
    (values,) = run(onnx_model(net, ["norm"]), {"data": x})
    squares = x.astype(np.float64) ** 2
    sums = [squares[:, max(0, c - size // 2) : c + size // 2 + 1].sum(1) for c in range(channels)]
    truth = x / (k + alpha / size * np.stack(sums, 1)) ** beta
    np.testing.assert_allclose(values, truth, rtol=0, atol=1e-6 * np.abs(truth).max())


CLASSIFIER = (
    data(1, 3, 6, 7)
    + conv("features", "data", params="num_output: 8 kernel_size: 3")
    + layer("ReLU", "relu", "features", "features")
    + pool("mean", "features", "pool: AVE global_pooling: true")
)
WEIGHED = CLASSIFIER + (
    layer("InnerProduct", "fc", "mean", params="inner_product_param { num_output: 7 }") + layer("Softmax", "prob", "fc")
)
TURNED = WEIGHED.replace("num_output: 7 }", "num_output: 7 transpose: true }")
BY_CONVOLUTION = CLASSIFIER + conv("fc", "mean", params="num_output: 7 kernel_size: 1") + layer("Softmax", "prob", "fc")
MAPS_ARE_CHANNELS = CLASSIFIER + layer("Softmax", "prob", "mean")


@pytest.mark.parametrize("text", [WEIGHED, TURNED, BY_CONVOLUTION, MAPS_ARE_CHANNELS])
@pytest.mark.parametrize("top", [1, 5])
def test_the_cam_model_gives_the_maps_of_the_first_classes(text, top):
    net = net_of(text)
    head = find_head(net)
    inputs = images(net, 3)
    features, truth = run(onnx_model(net, ["features", "prob"]), inputs)
    model = onnx_cam_model(net, head, top)
    scores, classes, maps = run(model, inputs)

    assert [output.name for output in model.graph.output] == ["scores", "classes", "maps"]
    np.testing.assert_array_equal(scores, truth.reshape(3, -1))
    np.testing.assert_array_equal(classes, np.argsort(-scores, axis=1)[:, :top])
    if head.class_layer is None:
        expected = features[np.arange(3)[:, None], classes]
    else:
        expected = class_activation_maps(features, net.class_weights("fc")[classes])
    assert maps.shape == (3, top, 4, 5)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("text", [WEIGHED, TURNED, BY_CONVOLUTION, MAPS_ARE_CHANNELS])
def test_the_cam_model_gives_the_maps_of_all_classes_in_their_order(text):
    net = net_of(text)
    head = find_head(net)
    inputs = images(net, 3)
    features, truth = run(onnx_model(net, ["features", "prob"]), inputs)
    model = onnx_cam_model(net, head, top=None)
    scores, maps = run(model, inputs)

    assert [output.name for output in model.graph.output] == ["scores", "maps"]
    np.testing.assert_array_equal(scores, truth.reshape(3, -1))
    weights = None if head.class_layer is None else net.class_weights("fc")
    expected = features if weights is None else class_activation_maps(features, weights)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.openvino
@pytest.mark.parametrize("text", [WEIGHED, MAPS_ARE_CHANNELS])
def test_the_cam_model_gives_the_same_in_openvino(text):
    from pycam.engines.openvino import openvino

    net = net_of(text)
    inputs = images(net, 3)
    model = onnx_cam_model(net, find_head(net))
    compiled = openvino.Core().compile_model(
        openvino.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    values = compiled(inputs)
    for name, truth in zip(("scores", "classes", "maps"), run(model, inputs), strict=True):
        np.testing.assert_allclose(values[name], truth, rtol=0, atol=1e-5 * np.abs(truth).max())


def test_the_cam_model_gives_all_classes_where_there_are_few():
    net = net_of(WEIGHED)
    _, classes, maps = run(onnx_cam_model(net, find_head(net), top=20), images(net, 2))
    assert classes.shape == (2, 7)
    assert maps.shape == (2, 7, 4, 5)


@pytest.mark.parametrize("top", [0, -1])
def test_maps_of_less_than_one_class_are_refused(top):
    net = net_of(WEIGHED)
    with pytest.raises(UsageError, match=f"top={top}: expected 1 or more classes, or None"):
        onnx_cam_model(net, find_head(net), top=top)


def test_a_net_without_weights_is_refused():
    net = replace(net_of(WEIGHED), params={})
    for translate in (lambda: onnx_model(net, net.outputs), lambda: onnx_cam_model(net, find_head(net))):
        with pytest.raises(NetError, match=r"no weights \(layer '\w+'\): read the net together with its caffemodel"):
            translate()


def test_names_that_blobs_have_are_given_an_underscore():
    net = net_of(WEIGHED.replace('"features"', '"maps"').replace('"prob"', '"scores"'))
    model = onnx_cam_model(net, find_head(net))
    assert [output.name for output in model.graph.output] == ["scores_", "classes", "maps_"]
    assert run(model, images(net, 2))[2].shape == (2, 5, 4, 5)
