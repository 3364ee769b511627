"""Training nets: those of released nets, with their solvers, and those made from deploy nets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pycam.architectures.alexnet import caffenet_cam
from pycam.architectures.googlenet import googlenet_cam, googlenet_gmp
from pycam.architectures.nin import nin_imagenet
from pycam.errors import NetError
from pycam.formats import schema
from pycam.formats.prototxt import NetText
from pycam.net import Net, net_from_message
from pycam.net.layers import BatchNorm, Scale, dims
from pycam.net.surgery import free_name

Fields = Mapping[str, Any]

MEAN = (104.0, 117.0, 123.0)
"""The mean values of ImageNet, BGR, 0…255."""

GREY_MEAN = 117.0
"""Their grey value: 0.114 · B + 0.587 · G + 0.299 · R."""

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

_CAM_FILLERS: Mapping[str, tuple[Fields, Fields]] = {
    "CAM_conv": ({"type": "gaussian", "std": 0.01}, {"type": "constant", "value": 1}),
    "CAM_fc": ({"type": "xavier"}, {"type": "constant", "value": 0}),
}
"""The fillers of the layers that GoogLeNet-CAM has instead of GoogLeNet's last ones."""


def train_val_googlenet_cam() -> Any:
    """Write the released training net of GoogLeNet-CAM; docs/caffe.md, "Training"."""
    return _train_val_googlenet(googlenet_cam(classes=1000))


def train_val_googlenet_gmp() -> Any:
    """Write a training net of GoogLeNet-GMP, with the settings of GoogLeNet-CAM's."""
    return _train_val_googlenet(googlenet_gmp())


def _train_val_googlenet(deploy: Any) -> Any:
    def fillers(name: str) -> tuple[Fields, Fields]:
        if name in _CAM_FILLERS:
            return _CAM_FILLERS[name]
        std = 0.1 if name == "conv2/3x3_reduce" else _STD[name.rpartition("/")[2]]
        return {"type": "xavier", "std": std}, {"type": "constant", "value": 0.2}

    return train_val(
        deploy,
        data=_imagenet(batch_sizes=(64, 50), crop_size=224, mean_value=MEAN),
        fillers=fillers,
        loss="loss3/loss3",
        accuracies={"loss3/top-1": 1, "loss3/top-5": 5},
    )


def train_val_caffenet_cam() -> Any:
    """Write a training net of AlexNet-GAP: CaffeNet's fillers, and for the rest the settings of GoogLeNet-CAM."""

    def fillers(name: str) -> tuple[Fields, Fields]:
        bias = 0 if name in ("conv1", "conv3") else 1
        return _CAM_FILLERS.get(name) or ({"type": "gaussian", "std": 0.01}, {"type": "constant", "value": bias})

    return train_val(
        caffenet_cam(),
        data=_imagenet(batch_sizes=(64, 50), crop_size=227, mean_value=MEAN),
        fillers=fillers,
        accuracies={"accuracy/top-1": 1, "accuracy/top-5": 5},
    )


def train_val_nin_imagenet() -> Any:
    """Write the training net of NIN, with the settings that its author released."""

    def fillers(name: str) -> tuple[Fields, Fields]:
        std = 0.01 if name in ("conv1", "conv3", "cccp8-1024") else 0.05
        return {"type": "gaussian", "std": std}, {"type": "constant", "value": 0}

    return train_val(
        nin_imagenet(),
        data=_imagenet(batch_sizes=(64, 89), crop_size=224, mean_file="imagenet_mean.binaryproto"),
        fillers=fillers,
    )


def _imagenet(*, batch_sizes: tuple[int, int], **transform: Any) -> list[Fields]:
    """Return the data layers of ImageNet: databases of whole images, which are cropped, and mirrored in training."""
    databases = zip(("TRAIN", "TEST"), ("ilsvrc12_train_lmdb", "ilsvrc12_val_lmdb"), batch_sizes, strict=True)
    return [
        {
            "type": "Data",
            "include": [{"phase": phase}],
            "transform_param": {"mirror": phase == "TRAIN", **transform},
            "data_param": {"source": folder, "batch_size": batch_size, "backend": "LMDB"},
        }
        for phase, folder, batch_size in databases
    ]


def solver_imagenet_googlenet_cam() -> Any:
    """Write the released solver of GoogLeNet-CAM, which has another name for its net than the file."""
    return _solver_imagenet(
        "train_val_imagenet_googlenetCAM.prototxt", "CAMmodels/imagenet_googlenetCAM_train", device_id=1
    )


