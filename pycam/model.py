"""The loaded model: one value for a net, its weights, its labels and its preprocessing."""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam import zoo
from pycam.errors import FormatError, NetError, NoMapsError, PycamWarning, UsageError
from pycam.formats.files import exists
from pycam.formats.mean import read_mean
from pycam.formats.numbers import read_number
from pycam.images.views import Size
from pycam.net import (
    CamHead,
    Net,
    check_scores,
    find_head,
    find_scores,
    head_weights,
    logits_of,
    named_head,
    read_net,
    score_inputs,
    score_positions,
)
from pycam.net.layers import dims
from pycam.onnx import PREPROCESSINGS, NamedPreprocessing, preprocessing_of
from pycam.zoo.cards import Card, Mean, ViewName
from pycam.zoo.checksums import checksum
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels

AnyPath = str | os.PathLike[str]

InputSize = int | tuple[int, int] | str | None
"""Height and width as users give them."""

ONNX = ".onnx"
"""The end of the name of an ONNX file."""

ILSVRC_CLASSES = 1000
LARGEST_SIDE = 4096
"""The largest side of an input, as in a card."""

FIXED_MEANS = {
    "vgg_value": (103.939, 116.779, 123.68),
    "rounded_value": (104.0, 117.0, 123.0),
    "none": (0.0, 0.0, 0.0),
}
"""The means of protocols that do not depend on the model, BGR; `none` is for any number of channels."""

IMAGENET_RGB = {(123.68, 116.779, 103.939): 1, (0.485, 0.456, 0.406): 255}
"""ImageNet's mean as other programs have it, RGB, and the factor from their pixels to Caffe's."""


