"""GoogLeNet as BVLC released it, and GoogLeNet-CAM and GoogLeNet-GMP, which end after inception_4e."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def bvlc_googlenet() -> Any:
    """Write BVLC's GoogLeNet without the two auxiliary classifiers, which only training needs."""
    net = NetSpec("GoogleNet")
    x = _conv1_to_inception_4e(net)
    x = net.max_pooling("pool4/3x3_s2", x, kernel_size=3, stride=2)
    x = inception(net, "inception_5a", x, 256, (160, 320), (32, 128), 128)
    x = inception(net, "inception_5b", x, 384, (192, 384), (48, 128), 128)
    x = net.average_pooling("pool5/7x7_s1", x, kernel_size=7, stride=1)
    x = net.dropout("pool5/drop_7x7_s1", x, dropout_ratio=0.4)
    x = net.inner_product("loss3/classifier", x, num_output=1000)
    net.softmax("prob", x)
    return net.message


def googlenet_cam(*, classes: int) -> Any:
    """Write GoogLeNet-CAM: the maps are 14×14. docs/release.md section 1."""
    net = NetSpec("GoogleNet")
    x = _conv1_to_cam_conv(net)
    x = net.average_pooling("CAM_pool", x, kernel_size=14, stride=14)
    x = net.inner_product("CAM_fc", x, num_output=classes)
    net.softmax("prob", x)
    return net.message


def googlenet_gmp() -> Any:
    """Write GoogLeNet-GMP: GoogLeNet-CAM with a global maximum in place of the global average.

    docs/release.md, "Nets without published weights".
    """
    net = NetSpec("GoogleNet")
    x = _conv1_to_cam_conv(net)
    x = net.max_pooling("CAM_pool", x, kernel_size=14, stride=14)
    x = net.inner_product("CAM_fc", x, num_output=1000)
    net.softmax("prob", x)
    return net.message


def inception(
    net: NetSpec,
    name: str,
    bottom: str,
    num_1x1: int,
    num_3x3: tuple[int, int],
    num_5x5: tuple[int, int],
    num_pool_proj: int,
) -> str:
    """Append an inception module; a pair is the channels of a 1×1 reduction and of the convolution behind it."""

    def convolution(part: str, bottom: str, num_output: int, **window: Any) -> str:
        return net.convolution_relu(f"{name}/{part}", f"{name}/relu_{part}", bottom, num_output=num_output, **window)

    one = convolution("1x1", bottom, num_1x1, kernel_size=1)
    three = convolution("3x3_reduce", bottom, num_3x3[0], kernel_size=1)
    three = convolution("3x3", three, num_3x3[1], kernel_size=3, pad=1)
    five = convolution("5x5_reduce", bottom, num_5x5[0], kernel_size=1)
    five = convolution("5x5", five, num_5x5[1], kernel_size=5, pad=2)
    pool = net.max_pooling(f"{name}/pool", bottom, kernel_size=3, stride=1, pad=1)
    pool = convolution("pool_proj", pool, num_pool_proj, kernel_size=1)
    return net.concat(f"{name}/output", one, three, five, pool)


def _conv1_to_cam_conv(net: NetSpec) -> str:
    x = _conv1_to_inception_4e(net)
    return net.convolution_relu("CAM_conv", "CAM_relu", x, num_output=1024, kernel_size=3, pad=1, group=2)


def _conv1_to_inception_4e(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 224, 224)
    x = net.convolution_relu("conv1/7x7_s2", "conv1/relu_7x7", x, num_output=64, kernel_size=7, stride=2, pad=3)
    x = net.max_pooling("pool1/3x3_s2", x, kernel_size=3, stride=2)
    x = net.lrn("pool1/norm1", x, local_size=5, alpha=0.0001, beta=0.75)
    x = net.convolution_relu("conv2/3x3_reduce", "conv2/relu_3x3_reduce", x, num_output=64, kernel_size=1)
    x = net.convolution_relu("conv2/3x3", "conv2/relu_3x3", x, num_output=192, kernel_size=3, pad=1)
    x = net.lrn("conv2/norm2", x, local_size=5, alpha=0.0001, beta=0.75)
    x = net.max_pooling("pool2/3x3_s2", x, kernel_size=3, stride=2)
    x = inception(net, "inception_3a", x, 64, (96, 128), (16, 32), 32)
    x = inception(net, "inception_3b", x, 128, (128, 192), (32, 96), 64)
    x = net.max_pooling("pool3/3x3_s2", x, kernel_size=3, stride=2)
    x = inception(net, "inception_4a", x, 192, (96, 208), (16, 48), 64)
    x = inception(net, "inception_4b", x, 160, (112, 224), (24, 64), 64)
    x = inception(net, "inception_4c", x, 128, (128, 256), (24, 64), 64)
    x = inception(net, "inception_4d", x, 112, (144, 288), (32, 64), 64)
    return inception(net, "inception_4e", x, 256, (160, 320), (32, 128), 128)
