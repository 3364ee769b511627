"""Options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pycam import zoo
from pycam.engines import DEFAULT_ENGINE, ENGINES
from pycam.protocols import CHOICES, PROTOCOLS


def models(incomplete: str) -> list[str]:
    """Complete a model's name, for shells."""
    return [card.name for card in zoo.cards() if card.name.startswith(incomplete)]


def _among(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Complete one of some names, for shells."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Model by name (`pycam models list`), or a card of your own (my-card.yaml).",
        autocompletion=models,
    ),
]
Prototxt = Annotated[Path | None, typer.Option(help="Net to use in place of the model's.")]
Weights = Annotated[Path | None, typer.Option(help="Caffemodel to use in place of the model's.")]
LabelsFile = Annotated[
    Path | None,
    typer.Option("--labels", help="Class names: a text file, a line each, or a blank-separated CSV (index name)."),
]
MeanFile = Annotated[
    Path | None,
    typer.Option("--mean", help="Mean picture (.binaryproto, .npy, .mat) in place of the model's."),
]
TrueLabels = Annotated[
    Path | None,
    typer.Option("--labels", help="True classes: a devkit list, or a val.txt with network indices."),
]
Blacklist = Annotated[Path | None, typer.Option(help="Numbers, from 1, of the pictures that localization leaves out.")]
Meta = Annotated[Path | None, typer.Option(help="meta_clsloc.mat, to check the class IDs by.")]
EngineName = Annotated[
    str,
    typer.Option("--engine", help=f"What runs the net: {', '.join(ENGINES)}.", autocompletion=_among(ENGINES)),
]
DEFAULT = DEFAULT_ENGINE
Device = Annotated[str | None, typer.Option(envvar="PYCAM_DEVICE", help="cpu, cuda, or what else the engine knows.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the engine; all cores if not given.")]
Precision = Annotated[str | None, typer.Option(help="fp32, or bf16 where the engine has it.")]
ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol", help=f"Row of the protocol table: {', '.join(PROTOCOLS)}.", autocompletion=_among(PROTOCOLS)
    ),
]
View = Annotated[
    str | None,
    typer.Option(
        help=f"What the net sees, in place of the protocol's: {', '.join(CHOICES['view'])}.",
        autocompletion=_among(CHOICES["view"]),
    ),
]
Methods = Annotated[
    list[str],
    typer.Option("--method", help=f"How maps are made, several to switch between: {', '.join(CHOICES['method'])}."),
]
Layer = Annotated[
    str | None, typer.Option(help="Blob that Grad-CAM is made at; the deepest with rows and columns if not given.")
]
Target = Annotated[str | None, typer.Option(help=f"What gradients are of: {', '.join(CHOICES['target'])}.")]
AllowNonfinite = Annotated[
    bool, typer.Option("--allow-nonfinite", help="Take weights that are infinite or not a number.")
]
Batch = Annotated[int, typer.Option(help="Pictures that go through the net together.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def progress(console: Console) -> Progress:
    """Give a progress bar that vanishes when it is done, and is not there at all where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    )
