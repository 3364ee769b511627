"""`pycam bench`: how fast each engine runs a net on this machine."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pycam import zoo
from pycam.cli import options
from pycam.console import Notes, print_json, print_line
from pycam.engines import ENGINES, cores
from pycam.engines.processor import instruction_set
from pycam.model import ONNX
from pycam.net import Net, random_weights, read_net
from pycam.tables import Table
from pycam.verification.certificate import noise
from pycam.verification.speed import Comparison, Speed, advice, measure


@options.grouped
def bench(
    source: options.NetArguments,
    engine: options.RunOptions,
    engines: Annotated[
        str, typer.Option(help="Engines, with commas. Default: all that are installed.", show_default=False)
    ] = ",".join(ENGINES),
    as_json: options.Json = False,
) -> None:
    """Measure how fast each engine runs a net on this machine, and say which one to use.

    Engines take turns for half a minute. Without the net's weights on this machine, random ones take their place: the
    speed does not depend on them. Leave the machine alone meanwhile.
    """
    net, scale, weights = _net(source)
    names = options.names_in("--engines", engines)
    with Notes().counted("engines and rounds") as progress:
        found = measure(net, names, engine.options, noise(net, scale=scale), progress)
    machine = f"{instruction_set()}; {engine.threads or cores()} threads; SGEMM {found.peak:.0f} GFLOP/s"
    if as_json:
        speeds = [
            {key: None if value == math.inf else value for key, value in asdict(speed).items()}
            for speed in found.speeds
        ]
        gflop = 2 * net.multiply_adds / 1e9
        about = {"weights": weights, "gflop": gflop, "machine": machine, "sgemm": found.peak}
        print_json({**about, "reference": found.reference, "engines": speeds, "advice": advice(found.speeds)})
        return
    refused = [f"{speed.engine} does not run: {speed.refused}" for speed in found.speeds if speed.refused]
    _table(found, "\n".join([machine, weights, *refused])).show()
    print_line(advice(found.speeds))


def _net(source: options.NetOptions) -> tuple[Net, NDArray[np.float32] | None, str]:
    """Return the net with its own weights or random ones, the scale of its input, and which weights these are."""
    card = None if source.model is None or source.model.endswith(ONNX) else zoo.card(source.model)
    text = source.prototxt if card is None or card.onnx or source.prototxt else zoo.prototxt_path(card)
    here = source.weights is not None or (card is not None and zoo.find_weights(card) is not None)
    if text is None or here:
        loaded = source.load()
        return loaded.net, loaded.preprocessing.scale(), "the net's own weights"
    net = read_net(text, phase=source.phase, stages=source.stages or (), level=source.level)
    options.print_notes(net.notes)
    missing = "no weights are given" if card is None else "its own are not on this machine"
    return net.with_params(random_weights(net)), None, f"random weights: {missing}"


def _table(found: Comparison, note: str) -> Table:
    """Return one row per engine, for readers."""
    from pandas import DataFrame

    def row(speed: Speed) -> dict[str, Any]:
        if speed.refused:
            return {"engine": speed.engine, apart: "does not run"}
        return {
            "engine": speed.engine,
            "images/s": speed.one,
            "images/s, many": speed.many,
            "streams": speed.streams,
            "GFLOP/s": speed.gflops,
            "of SGEMM": speed.of_peak,
            apart: "the reference" if speed.max_rel is None else f"{speed.max_rel:.1e}",
        }

    apart = f"largest difference from {found.reference or 'a reference'}"
    formats = dict.fromkeys(["images/s", "images/s, many"], "{:.1f}".format)
    formats |= {"GFLOP/s": "{:.0f}".format, "of SGEMM": "{:.2f}".format, "streams": "{:.0f}".format}
    frame = DataFrame([row(speed) for speed in found.speeds])
    return Table("Images per second", frame, note, formats)
