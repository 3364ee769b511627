"""The loaded model: one value for a net, its weights, its labels and its preprocessing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
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
"""The means of protocols that do not depend on the model, BGR."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The mean that is subtracted from the input of a net.

    Attributes
    ----------
    mean : Mean
        The mean of the card; BVLC's mean if the card has none.
    override : (3,) or (3, H, W) float32, optional
        A mean from the user, BGR. It replaces the mean of the card and of the protocol.
    """

    mean: Mean
    override: NDArray[np.float32] | None = None

    def mean_values(self, kind: str = "value") -> NDArray[np.float32]:
        """Return the mean for a protocol's choice `mean`.

        Parameters
        ----------
        kind : str
            A value of `pycam.protocols.Protocol.mean`.

        Returns
        -------
        (3,) or (3, H, W) float32
            BGR, 0…255; a mean image only for the kind `image`.

        Raises
        ------
        ModelError, FormatError
            The file of the mean image is not available, or is damaged.
        """
        fixed = self.mean.value if kind == "value" else FIXED_MEANS.get(kind)
        if self.override is None and fixed is not None:
            return np.array(fixed, np.float32)
        values = self.override if self.override is not None else read_mean(zoo.mean_path(self.mean))
        return values if kind == "image" or values.ndim == 1 else values.mean(axis=(1, 2))


@dataclass(frozen=True, eq=False)
class Model:
    """A net with its weights, labels and preprocessing. Made by `load_model`.

    Attributes
    ----------
    name : str
        The name of the card, of the net, or of the prototxt file.
    net : Net
        The net with its weights; `net.sources` has the paths of the files.
    preprocessing : Preprocessing
        The mean that is subtracted from the input.
    labels : Labels
        The labels of the user or of the card. Without either, they are "class 0", "class 1", ….
    card : Card, optional
        The model card; None for files without a card.
    """

    name: str
    net: Net
    preprocessing: Preprocessing
    labels: Labels
    card: Card | None = None

    @cached_property
    def head(self) -> CamHead:
        """The blobs and the layer that the class activation maps are computed from.

        The card names them; without a card, they are found in the graph of the net.

        Raises
        ------
        NetError
            The net does not take square images of three channels, has no class activation maps, or is not the net of
            the card.
        """
        _ = self.image_input
        refuse_without_maps(self.card)
        if self.card is not None and self.card.feature_blob is not None:
            return CamHead(self._blob_of_card(self.card.feature_blob), self.card.class_layer, self.score_blob)
        if self.net.cam_head is None:
            raise NetError(
                f"{self._path}: no global average pooling before the scores, so the net has no class activation maps"
            )
        return self.net.cam_head

    @cached_property
    def score_blob(self) -> str:
        """The blob of the class scores.

        Raises
        ------
        NetError
            The net does not have the blob that the card names.
        """
        named = self.card.score_blob if self.card else None
        if named is None and not self.net.outputs:
            raise NetError(
                f"{self._path}: the net has no output: its last layers have no top, or their tops are silenced"
            )
        return self._blob_of_card(named or self.net.outputs[-1])

    @cached_property
    def image_input(self) -> str:
        """The only input that the class scores depend on.

        Raises
        ------
        NetError
            They do not depend on exactly one input, or that is not for square images of three channels.
        """
        inputs = self.net.inputs_before([self.score_blob])
        if len(inputs) != 1:
            raise NetError(
                f"{self._path}: {len(inputs)} inputs ({', '.join(inputs) or 'none'}); expected one, for images"
            )
        shape = self.net.shapes[inputs[0]]
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise NetError(f"{self._path}: its input is {dims(shape)}; images need 3 channels and a square, N×3×S×S")
        return inputs[0]

    @property
    def input_size(self) -> int:
        """The side of the net's square input."""
        return self.net.shapes[self.image_input][-1]

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return math.prod(self.net.shapes[self.score_blob][1:])

    def check_labels(self) -> None:
        """Check that there is one label per class.

        Raises
        ------
        FormatError
            The numbers of labels and classes differ.
        """
        if len(self.labels) != self.class_count:
            raise FormatError(
                f"{self.labels.path}: {len(self.labels)} labels, but the net has {self.class_count} classes: "
                "give the labels of the net with --labels"
            )

    @cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the files `net` and `weights`, in hexadecimal."""
        sources = self.net.sources
        assert sources is not None and sources.caffemodel is not None
        files = {"net": sources.prototxt, "weights": sources.caffemodel}
        return {name: checksum(Path(path), "sha256") for name, path in files.items()}

    @property
    def _path(self) -> str:
        return self.net.sources.prototxt if self.net.sources else "the net"

    def _blob_of_card(self, blob: str) -> str:
        if blob not in self.net.shapes:
            named = self.card.path if self.card else "its card"
            raise NetError(f"{self._path}: no blob {blob!r}, but {named} names it: is this the net of the card?")
        return blob


def load_model(
    model: AnyPath | None = None,
    *,
    prototxt: AnyPath | None = None,
    weights: AnyPath | None = None,
    labels: AnyPath | None = None,
    mean: AnyPath | None = None,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
    allow_nonfinite: bool = False,
    needs_maps: bool = False,
) -> Model:
    """Load a model by its name, or from files.

    Parameters
    ----------
    model : str or path, optional
        Name or alias of a bundled model, or the path of a card. Not needed with both `prototxt` and `weights`.
    prototxt, weights, labels : path, optional
        Files that replace those of the model.
    mean : path or str, optional
        A mean image that replaces the mean of the model, or three numbers, BGR, as in "104,117,123".
    phase, stages, level
        The state that selects the layers of the net, as for `pycam.read_net`.
    allow_nonfinite : bool
        Whether to accept weights that are infinite or NaN.
    needs_maps : bool
        Whether to refuse a card without class activation maps before its files are searched for.

    Raises
    ------
    UsageError
        Neither a model nor both files are given, or the mean is invalid.
    ModelError, FormatError, NetError
        A file is not available or is damaged, or the files do not belong together.
    """
    card = None if model is None else zoo.card(os.fspath(model))
    if needs_maps:
        refuse_without_maps(card)
    if prototxt is None:
        if card is None:
            raise UsageError(
                f"no model is given: give a model ({zoo.BUNDLED} comes with pycam, `pycam models list` shows "
                "others), or both a prototxt and its weights"
            )
        prototxt = zoo.prototxt_path(card)
    if weights is None:
        if card is None:
            raise UsageError(f"{prototxt}: no weights for this net: give its caffemodel too")
        weights = zoo.weights_path(card)
    net = read_net(prototxt, weights, phase=phase, stages=stages, level=level, allow_nonfinite=allow_nonfinite)
    mean_values = None if mean is None else _read_mean(mean)
    named = read_labels(Path(labels)) if labels is not None else zoo.card_labels(card) if card else None
    return Model(
        name=card.name if card else net.name or Path(prototxt).stem,
        net=net,
        preprocessing=Preprocessing((card.mean if card else None) or zoo.bvlc_mean(), mean_values),
        labels=named or Labels(tuple(f"class {index}" for index in range(_class_count(net)))),
        card=card,
    )


def _class_count(net: Net) -> int:
    return math.prod(net.shapes[net.outputs[-1]][1:]) if net.outputs else 0


def refuse_without_maps(card: Card | None) -> None:
    """Check that a model's card does not exclude class activation maps.

    Raises
    ------
    NetError
        The card says that the model has no class activation maps.
    """
    if card is not None and not card.cam:
        raise NetError(
            f"{card.name} has no class activation maps: no global average pooling before its scores; "
            "use method gradcam, which computes maps from gradients"
        )


def _read_mean(given: AnyPath) -> NDArray[np.float32]:
    numbers = os.fspath(given).split(",")
    if len(numbers) != 3:
        return read_mean(given)
    try:
        return np.array([float(number) for number in numbers], np.float32)
    except ValueError:
        raise UsageError(f"mean is {given}; expected a file, or three numbers as in 104,117,123 (BGR)") from None
