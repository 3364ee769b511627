"""Options of the linear classifiers of Tables 4 and 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from pycam.cli.options import one_of
from pycam.errors import UsageError
from pycam.paper.classifier import SCALES


@dataclass(frozen=True)
class ClassifierOptions:
    """How a linear classifier is fitted."""

    c: Annotated[float, typer.Option("--c", help="Weight of the loss of the linear SVM.")] = 1.0
    scale: Annotated[str, one_of(SCALES, "What features are divided by before the fit")] = SCALES[0]
    bias: Annotated[bool, typer.Option("--bias", help="Learn a bias. It makes boxes larger.")] = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as arguments of `pycam.paper.classifier.fit_classifier`."""
        if self.scale not in SCALES:
            raise UsageError(f"--scale {self.scale}: expected one of {', '.join(SCALES)}")
        if not 0 < self.c < float("inf"):
            raise UsageError(f"--c {self.c}: expected a finite number above 0")
        return {"c": self.c, "scale": self.scale, "bias": self.bias}
