"""`pycam features`: pooled blobs of a net, for linear classifiers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.evaluate import OnError
from pycam.cli.images import GivenImages
from pycam.console import Notes, print_error, print_line, resumed
from pycam.engines import best_streams
from pycam.engines.threads import beside_an_engine
from pycam.errors import UsageError
from pycam.formats.files import is_folder
from pycam.images.files import LIST
from pycam.net.layers import dims
from pycam.net.linear_path import positions_of
from pycam.paper.feature_images import find_images
from pycam.paper.feature_run import compute_features
from pycam.paper.features import POOLINGS, check_blob, default_blob, default_pooling, feature_cam


@options.grouped
def features(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, patterns, or - for paths from standard input; or one list, @list.txt, with a path and a "
            "label per line; or one folder, of images or with a folder per class.",
            metavar="IMAGES…|@LIST|FOLDER",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output: a .npz file. An interrupted run is resumed.", show_default=False)],
    source: options.HeadOptions,
    protocol: options.ProtocolOptions,
    engine: options.EngineOptions,
    blob: Annotated[
        str | None,
        typer.Option(help="Blob of the features. Default: the one that the class activation maps are computed from."),
    ] = None,
    pooling: Annotated[
        str | None,
        options.one_of(POOLINGS, "What is taken over rows and columns, by default as in the net's head"),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a list's images. Default: the list's own.")] = None,
    batch: options.Batch = 8,
    on_error: Annotated[
        OnError, typer.Option(help="If an image cannot be read: fail, or skip the image and say so.")
    ] = OnError.FAIL,
    quiet: options.Quiet = False,
) -> None:
    """Compute the features of images: a blob, averaged over its rows and columns.

    Writes a .npz with `values` (images × channels), `images`, `labels` and what the values depend on. `pycam net fit`
    fits a classifier to it. The same command resumes an interrupted run, which ends with the same bytes.
    """
    if pooling not in (None, *POOLINGS):
        raise UsageError(f"--pooling {pooling}: expected one of {', '.join(POOLINGS)}")
    if blob is not None:
        options.refuse(context, "--blob names the features", "head")
    if out.suffix != ".npz":
        raise UsageError(f"--out {out}: expected a name that ends in .npz")
    notes = Notes(quiet)
    special = any(name.startswith(LIST) or is_folder(name) for name in images)
    found = find_images(images if special else list(map(str, GivenImages(images, notes))), root)
    model = source.load(quiet)
    if blob is None:
        blob = default_blob(model)
    check_blob(model.net, blob)
    if positions_of(model.net.shapes[blob]) is None:
        options.refuse(context, f"blob {blob!r} has no rows and columns", "pooling")
    pooling = pooling or default_pooling(model, blob)
    row = protocol.row
    run = replace(engine.options, streams=best_streams(engine.engine, engine.options))
    with (
        feature_cam(model, blob, engine=engine.engine, protocol=row, options=run) as cam,
        beside_an_engine(),
        notes.progress() as shown,
    ):
        shape = model.net.shapes[blob]
        of = "" if positions_of(shape) is None else f", {'mean' if pooling == 'average' else 'maximum'} of each channel"
        notes.say(f"features: blob {blob!r}, {dims(shape[1:])}{of}; view {cam.protocol.view}, {cam.engine.description}")
        bar = shown.add_task("features", total=len(found.paths))
        written = compute_features(
            cam,
            found,
            out,
            blob,
            pooling=pooling,
            batch=batch,
            skip=on_error is OnError.SKIP,
            progress=resumed(notes, shown, bar, len(found.paths)),
            skipped=print_error,
        )
    images_of, channels = written.values.shape
    classes = "" if written.labels is None else f", {len(set(written.labels.tolist()))} labels"
    print_line(f"{out}: {images_of} images, {channels} features{classes}")
