"""`pycam activations`: what the channels of layers make of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pycam.activations import load_activations
from pycam.cli import options
from pycam.cli.heatmap import folders
from pycam.drawing import caption, encode_png
from pycam.engines import Options
from pycam.formats.files import atomic_write
from pycam.images.read import read_image
from pycam.model import FIXED_MEANS
from pycam.protocols import protocol as get_protocol


def activations(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
    layers: Annotated[str, typer.Option(help="Layers or blobs to show, as in conv1,pool1.", show_default=False)],
    model: options.Model = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    mean: options.MeanFile = None,
    protocol: options.ProtocolName = "default",
    view: options.View = None,
    out: Annotated[Path, typer.Option(help="Folder for the grids, with a folder for each image.")] = Path(
        "activations"
    ),
    engine: options.EngineName = options.DEFAULT,
    device: options.Device = None,
    threads: options.Threads = None,
    precision: options.Precision = None,
) -> None:
    """Write what every channel of a net's layers makes of images, one grid per layer.

    Any net will do, with class activation maps or without. Of a view with several crops the first is shown.
    """
    row = get_protocol(protocol).with_choices(view=view)
    if prototxt and weights and (mean or row.mean in FIXED_MEANS):
        options.refuse(context, "the net, its weights and the mean are given", "model")
    shown = load_activations(
        layers.split(","),
        model,
        engine=engine,
        protocol=row,
        prototxt=prototxt,
        weights=weights,
        mean=mean,
        options=Options(device, threads, precision=precision),
    )
    with shown.engine:
        for path, folder in zip(images, folders(images, out), strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            for blob, grid in shown(read_image(path)).items():
                written = folder / f"{path.stem}_{blob.replace('/', '_')}.png"
                atomic_write(written, encode_png(caption(grid, blob)))
                print(written)