def solver_imagenet_googlenet_gmp() -> Any:
    """Write a solver of GoogLeNet-GMP: that of GoogLeNet-CAM."""
    return _solver_imagenet("train_val_googlenetGMP.prototxt", "CAMmodels/imagenet_googlenetGMP_train")


def solver_imagenet_caffenet_cam() -> Any:
    """Write a solver of AlexNet-GAP: that of GoogLeNet-CAM, with the release's name for the weights."""
    return _solver_imagenet("train_val_caffeNetCAM.prototxt", "CAMmodels/caffeNetCAM_imagenet_train")


def _solver_imagenet(net: str, snapshot_prefix: str, device_id: int | None = None) -> Any:
    return schema.SolverParameter(
        net=net,
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
        snapshot_prefix=snapshot_prefix,
        solver_mode="GPU",
        device_id=device_id,
    )


def solver_nin_imagenet() -> Any:
    """Write the solver of NIN, with the settings that its author released."""
    return schema.SolverParameter(
        net="train_val_nin_imagenet.prototxt",
        test_iter=[1000],
        test_interval=1000,
        base_lr=0.01,
        lr_policy="step",
        gamma=0.1,
        stepsize=200000,
        display=20,
        max_iter=450000,
        momentum=0.9,
        weight_decay=0.0005,
        snapshot=10000,
        snapshot_prefix="models/nin_imagenet/nin_imagenet_train",
        solver_mode="GPU",
    )


def train_val_of(deploy: Any, *, freeze_batch_norm: bool = True, transform: Any = None) -> Any:
    """Write a training net for a deploy net.

    It reads batches of 32 images from train.txt, and of 50 from test.txt, at the height and width of the deploy net's
    input, in grey if that has one channel.

    Parameters
    ----------
    deploy : NetParameter
        A net from an Input layer to a Softmax.
    freeze_batch_norm : bool
        Keep the statistics of the BatchNorm layers, and the factors and biases of the Scale layers behind them. If
        False, BatchNorm uses the statistics of the batch in training and updates the stored ones, and Scale learns.
    transform : TransformationParameter, optional
        What the old net's data layer does. Its mean values and its scale are kept; a mean image does not fit other
        sizes. The default is the mean of ImageNet.

    Returns
    -------
    NetParameter

    Raises
    ------
    NetError
        A list of images cannot give the net's input.
    """
    net = net_from_message(deploy)
    channels, height, width = _image_shape(net)
    fields = _input_values(transform, channels)
    trained = train_val(
        deploy,
        data=[
            whole_images(phase, height, size, width=width, grey=channels == 1, **fields)
            for phase, size in (("TRAIN", 32), ("TEST", 50))
        ],
        fillers=lambda name: ({"type": "xavier"}, {"type": "constant"}),
    )
    sharers = Counter(spec.name for layer in trained.layer for spec in layer.param)
    for layer in trained.layer:
        for spec in layer.param:
            if sharers[spec.name] == 1:
                spec.ClearField("name")
        kept = net.by_name.get(layer.name)
        if isinstance(kept, BatchNorm):
            layer.batch_norm_param.ClearField("use_global_stats")
            if freeze_batch_norm:
                layer.batch_norm_param.use_global_stats = True
            # Caffe refuses other rates: a solver does not learn statistics.
            _freeze(layer, len(kept.param_shapes))
        elif isinstance(kept, Scale) and isinstance(net.producer[kept.inputs[0]], BatchNorm) and freeze_batch_norm:
            _freeze(layer, len(kept.param_shapes))
    return trained


def _image_shape(net: Net) -> tuple[int, int, int]:
    """Return channels, height and width of a net's only input, if a list of images can give it."""
    given = ", ".join(f"{blob} {dims(net.shapes[blob])}" for blob in net.inputs)
    instead = "leave out the training net (--train-val), and write one with data layers that give it"
    if len(net.inputs) != 1:
        raise NetError(f"the net has {len(net.inputs)} inputs ({given}), a list of images gives one: {instead}")
    shape = net.shapes[net.inputs[0]]
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise NetError(
            f"the input is {given}; a list of images (ImageData) gives 1 or 3 channels, with rows and columns: "
            f"{instead}; Data reads any number of channels from an LMDB, at the size in it"
        )
    return shape[1], shape[2], shape[3]


def _input_values(transform: Any, channels: int) -> Fields:
    """Return the fields of `transform_param` that decide the values of the input."""
    default = MEAN if channels == 3 else (GREY_MEAN,)
    if transform is None:
        return {"mean_value": default}
    return {
        "mean_value": default if transform.mean_file else transform.mean_value,
        "scale": transform.scale if transform.HasField("scale") else None,
    }


