"""Table 4: birds recognised by classifiers of the whole image, of the box of its map, and of the bounding box."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, PycamError
from pycam.formats.files import atomic_write
from pycam.ilsvrc.cub import CubImages
from pycam.maps.boxes import RIGHT_IOU, Box, iou, shared_area
from pycam.metrics.baselines import whole_images
from pycam.model import Model
from pycam.paper.accuracy import Accuracy, Estimate, accuracy, share
from pycam.paper.classifier import LinearClassifier, fit_classifier
from pycam.paper.feature_run import Images
from pycam.paper.features import Features, default_blob, default_pooling, feature_cam
from pycam.paper.fitted_model import fitted_model
from pycam.paper.kept_features import kept_features
from pycam.paper.outputs import Cell
from pycam.paper.published import published
from pycam.predict import Cam, Choose, Prepared, make_cam
from pycam.prediction import Prediction
from pycam.protocols import Protocol
from pycam.tables import PERCENT, Table, csv_text, percent

CLASSES = ("predicted", "true-in-training", "true")
"""Whose map gives the box of an image: the predicted class; for training images its label; the label of any image."""

INPUTS = ("full image", "crop", "BBox")
"""What the classifier of each row sees, in the words of the paper."""

PAPER_MODEL, PAPER_NAME = "googlenet-cam", "GoogLeNet-GAP"
DRAWS = 200
"""How often each image gets a random box."""

Boxes = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Takes the name of a step, and how many of how many images are done."""


@dataclass(frozen=True, eq=False)
class Localization:
    """The boxes of images beside their bounding boxes.

    Attributes
    ----------
    correct : Estimate
        The share of boxes with an IoU of at least 0.5.
    right, images : int
        So many of so many boxes are correct.
    whole : int
        The number of boxes that are the whole image.
    without_peak : int
        The number of maps without a positive value, whose box is the whole image.
    area : float
        The mean share of the image's area.
    """

    correct: Estimate
    right: int
    images: int
    whole: int
    without_peak: int
    area: float


