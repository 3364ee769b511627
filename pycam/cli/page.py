"""`pycam page`: a page whose net runs in the reader's browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.images import all_images
from pycam.console import Notes, print_line
from pycam.errors import NoMapsError, UsageError
from pycam.page.build import Example, write_page
from pycam.page.recipe import check_protocol
from pycam.page.runtime import find_runtime
from pycam.predict import Cam, make_cam
from pycam.protocols import Protocol
from pycam.report.html import check_folder, is_one_file

FOLDER, FILE = Path("page"), Path("page.html")


@options.grouped
def page(
    source: options.ModelOptions,
    boxes: options.BoxOptions,
    images: Annotated[
        list[Path] | None, typer.Option(help="Image, folder, pattern or list that the page offers; one or more.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page. Default: that of the model.")] = "",
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write one file, which opens by double click.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="ONNX Runtime Web: npm's .tgz, its folder, or a node_modules. Default: npm gets it once."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, new or empty; or a file that ends in .html. Default: page, or page.html."),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make a page on which anyone sees the class activation maps of their own images, without a server.

    The net runs in the reader's browser, and nothing is uploaded. A folder is for any host of files; one file opens by
    double click.
    """
    place = out or (FILE if single_file else FOLDER)
    if single_file and not is_one_file(place):
        raise UsageError(f"--out {place}: --single-file writes one file: give a name that ends in .html")
    if not is_one_file(place):
        check_folder(place)
    row = boxes.row.with_choices(box_rule=boxes.box_rule, threshold=boxes.threshold)
    check_protocol(row)
    notes = Notes(quiet)
    examples = [Example.read(path) for path in all_images(images or [], notes)]
    found = find_runtime(runtime, quiet=quiet)
    with _cam(source, row, quiet) as cam:
        written = write_page(place, cam, found, title=title, examples=examples)
    print_line(
        f"{place}{'' if is_one_file(place) else os.sep}: {_mb(written.total)}, of which the net has "
        f"{_mb(written.net)} and ONNX Runtime Web {_mb(written.runtime)}"
    )


def _cam(source: options.ModelOptions, row: Protocol, quiet: bool) -> Cam:
    """Make the model ready. What else gives maps, such as gradients, is no advice for a page."""
    try:
        return make_cam(source.load(quiet, needs_maps=True), protocol=row)
    except NoMapsError as error:
        reason = str(error).rpartition("; ")[0]
        raise NoMapsError(
            f"{reason}; choose a model that has them, or convert a net of Caffe's with `pycam net cam`"
        ) from None


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
