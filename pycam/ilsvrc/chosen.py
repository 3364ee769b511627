"""The threshold of localization errors: given, the best of the set, or the best of another, such as validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pycam.errors import UsageError
from pycam.formats.files import is_folder
from pycam.formats.opening import read_file
from pycam.maps.rules import PYTHON_ONLY, box_rules
from pycam.metrics.box_accuracy import RULES, BoxAccuracy

LARGEST = 1 << 28
"""The largest number of bytes of a report."""


@dataclass(frozen=True)
class Chosen:
    """Where the threshold comes from.

    Attributes
    ----------
    source : str
        What a report says of it.
    option : str
        The option that gives it; empty for the best threshold of the set itself.
    thresholds : mapping
        Threshold of each rule, the first four of `RULES`; only that of the first if it is given as a number.
    """

    source: str = "the best of these maps"
    option: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, threshold: float | None, run: Path | None) -> Chosen:
        """Choose by the options of a command: a number, or the result of another set.

        Raises
        ------
        UsageError
            Both are given, or the result is of another kind.
        """
        if threshold is not None and run is not None:
            raise UsageError("--threshold and --threshold-from: give only one of them")
        if threshold is not None:
            return cls("given", "--threshold", {RULES[0]: threshold})
        return BEST if run is None else cls(str(run), "--threshold-from", best_thresholds(run))

    def figures(self, accuracy: BoxAccuracy) -> dict[str, Any]:
        """Return the threshold and its source, and the accuracies at thresholds of another set, as in reports.

        Raises
        ------
        UsageError
            A threshold is not among those of the accuracy.
        """
        if not self.thresholds:
            return {"threshold": float(accuracy.best_thresholds[0]), "threshold_from": self.source}
        found = [_position(threshold, accuracy.thresholds, self.option) for threshold in self.thresholds.values()]
        at = {"at_thresholds": {"thresholds": dict(self.thresholds)} | accuracy.at(found)} if len(found) > 1 else {}
        return {"threshold": self.thresholds[RULES[0]], "threshold_from": self.source} | at

    def right(self, accuracy: BoxAccuracy) -> NDArray[np.bool_]:
        """Return whether the box of the largest contour is correct at the threshold: (n,) bool."""
        threshold = self.thresholds.get(RULES[0], accuracy.best_thresholds[0])
        return accuracy.hits(0)[:, _position(threshold, accuracy.thresholds, self.option)]


BEST = Chosen()


@dataclass(frozen=True)
class Rule:
    """A named box rule with its threshold, in place of the largest contour.

    Attributes
    ----------
    name : str
        Its name in `pycam.box_rules`.
    threshold : float or None
        None for a rule without one.
    source : str
        Where the threshold comes from.
    """

    name: str
    threshold: float | None
    source: str

    @classmethod
    def of(cls, name: str, threshold: float | None) -> Rule:
        """Choose a rule by its name, and its threshold; without one, the rule's default.

        Raises
        ------
        UsageError
            No rule has the name, the rule needs more than a map, or it does not take the threshold.
        """
        rule = box_rules[name]
        if name in PYTHON_ONLY:
            raise UsageError(PYTHON_ONLY[name])
        if rule.needs_image:
            raise UsageError(f"box rule {name!r} needs the pixels of the image, which maps do not have: choose another")
        if threshold is not None:
            rule.check_threshold(threshold)
            return cls(name, threshold, "given")
        return cls(name, None if rule.threshold is None else rule.threshold.default, "the rule's default")

    def find_boxes(self, score_map: NDArray[Any]) -> NDArray[Any]:
        """Return the boxes of a map, (b, 4), half-open, in pixels of the map."""
        boxes: NDArray[Any] = box_rules[self.name](score_map, self.threshold)
        return boxes

    def figures(self) -> dict[str, Any]:
        """Return the rule, its threshold and where that comes from, as in reports."""
        return {"box_rule": self.name, "threshold": self.threshold, "threshold_from": self.source}


class _Report(msgspec.Struct):
    """What is needed of a report."""

    best_thresholds: dict[str, float]


def best_thresholds(path: Path) -> dict[str, float]:
    """Read the best thresholds of a set: of the rules of MaxBoxAcc and MaxBoxAccV2, as in `RULES`.

    Parameters
    ----------
    path : Path
        What `pycam score --maps … --json` printed; or a run of `pycam evaluate` with the metric `max_box_acc`, or its
        `report.json`.

    Raises
    ------
    UsageError
        The file is of another kind.
    """
    file = path / "report.json" if is_folder(path) else path
    expected = "the result of `pycam score --maps … --json`, or a run of `pycam evaluate --set metric=max_box_acc`"
    try:
        found = msgspec.json.decode(read_file(file, expected, LARGEST, UsageError), type=_Report).best_thresholds
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: expected {expected}, with `best_thresholds`, but: {error}") from None
    if missing := [rule for rule in RULES[:4] if not 0 <= found.get(rule, -1) < 1]:
        raise UsageError(
            f"{file}: `best_thresholds` has no threshold in [0, 1) of the rule {missing[0]!r}: score again"
        )
    return {rule: found[rule] for rule in RULES[:4]}


def _position(threshold: float, thresholds: NDArray[np.float64], option: str) -> int:
    nearest = int(np.abs(thresholds - threshold).argmin())
    # In this form, NaN fails the check, too.
    if not abs(thresholds[nearest] - threshold) < 1e-9:
        step = f"0, {thresholds[1]:g}, …, {thresholds[-1]:g}" if len(thresholds) > 1 else "0"
        raise UsageError(f"{option}: {threshold:g} is not among the thresholds {step}: choose one of them, or --step")
    return nearest
