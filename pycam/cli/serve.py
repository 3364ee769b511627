"""`pycam serve`: the viewer on a page of this machine."""

from __future__ import annotations

import functools
import socket
from contextlib import suppress
from typing import Annotated

import typer

from pycam import zoo
from pycam.cli import options
from pycam.engines import Options
from pycam.errors import ModelError, UsageError
from pycam.model import load_model
from pycam.predict import Cam, make_cam
from pycam.protocols import protocol as get_protocol


def serve(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="A model to choose from; all that are on this machine if none is named."),
    ] = None,
    protocol: options.ProtocolName = "default",
    view: options.View = None,
    methods: options.Methods = ["cam"],  # noqa: B006 - typer copies it
    layer: options.Layer = None,
    target: options.Target = None,
    engine: options.EngineName = options.DEFAULT,
    device: options.Device = None,
    threads: options.Threads = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port at 127.0.0.1; 0 for any that is free.")] = 8000,
    upload: Annotated[float, typer.Option(min=0.001, help="Largest file of an image, MB.")] = 20,
    pixels: Annotated[float, typer.Option(min=0.001, max=100, help="Largest image, million pixels.")] = 40,
    seconds: Annotated[float, typer.Option(min=0.1, help="Longest time for an image.")] = 60,
) -> None:
    """Open the viewer on a page at 127.0.0.1, where images are dropped, pasted or chosen.

    It is made for the person who starts it: it has no users, no encryption and no other address. Don't put it on the
    internet.
    """
    try:
        import uvicorn

        from pycam.report.server import Limits, application
    except ImportError as error:
        raise UsageError(
            f"the page needs packages that are not installed ({error}): pip install 'caffe-cam[web]'"
        ) from None
    rows = get_protocol(protocol).with_choices(view=view).with_methods(methods, layer=layer, target=target)
    names = models or [card.name for card in zoo.all_cards() if card.cam and zoo.find_weights(card)]
    if not names:
        raise ModelError("no model's weights are on this machine: `pycam models download NAME` gets some")

    def cams(name: str) -> list[Cam]:
        model = load_model(name, needs_maps=any(row.method == "cam" for row in rows))
        return [make_cam(model, engine=engine, protocol=row, options=Options(device, threads)) for row in rows]

    makers = {}
    for name in names:
        card = zoo.card(name)
        zoo.weights_path(card)  # what is missing is told now, not at the first image
        makers[card.name] = functools.partial(cams, name)
    limits = Limits(
        upload=round(upload * 10**6), pixels=round(pixels * 10**6), upload_seconds=seconds, answer_seconds=seconds
    )
    server = uvicorn.Server(uvicorn.Config(application(makers, limits), log_level="warning", access_log=False))
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"port {port} cannot be had ({error.strerror}): name another with --port") from None
        print(f"http://127.0.0.1:{door.getsockname()[1]}/ has {', '.join(makers)}; Ctrl-C ends it", flush=True)
        # Ctrl-C is how it is meant to end.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[door])
