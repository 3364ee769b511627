"""`pycam heatmap`: the top-5 class activation maps of images."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pycam.cli import options
from pycam.engines import Options
from pycam.engines.threads import beside_an_engine
from pycam.errors import ImageError, PycamError
from pycam.formats.files import atomic_write
from pycam.predict import load
from pycam.prediction import Prediction
from pycam.prefetch import prefetch
from pycam.progress import progress
from pycam.protocols import CHOICES
from pycam.tables import csv_text


def heatmap(
    images: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    labels: options.LabelsFile = None,
    mean: options.MeanFile = None,
    protocol: options.ProtocolName = "default",
    view: options.View = None,
    method: Annotated[
        str | None, typer.Option(help=f"How maps are made: {', '.join(CHOICES['method'])}; gradients need PyTorch.")
    ] = None,
    layer: options.Layer = None,
    target: options.Target = None,
    top: Annotated[
        int | None, typer.Option(help="How many classes, best first; 5 unless the protocol says otherwise.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help='This class in place of the best: index, WordNet ID or words ("red fox").'),
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Find boxes; draw and write them.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the heat maps, a folder in it for each image.")] = Path(
        "heatmaps"
    ),
    engine: options.EngineName = options.DEFAULT,
    device: options.Device = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    allow_nonfinite: options.AllowNonfinite = False,
    batch: options.Batch = 1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the top-5 class activation maps of images: overlays, a strip, and a JSON each."""
    engine_options = Options(device, threads, precision=precision)
    cam = load(
        model,
        engine=engine,
        protocol=protocol,
        view=view,
        method=method,
        layer=layer,
        target=target,
        prototxt=prototxt,
        weights=weights,
        labels=labels,
        mean=mean,
        options=replace(engine_options, streams=min(len(images), engine_options.most_streams)),
        allow_nonfinite=allow_nonfinite,
    )
    console = Console(stderr=True, quiet=quiet)
    if model is None and cam.gradients is None:
        console.print(f"found in the net: {cam.head}", markup=False, highlight=False, soft_wrap=True)
    failures: list[PycamError] = []
    done: list[dict[str, Any]] = []
    with cam, beside_an_engine(), ThreadPoolExecutor(1, "pycam-write") as writer, progress(console) as shown:
        bar = shown.add_task("heat maps", total=len(images))
        found = (prediction for _, prediction in cam.stream(images, top=top, classes=classes, batch=batch))
        given = zip(found, folders(images, out), strict=True)
        # Drawn and written beside the net's next run.
        for prediction in prefetch(lambda each: writer.submit(_saved, *each, boxes), given, 5):
            shown.advance(bar)
            if isinstance(prediction, PycamError):
                failures.append(prediction)
                continue
            done.append(prediction.as_dict(boxes=boxes))
            if not as_json:
                _tell(prediction, boxes, shown.console)
    if as_json:
        print(json.dumps(done, indent=2, ensure_ascii=False))
    if done and boxes:
        atomic_write(out / "boxes.csv", _boxes_csv(done))
    if done:
        console.print(f"wrote the heat maps of {_count(len(done))} to {out}{os.sep}", highlight=False, soft_wrap=True)
    if len(failures) == 1 == len(images):
        raise failures[0]
    if failures:
        for failure in failures:
            print(f"pycam: {' '.join(str(failure).split())}", file=sys.stderr)
        raise ImageError(f"{_count(len(failures))} of {len(images)} could not be read, listed above")


def folders(images: Sequence[Path], out: Path) -> list[Path]:
    """Give each image a folder of its own, called by its stem; equal stems are numbered in the order given."""
    taken: set[str] = set()
    given = []
    for image in images:
        stem = image.stem or "image"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        given.append(out / name)
    return given


def _saved(prediction: Prediction | PycamError, place: Path, boxes: bool) -> Prediction | PycamError:
    """Draw and write what was found; an error passes through."""
    if isinstance(prediction, Prediction):
        prediction.save(place, boxes=boxes)
    return prediction


def _tell(prediction: Prediction, boxes: bool, console: Console) -> None:
    note = ""
    image = prediction.image
    assert image is not None
    if image.exif_orientation != 1:
        note = f"  (EXIF orientation {image.exif_orientation} not applied)"
    console.print(f"{image.path}{note}", markup=False, highlight=False, soft_wrap=True)
    for item in prediction.top:
        where = f"  box {item.box}" if boxes and item.box else ""
        words = f"{item.wnid} {item.label}".strip()
        console.print(
            f"  {item.score:.4f}  {item.index:4d}  {words}{where}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _boxes_csv(done: Sequence[Mapping[str, Any]]) -> str:
    """List every box, a line each: image pixels, 0-based, half-open; the sides are empty where there is no box."""
    from pandas import DataFrame

    columns = ["image", "rank", "index", "wnid", "label", "score", "x0", "y0", "x1", "y1"]
    rows = [
        [prediction["image"], rank, *(item[key] for key in columns[2:6]), *(item["box"] or [None] * 4)]
        for prediction in done
        for rank, item in enumerate(prediction["top"], start=1)
    ]
    return csv_text(DataFrame(rows, columns=columns, dtype=object))


def _count(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"
