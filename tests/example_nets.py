"""The nets in `examples/`, written by pycam: a small CNN for cells (docs/recipes.md), and the demo model."""

from __future__ import annotations

from typing import Any

from pycam.architectures.squeezenet import squeezenet_cam
from pycam.architectures.train_val import train_val, whole_images
from pycam.net.spec import NetSpec


def train_val_squeezenet_cam_caltech101() -> Any:
    """Write the training net of the demo model: whole images, some of them mirrored.

    The averaged features are in the tens: the layer behind them must start small, and learn more slowly than the rest.
    """
    return train_val(
        squeezenet_cam(classes=101),
        data=[whole_images("TRAIN", 227, 32), whole_images("TEST", 227, 36)],
        fillers=lambda name: ({"type": "gaussian", "std": 0.001}, {"type": "constant"}),
        lr_mult=lambda name: 0.25 if name == "CAM_fc" else 1,
    )


def cells(*, corner: bool = False) -> Any:
    """Write the CNN: six 5×5 convolutions on 128×128 images, an average over 18×18, and a 2×2 layer.

    With `corner` the average is over the top left 16×16 only, as with `AvgPool2d(16)` in PyTorch.
    """
    net = NetSpec("cells-corner" if corner else "cells")
    x = net.input("data", 10, 3, 128, 128)
    for number, (outputs, pooled) in enumerate(
        [(16, False), (32, True), (32, False), (32, True), (32, False), (2, False)], start=1
    ):
        x = net.convolution(f"conv{number}", x, num_output=outputs, kernel_size=5)
        x = net.relu(f"relu{number}", x)
        if pooled:
            x = net.max_pooling(f"pool{number}", x, kernel_size=2, stride=2)
    if corner:
        x = net.average_pooling("average", x, kernel_size=16, stride=16, round_mode="FLOOR")
    else:
        x = net.average_pooling("average", x, global_pooling=True)
    x = net.inner_product("fc", x, num_output=2)
    net.softmax("prob", x)
    return net.message


def train_val_cells(*, corner: bool = False) -> Any:
    """Write its training net: images of 128×128, their values up to 1."""

    def data(phase: str) -> dict[str, Any]:
        source = {"TRAIN": "train.txt", "TEST": "val.txt"}[phase]
        return {
            "type": "ImageData",
            "include": [{"phase": phase}],
            "transform_param": {"scale": 1 / 255},
            "image_data_param": {
                "source": source,
                "batch_size": {"TRAIN": 32, "TEST": 50}[phase],
                "new_height": 128,
                "new_width": 128,
                "shuffle": phase == "TRAIN",
            },
        }

    def fillers(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        # PyTorch's initialization: weights and biases within ±1/sqrt(fan_in).
        limit = {"conv1": 75, "conv2": 400, "fc": 2}.get(name, 800) ** -0.5
        return (uniform := {"type": "uniform", "min": -limit, "max": limit}), uniform

    return train_val(cells(corner=corner), data=[data("TRAIN"), data("TEST")], fillers=fillers)
