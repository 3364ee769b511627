"""Heads: the part of a net from which class activation maps are computed, found in the graph or named by a card.

A net has class activation maps if its scores, before the last activation, are a linear function of a global pooling
over the feature blob: scores = weights · pooled features + bias. `find_head` follows the scores back to the pooling and
refuses, by name, a layer that breaks this; `pycam.net.class_weights` multiplies the layers between them into one
matrix. With average pooling, the mean of a class's map plus its bias is the score before the last activation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pycam.errors import NetError, NoMapsError, UsageError, suggest
from pycam.net import layers as L
from pycam.net.layers import dims
from pycam.net.linear_path import NO_POOLING, RENAMING, logits_of, obstacle, pools, positions_of, trace, width
from pycam.net.net import Net

OBSERVERS = (L.Comparison, L.ArgMax, L.Silence)
"""Types that read scores and change nothing: what they read can still be the scores of the net."""

_EACH_VALUE = (L.ReLU, L.PReLU, L.ELU, L.Sigmoid, L.TanH, L.AbsVal, L.Power, L.Exp, L.Log, L.Dropout, L.Split)
_EACH_CHANNEL = (*_EACH_VALUE, L.BatchNorm, L.Scale, L.LRN)
"""Types that compute each channel from itself (LRN only rescales it)."""


@dataclass(frozen=True)
class CamHead:
    """The part of a net from which its class activation maps are computed.

    Attributes
    ----------
    feature_blob : str
        The blob whose channels are summed, or are the maps themselves.
    class_layer : str, optional
        The layer whose weights (classes × channels) weight the channels; None if each channel is the map of one class.
        If several layers follow each other, the last one, whose rows are the classes.
    score_blob : str
        The blob of the class scores.
    logits : str
        The value of the scores before the last activation (`pycam.net.layers.Layer.outputs`).
    pooling : str
        `average` or `max`: the global pooling over the features. `none` if the scores themselves have rows and columns.
    positions : tuple of int, optional
        Rows and columns of the scores, if the pooling has several windows or there is none: the score of a class is
        the mean over them. None if there is one score per class.
    path : tuple of str
        Names of the layers that are multiplied into the class weights, in order; see `head_weights`.
    named : bool
        Whether a card names the blobs and the layer although the scores are no linear function of the pooled features.
    """

    feature_blob: str
    class_layer: str | None
    score_blob: str
    logits: str = ""
    pooling: str = "average"
    positions: tuple[int, int] | None = None
    path: tuple[str, ...] = ()
    named: bool = False

    def __str__(self) -> str:
        by = f"weights of {self.class_layer!r}" if self.class_layer else "one channel per class"
        parts = [f"feature blob {self.feature_blob!r}", by, f"scores {self.score_blob!r}"]
        if self.pooling == "max":
            parts.append("global max pooling, as in the paper's comparison with GMP")
        if self.positions:
            parts.append(f"each score is the mean over {dims(self.positions)} positions")
        if folded := [name for name in self.path if name != self.class_layer]:
            parts.append(f"including {', '.join(map(repr, folded))}")
        if self.named:
            parts.append("named by the card; other layers between them are ignored")
        return ", ".join(parts)


def score_blobs(net: Net) -> list[str]:
    """Return the blobs that can hold class scores: no layer reads them, or only layers such as Accuracy or a loss.

    Returns
    -------
    list of str
        In the order of computation. Inputs of the net are left out.
    """
    read = {value for layer in net.layers if not isinstance(layer, OBSERVERS) for value in layer.inputs}
    return [
        blob
        for blob in net.shapes
        if blob not in read
        and blob not in net.inputs
        and not isinstance(net.producer[blob], OBSERVERS)
        and net.shapes[blob]
    ]


def score_inputs(net: Net) -> list[str]:
    """Return the inputs that any class scores depend on; all inputs if no blob can hold class scores."""
    blobs = score_blobs(net)
    return list(net.inputs_before(blobs) if blobs else net.inputs)


def find_heads(net: Net) -> dict[str, CamHead | str]:
    """Return the head of each blob that can hold class scores, or the reason why it has none.

    Parameters
    ----------
    net : Net
        With or without parameters.
    """
    return {blob: _head_of(net, blob) for blob in score_blobs(net)}


def describe_heads(net: Net) -> list[str]:
    """Return a line for each blob that can hold class scores: its head, or the reason why it has none."""
    found = find_heads(net).items()
    return [str(head) if isinstance(head, CamHead) else f"none from {blob!r}: {head}" for blob, head in found]


def find_head(net: Net, name: str | None = None) -> CamHead:
    """Return the head of a net.

    Parameters
    ----------
    net : Net
        With or without parameters.
    name : str, optional
        The blob of its scores, or its class-weight layer. Needed if the net has several heads.

    Raises
    ------
    NetError
        The net has no head; the message has the reason.
    UsageError
        The net has several heads and none is named, or none has that name.
    """
    if name is not None:
        return _found(net, find_scores(net, name))
    found = find_heads(net)
    heads = [head for head in found.values() if isinstance(head, CamHead)]
    # Scores with rows and columns are a head only if nothing in the net is pooled.
    heads = [head for head in heads if head.pooling != "none"] or heads
    if len(heads) > 1:
        raise UsageError(f"the net has {len(heads)} heads: {_listed(heads)}; choose one of them with --head")
    if not heads:
        if not found:
            raise NetError("no class activation maps: no blob of the net can hold class scores")
        raise NoMapsError(_refusal(net, *next(reversed(found.items()))))
    return heads[0]


def find_scores(net: Net, name: str | None = None) -> str:
    """Return the blob of the class scores, for methods that need no head.

    Parameters
    ----------
    net : Net
        With or without parameters.
    name : str, optional
        The blob, or the class-weight layer of a head.

    Raises
    ------
    NetError
        The net has no such blob, or none that can hold class scores.
    UsageError
        Several blobs can hold class scores, and none is named.
    """
    if name is not None and name not in score_blobs(net):
        # A layer and its blob often have the same name: the scores of a class layer come first.
        by_layer = {head.class_layer: blob for blob, head in find_heads(net).items() if isinstance(head, CamHead)}
        name = by_layer.get(name, name)
    if name is not None:
        check_scores(net, name)
        return name
    found = find_heads(net)
    heads = [blob for blob, head in found.items() if isinstance(head, CamHead) and head.pooling != "none"]
    # What people call scores ends in a softmax; a blob without one may be there for inspection.
    likely = heads or [blob for blob in found if logits_of(net, blob) != blob] or list(found)
    if not likely:
        raise NetError("no blob of the net can hold class scores")
    if len(likely) > 1:
        raise UsageError(
            f"{len(likely)} blobs can hold class scores: {', '.join(likely)}; choose one of them with --head"
        )
    return likely[0]


def check_scores(net: Net, blob: str) -> None:
    """Check that a blob can hold class scores.

    Raises
    ------
    NetError
        The net has no such blob, it is an input, or it is a single number.
    """
    if blob not in net.shapes:
        raise NetError(f"no blob {blob!r} for class scores: {suggest(blob, net.shapes, 'see `pycam net show`')}")
    if blob in net.inputs or not net.shapes[blob]:
        raise NetError(
            f"blob {blob!r} cannot hold class scores: it is {'an input' if blob in net.inputs else 'a number'}"
        )


def score_positions(net: Net, score_blob: str) -> tuple[int, int] | None:
    """Return the rows and columns of scores, if the score of a class is the mean over them; None for one per class."""
    head = _head_of(net, score_blob)
    return head.positions if isinstance(head, CamHead) else positions_of(net.shapes[score_blob])


def named_head(net: Net, feature_blob: str | None, class_layer: str | None, score_blob: str | None) -> CamHead:
    """Return the head that a card names, checked against the net.

    Parameters
    ----------
    net : Net
        With or without parameters.
    feature_blob, class_layer, score_blob : str, optional
        The keys of the card. Those that are None are found in the graph.

    Raises
    ------
    NetError
        The net does not have what the card names; the class layer does not lie between the feature blob and the scores;
        its rows are not the classes, or its columns not the channels.
    UsageError
        The net has several heads and the card names no scores.
    """
    if feature_blob is not None and feature_blob not in net.shapes:
        hint = suggest(feature_blob, net.shapes, "see `pycam net show`")
        raise NetError(f"no blob {feature_blob!r} for feature_blob: {hint}")
    if class_layer is not None and class_layer not in net.by_name:
        hint = suggest(class_layer, net.by_name, "see `pycam net show`")
        raise NetError(f"no layer {class_layer!r} for class_layer: {hint}")
    if score_blob is not None:
        check_scores(net, score_blob)
    if feature_blob is None:
        return find_head(net) if score_blob is None else _found(net, score_blob)
    candidates = [score_blob] if score_blob is not None else score_blobs(net)
    for blob in candidates:
        head = _head_of(net, blob)
        if isinstance(head, CamHead) and head.feature_blob == feature_blob and class_layer in (None, head.class_layer):
            return head
    if score_blob is None and len(candidates) != 1:
        raise NetError(f"the card names no score_blob, and the net has {len(candidates)}: {', '.join(candidates)}")
    return _checked(net, feature_blob, class_layer, candidates[0])


def _found(net: Net, score_blob: str) -> CamHead:
    head = _head_of(net, score_blob)
    if isinstance(head, str):
        raise NoMapsError(_refusal(net, score_blob, head))
    return head


def _refusal(net: Net, score_blob: str, reason: object) -> str:
    if net.from_onnx:
        ways_out = (
            "use method scorecam or ablationcam, which need none, or export the net with a global average pooling and "
            "one linear layer in front of its scores"
        )
        return f"no class activation maps from {score_blob!r}: {reason}; {ways_out}"
    ways_out = (
        "use method gradcam or scorecam, which need none, or convert the net with `pycam net cam`"
        if reason == NO_POOLING
        else "name the layers in a model card (feature_blob, class_layer, score_blob), or use method gradcam or "
        "scorecam"
    )
    return f"no class activation maps from {score_blob!r}: {reason}; {ways_out}"


def _listed(heads: Sequence[CamHead]) -> str:
    return "; ".join(f"{head.score_blob} ({head})" for head in heads)


def _head_of(net: Net, score_blob: str) -> CamHead | str:
    """Return the head whose scores are in a blob, or the reason why there is none."""
    logits = logits_of(net, score_blob)
    found = trace(net, logits)
    if found.reason:
        positions = positions_of(net.value_shapes[logits])
        made = logits != score_blob or isinstance(net.producer[logits], L.Convolution)
        # The scores of a fully convolutional net are maps already, if no layer moves positions among the classes.
        if (
            positions
            and made
            and (found.pooling is None or found.several)
            and not _mixes_positions(net, score_blob, logits)
        ):
            return CamHead(logits, None, score_blob, logits, "none", positions)
        return found.reason
    pooling = found.pooling
    assert pooling is not None
    if found.several and (reason := _mixes_positions(net, score_blob, logits)):
        return reason
    weighted = [layer.name for layer in found.path if isinstance(layer, L.InnerProduct | L.Convolution)]
    return CamHead(
        pooling.inputs[0],
        weighted[-1] if weighted else None,
        score_blob,
        logits,
        "max" if isinstance(pooling, L.Pooling) and pooling.method == "MAX" else "average",
        positions_of(net.value_shapes[logits]) if found.several else None,
        tuple(layer.name for layer in found.path if not isinstance(layer, (*RENAMING, L.Pooling, L.ReLU))),
    )


def _mixes_positions(net: Net, score_blob: str, logits: str) -> str:
    layer = net.producer[score_blob]
    while score_blob != logits and layer.outputs[0] != logits:
        if layer.type in ("Flatten", "Reshape"):
            return obstacle(net, layer, several=True)
        if isinstance(layer, L.Softmax) and layer.axis != 1:
            return f"layer {layer.name!r} (Softmax) is not along the classes"
        layer = net.producer[layer.inputs[0]]
    return ""


def _checked(net: Net, feature_blob: str, class_layer: str | None, score_blob: str) -> CamHead:
    """Return the head of these names, although the scores are no linear function of the features."""
    shape = net.shapes[feature_blob]
    if len(shape) != 4 or shape[2:] == (1, 1):
        raise NetError(
            f"feature_blob {feature_blob!r} is {dims(shape)}: maps need rows and columns, N×K×h×w: "
            "name the blob that is pooled"
        )
    scores = net.shapes[score_blob]
    positions = positions_of(scores)
    classes = width(scores, positions is not None)
    head = CamHead(feature_blob, class_layer, score_blob, logits_of(net, score_blob), "none", positions, named=True)
    if class_layer is None:
        if shape[1] != classes:
            raise NetError(
                f"feature_blob {feature_blob!r} has {shape[1]} channels, and the scores {score_blob!r} are {classes} "
                "classes: name the class_layer whose weights turn channels into classes"
            )
        if reason := _between(net, (feature_blob,), head.logits):
            raise NetError(f"the channels of feature_blob {feature_blob!r} are not the scores {score_blob!r}: {reason}")
        return head
    layer = net.by_name[class_layer]
    if not isinstance(layer, L.InnerProduct | L.Convolution):
        raise NetError(
            f"class_layer {class_layer!r} is of type {layer.type!r}: name an InnerProduct or a 1×1 Convolution"
        )
    if isinstance(layer, L.Convolution) and (layer.kernel != (1, 1) or layer.group != 1):
        raise NetError(f"class_layer {class_layer!r} is no 1×1 convolution in one group: it has no weight per channel")
    rows, columns = layer.num_output, math.prod(layer.param_shapes[0]) // layer.num_output
    if rows != classes or columns != shape[1]:
        raise NetError(
            f"class_layer {class_layer!r} has weights of {rows}×{columns}, but the scores {score_blob!r} are {classes} "
            f"classes and feature_blob {feature_blob!r} has {shape[1]} channels: expected {classes}×{shape[1]}"
        )
    if reason := _between(net, layer.outputs, head.logits):
        raise NetError(f"class_layer {class_layer!r} does not give the scores {score_blob!r}: {reason}")
    if reason := _between(net, (feature_blob,), layer.inputs[0]):
        raise NetError(f"class_layer {class_layer!r} does not weight feature_blob {feature_blob!r}: {reason}")
    return head


def _between(net: Net, goals: Sequence[str], value: str) -> str:
    """Return what stands between two values besides layers that keep channels apart; empty if only such layers do."""
    while value not in goals:
        layer = net.producer[value]
        if not layer.inputs:
            return f"it comes from {value!r} without it"
        one = positions_of(layer.input_shapes[0]) is None
        apart = isinstance(layer, _EACH_CHANNEL) or pools(layer)
        alone = len(layer.inputs) == 1 or _scales_images(layer)
        if not (alone and (apart or (one and isinstance(layer, RENAMING)))):
            return f"layer {layer.name!r} ({layer.type}) stands between them"
        value = layer.inputs[0]
    return ""


def _scales_images(layer: L.Layer) -> bool:
    """Return whether a layer multiplies all values of an image with one number, such as the inverse of their norm."""
    return isinstance(layer, L.Scale) and layer.axis == 0 and len(layer.input_shapes[-1]) == 1
