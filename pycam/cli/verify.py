"""`pycam verify`: a model's files, its net and every engine, with one verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pycam import zoo
from pycam.cli import options
from pycam.engines import ENGINES
from pycam.errors import UsageError
from pycam.formats.files import atomic_write
from pycam.model import load_model
from pycam.verification.certificate import certify
from pycam.verification.compare import TOLERANCE


def verify(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="Model by name, or a card of your own.")] = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help=f"Engines to ask; all if not given: {', '.join(ENGINES)}."),
    ] = None,
    tolerance: options.Tolerance = TOLERANCE,
    out: Annotated[
        Path | None, typer.Option(help="Write the certificate here, as .json or .md; printed if not given.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check a model's files, its net, and every engine against real Caffe where it is there; one verdict.

    Exit code 0 when all agree, 11 when one departs or nothing could be compared.
    """
    if out is not None:
        options.refuse(context, "the suffix of --out says what is written", "as_json")
        if out.suffix not in (".json", ".md"):
            raise UsageError(f"{out}: a certificate is written as .json or .md")
    loaded = load_model(model, prototxt=prototxt, weights=weights)
    net, card = loaded.net, loaded.card
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
        atomic_write(out, text if out.suffix == ".json" else certificate.as_markdown())
        print(f"{certificate.model}: {certificate.verdict} ({out})")
    else:
        print(text if as_json else certificate.as_markdown(), end="")
    if not certificate.good:
        raise typer.Exit(options.NOT_CONFIRMED)
