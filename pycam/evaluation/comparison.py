"""Compare runs and submissions on the same images: differences with their intervals and tests, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.evaluation.figures import ACCURACIES
from pycam.evaluation.results import Results
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.predictions import Predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.metrics.box_accuracy import BoxAccuracy
from pycam.metrics.intervals import interval
from pycam.metrics.paired import difference_interval, mcnemar
from pycam.tables import PERCENT, Table, percent

KNOWN = "localization, class known"
TESTS = (
    "Difference: the second less the first, with its paired 95 % bootstrap interval. Fixed, regressed: right only in "
    "the second, and only in the first. p: McNemar's test, exact; mid-p: the same, less conservative."
)
COLUMNS = ("figure", "difference", "fixed", "regressed", "p", "mid-p")
"""Columns of a comparison beside those of the two labels, which cannot have these names."""

SHOWN = 20
"""Number of changed images that a terminal shows."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What a run or a submission has right.

    Attributes
    ----------
    label : str
        Its name in tables.
    truth : GroundTruth
        Ground truth of its n images.
    right : mapping
        Name of each error -> whether the image is right, (n,) bool. Localization is right or wrong for the images that
        are not blacklisted only.
    hits : (n, 4, 125) uint8, optional
        As `pycam.evaluation.results.Results.hits`.
    """

    label: str
    truth: GroundTruth
    right: Mapping[str, NDArray[np.bool_]]
    hits: NDArray[np.uint8] | None = None

    @classmethod
    def of_predictions(cls, label: str, predictions: Predictions, truth: GroundTruth) -> Judged:
        """Judge a submission.

        Raises
        ------
        GroundTruthError
            The number of predictions is not the number of images.
        """
        scores = score_predictions(predictions, truth)
        right = {f"classification, top-{k}": scores.classified[:, k - 1] for k in (1, 5)}
        if scores.localized is not None:
            for k in (1, 5):
                right[f"localization, top-{k}"] = _of_all(scores.localized[:, k - 1], truth)
        return cls(label, truth, right)

    @classmethod
    def of_results(cls, label: str, results: Results) -> Judged:
        """Judge a run; of the release's submissions, `bbox1`."""
        judged = cls.of_predictions(label, results.predictions("bbox1"), results.truth)
        known = {}
        if results.truth.has_boxes:
            known[KNOWN] = _of_all(results.known_class_hits[:, 0], results.truth)
        return replace(judged, right={**judged.right, **known}, hits=results.hits)

    def select(self, names: Sequence[str]) -> Judged:
        """Return the same for the named images only, in the order of the names."""
        row = {name: number for number, name in enumerate(self.truth.names)}
        rows = np.array([row[name] for name in names], np.int64)
        right = {name: values[rows] for name, values in self.right.items()}
        hits = None if self.hits is None else self.hits[rows]
        return replace(self, truth=self.truth.select(names), right=right, hits=hits)


def compare(judged: Sequence[Judged]) -> list[Table]:
    """Compare each run or submission with the first, on the images that all have.

    Parameters
    ----------
    judged : sequence of Judged
        Two or more, with different labels.

    Returns
    -------
    list of Table
        For each but the first: its differences, and the images that it fixes and regresses.

    Raises
    ------
    UsageError
        They have no image in common, or different ground truth.
    """
    first, *others = same_images(judged)
    return list(chain.from_iterable((differences(first, other), changes(first, other)) for other in others))


def same_images(judged: Sequence[Judged]) -> list[Judged]:
    """Return the same for the images that all have.

    Raises
    ------
    UsageError
        They have no image in common, or different ground truth.
    """
    common_names = set.intersection(*(set(each.truth.names) for each in judged))
    names = [name for name in judged[0].truth.names if name in common_names]
    if not names:
        raise UsageError(
            f"{judged[0].label} and the others have no image in common: compare results for the same images"
        )
    common = [each.select(names) for each in judged]
    for other in common[1:]:
        if replace(other.truth, sizes=common[0].truth.sizes).digest() != common[0].truth.digest():
            raise UsageError(
                f"{common[0].label} and {other.label} have different ground truth for the same images: compare results "
                "that were made with the same --ground-truth, --ground-truth-classes and --blacklist"
            )
    return common