LARGEST = float(np.finfo(np.float32).max)
"""The largest number of single precision."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What is subtracted from the input of a net, and what the difference is multiplied by.

    Attributes
    ----------
    mean : Mean, optional
        The mean of the card. A card without one has BVLC's mean if its net takes three channels, else none: 0.
    override : (C,) or (C, H, W) float32, optional
        A mean from the user. It replaces the mean of the card and of the protocol.
    channels : int
        Number of channels of the input, C.
    input_scale : float
        The factor of the card.
    std : tuple of float
        What pixels minus the mean are divided by: one number, or one per channel.
    card : Card, optional
        The card of the model, which the command to download the mean names.
    """

    mean: Mean | None
    override: NDArray[np.float32] | None = None
    channels: int = 3
    input_scale: float = 1.0
    std: tuple[float, ...] = (1.0,)
    card: Card | None = None

    def scale(self, input_scale: float | None = None) -> NDArray[np.float32]:
        """Return the factors for pixels minus the mean: `input_scale` / `std`.

        Parameters
        ----------
        input_scale : float, optional
            The factor of a protocol, which replaces the one of the card.

        Returns
        -------
        (C,) float32

        Raises
        ------
        UsageError
            A factor is too large or too small for single precision.
        """
        factor = self.input_scale if input_scale is None else input_scale
        factors = [factor / deviation for deviation in self.std]
        if not all(1 / LARGEST <= each <= LARGEST for each in factors):
            raise UsageError(
                f"input_scale / std is {factors[0]:g}; expected a number from {1 / LARGEST:g} to {LARGEST:g}"
            )
        return np.broadcast_to(np.array(factors, np.float32), self.channels)

    def mean_values(self, kind: str = "value") -> NDArray[np.float32]:
        """Return the mean for a protocol's choice `mean`.

        Parameters
        ----------
        kind : str
            A value of `pycam.protocols.Protocol.mean`.

        Returns
        -------
        (C,) or (C, H, W) float32
            0…255, for three channels BGR; a mean image only for the kind `image`.

        Raises
        ------
        UsageError
            The mean of the protocol is for three channels, and the net has another number.
        ModelError, FormatError
            The file of the mean image is not available, or is damaged.
        """
        if self.override is not None:
            values = self.override
        elif kind == "none" or (self.mean is None and kind not in FIXED_MEANS):
            return np.zeros(self.channels, np.float32)
        elif kind in FIXED_MEANS:
            if self.channels != 3:
                raise UsageError(
                    f"mean {kind!r} of the protocol is a colour, BGR, but the net takes {_count(self.channels)}: "
                    "give --mean"
                )
            values = np.array(FIXED_MEANS[kind], np.float32)
        elif kind == "value" and self.mean is not None and self.mean.value is not None:
            values = np.broadcast_to(np.array(self.mean.value, np.float32), self.channels)
        else:
            assert self.mean is not None
            values = read_mean(zoo.mean_path(self.mean, card=self.card), self.channels)
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
        The mean and the scale of the input.
    labels : Labels
        The labels of the user or of the card. Without either, they are "class 0", "class 1", ….
    card : Card, optional
        The model card; None for files without a card.
    head_name : str, optional
        The head that the user chose: the blob of its scores, or its class-weight layer.
    preprocess : str
        The name of the preprocessing of an ONNX file; empty for Caffe's files.
    """

    name: str
    net: Net
    preprocessing: Preprocessing
    labels: Labels
    card: Card | None = None
    head_name: str | None = None
    preprocess: str = ""

    def __repr__(self) -> str:
        return f"<Model {self.name[:60]!r}: {self.net!r}>"

    @cached_property
    def head(self) -> CamHead:
        """The blobs and the layer that the class activation maps are computed from.

        The user or the card names them; otherwise they are found in the graph of the net.

        Raises
        ------
        NetError
            The net does not take images, has no class activation maps, or is not the net of the card; the message has
            the reason.
        UsageError
            The net has several heads, and none is chosen.
        """
        _ = self.image_input
        refuse_without_maps(self.card)
        if self.head_name is None and self.card is not None:
            card = self.card
            with self._named(card.path):
                return named_head(self.net, card.feature_blob, card.class_layer, card.score_blob)
        with self._named(self._path):
            return find_head(self.net, self.head_name)

    @cached_property
    def score_blob(self) -> str:
        """The blob of the class scores.

        Raises
        ------
        NetError
            The net does not have the blob that the card names, or no blob can hold class scores.
        UsageError
            Several blobs can hold class scores, and none is chosen.
        """
        card = self.card
        if self.head_name is None and card is not None and card.score_blob is not None:
            with self._named(card.path):
                check_scores(self.net, card.score_blob)
            return card.score_blob
        with self._named(self._path):
            return find_scores(self.net, self.head_name)

    @cached_property
    def positions(self) -> tuple[int, int] | None:
        """Rows and columns of the scores, if the score of a class is the mean over them, or None."""
        return score_positions(self.net, self.score_blob)

    @cached_property
    def image_input(self) -> str:
        """The input of the net that its scores depend on. Other inputs, such as labels, are not needed.

        Raises
        ------
        NetError
            The scores do not depend on exactly one input, or it is not for images.
        """
        inputs = score_inputs(self.net)
        if len(inputs) != 1:
            raise NetError(
                f"{self._path}: {len(inputs)} inputs ({', '.join(inputs) or 'none'}); expected one, for images"
            )
        shape = self.net.shapes[inputs[0]]
        if len(shape) != 4:
            raise NetError(f"{self._path}: its input is {dims(shape)}; images need channels, rows and columns, N×C×H×W")
        return inputs[0]

    @property
    def input_size(self) -> Size:
        """Height and width of the net's input."""
        height, width = self.net.shapes[self.image_input][2:]
        return height, width

    @property
    def view(self) -> ViewName:
        """The view that the protocol `default` gives the model: the card's, or else the center crop."""
        return self.card.view if self.card is not None else "center"

    @property
    def channels(self) -> int:
        """Number of channels of the net's input."""
        return self.net.shapes[self.image_input][1]

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return math.prod(self.net.shapes[self.score_blob][1:]) // math.prod(self.positions or (1, 1))

    def notes(self, *, maps: bool = True, boxes: bool = False) -> list[str]:
        """Return what a reader of scores, maps and boxes must know about the labels and the head; often nothing.

        Parameters
        ----------
        maps : bool
            Whether maps are computed from the class weights.
        boxes : bool
            Whether boxes are found in them.
        """
        notes = list(self.labels.notes)
        margins = logits_of(self.net, self.score_blob) == self.score_blob
        if maps and self.head.pooling == "max":
            notes.append("global max pooling: the mean of a class's map plus its bias is not its score")
        if margins:
            notes.append(f"scores are margins, not probabilities: no softmax comes after {self.score_blob!r}")
        if maps and boxes and margins:
            bias = head_weights(self.net, self.head).bias
            if bias.any():
                notes.append(
                    f"the head has a bias, {bias.min():.3g} to {bias.max():.3g}, which maps leave out: where it is not "
                    "near 0, boxes become too large or too small"
                )
        return notes

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
        """The SHA-256 of the files `net` and `weights`, in hexadecimal.

        The net and the weights of an ONNX file are that file; if it has external data, the weights are all its files.
        """
        sources = self.net.sources
        assert sources is not None and sources.caffemodel is not None
        files = {"net": sources.prototxt, "weights": sources.caffemodel}
        found = {name: checksum(Path(path), "sha256") for name, path in files.items()}
        if sources.data:
            parts = [found["weights"], *(checksum(Path(path), "sha256") for path in sources.data)]
            found["weights"] = hashlib.sha256("".join(parts).encode()).hexdigest()
        return found

    @property
    def _path(self) -> str:
        return self.net.sources.prototxt if self.net.sources else "the net"

    @contextmanager
    def _named(self, path: AnyPath) -> Iterator[None]:
        """Begin the messages of errors with a file."""
        try:
            yield
        except (NetError, UsageError) as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from None


