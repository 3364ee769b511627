"""Table 5: linear classifiers of three features on eight data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.paper.accuracy import Estimate, accuracy, class_mean
from pycam.paper.classifier import fit_classifier
from pycam.paper.datasets import AttributeImages, DataSet, LabelledImages
from pycam.paper.outputs import Cell
from pycam.paper.published import published
from pycam.tables import Table, percent

ATTRIBUTES = "average precision"
LEVEL = 0.975
"""The quantile of the upper bound of a 95 % interval."""


@dataclass(frozen=True)
class FeatureRow:
    """A row of the table.

    Attributes
    ----------
    name : str
        As in the paper, or of an extra row.
    model : str
        The name of the model.
    blob : str
        The blob of the features.
    """

    name: str
    model: str
    blob: str


def paper_rows() -> tuple[FeatureRow, ...]:
    """Return the paper's rows: three features."""
    (paper,) = (table for table in published().tables if table.number == 5)
    return tuple(FeatureRow(row.name, row.model, row.blob) for row in paper.rows if row.model and row.blob)


@dataclass(frozen=True)
class SetScore:
    """The score of a feature on a data set.

    Attributes
    ----------
    row : FeatureRow
        The feature.
    column : str
        The data set, as the paper names it.
    measure : str
        "accuracy", or "average precision" for attributes.
    value : Estimate
        The share of all images that are right, the mean over the splits; or the mean over the attributes. With several
        splits, the interval is that of the mean over splits; with one, a bootstrap over images, or that of the mean
        over attributes.
    of_classes : float, optional
        The mean over the classes of the share of their images, and over the splits; None for attributes.
    deviation : float, optional
        The standard deviation over the splits; None for one split.
    splits, training, test : int
        The number of splits, and of the images of the first one.
    how : str
        How the images are split.
    classifier : mapping
        How the classifiers were fitted.
    """

    row: FeatureRow
    column: str
    measure: str
    value: Estimate
    of_classes: float | None
    deviation: float | None
    splits: int
    training: int
    test: int
    how: str
    classifier: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        """The cell of the table."""
        return Cell(self.row.name, self.column, *self.value.percent, self.test)


def score(
    row: FeatureRow,
    data_set: DataSet,
    images: LabelledImages | AttributeImages,
    values: NDArray[np.float32],
    progress: Callable[[], None] = lambda: None,
    **fit: Any,
) -> SetScore:
    """Fit and test linear classifiers on each split of a data set.

    Parameters
    ----------
    row : FeatureRow
        The feature.
    data_set : DataSet
        The data set.
    images : LabelledImages or AttributeImages
        Its images.
    values : (n, K) float32
        Their features.
    progress : callable
        Called after each split.
    **fit
        Arguments of `fit_classifier`.
    """
    if isinstance(images, AttributeImages):
        return _attribute_score(row, data_set, images, values, progress, **fit)
    shares: list[float] = []
    of_classes: list[float] = []
    for split in images.splits:
        classifier = fit_classifier(values[split.training], images.labels[split.training], **fit)
        predicted, labels = classifier.predict(values[split.test]), images.labels[split.test]
        shares.append(float((predicted == labels).mean()))
        of_classes.append(class_mean(predicted == labels, labels))
        progress()
    estimate = _over_splits(shares) if len(shares) > 1 else accuracy(predicted, labels).overall
    return SetScore(
        row,
        data_set.column,
        "accuracy",
        estimate,
        float(np.mean(of_classes)),
        _deviation(shares),
        len(images.splits),
        len(images.splits[0].training),
        len(images.splits[0].test),
        images.how,
        classifier.settings,
    )


def _attribute_score(
    row: FeatureRow,
    data_set: DataSet,
    images: AttributeImages,
    values: NDArray[np.float32],
    progress: Callable[[], None],
    **fit: Any,
) -> SetScore:
    found = []
    for split in images.splits:
        precisions = []
        for attribute, part in enumerate(split):
            has = images.has_attribute[:, attribute]
            classifier = fit_classifier(values[part.training], has[part.training], **fit)
            margins = classifier.decisions(values[part.test])[:, list(classifier.classes).index(1)]
            precisions.append(average_precision(has[part.test], margins))
        found.append(float(np.mean(precisions)))
        progress()
    estimate = _over_splits(found if len(found) > 1 else precisions)
    parts = [(part.training, part.test) for part in images.splits[0]]
    training, test = (len(np.unique(np.concatenate(rows))) for rows in zip(*parts, strict=True))
    return SetScore(
        row,
        data_set.column,
        ATTRIBUTES,
        estimate,
        None,
        _deviation(found),
        len(images.splits),
        training,
        test,
        images.how,
        classifier.settings,
    )


def average_precision(is_positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the area below the curve of precision over recall, without interpolation.

    Parameters
    ----------
    is_positive : (n,) bool
        At least one is positive.
    scores : (n,) float
        Equal scores are taken together.

    Returns
    -------
    float
        The sum over the thresholds n of (R_n - R_(n-1)) · P_n.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(is_positive[order])[ends]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (ends + 1)) / hits[-1])


def _over_splits(values: list[float]) -> Estimate:
    """Return the mean of shares, and its interval by Student's t, cut off at 0 and 1."""
    from scipy.special import stdtrit

    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Estimate(mean, mean, mean)
    half = float(stdtrit(count - 1, LEVEL)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def _deviation(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def table(scores: list[SetScore], missing: list[str]) -> Table:
    """Return the scores beside the published values, and sentences about what is missing."""
    from pandas import DataFrame

    (paper,) = (table for table in published().tables if table.number == 5)
    known = {(row.name, column): cell for row in paper.rows for column, cell in row.cells.items()}
    rows = []
    for each in scores:
        cell = known.get((each.row.name, each.column))
        value, low, high = each.value.percent
        rows.append(
            {
                "data set": each.column,
                "feature": each.row.name,
                "value": value,
                "value low": low,
                "value high": high,
                "deviation": None if each.deviation is None else percent(each.deviation),
                "mean over classes": None if each.of_classes is None else percent(each.of_classes),
                "splits": each.splits,
                "training": each.training,
                "test": each.test,
                "measure": each.measure,
                "published": cell and cell.value,
                "confidence": cell and cell.confidence,
                "split": each.how,
            }
        )
    numbers = ["value", "value low", "value high", "deviation", "mean over classes", "published"]
    frame = DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
    note = (
        "In percent. An accuracy is the share of all test images; the published value does not say whether it is that "
        "or the mean over classes. Intervals (95 %) are over splits where there are several, else over images."
    )
    formats = dict.fromkeys(numbers, "{:.2f}".format)
    return Table(paper.title, frame, "\n".join([note, *missing]), formats)
