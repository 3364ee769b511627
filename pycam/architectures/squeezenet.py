"""SqueezeNet v1.0 and v1.1: the average of each channel of `conv10` is the score of one class."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def squeezenet_v1_0() -> Any:
    """Write SqueezeNet v1.0; the maps are 15×15, because `conv10` pads its 1×1 window by one pixel."""
    net = NetSpec()
    x = _v1_0_conv1_to_fire9(net)
    _drop9_to_prob(net, x, pad=1)
    return net.message


def squeezenet_v1_1() -> Any:
    """Write SqueezeNet v1.1, which pools earlier and needs less than half the multiply-adds; the maps are 14×14."""
    net = NetSpec()
    x = net.input("data", 10, 3, 227, 227)
    x = net.convolution_relu("conv1", "relu_conv1", x, num_output=64, kernel_size=3, stride=2)
    x = net.max_pooling("pool1", x, kernel_size=3, stride=2)
    x = _fire2_to_fire9(net, x, pool_behind=(3, 5))
    _drop9_to_prob(net, x)
    return net.message


def squeezenet_cam(*, classes: int) -> Any:
    """Write SqueezeNet v1.0 up to `fire9` with a global average and a fully connected layer; the maps are 13×13."""
    net = NetSpec("SqueezeNet-CAM")
    x = _v1_0_conv1_to_fire9(net)
    x = net.average_pooling("CAM_pool", x, global_pooling=True)
    x = net.inner_product("CAM_fc", x, num_output=classes)
    net.softmax("prob", x)
    return net.message


def _v1_0_conv1_to_fire9(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 227, 227)
    x = net.convolution_relu("conv1", "relu_conv1", x, num_output=96, kernel_size=7, stride=2)
    x = net.max_pooling("pool1", x, kernel_size=3, stride=2)
    return _fire2_to_fire9(net, x, pool_behind=(4, 8))


def _fire2_to_fire9(net: NetSpec, x: str, *, pool_behind: tuple[int, int]) -> str:
    for i, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        x = fire(net, f"fire{i}", x, squeeze=squeeze, expand=4 * squeeze)
        if i in pool_behind:
            x = net.max_pooling(f"pool{i}", x, kernel_size=3, stride=2)
    return x


def fire(net: NetSpec, name: str, bottom: str, *, squeeze: int, expand: int) -> str:
    """Append a fire module: a 1×1 convolution, then a 1×1 and a 3×3 convolution in parallel."""

    def convolution(part: str, bottom: str, num_output: int, **window: Any) -> str:
        return net.convolution_relu(f"{name}/{part}", f"{name}/relu_{part}", bottom, num_output=num_output, **window)

    x = convolution("squeeze1x1", bottom, squeeze, kernel_size=1)
    one = convolution("expand1x1", x, expand, kernel_size=1)
    three = convolution("expand3x3", x, expand, kernel_size=3, pad=1)
    return net.concat(f"{name}/concat", one, three)


def _drop9_to_prob(net: NetSpec, x: str, **pad: int) -> None:
    x = net.dropout("drop9", x, dropout_ratio=0.5)
    x = net.convolution_relu("conv10", "relu_conv10", x, num_output=1000, kernel_size=1, **pad)
    x = net.average_pooling("pool10", x, global_pooling=True)
    net.softmax("prob", x)