def load_model(
    model: AnyPath | None = None,
    *,
    prototxt: AnyPath | None = None,
    weights: AnyPath | None = None,
    onnx: AnyPath | None = None,
    preprocess: str | None = None,
    input_size: InputSize = None,
    labels: AnyPath | None = None,
    mean: AnyPath | None = None,
    std: str | None = None,
    head: str | None = None,
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
        Name or alias of a bundled model, or the path of a card or of an ONNX file. Not needed with both `prototxt` and
        `weights`, or with `onnx`.
    prototxt, weights, labels : path, optional
        Files that replace those of the model.
    onnx : path, optional
        A net and its weights as one ONNX file, in place of the others.
    preprocess : str, optional
        What an ONNX file expects of images, a key of `pycam.onnx.PREPROCESSINGS`. By default `imagenet` for three
        channels, else `none`; a note of the net says so.
    input_size : int or (int, int) or str, optional
        Height and width for an ONNX file that leaves them open, 224×224 by default; as text "224" or "224x320".
    mean : path or str, optional
        A mean image that replaces the mean of the model, or one number per channel (or one for all), BGR, as in
        "104,117,123".
    std : str, optional
        What pixels minus the mean are divided by, in place of the model's: one number per channel, or one for all.
    head : str, optional
        The head of a net that has several: the blob of its scores, or its class-weight layer.
    phase, stages, level
        The state that selects the layers of the net, as for `pycam.read_net`.
    allow_nonfinite : bool
        Whether to accept weights that are infinite or NaN.
    needs_maps : bool
        Whether to refuse a card without class activation maps before its files are searched for.

    Returns
    -------
    Model

    Raises
    ------
    UsageError
        Neither a model nor both files are given, or the mean or the std is invalid.
    ModelError, FormatError, NetError
        A file is not available or is damaged, or the files do not belong together.
    """
    if model is not None and os.fspath(model).endswith(ONNX):
        if onnx is not None:
            raise UsageError(f"two ONNX files are given, {os.fspath(model)} and {os.fspath(onnx)}: leave out one")
        model, onnx = None, model
    if model is not None and onnx is not None:
        raise UsageError(
            f"the model {os.fspath(model)} has no effect on the ONNX file {os.fspath(onnx)}: leave out one of the two"
        )
    card = None if model is None else zoo.card(os.fspath(model))
    if needs_maps:
        refuse_without_maps(card)
    if onnx is None and card is not None and card.onnx and prototxt is None:
        onnx = zoo.weights_path(card)
    if onnx is not None:
        given = {"prototxt": prototxt, "weights": weights, "stage": stages, "level": level, "phase": phase != "TEST"}
        if useless := next((name for name, value in given.items() if value), None):
            raise UsageError(f"{useless} has no effect on the ONNX file {os.fspath(onnx)}: leave it out")
        return _onnx_model(onnx, card, preprocess, input_size, labels, mean, std, head)
    for path in (prototxt, weights):
        if path is not None and os.fspath(path).endswith(ONNX):
            raise UsageError(
                f"{os.fspath(path)}: an ONNX file is a net and its weights in one: give it alone, as the model or with "
                "--onnx"
            )
    if preprocess is not None or input_size is not None:
        name = "input_size" if preprocess is None else "preprocess"
        raise UsageError(f"{name} is for ONNX files: leave it out, or give an ONNX file")
    from_card = prototxt is None
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
    if card is not None and from_card:
        _check_input_size(card, net)
    named = _labels(labels, card)
    loaded = Model(
        name=card.name if card else net.name or Path(prototxt).stem,
        net=net,
        preprocessing=_preprocessing(net, card, None, mean, std),
        labels=named or Labels(()),
        card=card,
        head_name=head,
    )
    return loaded if named else replace(loaded, labels=_numbered(loaded))


def _labels(path: AnyPath | None, card: Card | None) -> Labels | None:
    """Return the labels of the user or of the card, None without either."""
    if path is not None:
        return read_labels(Path(path))
    return zoo.card_labels(card) if card else None


def input_size(given: InputSize) -> Size | None:
    """Return height and width as users give them: a number, two, or a text such as "224" or "224x320"; None for None.

    Raises
    ------
    UsageError
        It is something else, or a side is not from 1 to `LARGEST_SIDE`.
    """
    if given is None:
        return None
    parts = re.split("[x×]", given) if isinstance(given, str) else (given,) if isinstance(given, int) else given
    try:
        sides = tuple(map(int, parts))
    except (TypeError, ValueError):
        sides = ()
    if len(sides) not in (1, 2) or not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise UsageError(f"input_size is {given}; expected one number, or height×width as 224x320, 1 to {LARGEST_SIDE}")
    return sides[0], sides[-1]


def _onnx_model(
    path: AnyPath,
    card: Card | None,
    preprocess: str | None,
    size: InputSize,
    labels: AnyPath | None,
    mean: AnyPath | None,
    std: str | None,
    head: str | None,
) -> Model:
    """Load an ONNX file; the arguments are those of `load_model`."""
    from pycam.onnx.reader import read_onnx

    preprocess = preprocess or (card.preprocess if card else None)
    sides = input_size(size) or (card.input_size if card else None)
    net = read_onnx(path, rgb=preprocessing_of(preprocess, 3)[1].rgb, size=sides)
    loaded = Model(
        name=card.name if card else Path(path).stem,
        net=net,
        preprocessing=Preprocessing(None),
        labels=_labels(labels, card) or Labels(()),
        card=card,
        head_name=head,
    )
    chosen, named = preprocessing_of(preprocess, loaded.channels)
    notes = []
    if preprocess is None:
        others = (name for name, each in PREPROCESSINGS.items() if name != chosen and each.fits(loaded.channels))
        notes.append(f"preprocess {chosen} is taken ({named.about}): --preprocess gives another: {', '.join(others)}")
    loaded = replace(loaded, preprocessing=_preprocessing(net, card, named, mean, std), preprocess=chosen)
    if not len(loaded.labels):
        numbered = _numbered(loaded)
        if len(numbered) == ILSVRC_CLASSES:
            notes.append("1,000 classes: the labels of ILSVRC are taken, --labels gives others")
            numbered = zoo.bundled_labels("ilsvrc")
        loaded = replace(loaded, labels=numbered)
    return replace(loaded, net=replace(net, notes=(*net.notes, *(f"{os.fspath(path)}: {note}" for note in notes))))


def _numbered(model: Model) -> Labels:
    """Return "class 0", "class 1", …; none if it is open which blob holds the scores."""
    try:
        return Labels(tuple(f"class {index}" for index in range(model.class_count)))
    except (NetError, UsageError):
        return Labels(())


def refuse_without_maps(card: Card | None) -> None:
    """Check that a model's card does not exclude class activation maps.

    Raises
    ------
    NetError
        The card says that the model has no class activation maps.
    """
    if card is not None and not card.cam:
        ways_out = (
            "use method scorecam or ablationcam, which need none"
            if card.onnx
            else "use method gradcam or scorecam, which need none, or convert the net with `pycam net cam`"
        )
        raise NoMapsError(
            f"{card.name} has no class activation maps: no global average pooling before its scores; {ways_out}"
        )


def _check_input_size(card: Card, net: Net) -> None:
    inputs = score_inputs(net)
    found = net.shapes[inputs[0]][2:] if inputs else ()
    if card.input_size is not None and card.input_size != found:
        raise FormatError(
            f"{card.path}: input_size is {dims(card.input_size)}, but the input of its net is {dims(found) or 'none'}: "
            "correct it, or leave it out"
        )


def numbers(text: str) -> tuple[float, ...] | None:
    """Return the numbers of a list such as "104,117,123" or "1/255"; None for anything else."""
    try:
        return tuple(map(read_number, text.split(",")))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _preprocessing(
    net: Net, card: Card | None, named: NamedPreprocessing | None, mean: AnyPath | None, std: str | None
) -> Preprocessing:
    inputs = score_inputs(net)
    shape = net.shapes[inputs[0]] if inputs else ()
    # A net that does not take images is refused where its input is used.
    channels = shape[1] if len(shape) == 4 else 3
    of_card = card.mean if card else None
    if of_card is None and named is not None:
        of_card = Mean(value=named.mean_bgr)
    elif of_card is None and channels == 3:
        of_card = zoo.bvlc_mean()
    deviations = (card.std if card else None) or (named.std_bgr if named else (1.0,))
    if card is not None:
        used = {"mean": of_card.value if of_card and mean is None else None, "std": card.std if std is None else None}
        for key, values in used.items():
            if values is not None and len(values) not in (1, channels):
                raise FormatError(f"{card.path}: {key} has {len(values)} values, {_expected(net, channels)}")
    if std is not None:
        deviations = _values("std", std, numbers(std), net, channels)
        if min(deviations) <= 0:
            raise UsageError(f"std is {std}; expected numbers above 0")
    override = None if mean is None else _read_mean(mean, net, channels)
    return Preprocessing(of_card, override, channels, card.input_scale if card else 1.0, deviations, card)


def _read_mean(given: AnyPath, net: Net, channels: int) -> NDArray[np.float32]:
    text = os.fspath(given)
    values = numbers(text)
    if values is None and not ("," in text and not exists(Path(text))):
        return read_mean(text, channels)
    checked = _values("mean", text, values, net, channels)
    for rgb, scale in IMAGENET_RGB.items():
        if channels == 3 and np.allclose(checked, rgb, rtol=0.01):
            bgr = ",".join(f"{scale * value:.6g}" for value in reversed(rgb))
            warnings.warn(
                f"the mean {text} is that of ImageNet in the order RGB{' of pixels from 0 to 1' if scale > 1 else ''}: "
                f"Caffe's nets take BGR, 0 to 255: give {bgr}",
                PycamWarning,
                stacklevel=2,
            )
    return np.broadcast_to(np.array(checked, np.float32), channels)


def _values(name: str, text: str, values: tuple[float, ...] | None, net: Net, channels: int) -> tuple[float, ...]:
    """Check numbers that a user gives for the channels of a net."""
    if values is None:
        file = "a file, or " if name == "mean" else ""
        raise UsageError(f"{name} is {text}; expected {file}one number per channel, as in 104,117,123 (BGR)")
    if not all(abs(value) <= LARGEST for value in values):  # False for NaN
        raise UsageError(f"{name} is {text}; expected finite numbers")
    if len(values) not in (1, channels):
        raise UsageError(f"{name} is {text}: {len(values)} values, {_expected(net, channels)}")
    return values


def _expected(net: Net, channels: int) -> str:
    path = net.sources.prototxt if net.sources else "the net"
    return f"but {path} takes {_count(channels)}: give one value{f', or {channels}' if channels > 1 else ''}"


def _count(channels: int) -> str:
    return f"{channels} channel{'s' if channels > 1 else ''}"
