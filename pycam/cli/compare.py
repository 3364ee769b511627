"""`pycam compare` and `pycam verify`: engines held against each other, layer by layer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from pycam import zoo
from pycam.certificate import certify, noise
from pycam.cli import options
from pycam.compare import TOLERANCE, Row, compare, load_blobs, run, save_blobs
from pycam.engines import ENGINES
from pycam.errors import UsageError
from pycam.files import write_whole
from pycam.model import model_mean, model_net
from pycam.net import Net
from pycam.pictures import read_picture
from pycam.views import net_input, view_of

DEPARTS = 9
"""Exit code when blobs lie further apart than the tolerance."""

Tolerance = Annotated[float, typer.Option(help="Allowed difference, as a part of a blob's largest value.")]


def compare_command(
    a: Annotated[str, typer.Argument(help="An engine, or a file that --save wrote.", show_default=False)],
    b: Annotated[str | None, typer.Argument(help="The reference: an engine or a file.", show_default=False)] = None,
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Run this picture (view center, or full if the input is too large), not noise."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Write the blobs of A, input included, to this .npz file.")] = None,
    tolerance: Tolerance = TOLERANCE,
    device: options.Device = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
    allow_nonfinite: options.AllowNonfinite = False,
    as_json: options.Json = False,
) -> None:
    """Compare every blob of two engines, or of files; a row a layer. B is the reference.

    Exit code 0 when all lie within the tolerance, 9 when one departs.
    """
    if b is None and save is None:
        raise UsageError(
            "nothing to compare with: name a second engine or file, or --save FILE to keep the first's blobs"
        )
    net = model_net(zoo.card(model) if model else None, prototxt, weights, allow_nonfinite)
    files = {side: load_blobs(side) for side in (a, b) if side is not None and side.endswith(".npz")}
    inputs = _inputs(net, model, picture, seed, files)

    def blobs(side: str) -> dict[str, NDArray[np.float32]]:
        if side in files:
            return files[side]
        return run(net, side, inputs, device=device, threads=threads, precision=precision)

    found = blobs(a)
    if save is not None:
        save_blobs(save, found)
    if b is None:
        return
    rows = compare(net, found, blobs(b))
    if not rows:
        raise UsageError(f"{a} and {b} have no blob of this net in common")
    departures = [row for row in rows if row.departs(tolerance)]
    if as_json:
        finite = [
            {
                key: value if not isinstance(value, float) or math.isfinite(value) else None
                for key, value in asdict(row).items()
            }
            for row in rows
        ]
        print(json.dumps(finite, indent=2))
    else:
        _print_rows(rows, a, b, tolerance)
    if departures:
        raise typer.Exit(DEPARTS)


def verify(
    model: Annotated[str | None, typer.Argument(help="Model by name, or a card of your own.")] = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help=f"Engines to ask; all if not given: {', '.join(ENGINES)}."),
    ] = None,
    tolerance: Tolerance = TOLERANCE,
    out: Annotated[
        Path | None, typer.Option(help="Write the certificate here, as .json or .md; printed if not given.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check a model's files, its net, and every engine against real Caffe where it is there; one verdict.

    Exit code 0 when all agree, 9 when one departs or nothing could be compared.
    """
    card = zoo.card(model) if model else None
    net = model_net(card, prototxt, weights)
    assert net.sources is not None and net.sources.caffemodel is not None
    path = Path(net.sources.caffemodel)
    certificate = certify(
        card.name if card else path.stem,
        net,
        published=zoo.identify(card, path) if card else "a net of the user's own",
        names=tuple(engines) if engines else tuple(ENGINES),
        tolerance=tolerance,
    )
    text = json.dumps(certificate.as_dict(), indent=2) + "\n"
    if out is not None:
        if out.suffix not in (".json", ".md"):
            raise UsageError(f"{out}: a certificate is written as .json or .md")
        write_whole(out, text if out.suffix == ".json" else certificate.as_markdown())
        print(f"{certificate.model}: {certificate.verdict} ({out})")
    else:
        print(text if as_json else certificate.as_markdown(), end="")
    if not certificate.good:
        raise typer.Exit(DEPARTS)


def _inputs(
    net: Net,
    model: str | None,
    picture: Path | None,
    seed: int,
    files: dict[str, dict[str, NDArray[np.float32]]],
) -> dict[str, NDArray[np.float32]]:
    """Take the input from a file of blobs when there is one, else from the picture, else noise."""
    for path, blobs in files.items():
        missing = [name for name in net.inputs if name not in blobs]
        if missing:
            raise UsageError(f"{path} has no input {missing[0]!r}: it holds the blobs of another net")
        return {name: blobs[name] for name in net.inputs}
    if picture is None:
        return noise(net, seed)
    size = net.shapes[net.inputs[0]][-1]
    mean = model_mean(zoo.card(model) if model else None)
    view = view_of("center" if size <= 256 else "full", size)
    return {net.inputs[0]: net_input(read_picture(picture).pixels, view, mean)}


def _print_rows(rows: list[Row], a: str, b: str, tolerance: float) -> None:
    table = Table(box=box.SIMPLE, title=f"{a} against {b}")
    for title in ("layer", "blob"):
        table.add_column(title, no_wrap=True)
    for title in ("max |a−b|", "of max |b|", "cosine"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        departs = row.departs(tolerance)
        table.add_row(
            row.layer,
            row.blob,
            f"{row.max_abs:.2e}",
            f"{row.max_rel:.2e}",
            f"{row.cosine:.9f}",
            style="bold red" if departs else None,
        )
    Console(width=None if Console().is_terminal else 200).print(table)
    first = next((row for row in rows if row.departs(tolerance)), None)
    if first is None:
        worst = max(rows, key=lambda row: row.max_rel)
        print(f"{len(rows)} blobs agree within {tolerance:g}; furthest apart at {worst.layer}: {worst.max_rel:.2e}")
    else:
        print(
            f"departs first at layer {first.layer} (blob {first.blob}): {first.max_rel:.2e}, {tolerance:g} is allowed"
        )
