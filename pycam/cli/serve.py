"""`pycam serve`: the viewer as a local web page."""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pycam import zoo
from pycam.cli import options
from pycam.console import print_error, print_line
from pycam.errors import ModelError, UsageError
from pycam.formats.onnx_file import read_onnx_file
from pycam.model import ONNX, load_model
from pycam.predict import Cam, make_cam

ADDRESSES = ("127.0.0.1", "0.0.0.0")
"""This machine; all networks that a container is in."""


@options.grouped
def serve(
    maps: options.MapOptions,
    engine: options.EngineOptions,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to offer, one or more. Default: all models whose weights are on this machine.",
            autocompletion=options.models,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free port.")] = 8000,
    host: Annotated[
        str,
        options.one_of(ADDRESSES, "Address to listen at; 0.0.0.0 is for a container, whose port is published by name"),
    ] = ADDRESSES[0],
    upload: Annotated[float, typer.Option(min=0.001, max=1000, help="Maximum size of an image file, in MB.")] = 20,
    pixels: Annotated[float, typer.Option(min=0.001, max=100, help="Maximum size of an image, in megapixels.")] = 40,
    seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="Maximum time per image, in seconds.")] = 60,
) -> None:
    """Serve the viewer as a web page at 127.0.0.1; images are dropped, pasted or chosen.

    The server is for the person who starts it: it has no users and no encryption, and answers to the names 127.0.0.1
    and localhost only. Do not make it available on a network.
    """
    if host not in ADDRESSES:
        raise UsageError(
            f"--host {host}: expected {ADDRESSES[0]}, or {ADDRESSES[1]} in a container, whose port you publish with "
            "`docker run --publish 127.0.0.1:8000:8000`"
        )
    try:
        from pycam.report.connections import ImageServer, Limits
        from pycam.report.server import application
    except ImportError as error:
        raise UsageError(
            f"the server needs packages that are not installed ({error}): pip install 'caffe-cam[web]'"
        ) from None
    rows = maps.rows
    names = models or [card.name for card in zoo.all_cards() if card.cam and zoo.find_weights(card)]
    if not names:
        raise ModelError("the weights of no model are on this machine: run `pycam models download NAME`")

    def cams(name: str) -> list[Cam]:
        model = load_model(name, needs_maps=maps.needs_maps)
        options.print_notes(model.net.notes)
        for note in model.notes(maps=maps.needs_maps, boxes=True):
            print_error(f"{name}: {note}")
        return [make_cam(model, engine=engine.engine, protocol=row, options=engine.options) for row in rows]

    makers: dict[str, Callable[[], list[Cam]]] = {}
    for name in names:
        # A file that is missing is an error now, not at the first image.
        if name.endswith(ONNX):
            read_onnx_file(name)
            shown = Path(name).stem
        else:
            card = zoo.card(name)
            zoo.weights_path(card)
            shown = card.name
        if shown in makers:
            raise UsageError(f"--model {name}: two models are called {shown!r} on the page: give each name once")
        makers[shown] = functools.partial(cams, name)
    limits = Limits(
        upload=round(upload * 10**6), pixels=round(pixels * 10**6), upload_seconds=seconds, answer_seconds=seconds
    )
    server = ImageServer(application(makers, limits), limits)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # whoever reads the address can connect
        except OSError as error:
            raise UsageError(f"port {port} is not available ({error.strerror}): choose another with --port") from None
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with server.capture_signals():
            print_line(f"{address} serves {', '.join(makers)}; Ctrl-C stops it")
            sys.stdout.flush()
            server.run(sockets=[listener])
    if server.exit_code:
        raise typer.Exit(server.exit_code)
