"""Net surgery: a CAM net from a classification net, and the part of a net behind a blob, with their weights."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

from pycam.errors import NetError
from pycam.formats import schema
from pycam.net import Net, Params, net_from_message
from pycam.net.layers import Data, ImageData, Input, Layer, Source, dims
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
    transform : TransformationParameter or None
        What the old net's data layer does to its images; None for a net without a data layer.
    """

    net: Net
    params: Params
    transform: Any = None


def cam_net(
    net: Net,
    blob: str,
    classes: int,
    *,
    channels: int = 1024,
    rectify: bool = True,
    conv_name: str | None = None,
    class_name: str = "CAM_fc",
) -> Cut:
    """Cut a net after a blob and add a CAM head.

    The head is a 3×3 convolution, a global average, and one fully connected layer, as in the paper for AlexNet, VGG and
    GoogLeNet (Zhou et al., CVPR 2016, section 3.1; docs/release.md, section 1). Its layers have fillers: the net can be
    fine-tuned without changes. Only what `blob` depends on remains of the old net, in every phase; a data layer becomes
    an input.

    Parameters
    ----------
    net : Net
        Any net, with or without weights: a deploy net, or a training net.
    blob : str
        The last blob that is kept, with rows and columns. Layers and inputs that it does not depend on are removed.
    classes : int
        The number of classes of the new net.
    channels : int
        Channels of the new convolution; 0 for no convolution: the average is then that of `blob` itself.
    rectify : bool
        True if a ReLU follows the convolution.
    conv_name, class_name : str
        Names of the new layers with weights, which are matched by name: a layer with a new name starts from its filler.
        The default of `conv_name` is `CAM_conv`, or `CAM_conv_2` and so on if the net has that layer already.

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

    spec, kept = trunk(net, blob)
    taken = {name for layer in spec.message.layer for name in (layer.name, *layer.top)}
    for given in (conv_name, class_name):
        if given in taken:
            raise NetError(f"the net has a layer or a blob {given!r} before {blob!r}: give the new layer another name")
    taken |= {class_name, *([conv_name] if conv_name else [])}
    x = blob
    if channels:
        filler = {"type": "gaussian", "std": 0.01}
        name = conv_name or free_name("CAM_conv", taken)
        x = spec.convolution(name, x, num_output=channels, kernel_size=3, pad=1, weight_filler=filler)
        if rectify:
            x = spec.relu(free_name("CAM_relu", taken), x)
    x = spec.average_pooling(free_name("CAM_pool", taken), x, global_pooling=True)
    x = spec.inner_product(class_name, x, num_output=classes, weight_filler={"type": "xavier"})
    spec.softmax(free_name("prob", taken), x)

    cut = net_from_message(spec.message, path="the new net")
    params = {layer.name: net.params[layer.name] for layer in kept if layer.name in net.params}
    transforms = [layer.message.transform_param for layer in kept if isinstance(layer, Data | ImageData)]
    return Cut(cut, params, transforms[0] if transforms else None)


def trunk(net: Net, blob: str) -> tuple[NetSpec, tuple[Layer, ...]]:
    """Return the layers of a net that a blob depends on: as the beginning of a new net, and in the old one."""
    kept = net.layers_before([blob])
    read = {value for layer in kept for value in layer.inputs} | {blob}
    spec = NetSpec(f"{net.name}-CAM" if net.name else "CAM")
    for layer in kept:
        spec.message.layer.add().CopyFrom(_kept(layer, read))
    return spec, kept


def net_from(net: Net, blob: str, target: str) -> Net:
    """Return the part of a net behind a blob: the layers that bring the influence of the blob to a target.

    Parameters
    ----------
    net : Net
        With or without parameters.
    blob : str
        The blob that becomes an input; or the name of any other value (`pycam.net.layers.Layer.outputs`).
    target : str
        The value that is computed.

    Returns
    -------
    Net
        Every value keeps its name and becomes a blob of its own, so that nothing is in place. The blob is the first
        input. Values of the old net that other paths bring to the target, past the blob, are further inputs.

    Raises
    ------
    NetError
        No path leads from the blob to the target.
    """
    reached, kept = {blob}, []
    for layer in net.layers_before([target]):
        if reached.intersection(layer.inputs):
            reached.update(layer.outputs)
            kept.append(layer)
    if not kept or target not in reached:
        raise NetError(f"blob {blob!r} has no influence on {target!r}: no path leads from one to the other")
    written = {value for layer in kept for value in layer.outputs}
    read = dict.fromkeys([blob, *(value for layer in kept for value in layer.inputs)])
    inputs = [value for value in read if value not in written]
    shapes = tuple(net.value_shapes[value] for value in inputs)
    name = free_name("input", {layer.name for layer in kept})
    # A Reshape may name the batch size of the file.
    batch = next(layer.shapes_in_file[0][0] for layer in net.layers if isinstance(layer, Source))
    in_file = tuple((batch, *shape[1:]) for shape in shapes)
    param = {"shape": [{"dim": shape} for shape in in_file]}
    source = Input(
        name=name,
        bottoms=(),
        tops=tuple(inputs),
        inputs=(),
        outputs=tuple(inputs),
        input_shapes=(),
        output_shapes=shapes,
        shapes_in_file=in_file,
        message=schema.LayerParameter(name=name, type="Input", top=inputs, input_param=param),
    )
    layers = (source, *map(_with_own_blobs, kept))
    message = schema.NetParameter(name=net.name)
    message.layer.extend(layer.message for layer in layers if layer.message is not None)
    names = {layer.name for layer in kept}
    params = {name: arrays for name, arrays in net.params.items() if name in names}
    return replace(net, layers=layers, params=params, message=message, sources=None)


def _with_own_blobs(layer: Layer) -> Layer:
    """Return a layer that reads and writes blobs with the names of its values, so that it is not in place."""
    own = replace(layer, bottoms=layer.inputs, tops=layer.outputs)
    if layer.message is None:  # as that of a node of an ONNX graph
        return own
    message = _without_rules(layer)
    # Not those that Caffe adds without a name.
    message.bottom[:], message.top[:] = layer.inputs, layer.outputs[: len(layer.message.top)]
    return replace(own, message=message)


def free_name(name: str, taken: Set[str]) -> str:
    """Return a name, or the first of `name_2`, `name_3`, … if it is taken."""
    return next(each for each in chain([name], (f"{name}_{number}" for number in count(2))) if each not in taken)


def _kept(layer: Layer, read: set[str]) -> Any:
    """Return a layer's message for the new net: in every phase, and with the inputs that are read alone."""
    if not layer.bottoms and (layer.type != "Input" or not read.issuperset(layer.outputs)):
        inputs = [each for each in zip(layer.tops, layer.outputs, layer.output_shapes, strict=True) if each[1] in read]
        shapes = [{"dim": shape} for _, _, shape in inputs]
        tops = [top for top, _, _ in inputs]
        return schema.LayerParameter(name=layer.name, type="Input", top=tops, input_param={"shape": shapes})
    return _without_rules(layer)


def _without_rules(layer: Layer) -> Any:
    """Return a copy of a layer's message that is in the net in every state."""
    message = schema.LayerParameter()
    message.CopyFrom(layer.message)
    for rule in ("include", "exclude", "phase"):
        message.ClearField(rule)
    return message