@dataclass(frozen=True, eq=False)
class BirdResults:
    """Everything that Table 4 has of a model.

    Attributes
    ----------
    birds : CubImages
        The data set.
    model : Model
        The model.
    map_class : str
        One of `CLASSES`.
    accuracies : tuple of Accuracy
        One per each of `INPUTS`.
    boxes : (n, 4) int64
        The box of each image, half-open.
    box_classes : (n,) int64
        The class whose map gives the box.
    without_peak : (n,) bool
        Whether the map has no positive value.
    predicted : (3, n) int64
        The predicted class of each image by the classifier of each of `INPUTS`.
    settings : dict
        What the results depend on.
    """

    birds: CubImages
    model: Model
    map_class: str
    accuracies: tuple[Accuracy, ...]
    boxes: NDArray[np.int64]
    box_classes: NDArray[np.int64]
    without_peak: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    settings: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The names of the rows; the paper's own, if the model and the choice are the paper's."""
        network = PAPER_NAME if self.model.card and self.model.card.name == PAPER_MODEL else self.model.name
        variant = "" if self.map_class == CLASSES[0] else f", class {self.map_class}"
        return [f"{network} on {seen}{variant if seen == 'crop' else ''}" for seen in INPUTS]

    def localization(self, part: NDArray[np.bool_]) -> Localization:
        """Return how good the boxes of a part of the images are."""
        boxes, sizes = self.boxes[part], self.birds.sizes[part]
        correct = iou(boxes, self.birds.boxes[part]) >= RIGHT_IOU
        return Localization(
            share(correct),
            int(correct.sum()),
            len(correct),
            int((boxes == whole_images(sizes)).all(axis=1).sum()),
            int(self.without_peak[part].sum()),
            float((shared_area(boxes, boxes) / sizes.prod(axis=1)).mean()),
        )

    def cells(self) -> tuple[Cell, ...]:
        """Return the cells of the table."""
        return tuple(
            Cell(name, "accuracy", *found.overall.percent, found.images)
            for name, found in zip(self.names, self.accuracies, strict=True)
        )


def bird_results(
    birds: CubImages,
    model: Model,
    folder: Path,
    *,
    protocol: Protocol,
    engine: str,
    options: Any,
    map_class: str = "predicted",
    batch: int = 8,
    progress: Progress = lambda step, done, count: None,
    **fit: Any,
) -> BirdResults:
    """Compute Table 4 for a model.

    The classifier of whole images is the class weights of the model's own net, whose maps give a box for each image.
    Two more classifiers are fitted to the crops by these boxes, and by the annotated bounding boxes.

    Parameters
    ----------
    birds : CubImages
        The data set.
    model : Model
        A model with class activation maps.
    folder : Path
        Where features are kept, so that the next run reads them.
    protocol : Protocol
        Its view and its box rule are those of the first pass; crops are seen whole.
    engine, options
        As for `pycam.load`.
    map_class : str
        One of `CLASSES`.
    batch : int
        The number of images that the net runs on together.
    progress : callable
        As in `Progress`.
    **fit
        Arguments of `fit_classifier`.

    Raises
    ------
    GroundTruthError
        A class has test images, but no training images.
    NetError
        The model has no class activation maps.
    """
    _check_classes(birds)
    blob = default_blob(model)
    pooling = default_pooling(model, blob)

    def features(step: str, boxes: NDArray[np.int64] | None, row: Protocol) -> Features:
        def show(done: int) -> None:
            progress(step, done, len(birds))

        with feature_cam(model, blob, engine=engine, protocol=row, options=options) as cam:
            path = folder / f"{step.replace(' ', '-')}.npz"
            return kept_features(cam, _images(birds, boxes), path, blob, pooling=pooling, batch=batch, progress=show)

    def fitted(found: Features) -> LinearClassifier:
        return fit_classifier(found.values[birds.is_training], birds.classes[birds.is_training], **fit)

    whole = features(INPUTS[0], None, protocol)
    first = fitted(whole)
    names = [birds.class_names[label] for label in first.classes]
    map_classes = _map_classes(first.predict(whole.values), birds, map_class)
    head = fitted_model(model, blob, first, names, pooling=pooling)
    with make_cam(head, engine=engine, protocol=protocol, options=options) as cam:
        rows = np.searchsorted(first.classes, map_classes)
        found = list(_map_boxes(cam, birds, rows, batch, progress))
    boxes = np.array([box for box, _ in found], np.int64)
    crop = protocol.with_choices(view="full")
    others = [features(INPUTS[1], boxes, crop), features(INPUTS[2], pixel_boxes(birds), crop)]
    classifiers = [first, *map(fitted, others)]
    predicted = np.array([c.predict(f.values) for c, f in zip(classifiers, [whole, *others], strict=True)])
    test = ~birds.is_training
    return BirdResults(
        birds,
        model,
        map_class,
        tuple(accuracy(each[test], birds.classes[test]) for each in predicted),
        boxes,
        map_classes,
        np.array([not has_peak for _, has_peak in found]),
        predicted,
        {
            "class of the map": map_class,
            "box rule": protocol.boxes_by,
            "view of crops": "full",
            **{f"classifier on {seen}": dict(c.settings) for seen, c in zip(INPUTS, classifiers, strict=True)},
            "features": dict(sorted(whole.about.items())),
        },
    )


def _check_classes(birds: CubImages) -> None:
    trained = set(birds.classes[birds.is_training].tolist())
    for row in np.flatnonzero(~birds.is_training):
        if (label := int(birds.classes[row])) not in trained:
            raise GroundTruthError(
                f"{birds.folder / 'train_test_split.txt'}: class {birds.class_names[label]!r} of image "
                f"{birds.names[row]!r} has no training image"
            )
    if len(trained) < 2:
        raise GroundTruthError(f"{birds.folder}: training images of one class only; expected two classes or more")


def _images(birds: CubImages, boxes: NDArray[np.int64] | None) -> Images:
    paths = tuple(map(str, birds.paths))
    labels = tuple(birds.classes.tolist())
    if boxes is None:
        return Images(birds.names, paths, labels, birds.class_names)
    corners: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
    names = tuple(f"{name} {box}" for name, box in zip(birds.names, corners, strict=True))
    return Images(names, paths, labels, birds.class_names, tuple(corners))


def pixel_boxes(birds: CubImages) -> NDArray[np.int64]:
    """Return the bounding boxes in whole pixels, at least one pixel wide and high, inside of their images: (n, 4)."""
    rounded = np.rint(birds.boxes).astype(np.int64)
    low = np.clip(rounded[:, :2], 0, birds.sizes - 1)
    return np.hstack([low, np.clip(rounded[:, 2:], low + 1, birds.sizes)])


def _map_classes(predicted: NDArray[np.int64], birds: CubImages, map_class: str) -> NDArray[np.int64]:
    """Return the class of each image whose map gives the box."""
    uses_truth = {
        "predicted": np.zeros(len(birds), bool),
        "true-in-training": birds.is_training,
        "true": np.ones(len(birds), bool),
    }[map_class]
    return np.where(uses_truth, birds.classes, predicted)


def _map_boxes(
    cam: Cam, birds: CubImages, rows: NDArray[np.intp], batch: int, progress: Progress
) -> Iterator[tuple[Box, bool]]:
    """Yield the box of each image by the map of a row of the classifier, and whether the map has a positive value."""
    paths = list(map(str, birds.paths))
    row_of = dict(zip(paths, rows, strict=True))

    def choose(row: np.intp) -> Choose:
        return lambda scores: np.array([row])

    def work(prepared: list[Prepared | PycamError]) -> list[tuple[Box, bool] | PycamError]:
        choices = [choose(np.intp(0) if isinstance(each, PycamError) else row_of[each[0].path]) for each in prepared]
        return [each if isinstance(each, PycamError) else _box(each) for each in cam.predict(prepared, choices)]

    for done, (_, found) in enumerate(cam.on_batches(paths, work, batch=batch), 1):
        if isinstance(found, PycamError):
            raise found
        yield found
        progress("boxes", done, len(paths))


def _box(prediction: Prediction) -> tuple[Box, bool]:
    (item,) = prediction.top
    has_peak = bool(item.image_map.max() > 0)
    width, height = prediction.size
    # A rule that finds no box leaves the whole image.
    return item.box or (0, 0, width, height), has_peak


def baselines(birds: CubImages) -> dict[str, float]:
    """Return the share of test images for which a box that never looks at the image has an IoU of at least 0.5.

    Random boxes are drawn `DRAWS` times per image with a fixed seed; coordinates are in shares of the image.
    """
    shares = birds.boxes / np.hstack([birds.sizes, birds.sizes])
    truth, trained = shares[~birds.is_training], shares[birds.is_training]
    generator = np.random.default_rng(0)
    sides = truth[:, 2:] - truth[:, :2]

    def hits(boxes: Boxes) -> float:
        return float((iou(boxes, truth) >= RIGHT_IOU).mean())

    def drawn(draw: Callable[[], Boxes]) -> float:
        return float(np.mean([hits(draw()) for _ in range(DRAWS)]))

    def uniform() -> Boxes:
        return generator.uniform(size=(len(truth), 2))

    def corners() -> Boxes:
        ends = np.sort(np.stack([uniform(), uniform()]), axis=0)
        return np.hstack([*ends])

    def placed(extent: Boxes) -> Boxes:
        low = uniform() * (1 - extent)
        return np.hstack([low, low + extent])

    return {
        "random corners": drawn(corners),
        "random size, then random place": drawn(lambda: placed(uniform())),
        "whole image": hits(np.broadcast_to([0.0, 0.0, 1.0, 1.0], truth.shape)),
        "size of the bounding box, random place": drawn(lambda: placed(np.minimum(sides, 1))),
        "bounding box of another test image": drawn(lambda: truth[generator.permutation(len(truth))]),
        "middle, 60 % of width and height": hits(np.broadcast_to([0.2, 0.2, 0.8, 0.8], truth.shape)),
        "mean of the training bounding boxes": hits(np.broadcast_to(trained.mean(axis=0), truth.shape)),
    }


def accuracy_table(results: BirdResults) -> Table:
    """Return our rows beside the published ones, which come with how sure they are."""
    from pandas import DataFrame

    (paper,) = (table for table in published().tables if table.number == 4)
    rows: list[dict[str, Any]] = []
    own = dict(zip(results.names, results.accuracies, strict=True))
    known = {row.name: row for row in paper.rows}
    for name in [*own, *(name for name in known if name not in own)]:
        row: dict[str, Any] = {"row": name}
        if name in own:
            found = own[name]
            row |= {"right": found.right, "images": found.images}
            for column, estimate in (("accuracy", found.overall), ("mean over classes", found.of_classes)):
                names = (column, f"{column} low", f"{column} high")
                row |= zip(names, estimate.percent, strict=True)
        if name in known:
            cell = known[name].cells["accuracy"]
            row |= {"published": cell.value, "confidence": cell.confidence, "annotation": known[name].annotation}
        rows.append(row)
    shares = [f"{column}{end}" for column in ("accuracy", "mean over classes") for end in ("", " low", " high")]
    columns = ["row", *shares, "right", "images", "published", "confidence", "annotation"]
    frame = DataFrame(rows, columns=columns).astype(
        dict.fromkeys([*shares, "published"], "float64") | {"right": "Int64", "images": "Int64"}
    )
    note = (
        "The published value does not say which of the two accuracies it is. Which class's map gives the box, and the "
        f"view, are not known either: {results.map_class}, {results.settings['features']['view']} here."
    )
    formats = {"accuracy": PERCENT, "mean over classes": PERCENT, "published": "{:.1f}".format}
    return Table(paper.title, frame, note, formats)


def box_table(results: BirdResults) -> Table:
    """Return how good the boxes are, with boxes that never look at the image."""
    from pandas import DataFrame

    birds = results.birds
    rows: list[dict[str, Any]] = []
    for part, chosen in (("test", ~birds.is_training), ("training", birds.is_training)):
        found = results.localization(chosen)
        value, low, high = found.correct.percent
        rows.append(
            {
                "box": f"map, class {results.map_class}",
                "images of": part,
                "IoU ≥ 0.5": value,
                "IoU ≥ 0.5 low": low,
                "IoU ≥ 0.5 high": high,
                "right": found.right,
                "images": found.images,
                "whole images": found.whole,
                "maps without a peak": found.without_peak,
                "mean area": percent(found.area),
            }
        )
    count = int((~birds.is_training).sum())
    blind = baselines(birds)
    for name, value in blind.items():
        rows.append({"box": name, "images of": "test", "IoU ≥ 0.5": percent(value), "images": count})
    frame = DataFrame(rows).astype(dict.fromkeys(["right", "images", "whole images", "maps without a peak"], "Int64"))
    best = max(blind, key=lambda name: blind[name])
    note = (
        f"The boxes below the map's never look at the image; of these, {best}, is correct most often: "
        f"{blind[best]:.1%}. The paper has 41.0 % for GoogLeNet-GAP, and 5.5 % by chance (both from memory); how it "
        "computed chance is not known."
    )
    return Table("Boxes of birds", frame, note, {"IoU ≥ 0.5": PERCENT, "mean area": PERCENT})


def write_boxes(results: BirdResults, path: Path) -> None:
    """Write one row per image: its part, classes, box (0-based, half-open) and IoU."""
    from pandas import DataFrame

    birds = results.birds
    names = np.array(birds.class_names, dtype=object)
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        "image": birds.names,
        "part": np.where(birds.is_training, "training", "test"),
        "class": names[birds.classes],
        "class of the map": names[results.box_classes],
    }
    columns |= dict(zip(("x0", "y0", "x1", "y1"), results.boxes.T, strict=True))
    columns["iou"] = iou(results.boxes, birds.boxes)
    for seen, predicted in zip(INPUTS, results.predicted, strict=True):
        columns[f"predicted on {seen}"] = names[predicted]
    atomic_write(path, csv_text(DataFrame(columns)))
