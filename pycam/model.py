"""A model made of its files: the net with its weights, where its maps come from, its mean and its labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam import zoo
from pycam.cards import Card
from pycam.errors import FormatError, NetError, UsageError
from pycam.formats.mean import read_mean
from pycam.labels import Labels, read_labels
from pycam.layers import dims
from pycam.net import CamHead, Net, read_net


def model_net(
    card: Card | None,
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    allow_nonfinite: bool = False,
) -> Net:
    """Read a model's net with its weights, or those given in their place.

    Raises
    ------
    UsageError
        Neither a card nor both files were given.
    ModelError, FormatError, NetError
        As `pycam.zoo.weights_path` and `pycam.net.read_net`.
    """
    if prototxt is None:
        if card is None:
            raise UsageError(
                f"neither a model nor a net: give a model ({zoo.BUNDLED} comes with pycam, `pycam models list` shows "
                "others), or both a prototxt and its weights"
            )
        prototxt = zoo.prototxt_path(card)
    if weights is None:
        if card is None:
            raise UsageError(f"{prototxt}: no weights for this net: give its caffemodel as well")
        weights = zoo.weights_path(card)
    return read_net(prototxt, weights, allow_nonfinite=allow_nonfinite)


def model_name(net: Net, card: Card | None) -> str:
    """Give the card's name, else the net's own, else its file's."""
    return card.name if card else net.name or Path(_path(net)).stem


def _path(net: Net) -> str:
    return net.sources.prototxt if net.sources else "the net"


def expect_maps(card: Card | None) -> None:
    """Refuse a model without class activation maps, before its files are looked for.

    Raises
    ------
    NetError
        The card says that there are none.
    """
    if card is not None and not card.cam:
        raise NetError(
            f"{card.name} classifies, but has no class activation maps: no global average pooling before its scores; "
            "method gradcam makes maps from gradients"
        )


def model_head(net: Net, card: Card | None) -> CamHead:
    """Take from the card where a net's maps come from, or find it from the graph.

    Raises
    ------
    NetError
        The net takes no square pictures of three channels, has no class activation maps, or is not the card's.
    """
    path = _path(net)
    picture_input(net)
    expect_maps(card)
    if card is not None and card.feature_blob is not None:
        scores = card.score_blob or net.outputs[-1]
        for blob in (card.feature_blob, scores):
            if blob not in net.shapes:
                raise NetError(f"{path}: no blob {blob!r}, which {card.path} names: is this the card's net?")
        return CamHead(card.feature_blob, card.class_layer, scores)
    if net.cam_head is None:
        raise NetError(
            f"{path}: no global average pooling before the scores, so the net has no class activation maps as it stands"
        )
    return net.cam_head


def scores_head(net: Net, card: Card | None) -> CamHead:
    """Give the input as what maps are made from, for gradients lead back to it, and the blob of the scores."""
    pictures = picture_input(net)
    scores = (card.score_blob if card else None) or net.outputs[-1]
    if scores not in net.shapes:
        raise NetError(f"{_path(net)}: no blob {scores!r}, which the model's card names: is this the card's net?")
    return CamHead(pictures, None, scores)


def picture_input(net: Net) -> str:
    """Give the one input of a net for pictures.

    Raises
    ------
    NetError
        It has another number of inputs, or one that takes no square pictures of three channels.
    """
    path = _path(net)
    if len(net.inputs) != 1:
        raise NetError(
            f"{path}: {len(net.inputs)} inputs ({', '.join(net.inputs) or 'none'}): one for pictures is needed"
        )
    shape = net.shapes[net.inputs[0]]
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise NetError(f"{path}: its input is {dims(shape)}: pictures need 3 channels and a square, N×3×S×S")
    return net.inputs[0]


def model_labels(card: Card | None, path: str | os.PathLike[str] | None, classes: int) -> Labels:
    """Read the labels given, or the card's; without either, classes have numbers alone.

    Raises
    ------
    FormatError
        There are not as many labels as classes.
    """
    names = read_labels(Path(path)) if path is not None else zoo.labels(card) if card else None
    if names is None:
        names = Labels(tuple(f"class {index}" for index in range(classes)))
    if len(names) != classes:
        raise FormatError(
            f"{names.path}: {len(names)} labels, but the net has {classes} classes: give its own with --labels"
        )
    return names


FIXED_MEANS = {
    "vgg_pixel": (103.939, 116.779, 123.68),
    "whole_pixel": (104.0, 117.0, 123.0),
    "none": (0.0, 0.0, 0.0),
}
"""Mean pixels that protocols have of their own, BGR."""


def model_mean(
    card: Card | None, given: str | os.PathLike[str] | None = None, kind: str = "pixel"
) -> NDArray[np.float32]:
    """Give the mean pixel, (3,), or mean picture, (3, H, W), BGR: the user's, the protocol's, the card's, or BVLC's."""
    if given is not None:
        numbers = str(given).split(",")
        if len(numbers) == 3:
            try:
                return np.array([float(number) for number in numbers], np.float32)
            except ValueError:
                raise UsageError(f"mean {given}: expected a file, or three numbers as in 104,117,123 (BGR)") from None
        picture = read_mean(given)
    elif kind in FIXED_MEANS:
        return np.array(FIXED_MEANS[kind], np.float32)
    else:
        mean = (card.mean if card else None) or zoo.bvlc_mean()
        if kind == "pixel" and mean.pixel is not None:
            return np.array(mean.pixel, np.float32)
        picture = read_mean(zoo.mean_path(mean))
    return picture if kind == "picture" else picture.mean(axis=(1, 2))
