"""AlexNet and its kin: BVLC's two replications, and the AlexNet+ with which CAM was shown."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def bvlc_alexnet() -> Any:
    """Write BVLC's AlexNet, which normalises before it pools, as the paper of 2012 does."""
    net = NetSpec("AlexNet")
    x = net.input("data", 10, 3, 227, 227)
    x = _conv1(net, x)
    x = _norm(net, "norm1", x)
    x = _pool(net, "pool1", x)
    x = _conv2(net, x)
    x = _norm(net, "norm2", x)
    x = _pool(net, "pool2", x)
    x = _conv3_to_conv5(net, x, num_output=256)
    x = _pool(net, "pool5", x)
    fc6_to_prob(net, x)
    return net.message


def bvlc_caffenet() -> Any:
    """Write BVLC's reference CaffeNet: AlexNet with pooling before normalisation."""
    net = NetSpec("CaffeNet")
    x = _conv1_to_norm2(net)
    x = _conv3_to_conv5(net, x, num_output=256)
    x = _pool(net, "pool5", x)
    fc6_to_prob(net, x)
    return net.message


def alexnetplus_cam(name: str, *, classes: int, dropout: bool) -> Any:
    """Write AlexNet+-CAM: CaffeNet with two more convolutions and a global average in place of fc6 and fc7.

    `pool5` has stride 1, so that the maps, and the average over them, are 11×11. docs/release.md section 1.
    """
    net = NetSpec(name)
    x = _conv1_to_norm2(net)
    x = _conv3_to_conv5(net, x, num_output=384)
    x = net.max_pooling("pool5", x, kernel_size=3, stride=1)
    x = net.convolution("conv6", x, num_output=512, kernel_size=3, pad=1, group=2)
    x = net.relu("relu6", x)
    x = net.convolution("conv7", x, num_output=512, kernel_size=3, pad=1, group=2)
    x = net.relu("relu7", x)
    x = net.average_pooling("pool8_global", x, kernel_size=11, stride=11)
    if dropout:
        x = net.dropout("drop8", x, dropout_ratio=0.5)
    x = net.inner_product("fc9", x, num_output=classes)
    net.softmax("prob", x)
    return net.message


def _conv1_to_norm2(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 227, 227)
    x = _conv1(net, x)
    x = _pool(net, "pool1", x)
    x = _norm(net, "norm1", x)
    x = _conv2(net, x)
    x = _pool(net, "pool2", x)
    return _norm(net, "norm2", x)


def _conv1(net: NetSpec, x: str) -> str:
    x = net.convolution("conv1", x, num_output=96, kernel_size=11, stride=4)
    return net.relu("relu1", x)


def _conv2(net: NetSpec, x: str) -> str:
    x = net.convolution("conv2", x, num_output=256, kernel_size=5, pad=2, group=2)
    return net.relu("relu2", x)


def _conv3_to_conv5(net: NetSpec, x: str, *, num_output: int) -> str:
    x = net.convolution("conv3", x, num_output=384, kernel_size=3, pad=1)
    x = net.relu("relu3", x)
    x = net.convolution("conv4", x, num_output=384, kernel_size=3, pad=1, group=2)
    x = net.relu("relu4", x)
    x = net.convolution("conv5", x, num_output=num_output, kernel_size=3, pad=1, group=2)
    return net.relu("relu5", x)


def fc6_to_prob(net: NetSpec, x: str) -> None:
    """Append the fully connected layers of AlexNet, which VGG took over."""
    x = net.inner_product("fc6", x, num_output=4096)
    x = net.relu("relu6", x)
    x = net.dropout("drop6", x, dropout_ratio=0.5)
    x = net.inner_product("fc7", x, num_output=4096)
    x = net.relu("relu7", x)
    x = net.dropout("drop7", x, dropout_ratio=0.5)
    x = net.inner_product("fc8", x, num_output=1000)
    net.softmax("prob", x)


def _norm(net: NetSpec, name: str, x: str) -> str:
    return net.lrn(name, x, local_size=5, alpha=0.0001, beta=0.75)


def _pool(net: NetSpec, name: str, x: str) -> str:
    return net.max_pooling(name, x, kernel_size=3, stride=2)
