"""`pycam net fit`: a linear classifier of features, as the class weights of their net."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pycam.cli import options
from pycam.cli.net_cam import check_paths
from pycam.console import print_error, print_line
from pycam.errors import FormatError, UsageError
from pycam.paper.classifier import SCALES, fit_classifier
from pycam.paper.features import Features
from pycam.paper.fitted_model import FILES, fitted_model, model_of_features, write_fitted_model
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels


class ClassWeight(str, Enum):
    """How the images of a class are weighted."""

    NONE = "none"
    BALANCED = "balanced"


def fit(
    context: typer.Context,
    features: Annotated[Path, typer.Argument(help="Features with labels, from `pycam features`.")],
    out: Annotated[
        Path,
        typer.Option(help="Output: the caffemodel. Its net, labels and model card are written next to it."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels of the classes, as for `pycam heatmap`, from 0 on. Default: those of the features."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model of the features.", autocompletion=options.models),
    ] = None,
    prototxt: Annotated[Path | None, typer.Option(help="Net of the features. Default: where it was.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Its caffemodel. Default: where it was.")] = None,
    c: Annotated[float, typer.Option("--c", help="Weight of the loss; it depends on the scale.")] = 1.0,
    scale: Annotated[
        str, options.one_of(SCALES, "What features are divided by; l2 adds layers that do it in the net")
    ] = "mean-norm",
    class_weight: Annotated[
        ClassWeight, typer.Option(help="Weight of a class's images: none, or balanced by their number.")
    ] = ClassWeight.NONE,
    bias: Annotated[
        bool, typer.Option("--bias", help="Learn a bias. Maps leave it out, and boxes become larger.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="For --scale l2: without its layers; scores are not comparable.")
    ] = False,
    dual: Annotated[bool, typer.Option("--dual", help="Solve the dual problem, as LIBLINEAR's own default.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Order of the images in the dual solver.")] = 0,
    tolerance: Annotated[float, typer.Option(help="Tolerance that ends the solver.")] = 1e-4,
    max_iter: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Most iterations of the solver.")] = 10000,
    quiet: options.Quiet = False,
) -> None:
    """Fit a linear classifier to features, and write it as the class weights of their net.

    The classifier is a one-vs-rest support vector machine. The written model card, OUT with .yaml, is for `--model` of
    `pycam heatmap`, `evaluate`, `report` and `serve`. Scores are margins, not probabilities.
    """
    if not dual:
        options.refuse(
            context, "only the dual solver visits images in an order", "seed", fix="add --dual, or leave it out"
        )
    if scale != "l2":
        options.refuse(context, "only scale l2 has layers of its own", "plain")
    if prototxt is not None and weights is not None:
        options.refuse(context, "the net and its weights are given", "model")
    if out.suffix != ".caffemodel":
        raise UsageError(f"--out {out}: expected a name that ends in .caffemodel")
    written = [out.parent / f"{out.stem}{suffix}" for suffix in FILES.values()]
    check_paths(written, [path for path in (features, labels, prototxt, weights) if path is not None])

    found = Features.load(features)
    names = _class_names(found, features, labels)
    source = model_of_features(found, str(features), model=model, prototxt=prototxt, weights=weights)
    check_paths(written, [Path(path) for path in (found.about["net"], found.about["weights"])])
    about = found.about
    targets = found.labels
    assert targets is not None
    classifier = fit_classifier(
        found.values,
        targets,
        c=c,
        scale=scale,
        bias=bias,
        class_weight=None if class_weight is ClassWeight.NONE else class_weight.value,
        tolerance=tolerance,
        max_iter=max_iter,
        seed=seed,
        dual=dual,
    )
    fitted = fitted_model(source, about["blob"], classifier, names.names, pooling=about["pooling"], plain=plain)
    for path in write_fitted_model(out, fitted, found, classifier, names):
        print_line(path)
    if quiet:
        return
    right = float((classifier.predict(found.values) == targets).mean())
    print_error(f"{len(names)} classes, {len(targets)} images, {right:.2%} of them right; {scale}, C {c:g}")
    if not classifier.settings["converged"]:
        print_error(f"the solver stopped after {max_iter} iterations without converging: raise --max-iter")
    print_error(f"class maps: {fitted.head}")
    for note in (*names.notes, *fitted.notes(boxes=True)):
        print_error(note)


def _class_names(features: Features, path: Path, labels: Path | None) -> Labels:
    """Return the name of each label, after a check that names and labels belong together."""
    if features.labels is None:
        raise UsageError(
            f"{path}: features without labels: compute them from a list with labels, @list.txt, or from a folder with "
            "one folder per class"
        )
    if not np.isfinite(features.values).all():
        row = int(np.argmin(np.isfinite(features.values).all(axis=1)))
        raise FormatError(f"{path}: image {features.images[row]!r} (row {row}) has features that are not finite")
    if labels is not None:
        names = read_labels(labels)
    elif features.class_names is not None:
        names = Labels(features.class_names, path=str(path))
    else:
        raise UsageError(f"{path}: labels without names: give the names of the classes, one per line, with --labels")
    given = names.names
    if labels is not None and features.class_names is not None:
        folders = features.class_names
        for number, (name, folder) in enumerate(zip(given, folders, strict=False), 1):
            if name != folder and name in folders:
                raise FormatError(
                    f"{labels}:{number}: {name!r}, but label {number - 1} of {path} is {folder!r}: write the names in "
                    "the order of the labels, or leave out --labels"
                )
    where = f"{labels}:{{}}" if labels is not None else f"{path}: class {{}}"
    present = np.unique(features.labels)
    if present[0] < 0 or present[-1] >= len(given):
        bad = int(present[0] if present[0] < 0 else present[present >= len(given)][0])
        image = features.images[int(np.argmax(features.labels == bad))]
        raise FormatError(
            f"{where.format(bad + 1 if bad >= 0 else 1)}: no name for label {bad} of image {image!r}: there are "
            f"{len(given)} names, for labels 0 to {len(given) - 1}"
        )
    if len(present) > 1 and len(present) < len(given):
        lacking = next(label for label in range(len(given)) if label not in present)
        raise FormatError(
            f"{where.format(lacking + 1)}: class {given[lacking]!r} (label {lacking}) has no image in {path}: "
            "remove the name, or add images"
        )
    if len(present) == 1:
        raise UsageError(
            f"{path}: all {len(features.labels)} images have label {present[0]} ({given[present[0]]!r}): a classifier "
            "needs two classes or more"
        )
    return names
