"""VGG16, and VGG16-CAM, which keeps its thirteen convolutions without the last pooling."""

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
    x = _conv1_1_to_conv5_3(net)
    x = net.convolution("CAM_conv", x, num_output=1024, kernel_size=3, pad=1, group=2)
    x = net.relu("CAM_relu", x)
    x = net.average_pooling("CAM_pool", x, kernel_size=14, stride=14)
    x = net.dropout("CAM_dropout", x, dropout_ratio=0.5)
    x = net.inner_product("CAM_fc", x, num_output=1000)
    net.softmax("prob", x)
    return net.message


def vgg16_cam_tf() -> Any:
    """Write VGG16-CAM as it was converted to TensorFlow: features not rectified, scores without bias."""
    net = NetSpec("VGG16-CAM-TF")
    x = _conv1_1_to_conv5_3(net)
    x = net.convolution("CAM_conv", x, num_output=1024, kernel_size=3, pad=1, group=2)
    x = net.average_pooling("CAM_pool", x, kernel_size=14, stride=14)
    x = net.dropout("CAM_dropout", x, dropout_ratio=0.5)
    x = net.inner_product("CAM_fc", x, num_output=1000, bias_term=False)
    net.softmax("prob", x)
    return net.message


def _conv1_1_to_conv5_3(net: NetSpec) -> str:
    x = net.input("data", 10, 3, 224, 224)
    for stage, (convolutions, num_output) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1):
        if stage > 1:
            x = net.max_pooling(f"pool{stage - 1}", x, kernel_size=2, stride=2)
        for i in range(1, convolutions + 1):
            x = net.convolution(f"conv{stage}_{i}", x, num_output=num_output, kernel_size=3, pad=1)
            x = net.relu(f"relu{stage}_{i}", x)
    return x
