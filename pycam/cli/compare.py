"""`pycam compare`: the blobs of two engines, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.console import Notes, print_json, print_line
from pycam.errors import UsageError
from pycam.images.read import read_image
from pycam.images.views import net_input, view_of
from pycam.model import Model
from pycam.tables import Table
from pycam.verification import compare as library
from pycam.verification.certificate import noise

FORMATS = {"max_abs": "{:.2e}".format, "max_rel": "{:.2e}".format, "cosine": "{:.9f}".format}


@options.grouped
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help="An engine, or a file that --save wrote.", show_default=False)],
    source: options.OnnxOptions,
    engine: options.RunOptions,
    b: Annotated[str | None, typer.Argument(help="The reference: an engine or a file.", show_default=False)] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Input in place of noise, in the model's view."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Output file (.npz) for the blobs of A and its input.")] = None,
    tolerance: options.Tolerance = library.TOLERANCE,
    allow_nonfinite: options.AllowNonfinite = False,
    as_json: options.Json = False,
) -> None:
    """Compare every blob of two engines or files, with one row per layer. B is the reference.

    Exit code 0 if all blobs agree within the tolerance, 11 if one deviates.
    """
    if b is None and save is None:
        raise UsageError("nothing to compare with: give a second engine or file, or --save FILE to keep the blobs of A")
    if b is None:
        options.refuse(context, "there is no second side to compare with", "tolerance", "as_json")
    sides = [side for side in (a, b) if side is not None]
    paths = [side for side in sides if side.endswith(".npz")]
    if paths:
        options.refuse(context, f"the input comes from {paths[0]}", "image", "seed")
    if paths == sides:
        options.refuse(context, "only files are compared, and no engine runs", options.RunOptions)
    if image is not None:
        options.refuse(context, "the input is an image, not noise", "seed")
    elif source.from_files:
        options.refuse(context, "the net and its weights are given", "model")
    loaded = source.load(allow_nonfinite=allow_nonfinite)
    files = {path: library.load_blobs(path) for path in paths}
    inputs = _inputs(loaded, image, seed, files)

    def blobs(side: str) -> library.Blobs:
        return files[side] if side in files else library.run(loaded.net, side, inputs, engine.options)

    with Notes().counted("engines") as progress:
        found = blobs(a)
        progress(1, len(sides))
        if save is not None:
            library.save_blobs(save, found)
        if b is None:
            return
        reference = blobs(b)
        progress(2, len(sides))
    from pandas import DataFrame

    rows = library.compare(loaded.net, found, reference)
    if not rows:
        raise UsageError(f"{a} and {b} have no blob of this net in common")
    columns = [asdict(row) for row in rows]
    if not loaded.net.fork_types:
        columns = [{name: value for name, value in row.items() if name != "fork"} for row in columns]
    table = Table(f"{a} against {b}", DataFrame(columns), formats=FORMATS)
    deviations = [row for row in rows if row.departs(tolerance)]
    if as_json:
        print_json(table.rows())
    else:
        table.show(emphasis=[row in deviations for row in rows])
        if marked := sorted({row.fork for row in rows if row.fork}):
            print_line(
                f"Caffe 1.0 lacks the layers of forks that write the marked blobs ({', '.join(marked)}): real Caffe "
                "cannot check them"
            )
        print_line(_result(rows, deviations, tolerance))
    if deviations:
        raise typer.Exit(options.NOT_CONFIRMED)


def _inputs(model: Model, image: Path | None, seed: int, files: Mapping[str, library.Blobs]) -> library.Blobs:
    """Return the net's input: from the first file of blobs if there is one, else from the image, else noise."""
    net, preprocessing = model.net, model.preprocessing
    for path, blobs in files.items():
        if missing := [name for name in net.inputs if name not in blobs]:
            raise UsageError(f"{path} has no input {missing[0]!r}: the file has the blobs of another net")
        return {name: blobs[name] for name in net.inputs}
    if image is None:
        return noise(net, seed, preprocessing.scale())
    values, view = read_image(image, channels=model.channels).values, view_of(model.view, model.input_size)
    mean, scale = preprocessing.mean_values(), preprocessing.scale()
    return {**noise(net, seed), model.image_input: net_input(values, view, mean, scale=scale)}


def _result(rows: Sequence[library.Row], deviations: Sequence[library.Row], tolerance: float) -> str:
    if not deviations:
        worst = max(rows, key=lambda row: row.max_rel)
        return (
            f"{len(rows)} blobs agree within {tolerance:g}; the largest difference is {worst.max_rel:.2e}, "
            f"at layer {worst.layer}"
        )
    first = deviations[0]
    return (
        f"the first deviation is at layer {first.layer} (blob {first.blob}): {first.max_rel:.2e}; "
        f"{tolerance:g} is allowed"
    )
