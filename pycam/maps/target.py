"""What maps explain: the score of a class, and the blob at which the maps are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError, UsageError, suggest
from pycam.net import CamHead, Net, find_heads, find_scores, logits_of, positions_of
from pycam.net.layers import dims


def target_value(net: Net, scores: str, target: str) -> str:
    """Return the name of the value that holds the target: the blob of the scores, or the input of its last activation.

    Raises
    ------
    UsageError
        The target is `probability`, but the scores come from no activation.
    """
    logits = logits_of(net, scores)
    if target == "logit":
        return logits
    if logits == scores:
        layer = net.producer[scores]
        raise UsageError(f"target probability: {scores!r} comes from {layer.name!r} ({layer.type}), not from a Softmax")
    return scores


def default_layer(net: Net, scores: str | None = None) -> str:
    """Return the default blob for maps: the feature blob of a CAM head, or the deepest with rows and columns.

    Parameters
    ----------
    net : Net
        With or without parameters.
    scores : str, optional
        The blob of the scores; by default the net's only one.

    Raises
    ------
    NetError
        The net has no such blob.
    """
    scores = scores or find_scores(net)
    head = find_heads(net).get(scores)
    if isinstance(head, CamHead) and head.class_layer is not None:
        return head.feature_blob
    logits = logits_of(net, scores)
    for layer in reversed(net.layers_before([logits])):
        for blob in layer.outputs:
            shape = net.value_shapes[blob]
            if len(shape) == 4 and min(shape[2:]) > 1 and blob in net.shapes and blob not in (*net.inputs, logits):
                return blob
    raise NetError("no blob of the net has rows and columns, so there are no maps")


def check_layer(net: Net, layer: str, target: str) -> None:
    """Check that maps of a target can be made at a blob.

    Raises
    ------
    NetError
        The net has no such blob, or the blob has no rows and columns, or no influence on the target.
    """
    if layer not in net.value_shapes:
        near = suggest(layer, [blob for blob, shape in net.shapes.items() if len(shape) == 4])
        rest = f"the last that has maps is {default_layer(net, target)!r}, and `pycam net show` lists all"
        raise NetError(f"the net has no blob {layer!r} for maps: {near}{' ' if near else ''}{rest} (--layer)")
    shape = net.value_shapes[layer]
    if len(shape) != 4:
        raise NetError(f"blob {layer!r} is {dims(shape)}: maps need rows and columns, N×K×h×w")
    if not _reaches(net, layer, target):
        raise NetError(f"blob {layer!r} has no influence on the scores {target!r}")


def _reaches(net: Net, value: str, target: str) -> bool:
    """Return whether a value has an influence on another."""
    return value != target and any(value in (*step.inputs, *step.outputs) for step in net.layers_before([target]))


def class_scores(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one score per class, the mean over positions: (N, C), (N, C, 1, 1) or (N, C, h, w) -> (N, C)."""
    if positions_of(values.shape):
        means: NDArray[np.float32] = values.mean(axis=(2, 3))
        return means
    return values.reshape(len(values), -1)
