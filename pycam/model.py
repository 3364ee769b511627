"""A loaded model: a net with its weights, its labels and its preprocessing, as one value made by `load_model`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam import zoo
from pycam.errors import FormatError, NetError, UsageError
from pycam.formats.mean import read_mean
from pycam.net import CamHead, Net, read_net
from pycam.net.layers import dims
from pycam.zoo.cards import Card, Mean
from pycam.zoo.checksums import checksum
from pycam.zoo.labels import Labels, read_labels

AnyPath = str | os.PathLike[str]

FIXED_MEANS = {
    "vgg_value": (103.939, 116.779, 123.68),
    "rounded_value": (104.0, 117.0, 123.0),
    "none": (0.0, 0.0, 0.0),
}
"""Means that protocols have of their own, BGR."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What a model's net expects to be subtracted from an image.

    Attributes
    ----------
    mean : Mean
        The card's, or BVLC's where the card has none.
    override : (3,) or (3, H, W) float32, optional
        A mean, BGR, that the user gave in place of the card's and the protocol's.
    """

    mean: Mean
    override: NDArray[np.float32] | None = None

    def mean_values(self, kind: str = "value") -> NDArray[np.float32]:
        """Return the mean for a protocol's choice `mean`: (3,), or (3, H, W) for `image`; BGR, 0…255.

        Raises
        ------
        ModelError, FormatError
            The file of the mean image is not available, or is damaged.
        """
        if self.override is None and kind in FIXED_MEANS:
            return np.array(FIXED_MEANS[kind], np.float32)
        if self.override is None and kind == "value" and self.mean.value is not None:
            return np.array(self.mean.value, np.float32)
        values = self.override if self.override is not None else read_mean(zoo.mean_path(self.mean))
        return values if kind == "image" or values.ndim == 1 else values.mean(axis=(1, 2))


@dataclass(frozen=True, eq=False)
class Model:
    """A net with all that belongs to it. Made by `load_model`.

    Attributes
    ----------
    name : str
        The card's name, or the prototxt's.
    net : Net
        With its weights; `net.sources` names the files.
    preprocessing : Preprocessing
        What is subtracted from an image.
    labels : Labels
        The user's, or the card's; without either, classes have numbers alone.
    card : Card, optional
        None for files without a card.
    """

    name: str
    net: Net
    preprocessing: Preprocessing
    labels: Labels
    card: Card | None = None

    @cached_property
    def head(self) -> CamHead:
        """Where the class activation maps come from: as the card says, or as found from the graph.

        Raises
        ------
        NetError
            The net takes no square images of three channels, has no class activation maps, or is not the card's.
        """
        _ = self.image_input
        refuse_without_maps(self.card)
        if self.card is not None and self.card.feature_blob is not None:
            if self.card.feature_blob not in self.net.shapes:
                raise self._foreign(self.card.feature_blob)
            return CamHead(self.card.feature_blob, self.card.class_layer, self.score_blob)
        if self.net.cam_head is None:
            raise NetError(
                f"{self._path}: no global average pooling before the scores, "
                "so the net has no class activation maps as it stands"
            )
        return self.net.cam_head

    @cached_property
    def score_blob(self) -> str:
        """Blob of the class scores.

        Raises
        ------
        NetError
            The card names a blob that the net lacks.
        """
        blob = (self.card.score_blob if self.card else None) or self.net.outputs[-1]
        if blob not in self.net.shapes:
            raise self._foreign(blob)
        return blob

    @cached_property
    def image_input(self) -> str:
        """The net's one input, for images.

        Raises
        ------
        NetError
            The net has another number of inputs, or one that takes no square images of three channels.
        """
        inputs = self.net.inputs
        if len(inputs) != 1:
            raise NetError(
                f"{self._path}: {len(inputs)} inputs ({', '.join(inputs) or 'none'}): one for images is needed"
            )
        shape = self.net.shapes[inputs[0]]
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise NetError(f"{self._path}: its input is {dims(shape)}: images need 3 channels and a square, N×3×S×S")
        return inputs[0]

    @property
    def input_size(self) -> int:
        """Side of the net's square input."""
        return self.net.shapes[self.image_input][-1]

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return math.prod(self.net.shapes[self.score_blob][1:])

    def check_labels(self) -> None:
        """Refuse labels of other classes.

        Raises
        ------
        FormatError
            There are not as many labels as classes.
        """
        if len(self.labels) != self.class_count:
            raise FormatError(
                f"{self.labels.path}: {len(self.labels)} labels, but the net has {self.class_count} classes: "
                "give its own with --labels"
            )

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the files, in hexadecimal: `net` and `weights`."""
        sources = self.net.sources
        assert sources is not None
        assert sources.caffemodel is not None
        files = {"net": sources.prototxt, "weights": sources.caffemodel}
        return {name: checksum(Path(path), "sha256") for name, path in files.items()}

    @property
    def _path(self) -> str:
        return self.net.sources.prototxt if self.net.sources else "the net"

    def _foreign(self, blob: str) -> NetError:
        named = self.card.path if self.card else "its card"
        return NetError(f"{self._path}: no blob {blob!r}, which {named} names: is this the card's net?")


def load_model(
    model: AnyPath | None = None,
    *,
    prototxt: AnyPath | None = None,
    weights: AnyPath | None = None,
    labels: AnyPath | None = None,
    mean: AnyPath | None = None,
    allow_nonfinite: bool = False,
    needs_maps: bool = False,
) -> Model:
    """Load a model by its name, or from files.

    Parameters
    ----------
    model : str or path, optional
        Name or alias of a bundled model, or the path of a card. It can be left out with `prototxt` and `weights`.
    prototxt, weights, labels : path, optional
        Files in place of the model's.
    mean : path or str, optional
        Mean image in place of the model's, or three numbers, BGR, as in "104,117,123".
    allow_nonfinite : bool
        Accept weights that are infinite or not a number.
    needs_maps : bool
        Refuse a card without class activation maps before its files are looked for.

    Raises
    ------
    UsageError
        Neither a model nor both files were given, or the mean is not one.
    ModelError, FormatError, NetError
        A file is not available, is damaged, or does not go with the others.
    """
    card = None if model is None else zoo.card(os.fspath(model))
    if needs_maps:
        refuse_without_maps(card)
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
    net = read_net(prototxt, weights, allow_nonfinite=allow_nonfinite)
    mean_values = None if mean is None else _read_mean(mean)
    named = read_labels(Path(labels)) if labels is not None else zoo.card_labels(card) if card else None
    return Model(
        name=card.name if card else net.name or Path(prototxt).stem,
        net=net,
        preprocessing=Preprocessing((card.mean if card else None) or zoo.bvlc_mean(), mean_values),
        labels=named or Labels(tuple(f"class {index}" for index in range(math.prod(net.shapes[net.outputs[-1]][1:])))),
        card=card,
    )


def refuse_without_maps(card: Card | None) -> None:
    """Refuse a model whose card says that it has no class activation maps.

    Raises
    ------
    NetError
        It has none.
    """
    if card is not None and not card.cam:
        raise NetError(
            f"{card.name} classifies, but has no class activation maps: no global average pooling before its scores; "
            "method gradcam makes maps from gradients"
        )


def _read_mean(given: AnyPath) -> NDArray[np.float32]:
    numbers = os.fspath(given).split(",")
    if len(numbers) != 3:
        return read_mean(given)
    try:
        return np.array([float(number) for number in numbers], np.float32)
    except ValueError:
        raise UsageError(f"mean {given}: expected a file, or three numbers as in 104,117,123 (BGR)") from None
