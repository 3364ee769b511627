"""`pycam verify`: a certificate of a model's files, its net and every engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pycam import zoo
from pycam.cli import options
from pycam.console import Notes, print_json, print_line, print_lines
from pycam.engines import ENGINES
from pycam.errors import UsageError
from pycam.formats.files import atomic_write
from pycam.verification.certificate import certify, noise
from pycam.verification.compare import TOLERANCE


@options.grouped
def verify(
    context: typer.Context,
    source: options.NetArguments,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help=f"Engine to check. Default: all of {', '.join(ENGINES)}."),
    ] = None,
    tolerance: options.Tolerance = TOLERANCE,
    out: Annotated[Path | None, typer.Option(help="File for the certificate, .json or .md. Default: print it.")] = None,
    as_json: options.Json = False,
) -> None:
    """Check a model's files, its net, and every engine against real Caffe if it is available.

    Exit code 0 if all engines agree, 11 if one deviates or nothing could be compared.
    """
    if out is not None:
        options.refuse(context, "the suffix of --out decides the format", "as_json")
        if out.suffix not in (".json", ".md"):
            raise UsageError(
                f"{out}: a certificate is written as .json or .md; choose a name with one of these endings"
            )
    loaded = source.load()
    net, card = loaded.net, loaded.card
    if net.from_onnx:
        raise UsageError(
            f"{net.sources.prototxt if net.sources else 'the net'}: real Caffe, which `verify` compares with, does not "
            "read ONNX files: use `pycam compare onnxruntime openvino --onnx FILE`"
        )
    if card is not None and card.cam:
        _ = loaded.head  # checks the card against its net
    assert net.sources is not None and net.sources.caffemodel is not None
    path = Path(net.sources.caffemodel)
    with Notes().counted("engines") as progress:
        certificate = certify(
            card.name if card else path.stem,
            net,
            published=zoo.identify(card, path) if card else "a net of the user's own",
            names=tuple(engines) if engines else tuple(ENGINES),
            inputs=noise(net, scale=loaded.preprocessing.scale()),
            tolerance=tolerance,
            progress=progress,
        )
    if out is not None:
        text = json.dumps(certificate.as_dict(), indent=2) + "\n"
        atomic_write(out, text if out.suffix == ".json" else certificate.as_markdown())
        print_line(f"{certificate.model}: {certificate.verdict} ({out})")
    elif as_json:
        print_json(certificate.as_dict())
    else:
        print_lines(certificate.as_markdown())
    if not certificate.good:
        raise typer.Exit(options.NOT_CONFIRMED)
