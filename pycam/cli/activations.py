"""`pycam activations`: the channels of layers, as grids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pycam.activations import activation_grids
from pycam.cli import options
from pycam.cli.heatmap import folders, raise_failures
from pycam.console import print_line
from pycam.drawing import caption, encode_png
from pycam.errors import ImageError, PycamError
from pycam.formats.files import atomic_write
from pycam.formats.names import distinct_names, stem_of
from pycam.images.read import Image, read_image
from pycam.model import FIXED_MEANS


@options.grouped
def activations(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
    layers: Annotated[str, typer.Option(help="Layers or blobs to show, as in conv1,pool1.", show_default=False)],
    source: options.MeanOptions,
    protocol: options.ProtocolOptions,
    engine: options.EngineOptions,
    out: Annotated[Path, typer.Option(help="Output folder. Each image gets a folder in it.")] = Path("activations"),
) -> None:
    """Write the channels of a net's layers for images, as one grid per layer.

    Any net can be shown, with or without class activation maps. If a view has several crops, the first one is shown.
    """
    row = protocol.row
    if source.from_files and (source.mean or row.mean in FIXED_MEANS):
        options.refuse(context, "the net, its weights and the mean are given", "model")
    model = source.load()
    failures: list[PycamError] = []
    places: deque[tuple[Path, Path]] = deque()

    def opened() -> Iterator[Image]:
        for path, folder in zip(images, folders(images, out), strict=True):
            try:
                image = read_image(path, channels=model.channels)
            except ImageError as error:
                failures.append(error)
            else:
                places.append((path, folder))
                yield image

    for of_image in activation_grids(
        model, layers.split(","), opened(), engine=engine.engine, protocol=row, options=engine.options
    ):
        path, folder = places.popleft()
        folder.mkdir(parents=True, exist_ok=True)
        names = distinct_names(f"{stem_of(str(path))}_{blob}" for blob in of_image)
        for name, (blob, grid) in zip(names, of_image.items(), strict=True):
            written = folder / f"{name}.png"
            atomic_write(written, encode_png(caption(grid, blob)))
            print_line(written)
    raise_failures(failures, len(images))
