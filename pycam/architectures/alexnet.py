"""AlexNet and its variants: BVLC's two replications, and the AlexNet+ of the CAM paper."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def bvlc_alexnet() -> Any:
    """Write BVLC's AlexNet, which normalizes before it pools, as the paper of 2012 does."""
    net = NetSpec("AlexNet")
    x = net.input("data", 10, 3, 227, 227)
    x = net.convolution_relu("conv1", "relu1", x, num_output=96, kernel_size=11, stride=4)
    x = _norm(net, "norm1", x)
    x = _pool(net, "pool1", x)
    x = net.convolution_relu("conv2", "relu2", x, num_output=256, kernel_size=5, pad=2, group=2)
    x = _norm(net, "norm2", x)
    x = _pool(net, "pool2", x)
    x = _conv3_to_conv5(net, x, num_output=256)
    x = _pool(net, "pool5", x)
    fc6_to_prob(net, x)
    return net.message


def bvlc_caffenet() -> Any:
    """Write BVLC's reference CaffeNet: AlexNet with pooling before normalization."""
    net = NetSpec("CaffeNet")
    x = _conv1_to_norm2(net)
    x = _conv3_to_conv5(net, x, num_output=256)
    x = _pool(net, "pool5", x)
    fc6_to_prob(net, x)
    return net.message


def caffenet_cam() -> Any:
    """Write AlexNet-GAP: CaffeNet up to `relu5`, a convolution and a global average; the maps are 13×13.

    docs/release.md, "Nets without published weights".
    """
    net = NetSpec("CaffeNet")
    x = _conv1_to_norm2(net)
    x = _conv3_to_conv5(net, x, num_output=256)
    x = net.convolution_relu("CAM_conv", "CAM_relu", x, num_output=1024, kernel_size=3, pad=1, group=2)
    x = net.average_pooling("CAM_pool", x, kernel_size=13, stride=13)
    x = net.inner_product("CAM_fc", x, num_output=1000)
    net.softmax("prob", x)
    return net.message


def alexnetplus_cam(name: str, *, classes: int, dropout: bool) -> Any:
    """Write AlexNet+-CAM: CaffeNet with two more convolutions and a global average in place of fc6 and fc7.

    `pool5` has stride 1, so the maps, which the average covers, are 11×11. docs/release.md section 1.
    """
    net = NetSpec(name)
    x = _conv1_to_norm2(net)
    x = _conv3_to_conv5(net, x, num_output=384)
    x = net.max_pooling("pool5", x, kernel_size=3, stride=1)
    x = net.convolution_relu("conv6", "relu6", x, num_output=512, kernel_size=3, pad=1, group=2)
    x = net.convolution_relu("conv7", "relu7", x, num_output=512, kernel_size=3, pad=1, group=2)
    x = net.average_pooling("pool8_global", x, kernel_size=11, stride=11)
    if dropout:
        x = net.dropout("drop8", x, dropout_ratio=0.5)
    x = net.inner_product("fc9", x, num_output=classes)
    net.softmax("prob", x)
    return net.message


def _conv1_to_norm2(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 227, 227)
    x = net.convolution_relu("conv1", "relu1", x, num_output=96, kernel_size=11, stride=4)
    x = _pool(net, "pool1", x)
    x = _norm(net, "norm1", x)
    x = net.convolution_relu("conv2", "relu2", x, num_output=256, kernel_size=5, pad=2, group=2)
    x = _pool(net, "pool2", x)
    return _norm(net, "norm2", x)


def _conv3_to_conv5(net: NetSpec, x: str, *, num_output: int) -> str:
    x = net.convolution_relu("conv3", "relu3", x, num_output=384, kernel_size=3, pad=1)
    x = net.convolution_relu("conv4", "relu4", x, num_output=384, kernel_size=3, pad=1, group=2)
    return net.convolution_relu("conv5", "relu5", x, num_output=num_output, kernel_size=3, pad=1, group=2)


def fc6_to_prob(net: NetSpec, x: str) -> None:
    """Append the fully connected layers of AlexNet, which VGG has, too."""
    for i in (6, 7):
        x = net.inner_product(f"fc{i}", x, num_output=4096)
        x = net.relu(f"relu{i}", x)
        x = net.dropout(f"drop{i}", x, dropout_ratio=0.5)
    x = net.inner_product("fc8", x, num_output=1000)
    net.softmax("prob", x)


def _norm(net: NetSpec, name: str, x: str) -> str:
    return net.lrn(name, x, local_size=5, alpha=0.0001, beta=0.75)


def _pool(net: NetSpec, name: str, x: str) -> str:
    return net.max_pooling(name, x, kernel_size=3, stride=2)
