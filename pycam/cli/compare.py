"""`pycam compare`: engines held against each other, layer by layer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.cli import options
from pycam.engines import Options
from pycam.errors import UsageError
from pycam.images.read import read_image
from pycam.images.views import net_input, view_of
from pycam.model import Model, load_model
from pycam.tables import Table
from pycam.verification import compare as library
from pycam.verification.certificate import noise

FORMATS = {"max_abs": "{:.2e}".format, "max_rel": "{:.2e}".format, "cosine": "{:.9f}".format}


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="An engine, or a file that --save wrote.", show_default=False)],
    b: Annotated[str | None, typer.Argument(help="The reference: an engine or a file.", show_default=False)] = None,
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Run this image (view center, or full if the input is too large), not noise."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Write the blobs of A, input included, to this .npz file.")] = None,
    tolerance: options.Tolerance = library.TOLERANCE,
    device: options.Device = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    allow_nonfinite: options.AllowNonfinite = False,
    as_json: options.Json = False,
) -> None:
    """Compare every blob of two engines, or of files; a row a layer. B is the reference.

    Exit code 0 when all lie within the tolerance, 11 when one departs.
    """
    if b is None and save is None:
        raise UsageError(
            "nothing to compare with: name a second engine or file, or --save FILE to keep the first's blobs"
        )
    if b is None:
        options.refuse(context, "there is no second side to compare with", "tolerance", "as_json")
    sides = [side for side in (a, b) if side is not None]
    paths = [side for side in sides if side.endswith(".npz")]
    if paths:
        options.refuse(context, f"the input is that of {paths[0]}", "image", "seed")
    if paths == sides:
        options.refuse(context, "files are compared, and no engine runs", "device", "threads", "precision")
    if image is not None:
        options.refuse(context, "the input is an image, not noise", "seed")
    elif prototxt is not None and weights is not None:
        options.refuse(context, "the net and its weights are given", "model")
    loaded = load_model(model, prototxt=prototxt, weights=weights, allow_nonfinite=allow_nonfinite)
    net = loaded.net
    files = {path: library.load_blobs(path) for path in paths}
    inputs = _inputs(loaded, image, seed, files)

    def blobs(side: str) -> dict[str, NDArray[np.float32]]:
        if side in files:
            return files[side]
        return library.run(net, side, inputs, Options(device, threads, precision=precision))

    found = blobs(a)
    if save is not None:
        library.save_blobs(save, found)
    if b is None:
        return
    from pandas import DataFrame

    rows = library.compare(net, found, blobs(b))
    if not rows:
        raise UsageError(f"{a} and {b} have no blob of this net in common")
    table = Table(f"{a} against {b}", DataFrame(map(asdict, rows)), formats=FORMATS)
    departures = [row for row in rows if row.departs(tolerance)]
    if as_json:
        print(json.dumps(table.rows(), indent=2))
    else:
        table.show(emphasis=[row.departs(tolerance) for row in rows])
        _print_verdict(rows, tolerance)
    if departures:
        raise typer.Exit(options.NOT_CONFIRMED)


def _inputs(
    model: Model,
    image: Path | None,
    seed: int,
    files: dict[str, dict[str, NDArray[np.float32]]],
) -> dict[str, NDArray[np.float32]]:
    """Take the input from a file of blobs when there is one, else from the image, else noise."""
    net = model.net
    for path, blobs in files.items():
        missing = [name for name in net.inputs if name not in blobs]
        if missing:
            raise UsageError(f"{path} has no input {missing[0]!r}: it holds the blobs of another net")
        return {name: blobs[name] for name in net.inputs}
    if image is None:
        return noise(net, seed)
    size = net.shapes[net.inputs[0]][-1]
    mean = model.preprocessing.mean_values()
    view = view_of("center" if size <= 256 else "full", size)
    return {net.inputs[0]: net_input(read_image(image).pixels, view, mean)}


def _print_verdict(rows: list[library.Row], tolerance: float) -> None:
    first = next((row for row in rows if row.departs(tolerance)), None)
    if first is None:
        worst = max(rows, key=lambda row: row.max_rel)
        print(f"{len(rows)} blobs agree within {tolerance:g}; furthest apart at {worst.layer}: {worst.max_rel:.2e}")
    else:
        print(
            f"departs first at layer {first.layer} (blob {first.blob}): {first.max_rel:.2e}, {tolerance:g} is allowed"
        )
