"""Random nets: real Caffe and both translators agree on them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from nets import images, seeded_net, small_nets, worst

from pycam import engines
from pycam.engines.caffe import top_in_caffe
from pycam.errors import PycamError
from pycam.formats import prototxt

# Relative to the largest value of a blob.
TOLERANCE = 2e-5


@pytest.mark.caffe
@pytest.mark.torch
@pytest.mark.ncnn
def test_random_nets_compute_what_caffe_computes(caffe):
    drawn, refused = [], []

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(small_nets())
    def agree(text: str) -> None:
        drawn.append(text)
        try:
            net = seeded_net(prototxt.parse(text).message)
        except PycamError as error:
            refused.append((text, str(error)))
            return
        inputs = images(net, 3)
        computed = [value for value in net.value_shapes if value not in net.input_values.values()]
        caffe.load(text.encode(), "a random net")
        caffe.set_params(net.params)
        tops = [top_in_caffe(net, value) for value in computed]
        truth = dict(zip(computed, caffe.forward_tops(inputs, tops), strict=True))
        for name in ("onnxruntime", "torch", "ncnn"):
            with engines.make(name, net, computed) as engine:
                values = engine.forward(inputs)
            assert {blob: values[blob].shape for blob in truth} == {blob: truth[blob].shape for blob in truth}
            assert worst(values, truth) < (TOLERANCE, ""), name

    agree()
    assert len(refused) <= 0.05 * len(drawn), refused