def _freeze(layer: Any, count: int) -> None:
    """Let a layer's parameters neither learn nor decay."""
    for _ in range(count - len(layer.param)):
        layer.param.add()
    for spec in layer.param:
        spec.lr_mult = spec.decay_mult = 0


def check_train_val(training: NetText, deploy: Net) -> None:
    """Check that a training net can be built in both phases, and has the parameters of its deploy net.

    Parameters
    ----------
    training : NetText
        The training net.
    deploy : Net
        The deploy net.

    Raises
    ------
    NetError
        The message names the layer.
    """
    for phase in ("TRAIN", "TEST"):
        layers = net_from_message(training.message, training.lines, training.path, phase).by_name
        for layer in deploy.layers:
            shapes = layers[layer.name].param_shapes if layer.param_shapes else ()
            if shapes != layer.param_shapes:
                found, expected = (" and ".join(map(dims, each)) for each in (shapes, layer.param_shapes))
                raise NetError(
                    f"{training.path}: layer {layer.name!r} has weights of {found} in phase {phase}, "
                    f"of {expected} in the deploy net"
                )


def whole_images(
    phase: str,
    height: int,
    batch_size: int,
    *,
    width: int | None = None,
    grey: bool = False,
    mean_value: Sequence[float] = MEAN,
    scale: float | None = None,
) -> Fields:
    """Return the fields of a data layer for a list of images, which are resized without a crop.

    In training, the images are shuffled, and half of them are mirrored at random.

    Parameters
    ----------
    phase : str
        `TRAIN` or `TEST`.
    height : int
        The height that images are resized to.
    batch_size : int
        Images per batch.
    width : int, optional
        The width that they are resized to; by default `height`.
    grey : bool
        Read images in grey.
    mean_value : sequence of float
        BGR, one for all channels, or none.
    scale : float, optional
        Factor of the pixels minus the mean.
    """
    training = phase == "TRAIN"
    return {
        "type": "ImageData",
        "include": [{"phase": phase}],
        "transform_param": {"mirror": training, "mean_value": mean_value, "scale": scale},
        "image_data_param": {
            "source": "train.txt" if training else "test.txt",
            "root_folder": "images/",
            "batch_size": batch_size,
            "new_height": height,
            "new_width": height if width is None else width,
            "shuffle": training,
            "is_color": False if grey else None,
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
        A net from one input to a Softmax, its last layer.
    data : sequence of mapping
        Fields of the data layers. Their tops are the input and `label`.
    fillers : callable
        Layer name -> the filler of its weights and the filler of its biases, for layers without fillers.
    lr_mult : callable
        Layer name -> the multiplier of the learning rate of its weights. Biases learn twice as fast, without decay.
        The multipliers that a layer has already are kept.
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
    (image,) = (top for layer in deploy.layer if layer.type == "Input" for top in layer.top)
    layers = [layer for layer in deploy.layer[:-1] if layer.type != "Input"]
    names = {layer.name for layer in layers}
    taken = {image, *names, *(top for layer in layers for top in layer.top)}
    label = free_name("label", taken)
    for fields in data:
        net.layer.add(name=free_name("data", names), top=[image, label], **fields)
    for layer in layers:
        added = net.layer.add()
        added.CopyFrom(layer)
        filled = {
            "Convolution": added.convolution_param,
            "Deconvolution": added.convolution_param,
            "InnerProduct": added.inner_product_param,
        }
        param = filled.get(layer.type)
        if param is not None:
            weight, bias = fillers(layer.name)
            if not param.HasField("weight_filler"):
                param.weight_filler.MergeFrom(schema.FillerParameter(**weight))
            specs = [{"lr_mult": lr_mult(layer.name), "decay_mult": 1}]
            if param.bias_term:
                if not param.HasField("bias_filler"):
                    param.bias_filler.MergeFrom(schema.FillerParameter(**bias))
                specs.append({"lr_mult": 2 * lr_mult(layer.name), "decay_mult": 0})
            for spec in specs[len(added.param) :]:
                added.param.add(**spec)
    compared = [deploy.layer[-1].bottom[0], label]
    loss = free_name(loss, taken)
    net.layer.add(name=loss, type="SoftmaxWithLoss", bottom=compared, top=[loss], loss_weight=[1])
    for name, top_k in accuracies.items():
        free = free_name(name, taken)
        net.layer.add(
            name=free,
            type="Accuracy",
            bottom=compared,
            top=[free],
            accuracy_param={"top_k": top_k},
            include=[{"phase": "TEST"}],
        )
    return net
