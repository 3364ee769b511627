"""Network in Network for ImageNet: the average of each channel of `cccp8-1024` is the score of one class."""

from __future__ import annotations

from typing import Any

from pycam.net.spec import NetSpec


def nin_imagenet() -> Any:
    """Write NIN as its author released it; the maps are 6×6. docs/release.md section 1.

    A `cccp` is a "cascaded cross-channel pooling": a 1×1 convolution. There is no `relu4`.
    """
    net = NetSpec("nin_imagenet")
    x = net.input("data", 10, 3, 224, 224)
    x = net.convolution_relu("conv1", "relu0", x, num_output=96, kernel_size=11, stride=4)
    x = net.convolution_relu("cccp1", "relu1", x, num_output=96, kernel_size=1)
    x = net.convolution_relu("cccp2", "relu2", x, num_output=96, kernel_size=1)
    x = net.max_pooling("pool1", x, kernel_size=3, stride=2)
    x = net.convolution_relu("conv2", "relu3", x, num_output=256, kernel_size=5, pad=2)
    x = net.convolution_relu("cccp3", "relu5", x, num_output=256, kernel_size=1)
    x = net.convolution_relu("cccp4", "relu6", x, num_output=256, kernel_size=1)
    x = net.max_pooling("pool2", x, kernel_size=3, stride=2)
    x = net.convolution_relu("conv3", "relu7", x, num_output=384, kernel_size=3, pad=1)
    x = net.convolution_relu("cccp5", "relu8", x, num_output=384, kernel_size=1)
    x = net.convolution_relu("cccp6", "relu9", x, num_output=384, kernel_size=1)
    x = net.max_pooling("pool3", x, kernel_size=3, stride=2)
    x = net.dropout("drop", x, dropout_ratio=0.5)
    x = net.convolution_relu("conv4-1024", "relu10", x, num_output=1024, kernel_size=3, pad=1)
    x = net.convolution_relu("cccp7-1024", "relu11", x, num_output=1024, kernel_size=1)
    x = net.convolution_relu("cccp8-1024", "relu12", x, num_output=1000, kernel_size=1)
    x = net.average_pooling("pool4", x, kernel_size=6, stride=1)
    net.softmax("prob", x)
    return net.message
