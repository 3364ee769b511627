"""Receptive fields, held to the published sizes and to what pixels really change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from nets import conv, data, layer, pool

from pycam import architectures, engines
from pycam.errors import NetError
from pycam.formats import prototxt
from pycam.net import Net, net_from_message, random_weights
from pycam.net.receptive_fields import ReceptiveField, receptive_fields

PUBLISHED = {
    ("deploy_bvlc_caffenet", "pool1"): (19, 9, 8),
    ("deploy_bvlc_caffenet", "pool2"): (67, 17, 16),
    ("deploy_bvlc_caffenet", "conv3"): (99, 17, 16),
    ("deploy_bvlc_caffenet", "conv4"): (131, 17, 16),
    ("deploy_bvlc_caffenet", "conv5"): (163, 17, 16),
    ("deploy_bvlc_caffenet", "pool5"): (195, 33, 32),
    ("deploy_alexnetplusCAM_imagenet", "conv7"): (259, 33, 16),
    ("deploy_vgg16CAM", "CAM_conv"): (228, 7.5, 16),
    ("deploy_googlenetCAM", "CAM_conv"): (459, 14, 16),
    ("deploy_bvlc_googlenet", "inception_5b/output"): (715, 30, 32),
    ("deploy_squeezenet_v1.0", "fire9/concat"): (155, 17, 16),
}
"""Net and blob -> size, center of the first unit, distance, in pixels."""


def parsed(text: str) -> Net:
    return net_from_message(prototxt.parse(text).message)


def thin(message) -> Net:
    """Make the same net with few channels: they have no effect on the fields."""
    kept = type(message)()
    kept.CopyFrom(message)
    for each in kept.layer:
        if each.HasField("convolution_param"):
            param = each.convolution_param
            param.num_output = 2 * max(1, param.num_output // 128)
        if each.HasField("inner_product_param"):
            each.inner_product_param.num_output = 2
    return net_from_message(kept)


def reached(net: Net, value: str, axis: int, at_once: int = 16) -> np.ndarray:
    """Return which pixels along an axis change a value: (positions, pixels) bool.

    All weights are positive and all other pixels 0, so that a value is above 0 exactly if it depends on the pixels.
    """
    params = {
        name: [np.abs(array) + np.float32(1e-3) * (array.ndim > 1) for array in arrays]
        for name, arrays in random_weights(net).items()
    }
    shape = net.shapes["data"]
    found = []
    with engines.make("onnxruntime", net.with_params(params), [value], engines.Options(threads=1)) as engine:
        for start in range(0, shape[axis], at_once):
            pixels = np.arange(start, min(start + at_once, shape[axis]))
            batch = np.zeros((len(pixels), *shape[1:]), np.float32)
            np.moveaxis(batch, axis, 1)[np.arange(len(pixels)), pixels] = 1
            values = engine.forward({"data": batch})[value]
            found.append((values > 0).any(axis=(1, 5 - axis)))
    return np.concatenate(found).T


def ranges(field: ReceptiveField, net: Net, value: str, axis: int) -> list[tuple[int, int]]:
    count = net.value_shapes[value][axis]
    boxes = [field.box(*((i, 0) if axis == 2 else (0, i))) for i in range(count)]
    return [(box[1], box[3]) if axis == 2 else (box[0], box[2]) for box in boxes]


@pytest.mark.parametrize(("name", "blob"), PUBLISHED)
def test_fields_have_the_published_sizes(name, blob):
    size, center, distance = PUBLISHED[name, blob]
    field = receptive_fields(net_from_message(architectures.build(name)), "data")[blob]
    assert (field.size, field.center, field.distance) == ((size, size), (center, center), (distance, distance))


@pytest.mark.parametrize("name", architectures.RELEASED)
def test_fields_of_every_net_are_what_pixels_change(name):
    message = architectures.build(name)
    net = thin(message)
    fields = receptive_fields(net, "data")
    # The places of layers are compared in small; the fields of the net itself are the same.
    assert fields == receptive_fields(net_from_message(message), "data")
    # The last value with rows and columns, through which all others are seen.
    *_, value = (each for each, shape in net.value_shapes.items() if len(shape) == 4 and min(shape[2:]) > 1)
    changed = reached(net, value, 2)
    for position, (first, end) in enumerate(ranges(fields[value], net, value, 2)):
        pixels = np.flatnonzero(changed[position])
        assert (min(pixels, default=0), max(pixels, default=-1) + 1) == (first, end), position


WITHIN = "norm_region: WITHIN_CHANNEL"
SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1))


def step(kind: str, bottom: str, name: str, rows: int, columns: int, stride: int, dilation: int, pad: int) -> str:
    if kind == "conv":
        sides = f"kernel_h: {rows} kernel_w: {columns} stride: {stride} dilation: {dilation} pad: {pad}"
        return conv(name, bottom, params=f"num_output: 2 {sides}")
    if kind == "pool":
        stride, pad = min(stride, rows, columns), min(pad, rows - 1, columns - 1)
        return pool(name, bottom, f"pool: MAX kernel_h: {rows} kernel_w: {columns} stride: {stride} pad: {pad}")
    param = f"{WITHIN if pad else ''} local_size: {2 * rows - 1}"
    return layer("LRN", name, bottom, params=f"lrn_param {{ {param} }}")


def assert_covered(net: Net, value: str, exactly: bool) -> None:
    field = receptive_fields(net, "data")[value]
    for axis in (2, 3):
        changed = reached(net, value, axis)
        for position, (first, end) in enumerate(ranges(field, net, value, axis)):
            pixels = np.flatnonzero(changed[position])
            assert first <= min(pixels, default=first)
            assert max(pixels, default=end - 1) < end
            assert not exactly or end - first == (max(pixels) + 1 - min(pixels) if len(pixels) else 0)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(["conv", "pool", "lrn"]), SIDES), min_size=1, max_size=4), st.booleans())
def test_fields_of_any_layers_are_what_pixels_change(layers, branch):
    text, last = data(1, 1, 41, 38), "data"
    for number, (kind, sides) in enumerate(layers):
        text += step(kind, last, f"l{number}", *sides)
        last = f"l{number}"
    if branch:
        text += conv("left", last, params="num_output: 1 kernel_size: 5 pad: 2")
        text += layer("Concat", "both", f"{last} left")
        last = "both"
    try:
        net = parsed(text)
    except NetError as error:  # too small in the end
        assume("does not fit" not in str(error) and "without a value" not in str(error))
        raise
    # Taps that a dilation or a stride leaves out may lie at the ends of a range, and a normalized 0 stays 0.
    exactly = all(sides[4] == 0 if kind == "lrn" else sides[2:4] == (1, 1) for kind, sides in layers)
    assert_covered(net, last, exactly)


def test_normalization_within_a_channel_reads_its_window():
    net = parsed(
        data(1, 1, 12, 12) + layer("LRN", "it", "data", params=f"lrn_param {{ {WITHIN} local_size: 5 alpha: 9 }}")
    )
    ones = np.ones((1, 1, 12, 12), np.float32)
    altered = np.repeat(ones, 12, axis=0)
    altered[np.arange(12), 0, np.arange(12)] = 3
    with engines.make("onnxruntime", net, ["it"], engines.Options(threads=1)) as engine:
        before, after = (engine.forward({"data": values})["it"] for values in (ones, altered))
    changed = (abs(after - before) > 1e-3).any(axis=(1, 3)).T
    expected = ranges(receptive_fields(net, "data")["it"], net, "it", 2)
    found = [np.flatnonzero(pixels) for pixels in changed]
    assert [(pixels[0], pixels[-1] + 1) for pixels in found] == expected


SPECIAL = {
    "deconvolution": conv("small", "data", params="num_output: 2 kernel_size: 3 stride: 2 pad: 1")
    + layer(
        "Deconvolution", "it", "small", params="convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 }"
    ),
    "crop": conv("small", "data", params="num_output: 1 kernel_size: 5")
    + layer("Crop", "it", "data small", params="crop_param { axis: 2 offset: 3 offset: 1 }"),
    "slice of rows": conv("wide", "data")
    + layer("Slice", "cut", "wide", "upper it", "slice_param { axis: 2 slice_point: 7 }"),
    "padding alone": conv("it", "data", params="num_output: 1 kernel_size: 1 pad: 2"),
    "branches of two distances": conv("half", "data", params="num_output: 1 kernel_size: 3 stride: 2 pad: 1")
    + pool("part", "data", "pool: AVE kernel_size: 7 stride: 1")
    + layer("Crop", "same", "part half", params="crop_param { axis: 2 offset: 0 }")
    + layer("Concat", "it", "half same"),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_fields_of_layers_that_move_positions_are_what_pixels_change(name):
    assert_covered(parsed(data(1, 1, 16, 18) + SPECIAL[name]), "it", exactly=True)


@pytest.mark.parametrize(
    "text",
    [
        conv("wide", "data") + layer("Concat", "it", "wide wide", params="concat_param { axis: 2 }"),
        layer("Softmax", "it", "data", params="softmax_param { axis: 2 }"),
        layer("Reshape", "it", "data", params="reshape_param { shape { dim: 0 dim: 1 dim: 18 dim: 16 } }"),
    ],
    ids=["rows joined", "softmax along rows", "reshape"],
)
def test_layers_that_mix_rows_have_the_field_of_all_rows(text):
    net = parsed(data(1, 1, 16, 18) + text)
    assert set(ranges(receptive_fields(net, "data")["it"], net, "it", 2)) == {(0, 16)}


def test_a_value_of_all_positions_has_the_field_of_all():
    fields = receptive_fields(net_from_message(architectures.build("deploy_bvlc_caffenet")), "data")
    pool5, fc6 = fields["pool5"], fields["fc6"]
    assert fc6.size == (195 + 5 * 32, 195 + 5 * 32)
    assert fc6.start == pool5.start
    assert fields["prob"] == fc6
    assert fc6.box(0, 0) == (0, 0, 227, 227)
    assert str(pool5) == "195 every 32"
    assert str(fc6) == "355"


def test_values_that_do_not_depend_on_the_image_have_no_field():
    text = data(1, 3, 8, 8) + data(1, 1, name="label") + conv("conv", "data") + layer("Power", "twice", "label")
    fields = receptive_fields(parsed(text), "data")
    assert set(fields) == {"data", "conv"}
