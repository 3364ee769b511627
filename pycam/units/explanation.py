"""Explanations: the logit of a class in an image, as the sum of what each unit adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pycam.predict import best
from pycam.tables import Table
from pycam.units.activations import Activations
from pycam.units.head import Account

MEASURES = {"average": "mean", "max": "maximum", "layers": "value"}
"""Pooling of the units -> the name of what their weights multiply."""


@dataclass(frozen=True, eq=False)
class ClassExplanation:
    """The logit of one class in an image.

    Attributes
    ----------
    activations : Activations
        The units of the image.
    account : Account
        What each of them adds.
    most : int
        The number of units that are listed one by one.
    """

    activations: Activations
    account: Account
    most: int

    @property
    def label(self) -> str:
        """The label of the class."""
        return self.activations.source.cam.model.labels.label(self.account.index)

    @property
    def logit(self) -> float:
        """The score before the last activation, as the engine gives it."""
        return float(self.activations.logits[self.account.index])

    @property
    def score(self) -> float:
        """The score."""
        return float(self.activations.scores[self.account.index])

    @property
    def listed(self) -> list[int]:
        """The units that are listed: those with the largest contributions in absolute value, largest first."""
        return [int(unit) for unit in self.account.order[: self.most]]

    def share(self, contribution: float) -> float | None:
        """Return a contribution as a fraction of the logit; None if the logit is not above 0."""
        total = self.account.total
        return contribution / total if total > 0 else None

    @cached_property
    def rest(self) -> dict[str, tuple[int, float]]:
        """The units that are not listed, those that add and those that subtract: their number, and their sum."""
        others = self.account.contributions[self.account.order[self.most :]]
        adding, subtracting = others[others > 0], others[others < 0]
        return {
            "adding": (len(adding), float(adding.sum())),
            "subtracting": (len(subtracting), float(subtracting.sum())),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation for JSON; boxes are (x0, y0, x1, y1), half-open."""
        account, labels = self.account, self.activations.source.cam.model.labels
        return {
            "index": account.index,
            "wnid": labels.wnid(account.index) or "",
            "label": self.label,
            "score": self.score,
            "logit": self.logit,
            "sum": account.total,
            "bias": account.bias,
            "units": [
                {
                    "unit": unit,
                    "weight": float(account.weights[unit]),
                    "pooled": float(account.pooled[unit]),
                    "contribution": float(account.contributions[unit]),
                    "share": self.share(float(account.contributions[unit])),
                    **asdict(self.activations.largest(unit)),
                }
                for unit in self.listed
            ],
            "rest": {name: {"units": count, "contribution": total} for name, (count, total) in self.rest.items()},
        }

    def table(self) -> Table:
        """Return the explanation as a table whose contributions add up to the logit."""
        from pandas import DataFrame

        shown = self.as_dict()
        measure = MEASURES[self.activations.source.head.pooling]
        several = len(self.activations.features) > 1
        rows: list[Mapping[str, Any]] = [
            {
                "": f"unit {each['unit']}",
                "weight": each["weight"],
                measure: each["pooled"],
                "contribution": each["contribution"],
                "share": each["share"],
                "largest": each["activation"],
                "at": ", ".join(
                    f"{name} {each[name]}" for name in ("crop", "row", "column") if several or name != "crop"
                ),
                "sees (x0, y0, x1, y1)": ", ".join(map(str, each["image_field"])),
            }
            for each in shown["units"]
        ]
        sums = [
            *(
                (f"{each['units']} other{'' if each['units'] == 1 else 's'} {name}", each["contribution"])
                for name, each in shown["rest"].items()
                if each["units"]
            ),
            ("bias", shown["bias"]),
            ("sum", shown["sum"]),
            ("logit of the net", shown["logit"]),
        ]
        rows += [{"": name, "contribution": value, "share": self.share(value)} for name, value in sums]
        title = f"{self.label} ({shown['index']}): score {self.score:.4f}, logit {self.logit:.4f}"
        formats = {
            **dict.fromkeys(["weight", measure, "contribution", "largest"], "{:.4f}".format),
            "share": "{:.1%}".format,
        }
        # As numbers, also where all are missing.
        frame = DataFrame(rows).astype(dict.fromkeys(["weight", "share", "largest"], float))
        return Table(title, frame, formats=formats)


def explain(activations: Activations, classes: Sequence[int] | None, top: int, most: int) -> list[ClassExplanation]:
    """Explain the logits of classes of an image.

    Parameters
    ----------
    activations : Activations
        The units of the image.
    classes : sequence of int, optional
        The classes; None for the best ones.
    top : int
        The number of best classes.
    most : int
        The number of units that are listed for each class.
    """
    if classes is None:
        classes = best(activations.scores.astype(np.float32), top).tolist()
    return [ClassExplanation(activations, activations.account(index), most) for index in classes]


def image_record(activations: Activations, classes: Sequence[ClassExplanation]) -> dict[str, Any]:
    """Return the explanations of an image for JSON."""
    source = activations.source
    return {
        "image": activations.image.path,
        "model": source.cam.model.name,
        "engine": source.cam.engine.description,
        "protocol": source.cam.protocol.name,
        "view": source.cam.placement.view.name,
        "unit_blob": source.head.blob,
        "pooling": source.head.pooling,
        "receptive_field": source.field.as_dict(),
        "classes": [each.as_dict() for each in classes],
    }


def how_it_adds_up(activations: Activations) -> str:
    """Return how the units of a net become a logit, in a sentence."""
    head = activations.source.head
    crops = len(activations.features)
    over = f", averaged over the {crops} crops" if crops > 1 else ""
    if head.are_classes:
        return f"each channel of {head.blob!r} is the map of one class: a class has a single unit, its own{over}"
    what = {
        "average": "the mean of its map",
        "max": "the largest value of its map, each at its own place (the mean of the class's map is not the logit)",
        "layers": "the value that the layers behind the pooling make of it",
    }[head.pooling]
    if head.slope is not None and head.slope != 1:
        what = "the mean of its map, where the map of the class is above 0 (a ReLU follows the class weights)"
    return f"units are the channels of {head.blob!r}; each adds its weight times {what}{over}"
