"""SqueezeNet v1.0 and v1.1: `conv10` has a channel a class and is averaged into the scores."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def squeezenet_v1_0() -> Any:
    """Write SqueezeNet v1.0; the maps are 15×15, because `conv10` pads its 1×1 window by one pixel."""
    net = NetSpec()
    x = _v1_0_conv1_to_fire9(net)
    x = net.dropout("drop9", x, dropout_ratio=0.5)
    x = net.convolution("conv10", x, num_output=1000, kernel_size=1, pad=1)
    _relu_conv10_to_prob(net, x)
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
    x = net.convolution("conv1", x, num_output=96, kernel_size=7, stride=2)
    x = net.relu("relu_conv1", x)
    x = net.max_pooling("pool1", x, kernel_size=3, stride=2)
    x = fire(net, "fire2", x, squeeze=16, expand=64)
    x = fire(net, "fire3", x, squeeze=16, expand=64)
    x = fire(net, "fire4", x, squeeze=32, expand=128)
    x = net.max_pooling("pool4", x, kernel_size=3, stride=2)
    x = fire(net, "fire5", x, squeeze=32, expand=128)
    x = fire(net, "fire6", x, squeeze=48, expand=192)
    x = fire(net, "fire7", x, squeeze=48, expand=192)
    x = fire(net, "fire8", x, squeeze=64, expand=256)
    x = net.max_pooling("pool8", x, kernel_size=3, stride=2)
    return fire(net, "fire9", x, squeeze=64, expand=256)


def squeezenet_v1_1() -> Any:
    """Write SqueezeNet v1.1, which pools earlier, at less than half the multiply-adds; maps are 14×14."""
    net = NetSpec()
    x = net.input("data", 10, 3, 227, 227)
    x = net.convolution("conv1", x, num_output=64, kernel_size=3, stride=2)
    x = net.relu("relu_conv1", x)
    x = net.max_pooling("pool1", x, kernel_size=3, stride=2)
    x = fire(net, "fire2", x, squeeze=16, expand=64)
    x = fire(net, "fire3", x, squeeze=16, expand=64)
    x = net.max_pooling("pool3", x, kernel_size=3, stride=2)
    x = fire(net, "fire4", x, squeeze=32, expand=128)
    x = fire(net, "fire5", x, squeeze=32, expand=128)
    x = net.max_pooling("pool5", x, kernel_size=3, stride=2)
    x = fire(net, "fire6", x, squeeze=48, expand=192)
    x = fire(net, "fire7", x, squeeze=48, expand=192)
    x = fire(net, "fire8", x, squeeze=64, expand=256)
    x = fire(net, "fire9", x, squeeze=64, expand=256)
    x = net.dropout("drop9", x, dropout_ratio=0.5)
    x = net.convolution("conv10", x, num_output=1000, kernel_size=1)
    _relu_conv10_to_prob(net, x)
    return net.message


def fire(net: NetSpec, name: str, bottom: str, *, squeeze: int, expand: int) -> str:
    """Append a fire module: squeeze by 1×1, then expand by 1×1 and by 3×3 side by side."""

    def convolution(part: str, bottom: str, num_output: int, **window: Any) -> str:
        x = net.convolution(f"{name}/{part}", bottom, num_output=num_output, **window)
        return net.relu(f"{name}/relu_{part}", x)

    x = convolution("squeeze1x1", bottom, squeeze, kernel_size=1)
    one = convolution("expand1x1", x, expand, kernel_size=1)
    three = convolution("expand3x3", x, expand, kernel_size=3, pad=1)
    return net.concat(f"{name}/concat", one, three)


def _relu_conv10_to_prob(net: NetSpec, x: str) -> None:
    x = net.relu("relu_conv10", x)
    x = net.average_pooling("pool10", x, global_pooling=True)
    net.softmax("prob", x)
