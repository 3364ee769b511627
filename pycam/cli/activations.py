"""`pycam activations`: the channels of layers, as grids."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.heatmap import raise_failures
from pycam.cli.images import GivenImages, Images
from pycam.console import Notes, print_line
from pycam.drawing import caption, encode_png
from pycam.errors import ImageError, PycamError
from pycam.formats.files import atomic_write
from pycam.formats.names import distinct_names, stem_of
from pycam.formats.output_folder import OutputFolder
from pycam.images.read import Image, read_image
from pycam.model import FIXED_MEANS
from pycam.units.channel_grids import activation_grids


@options.grouped
def activations(
    context: typer.Context,
    images: Images,
    layers: Annotated[str, typer.Option(help="Layers or blobs to show, as in conv1,pool1.", show_default=False)],
    source: options.MeanOptions,
    protocol: options.ProtocolOptions,
    engine: options.EngineOptions,
    out: Annotated[
        Path, typer.Option(help="Output folder. Each image gets a folder in it; those of other images stay.")
    ] = Path("activations"),
) -> None:
    """Write the channels of a net's layers for images, as one grid per layer.

    Any net can be shown, with or without class activation maps. If a view has several crops, the first one is shown.
    """
    row = protocol.row
    if source.from_files and (source.mean or row.mean in FIXED_MEANS):
        options.refuse(context, "the net, its weights and the mean are given", "model")
    model = source.load()
    notes = Notes()
    given = GivenImages(images, notes)
    place = OutputFolder(out)
    failures: list[PycamError] = []
    paths: deque[Path] = deque()
    done = 0

    def opened() -> Iterator[Image]:
        for path in given:
            try:
                image = read_image(path, channels=model.channels, exif=row.exif)
            except ImageError as error:
                failures.append(error.alone())
            else:
                paths.append(path)
                yield image

    names = options.names_in("--layers", layers)
    grids = activation_grids(model, names, opened(), engine=engine.engine, protocol=row, options=engine.options)
    with notes.progress() as shown:
        bar = shown.add_task("activations", total=given.count)
        for of_image in grids:
            path = paths.popleft()
            folder = out / place.name(path)
            folder.mkdir(parents=True, exist_ok=True)
            files = distinct_names(f"{stem_of(str(path))}_{blob}" for blob in of_image)
            for file, (blob, grid) in zip(files, of_image.items(), strict=True):
                written = folder / f"{file}.png"
                atomic_write(written, encode_png(caption(grid, blob)))
                print_line(written)
            done += 1
            shown.update(bar, completed=done + len(failures))
    raise_failures(failures, done + len(failures))
