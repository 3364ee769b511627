"""Models with a fitted head: the net of some features, with a linear classifier of them as its class weights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from pycam.errors import FormatError, ModelError, PycamError, UsageError, escaped
from pycam.formats import caffemodel, prototxt
from pycam.formats.files import atomic_write, exists
from pycam.model import Model, load_model
from pycam.net.fitted_head import fitted_net
from pycam.paper.classifier import LinearClassifier
from pycam.paper.features import Features
from pycam.zoo.cards import Card, Weights
from pycam.zoo.checksums import checksum
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels

OTHER_NET = (
    "a classifier of its features would be wrong in this net; give the net of the features, or compute them again"
)


def fitted_model(
    model: Model,
    blob: str,
    classifier: LinearClassifier,
    names: Sequence[str],
    *,
    pooling: str = "average",
    plain: bool = False,
) -> Model:
    """Return a model whose classes are those of a classifier, for `pycam.predict.make_cam`.

    Parameters
    ----------
    model : Model
        The model whose features the classifier was fitted to.
    blob : str
        The features.
    classifier : LinearClassifier
        Its rows become the class weights.
    names : sequence of str
        The label of each row.
    pooling : {"average", "max"}
        How the features were pooled.
    plain : bool
        For the scale `l2`: leave out the layers that divide features by their norm. The maps and the order of the
        classes are the same; each score is larger by the norm of the image's features.

    Returns
    -------
    Model
        With the preprocessing of `model`. Its scores are margins, without a softmax.

    Raises
    ------
    NetError
        As `pycam.net.fitted_head.fitted_net`.
    UsageError
        `plain`, although the classifier has a bias: the order of the classes would change.
    """
    if plain and classifier.unit_norm and classifier.bias.any():
        raise UsageError(
            "scale l2 with a bias as a plain head would give other classes: leave out the bias, or write the layers "
            "that divide features by their norm"
        )
    unit_norm = classifier.unit_norm and not plain
    net, head = fitted_net(model.net, blob, classifier.weights, classifier.bias, pooling=pooling, unit_norm=unit_norm)
    # Only a card can name the head of `unit_norm`.
    card = Card(
        "fitted-head",
        "",
        Weights("fitted-head.caffemodel"),
        view=model.view,
        feature_blob=head.feature_blob,
        class_layer=head.class_layer,
        score_blob=head.score_blob,
    )
    return Model("fitted-head", net, model.preprocessing, Labels(tuple(names)), card)


def model_of_features(
    features: Features,
    path: str,
    *,
    model: str | None = None,
    prototxt: Path | None = None,
    weights: Path | None = None,
) -> Model:
    """Load the net of features, and check that it is that one.

    Parameters
    ----------
    features : Features
        From a file that `pycam features` wrote.
    path : str
        The file, for messages.
    model, prototxt, weights
        As for `pycam.model.load_model`, where the net is now. By default, where it was.

    Raises
    ------
    FormatError
        The features do not say which net they are of.
    ModelError
        The net is another one, or is not where it was.
    PycamError
        As `load_model`.
    """
    about = features.about
    if lacking := [key for key in ABOUT if key not in about]:
        raise FormatError(
            f"{path}: it does not say which {lacking[0]} its features are of: make it with `pycam features`"
        )
    if "preprocess" in about:
        raise ModelError(
            f"{path}: its features are of the ONNX file {about['net']}: a head is written as a prototxt and a "
            "caffemodel, which that net does not have; fit to the features of a Caffe net"
        )
    if model is None:
        for key, given in (("net", prototxt), ("weights", weights)):
            if given is None and not exists(about[key]):
                raise ModelError(
                    f"{path}: its {key}, {about[key]}, is not there any more: give --prototxt and --weights, or --model"
                )
    state: dict[str, Any] = {}
    with suppress(ValueError):
        state = {"phase": about["phase"], "stages": json.loads(about["stages"]), "level": int(about["level"])}
    own = model is None
    loaded = load_model(
        model,
        prototxt=prototxt or (about["net"] if own else None),
        weights=weights or (about["weights"] if own else None),
        **state,
    )
    sources = loaded.net.sources
    assert sources is not None
    files = {"net": sources.prototxt, "weights": sources.caffemodel}
    for key, found in loaded.digests.items():
        if found != about[f"{key} sha256"]:
            expected = about[f"{key} sha256"]
            raise ModelError(
                f"{files[key]}: not the {key} of {path}, {about[key]}: its SHA-256 is {found[:12]}…, not "
                f"{expected[:12]}…: {OTHER_NET}"
            )
    return loaded


ABOUT = (
    "net",
    "weights",
    "net sha256",
    "weights sha256",
    "phase",
    "stages",
    "level",
    "blob",
    "pooling",
    "view",
    "protocol",
    "input_scale",
    "std",
)
"""What features must say of themselves, so that a head can be made for them."""


def write_fitted_model(
    out: Path, fitted: Model, features: Features, classifier: LinearClassifier, labels: Labels
) -> list[Path]:
    """Write a fitted model as files that other commands take: `--model head.yaml`.

    Parameters
    ----------
    out : Path
        The caffemodel. The deploy net (`.prototxt`), the labels (`.txt`), the card (`.yaml`) and, if there is one, the
        mean image (`_mean.npy`) get its name.
    fitted : Model
        From `fitted_model`.
    features : Features
        What the classifier was fitted to.
    classifier : LinearClassifier
        For the notes of the card.
    labels : Labels
        The labels of the rows.

    Returns
    -------
    list of Path
        The files. Equal arguments give equal bytes. The card is written last.

    Raises
    ------
    PycamError
        What would be read back is another model, for example because a label has a line break.
    """
    net, card = fitted.net, fitted.card
    assert card is not None
    if not out.stem.isprintable():
        raise UsageError(f"{out}: a model card cannot name files with such characters: choose another name")
    names = {kind: f"{out.stem}{suffix}" for kind, suffix in FILES.items()}
    with TemporaryDirectory(dir=out.parent, prefix=".pycam-") as folder:
        staged = Path(folder)
        prototxt.write(staged / names["net"], net.message)
        caffemodel.write(staged / names["weights"], net.message, net.params)
        _write_labels(staged / names["labels"], labels)
        mean: dict[str, Any] = {}
        if features.mean is not None and features.mean.ndim == 1:
            mean = {"mean": {"value": [float(f"{value:.9g}") for value in features.mean.tolist()]}}
        elif features.mean is not None:
            np.save(staged / names["mean"], features.mean)
            mean = {"mean": {"image": names["mean"]}}
        settings = ", ".join(f"{key} {value}" for key, value in classifier.settings.items())
        about = features.about
        content = {
            "name": re.sub(r"[^A-Za-z0-9._+-]", "-", out.stem).lstrip("._+-") or "head",
            "title": escaped(f"{out.stem}: {len(labels)} classes on {about.get('model', 'a net')}"),
            "prototxt": names["net"],
            "weights": {"file": names["weights"], "sha256": checksum(staged / names["weights"], "sha256")},
            "labels": names["labels"],
            **mean,
            "input_scale": float(about["input_scale"]),
            "view": about["view"],
            "std": [float(value) for value in about["std"].split(",")],
            "feature_blob": card.feature_blob,
            "class_layer": card.class_layer,
            "score_blob": card.score_blob,
            "notes": escaped(
                f"A linear support vector machine on {about['pooling']}-pooled {about['blob']}: {settings}. Fitted to "
                f"{len(features.images)} images with the view {about['view']} of protocol {about['protocol']}. Scores "
                "are margins, not probabilities."
            ),
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        atomic_write(staged / names["card"], text)
        _check(load_model(staged / names["card"]), fitted, labels)
        written = []
        for name in (name for name in names.values() if exists(staged / name)):
            (staged / name).replace(out.parent / name)
            written.append(out.parent / name)
    return written


FILES = {
    "weights": ".caffemodel",
    "net": ".prototxt",
    "labels": ".txt",
    "mean": "_mean.npy",
    "card": ".yaml",
}
"""The files of a fitted model, in the order in which they are put in place."""


def _write_labels(path: Path, labels: Labels) -> None:
    """Write one label per line, or a table if the lines would be read as something else."""
    wnids = labels.wnids or ()
    lines = [" ".join(each) for each in zip(wnids, labels.names, strict=True)] if wnids else labels.names
    atomic_write(path, "\n".join(lines) + "\n")
    with suppress(FormatError):
        if read_labels(path).names == labels.names:
            return
    rows = [f"{index}\t{name}" for index, name in enumerate(labels.names)]
    atomic_write(path, "\n".join(["index\tlabel", *rows]) + "\n")


def _check(found: Model, fitted: Model, labels: Labels) -> None:
    """Check that what was written is read as what it was."""
    if found.labels.names != labels.names:
        pairs = zip(labels.names, found.labels.names, strict=False)
        name = next((name for name, other in pairs if name != other), labels.names[-1])
        raise UsageError(f"class {name!r} cannot be a line of a label file: give other names with --labels")
    found.check_labels()
    card = fitted.card
    assert card is not None
    if found.net != fitted.net or found.head.class_layer != card.class_layer:
        raise PycamError("the net differs when it is read back: try another disk")
