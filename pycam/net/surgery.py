"""Net surgery: convert a classification net to a CAM net, with the weights of the layers that remain."""

from __future__ import annotations

from dataclasses import dataclass

from pycam.errors import NetError
from pycam.net import Net, Params, net_from_message
from pycam.net.layers import dims
from pycam.net.spec import NetSpec


@dataclass(frozen=True, eq=False)
class Cut:
    """A net after surgery.

    Attributes
    ----------
    net : Net
        Without parameters: its new layers have none yet.
    params : dict
        The parameters of the layers that remain, if the old net had them.
    """

    net: Net
    params: Params


def cam_net(
    net: Net,
    blob: str,
    classes: int,
    *,
    channels: int = 1024,
    rectify: bool = True,
    conv_name: str = "CAM_conv",
    class_name: str = "CAM_fc",
) -> Cut:
    """Cut a net after a blob and add a CAM head.

    The head is a 3×3 convolution, a global average, and one fully connected layer, as in the paper for AlexNet, VGG and
    GoogLeNet (Zhou et al., CVPR 2016, section 3.1; docs/release.md, section 1). Its layers have fillers: the net can be
    fine-tuned without changes.

    Parameters
    ----------
    net : Net
        Any net, with or without weights.
    blob : str
        The last blob that is kept, with rows and columns. Layers that it does not depend on are removed.
    classes : int
        The number of classes of the new net.
    channels : int
        Channels of the new convolution; 0 for no convolution: the average is then that of `blob` itself.
    rectify : bool
        True if a ReLU follows the convolution.
    conv_name, class_name : str
        Names of the new layers. Weights are matched by name: a layer with a new name starts from its filler.

    Returns
    -------
    Cut

    Raises
    ------
    NetError
        The net has no such blob, the blob has no rows and columns, or the net already has a layer with a new name.
    """
    shape = net.shapes.get(blob)
    if shape is None:
        spatial = [name for name, found in net.shapes.items() if len(found) == 4]
        raise NetError(f"the net has no blob {blob!r} to cut after; it has {', '.join(spatial)}")
    if len(shape) != 4:
        raise NetError(f"blob {blob!r} is {dims(shape)}: a CAM head needs a blob with rows and columns, N×C×H×W")
    if classes < 1 or channels < 0:
        raise NetError(f"a head of {channels} channels and {classes} classes: give 0 or more and 1 or more")

    kept = net.layers_before([blob])
    spec = NetSpec(f"{net.name}-CAM" if net.name else "CAM")
    for layer in kept:
        copied = spec.message.layer.add()
        copied.CopyFrom(layer.message)
        # The new net has these layers in every state.
        copied.ClearField("include")
        copied.ClearField("exclude")
    x = blob
    if channels:
        filler = {"type": "gaussian", "std": 0.01}
        x = spec.convolution(conv_name, x, num_output=channels, kernel_size=3, pad=1, weight_filler=filler)
        if rectify:
            x = spec.relu("CAM_relu", x)
    x = spec.average_pooling("CAM_pool", x, global_pooling=True)
    x = spec.inner_product(class_name, x, num_output=classes, weight_filler={"type": "xavier"})
    spec.softmax("prob", x)

    cut = net_from_message(spec.message, path="the new net")
    return Cut(cut, {layer.name: net.params[layer.name] for layer in kept if layer.name in net.params})
