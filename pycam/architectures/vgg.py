"""VGG16, and VGG16-CAM, which has its thirteen convolutions without the last pooling."""

from __future__ import annotations

from typing import Any

from pycam.architectures.alexnet import fc6_to_prob
from pycam.net.spec import NetSpec


def vgg16() -> Any:
    """Write VGG's net of 16 layers with parameters ("configuration D")."""
    net = NetSpec("VGG_ILSVRC_16_layers")
    x = _conv1_1_to_conv5_3(net)
    x = net.max_pooling("pool5", x, kernel_size=2, stride=2)
    fc6_to_prob(net, x)
    return net.message


def vgg16_cam() -> Any:
    """Write VGG16-CAM: the maps are 14×14. docs/release.md section 1."""
    net = NetSpec("VGG_ILSVRC_16_layers")
    x = _conv1_1_to_cam_conv(net)
    x = net.relu("CAM_relu", x)
    _cam_pool_to_prob(net, x)
    return net.message


def vgg16_cam_tf() -> Any:
    """Write VGG16-CAM as it was converted to TensorFlow: features without ReLU, scores without bias."""
    net = NetSpec("VGG16-CAM-TF")
    x = _conv1_1_to_cam_conv(net)
    _cam_pool_to_prob(net, x, bias_term=False)
    return net.message


def _conv1_1_to_cam_conv(net: NetSpec) -> str:
    x = _conv1_1_to_conv5_3(net)
    return net.convolution("CAM_conv", x, num_output=1024, kernel_size=3, pad=1, group=2)


def _cam_pool_to_prob(net: NetSpec, x: str, *, bias_term: bool | None = None) -> None:
    x = net.average_pooling("CAM_pool", x, kernel_size=14, stride=14)
    x = net.dropout("CAM_dropout", x, dropout_ratio=0.5)
    x = net.inner_product("CAM_fc", x, num_output=1000, bias_term=bias_term)
    net.softmax("prob", x)


def _conv1_1_to_conv5_3(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 224, 224)
    for stage, (convolutions, num_output) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1):
        if stage > 1:
            x = net.max_pooling(f"pool{stage - 1}", x, kernel_size=2, stride=2)
        for i in range(1, convolutions + 1):
            name = f"{stage}_{i}"
            x = net.convolution_relu(f"conv{name}", f"relu{name}", x, num_output=num_output, kernel_size=3, pad=1)
    return x
