"""What the commands of Figures 7 to 11 share: linear classifiers of a model's features, their maps, and the output."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import pycam
from pycam.cli import options
from pycam.cli.figure import write_figure
from pycam.console import Notes
from pycam.drawing.print_figure import Grid, Panel, check_matplotlib
from pycam.engines import best_streams
from pycam.errors import PycamError
from pycam.model import Model
from pycam.paper.classifier import SCALES, LinearClassifier, fit_classifier
from pycam.paper.features import check_blob, default_blob, default_pooling, feature_cam, feature_values
from pycam.paper.fitted_model import fitted_model
from pycam.paper.outputs import FigureFile, write_output
from pycam.predict import Cam, make_cam
from pycam.prediction import ClassPrediction
from pycam.protocols import Protocol
from pycam.tables import Table, write

FULL = options.BoxOptions(view="full", exif="ignore")
"""Classifiers whose maps are looked at see the whole image: what lies outside of a crop has no map."""

Out = Annotated[Path, typer.Option(help="Output folder.")]
Seed = Annotated[int, typer.Option(min=0, max=999, help="Seed of what is chosen at random.")]


@dataclass(frozen=True)
class FitOptions:
    """The features of a classifier, and how it is fitted."""

    blob: Annotated[
        str | None, typer.Option(help="Blob of the features. Default: the one that the model's maps are computed from.")
    ] = None
    scale: Annotated[str, options.one_of(SCALES, "What features are divided by")] = SCALES[0]
    c: Annotated[float, typer.Option("--c", help="Weight of the loss of the support vector machine.")] = 1.0


class Heads:
    """A model whose features get linear classifiers.

    Parameters
    ----------
    source, boxes, engine, fit
        The groups of options.
    notes : Notes
        Where progress is shown.
    """

    def __init__(
        self,
        source: options.ModelOptions,
        boxes: options.BoxOptions,
        engine: options.EngineOptions,
        fit: FitOptions,
        notes: Notes,
    ) -> None:
        check_matplotlib()
        self.fit = partial(fit_classifier, c=fit.c, scale=fit.scale)
        self.fit(np.eye(2), [0, 1])  # finds a missing package and a wrong option before the net runs
        self.model: Model = source.load()
        self.blob = fit.blob or default_blob(self.model)
        check_blob(self.model.net, self.blob)
        self.pooling = default_pooling(self.model, self.blob)
        choices = {"box_rule": boxes.box_rule, "threshold": boxes.threshold}
        self.row: Protocol = boxes.row.with_choices(**choices).for_view(self.model.view)
        self.engine = engine
        self.notes = notes

    def features(self, paths: Sequence[Path], batch: int = 8) -> NDArray[np.float32]:
        """Return the features of images, (N, K); the first image that cannot be read raises its error."""
        settings = replace(self.engine.options, streams=best_streams(self.engine.engine, self.engine.options))
        found = []
        cam = feature_cam(self.model, self.blob, engine=self.engine.engine, protocol=self.row, options=settings)
        with cam, self.notes.progress() as shown:
            bar = shown.add_task("features", total=len(paths))
            for values in feature_values(cam, paths, self.blob, pooling=self.pooling, batch=batch):
                if isinstance(values, PycamError):
                    raise values
                found.append(values)
                shown.advance(bar)
        return np.stack(found) if found else np.zeros((0, self.model.net.shapes[self.blob][1]), np.float32)

    @contextmanager
    def cam(self, classifier: LinearClassifier, names: Sequence[str]) -> Iterator[Cam]:
        """Make the model ready with a classifier as its head."""
        model = fitted_model(self.model, self.blob, classifier, names, pooling=self.pooling)
        with make_cam(model, engine=self.engine.engine, protocol=self.row, options=self.engine.options) as cam:
            yield cam

    def maps(self, cam: Cam, paths: Sequence[Path], row: int, batch: int = 8) -> Iterator[ClassPrediction]:
        """Yield the map of a class of the head for each image; the first that cannot be read raises its error."""
        with self.notes.progress() as shown:
            bar = shown.add_task("maps", total=len(paths))
            for _, found in cam.stream(paths, classes=[row], batch=batch):
                if isinstance(found, PycamError):
                    raise found
                yield found.top[0]
                shown.advance(bar)

    def settings(self, classifier: LinearClassifier, **more: Any) -> dict[str, Any]:
        """Return everything that a figure depends on."""
        return {
            "model": self.model.name,
            **self.model.digests,
            "blob": self.blob,
            "pooling": self.pooling,
            "engine": self.engine.engine,
            "view": self.row.view,
            "pycam": pycam.__version__,
            "python": platform.python_version(),
            **classifier.settings,
            **more,
        }


def save_figure(
    context: typer.Context,
    number: int,
    out: Path,
    grid: Grid,
    rows: Sequence[Sequence[Panel | None]],
    headings: Sequence[str],
    caption: str,
    settings: Mapping[str, Any],
    notes: Notes,
    tables: Sequence[Table] = (),
    titles: Sequence[Sequence[str]] = (),
) -> None:
    """Write a figure as PNG and PDF, its tables as Markdown, CSV and JSON, and the file that `pycam paper` reads."""
    name = f"figure{number}"
    write_figure(grid, rows, headings, [out / f"{name}.pdf", out / f"{name}.png"], notes, titles)
    if tables:
        for ending in (".md", ".csv", ".json"):
            write(tables, out / f"{name}{ending}")
    write_output(out, FigureFile(number, options.command_line(context), (f"{name}.png",), caption, settings))
