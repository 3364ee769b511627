"""Training nets: the released one of GoogLeNet-CAM with its solver, and those made from deploy nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycam.architectures.googlenet import googlenet_cam
from pycam.formats import schema

Fields = Mapping[str, Any]

MEAN = (104.0, 117.0, 123.0)
"""The mean values of ImageNet, BGR, 0…255."""

# Caffe's xavier ignores std, but the released net has these values.
_STD = {
    "7x7_s2": 0.1,
    "1x1": 0.03,
    "3x3_reduce": 0.09,
    "3x3": 0.03,
    "5x5_reduce": 0.2,
    "5x5": 0.03,
    "pool_proj": 0.1,
}


def train_val_googlenet_cam() -> Any:
    """Write the released training net of GoogLeNet-CAM; docs/caffe.md, "Training"."""

    def data(phase: str, folder: str, batch_size: int) -> Fields:
        return {
            "type": "Data",
            "include": [{"phase": phase}],
            "transform_param": {"mirror": phase == "TRAIN", "crop_size": 224, "mean_value": MEAN},
            "data_param": {"source": folder, "batch_size": batch_size, "backend": "LMDB"},
        }

    def fillers(name: str) -> tuple[Fields, Fields]:
        if name == "CAM_fc":
            return {"type": "xavier"}, {"type": "constant", "value": 0}
        if name == "CAM_conv":
            return {"type": "gaussian", "std": 0.01}, {"type": "constant", "value": 1}
        std = 0.1 if name == "conv2/3x3_reduce" else _STD[name.rpartition("/")[2]]
        return {"type": "xavier", "std": std}, {"type": "constant", "value": 0.2}

    return train_val(
        googlenet_cam(classes=1000),
        data=[data("TRAIN", "ilsvrc12_train_lmdb", 64), data("TEST", "ilsvrc12_val_lmdb", 50)],
        fillers=fillers,
        loss="loss3/loss3",
        accuracies={"loss3/top-1": 1, "loss3/top-5": 5},
    )


def solver_imagenet_googlenet_cam() -> Any:
    """Write the released solver of GoogLeNet-CAM, which has another name for its net than the file."""
    return schema.SolverParameter(
        net="train_val_imagenet_googlenetCAM.prototxt",
        test_iter=[1000],
        test_interval=3000,
        base_lr=0.001,
        lr_policy="step",
        gamma=0.1,
        stepsize=40000,
        display=20,
        max_iter=160000,
        momentum=0.9,
        weight_decay=0.0005,
        snapshot=10000,
        snapshot_prefix="CAMmodels/imagenet_googlenetCAM_train",
        solver_mode="GPU",
        device_id=1,
    )


def train_val_of(deploy: Any) -> Any:
    """Write a training net for a deploy net with a square input.

    It reads batches of 32 images from train.txt, and of 50 from test.txt.
    """
    side = deploy.layer[0].input_param.shape[0].dim[-1]
    return train_val(
        deploy,
        data=[whole_images("TRAIN", side, 32), whole_images("TEST", side, 50)],
        fillers=lambda name: ({"type": "xavier"}, {"type": "constant"}),
    )


def whole_images(phase: str, side: int, batch_size: int) -> Fields:
    """Return the fields of a data layer for a list of images, which are resized to squares without a crop.

    In training, the images are shuffled, and half of them are mirrored at random.
    """
    training = phase == "TRAIN"
    return {
        "type": "ImageData",
        "include": [{"phase": phase}],
        "transform_param": {"mirror": training, "mean_value": MEAN},
        "image_data_param": {
            "source": "train.txt" if training else "test.txt",
            "root_folder": "images/",
            "batch_size": batch_size,
            "new_height": side,
            "new_width": side,
            "shuffle": training,
        },
    }


def train_val(
    deploy: Any,
    *,
    data: Sequence[Fields],
    fillers: Callable[[str], tuple[Fields, Fields]],
    lr_mult: Callable[[str], float] = lambda name: 1,
    loss: str = "loss",
    accuracies: Mapping[str, int] = {"accuracy": 1},
) -> Any:
    """Convert a deploy net to a training net: data layers replace its input, a loss and accuracies its softmax.

    Parameters
    ----------
    deploy : NetParameter
        A net from an Input layer to a Softmax.
    data : sequence of mapping
        Fields of the data layers. Their name is `data`, their tops are `data` and `label`.
    fillers : callable
        Layer name -> the filler of its weights and the filler of its biases, for layers without fillers.
    lr_mult : callable
        Layer name -> the multiplier of the learning rate of its weights. Biases learn twice as fast, without decay.
    loss : str
        Name of the loss layer.
    accuracies : mapping
        Layer name -> `top_k` of the accuracies that are computed in tests.

    Returns
    -------
    NetParameter
        A net in the current format.
    """
    net = schema.NetParameter(name=deploy.name)
    for fields in data:
        net.layer.add(name="data", top=["data", "label"], **fields)
    for layer in deploy.layer[1:-1]:
        added = net.layer.add()
        added.CopyFrom(layer)
        param = {"Convolution": added.convolution_param, "InnerProduct": added.inner_product_param}.get(layer.type)
        if param is not None:
            weight, bias = fillers(layer.name)
            if not param.HasField("weight_filler"):
                param.weight_filler.MergeFrom(schema.FillerParameter(**weight))
            added.param.add(lr_mult=lr_mult(layer.name), decay_mult=1)
            if param.bias_term:
                param.bias_filler.MergeFrom(schema.FillerParameter(**bias))
                added.param.add(lr_mult=2 * lr_mult(layer.name), decay_mult=0)
    compared = [deploy.layer[-1].bottom[0], "label"]
    net.layer.add(name=loss, type="SoftmaxWithLoss", bottom=compared, top=[loss], loss_weight=[1])
    for name, top_k in accuracies.items():
        net.layer.add(
            name=name,
            type="Accuracy",
            bottom=compared,
            top=[name],
            accuracy_param={"top_k": top_k},
            include=[{"phase": "TEST"}],
        )
    return net
