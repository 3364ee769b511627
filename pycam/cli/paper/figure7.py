"""`pycam paper figure7` and `pycam paper figure8`: maps of classifiers of new classes, of birds with boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.cli import options
from pycam.cli.figure import Dpi, Width
from pycam.cli.paper.heads import FULL, FitOptions, Heads, Out, Seed, save_figure
from pycam.console import Notes
from pycam.drawing.print_figure import PAPER, Grid, Panel
from pycam.errors import UsageError, suggest
from pycam.ilsvrc.cub import is_cub, read_cub_images
from pycam.paper.datasets.class_folders import read_class_folders
from pycam.prediction import ClassPrediction, Prediction

Data = Annotated[Path, typer.Option(help="Folder with one folder of images per class.", show_default=False)]


@dataclass(frozen=True)
class FigureOptions:
    """What the figure shows, and its size."""

    shown: Annotated[
        list[str] | None, typer.Option("--class", help="Class to show, one or more. Default: the first ones.")
    ] = None
    per_class: Annotated[int, typer.Option(min=1, help="Images to show per class.")] = 2
    training: Annotated[
        int, typer.Option(min=1, help="Training images per class, chosen by --seed; the maps are of the others.")
    ] = 30
    seed: Seed = 0
    width: Width = PAPER["columns"]
    dpi: Dpi = 300
    batch: options.Batch = 8


@dataclass(frozen=True, eq=False)
class Images:
    """Images of classes, for training and for the figure; boxes are ground truth in pixels."""

    names: Sequence[str]
    training: Sequence[Path]
    training_labels: NDArray[np.int64]
    test: Sequence[Path]
    test_labels: NDArray[np.int64]
    boxes: Mapping[Path, Sequence[float]] = field(default_factory=dict)


@options.grouped
def figure7(
    context: typer.Context,
    data: Data,
    source: options.ModelOptions,
    maps: options.BoxOptions = FULL,
    fit: FitOptions = FitOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    figure: FigureOptions = FigureOptions(),
    out: Out = Path("figure7"),
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 7: maps of the classes of another data set, from a support vector machine as the net's head.

    A one-vs-rest classifier of all classes is fitted to the features of the training images. The map is that of the
    predicted class; where it is not the ground-truth class, the map of that one is beside it.
    """
    heads = Heads(source, maps, engine, fit, Notes(quiet))
    _svm_figure(context, 7, heads, _by_folders(data, figure), figure, out)


@options.grouped
def figure8(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(help="CUB_200_2011, or a folder with one folder of images per class.", show_default=False)
    ],
    source: options.ModelOptions,
    maps: options.BoxOptions = FULL,
    fit: FitOptions = FitOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    figure: FigureOptions = FigureOptions(),
    out: Out = Path("figure8"),
    quiet: options.Quiet = False,
) -> None:
    """Make Figure 8: maps and boxes of birds, from a support vector machine as the net's head.

    The boxes by the 20 % rule are red, the ground truth of CUB_200_2011 is green. That data set has a split of its own:
    --training and --seed are for other data.
    """
    if is_cub(data):
        options.refuse(context, f"{data} has a split of its own", "training", "seed")
    images = _of_cub(data) if is_cub(data) else _by_folders(data, figure)
    heads = Heads(source, maps, engine, fit, Notes(quiet))
    _svm_figure(context, 8, heads, images, figure, out)


def _by_folders(folder: Path, figure: FigureOptions) -> Images:
    found = read_class_folders(folder, training=figure.training, test=None, splits=figure.seed + 1)
    split = found.splits[figure.seed]
    paths, labels = np.array(found.paths, dtype=object), found.labels
    train, test = split.training, split.test
    return Images(found.class_names, list(paths[train]), labels[train], list(paths[test]), labels[test])


def _of_cub(folder: Path) -> Images:
    found = read_cub_images(folder)
    paths, is_training = found.paths, found.is_training
    parts = [[path for path, own in zip(paths, which, strict=True) if own] for which in (is_training, ~is_training)]
    boxes = dict(zip(paths, found.boxes.tolist(), strict=True))
    labels = found.classes
    return Images(found.class_names, parts[0], labels[is_training], parts[1], labels[~is_training], boxes)


_CLASSES_SHOWN = {7: 3, 8: 4}
"""How many classes each figure shows without --class, as in the paper."""


def _svm_figure(
    context: typer.Context, number: int, heads: Heads, images: Images, figure: FigureOptions, out: Path
) -> None:
    """Fit a classifier to all classes, and draw some test images of the classes to show."""
    labels, per_class = _chosen(images, figure.shown, _CLASSES_SHOWN[number]), figure.per_class
    chosen = {
        label: [images.test[row] for row in np.flatnonzero(images.test_labels == label)[:per_class]] for label in labels
    }
    classifier = heads.fit(heads.features(images.training, figure.batch), images.training_labels)
    names = [images.names[label] for label in classifier.classes]
    predictions: dict[Path, Prediction] = {}
    with heads.cam(classifier, names) as cam:
        for label, paths in chosen.items():
            own = int(np.flatnonzero(classifier.classes == label)[0])
            for path in paths:
                best = cam(path, top=1)
                classes = [best.top[0].index, own]
                predictions[path] = cam(path, classes=classes) if classes[0] != own else best
    several = any(len(found.top) > 1 for found in predictions.values())
    grid = Grid(per_class * (3 if several else 2), figure.width, figure.dpi)

    def of_image(label: int, path: Path) -> list[Panel | None]:
        found = predictions[path]
        truth = [images.boxes[path]] if path in images.boxes else []
        panels: list[Panel | None] = [found.panel(grid, None, captions=[images.names[label]], truth=truth)]
        panels += [
            found.panel(grid, item.rank, captions=margin_caption(item), box=number == 8, truth=truth)
            for item in found.top
        ]
        return panels + [None] * (several + 2 - len(panels))

    rows = [[panel for path in paths for panel in of_image(label, path)] for label, paths in chosen.items()]
    headings = ["image", "predicted class", *(["ground-truth class"] if several else [])] * per_class
    about = "boxes by the rule of the protocol in red, ground truth in green; " if number == 8 else ""
    caption = (
        f"Maps of {len(names)} classes by a linear support vector machine on {heads.blob} of {heads.model.name}, "
        f"fitted to {len(images.training)} images; {about}the class is the predicted one, and beside it the "
        "ground-truth class where it differs. The images are the first test images of their class."
    )
    settings = heads.settings(classifier, classes=[images.names[label] for label in labels], boxes=heads.row.boxes_by)
    save_figure(context, number, out, grid, rows, headings, caption, settings, heads.notes)


def margin_caption(item: ClassPrediction) -> list[str]:
    """Return the caption of the map of a classifier: the class, and its margin, which is no probability."""
    return [item.label, f"margin {item.score:.2f}"]


def _chosen(images: Images, shown: Sequence[str] | None, count: int) -> list[int]:
    """Return the labels of the classes to show."""
    tested = set(images.test_labels.tolist())
    if not shown:
        return [label for label in range(len(images.names)) if label in tested][:count]
    found = []
    for name in shown:
        if name not in images.names:
            hint = suggest(name, images.names, f"expected one of {', '.join(list(images.names)[:12])}")
            raise UsageError(f"--class {name}: no such class in the data; {hint}")
        found.append(list(images.names).index(name))
    return found
