from __future__ import annotations

import numpy as np
import pytest

from pycam.errors import TrainingError
from pycam.formats import prototxt
from pycam.net import net_from_message
from pycam.training.fillers import fill


def filled(layer: str, seed: int = 0):
    text = f"""
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: 8 dim: 6 dim: 6 }} }} }}
    layer {{ name: "x" bottom: "data" top: "x" {layer} }}"""
    return fill(net_from_message(prototxt.parse(text).message), seed)["x"]


def convolution(filler: str, rest: str = "") -> str:
    return f"""type: "Convolution" convolution_param {{ num_output: 40 kernel_size: 5 {rest}
        weight_filler {{ {filler} }} bias_filler {{ value: 0.2 }} }}"""


# A convolution of 8 channels by 5×5: 200 values reach an output, 1000 are reached from an input channel.
@pytest.mark.parametrize(
    ("filler", "fan"),
    [
        ('type: "%s"', 200),
        ('type: "%s" variance_norm: FAN_OUT', 1000),
        ('type: "%s" variance_norm: AVERAGE', 600),
    ],
)
def test_fillers_by_fan(filler, fan):
    weights, bias = filled(convolution(filler % "xavier"))
    limit = np.sqrt(3 / fan)
    assert np.abs(weights).max() <= limit
    assert np.abs(weights).max() > 0.99 * limit
    assert weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert (bias == np.float32(0.2)).all()
    weights, _ = filled(convolution(filler % "msra"))
    assert weights.std() == pytest.approx(np.sqrt(2 / fan), rel=0.05)
    assert np.abs(weights).max() > 3 * weights.std(), "normal, not uniform"


def test_gaussian_uniform_and_constant():
    weights, _ = filled(convolution('type: "gaussian" mean: 2 std: 0.1'))
    assert weights.mean() == pytest.approx(2, abs=0.01)
    assert weights.std() == pytest.approx(0.1, rel=0.05)
    weights, _ = filled(convolution('type: "gaussian" std: 1 sparse: 10'))
    assert np.mean(weights != 0) == pytest.approx(10 / 40, abs=0.02)
    weights, _ = filled(convolution('type: "uniform" min: -2 max: 1'))
    assert (weights.min(), weights.max()) == pytest.approx((-2, 1), abs=0.01)
    weights, _ = filled(convolution(""))
    assert (weights == 0).all(), "Caffe's default is the constant 0"


def test_groups_count_the_channels_of_a_group():
    weights, _ = filled(convolution('type: "xavier"', "group: 2"))
    assert weights.shape == (40, 4, 5, 5)
    assert np.abs(weights).max() == pytest.approx(np.sqrt(3 / 100), rel=0.01)


def test_other_layers_have_other_defaults():
    assert [blob.tolist() for blob in filled('type: "PReLU"')] == [[0.25] * 8]
    scale = filled('type: "Scale" scale_param { bias_term: true }')
    assert [blob.tolist() for blob in scale] == [[1.0] * 8, [0.0] * 8]
    assert all((blob == 0).all() for blob in filled('type: "BatchNorm"'))
    inner = filled('type: "InnerProduct" inner_product_param { num_output: 3 weight_filler { type: "xavier" } }')
    assert [blob.shape for blob in inner] == [(3, 288), (3,)]
    assert np.abs(inner[0]).max() == pytest.approx(np.sqrt(3 / 288), rel=0.01)


def test_the_seed_decides():
    first, again, other = (filled(convolution('type: "xavier"'), seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_unknown_filler_is_named():
    with pytest.raises(TrainingError, match="layer 'x': filler 'of_a_fork' is not supported: there are"):
        filled(convolution('type: "of_a_fork"'))


def test_bilinear_and_positive_unitball():
    text = """type: "Deconvolution" convolution_param { num_output: 2 group: 2 kernel_size: %d
        weight_filler { type: "%s" } }"""
    for size, ramp in ((3, [0.5, 1, 0.5]), (4, [0.25, 0.75, 0.75, 0.25])):  # as real Caffe fills it
        weights = filled(text % (size, "bilinear"))[0]
        assert np.broadcast_to(np.outer(ramp, ramp), weights.shape) == pytest.approx(weights)
    weights = filled(text % (3, "positive_unitball"))[0]
    assert weights.reshape(len(weights), -1).sum(1) == pytest.approx(1)
    assert weights.min() > 0
    with pytest.raises(TrainingError, match="layer 'x': filler 'bilinear' is for square filters, not for 5×288"):
        filled('type: "InnerProduct" inner_product_param { num_output: 5 weight_filler { type: "bilinear" } }')