def differences(first: Judged, second: Judged) -> Table:
    """Return a table with the figures of two, their differences, and the tests; the images are the same."""
    from pandas import DataFrame

    columns = [first.label, second.label, "difference"]
    frame = DataFrame(list(chain(_errors(first, second), _accuracies(first, second))))
    formats = dict.fromkeys(columns, PERCENT) | {"difference": "{:+.2f}%".format}
    formats |= {"fixed": "{:.0f}".format, "regressed": "{:.0f}".format} | dict.fromkeys(("p", "mid-p"), "{:.3g}".format)
    title = f"{first.label} and {second.label}, {len(first.truth)} images"
    return Table(title, frame, TESTS, formats)


def _errors(first: Judged, second: Judged) -> Iterator[dict[str, object]]:
    """Yield the errors, in percent: a difference below 0 says that the second is better."""
    for name in (each for each in first.right if each in second.right):
        counted = _counted(first, name)
        one, other = first.right[name][counted], second.right[name][counted]
        if not len(one):
            continue
        low, high = difference_interval(~one, ~other)
        test = mcnemar(one, other)
        yield {
            "figure": name,
            first.label: percent(float((~one).mean())),
            second.label: percent(float((~other).mean())),
            "difference": percent(float((~other).mean() - (~one).mean())),
            "difference low": percent(low),
            "difference high": percent(high),
            "fixed": test.fixed,
            "regressed": test.regressed,
            "p": test.p,
            "mid-p": test.mid_p,
        }


def _accuracies(first: Judged, second: Judged) -> Iterator[dict[str, object]]:
    """Yield MaxBoxAcc and MaxBoxAccV2: a difference above 0 says that the second is better.

    Each sample of the images has its own best thresholds, so that images are not right or wrong, and no test applies.
    """
    counted = first.truth.counted
    if first.hits is None or second.hits is None or not len(counted):
        return
    accuracies = [BoxAccuracy(each.hits[counted]) for each in (first, second) if each.hits is not None]
    # The same seed draws the same images for both.
    samples = [accuracy.samples() for accuracy in accuracies]
    bounds = interval(samples[1] - samples[0]).tolist()
    whole = [(each.max_box_acc, each.max_box_acc_v2["mean"]) for each in accuracies]
    for key, one, other, (low, high) in zip(
        ("max_box_acc", "max_box_acc_v2"), *whole, (bounds[0], bounds[-1]), strict=True
    ):
        yield {
            "figure": ACCURACIES[key],
            first.label: one,
            second.label: other,
            "difference": other - one,
            "difference low": low,
            "difference high": high,
        }


def changes(first: Judged, second: Judged) -> Table:
    """Return a table with the images that the second fixes and regresses: their box, or their class without boxes."""
    from pandas import DataFrame

    name = next(each for each in ("localization, top-1", "classification, top-1") if each in first.right)
    counted = _counted(first, name)
    one, other = first.right[name][counted], second.right[name][counted]
    names = np.array(first.truth.names, object)[counted]
    rows = [
        {"image": image, "change": change}
        for change, changed in (("fixed", ~one & other), ("regressed", one & ~other))
        for image in names[changed]
    ]
    title = f"Fixed and regressed by {second.label}: {name}"
    return Table(title, DataFrame(rows, columns=["image", "change"], dtype=object))


def _counted(judged: Judged, name: str) -> NDArray[np.int64]:
    truth = judged.truth
    return truth.counted if name.startswith("localization") else np.arange(len(truth))


def _of_all(counted: NDArray[np.bool_], truth: GroundTruth) -> NDArray[np.bool_]:
    """Return the values of the images that are not blacklisted as those of all images."""
    right = np.zeros(len(truth), bool)
    right[truth.counted] = counted
    return right
