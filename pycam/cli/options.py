"""Options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from pycam.engines import DEFAULT_ENGINE, ENGINES
from pycam.errors import UsageError
from pycam.protocols import CHOICES, PROTOCOLS


def models(incomplete: str) -> list[str]:
    """Complete a model's name, for shells."""
    from pycam import zoo

    return [card.name for card in zoo.all_cards() if card.name.startswith(incomplete)]


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
    typer.Option("--mean", help="Mean image (.binaryproto, .npy, .mat) in place of the model's."),
]
TrueLabels = Annotated[
    Path | None,
    typer.Option("--labels", help="True classes: a devkit list, or a val.txt with network indices."),
]
Blacklist = Annotated[Path | None, typer.Option(help="Numbers, from 1, of the images that localization leaves out.")]
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
Batch = Annotated[int, typer.Option(help="Images that go through the net together.")]
Tolerance = Annotated[float, typer.Option(help="Allowed difference, as a part of a blob's largest value.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
NOT_CONFIRMED = 11
"""Exit code of `compare` and `verify` when they do not find that results agree."""


def refuse(context: typer.Context, reason: str, *names: str) -> None:
    """Refuse options that stand on the command line but would have no effect there.

    Parameters
    ----------
    context : typer.Context
        That of the command. What the environment sets, for every command, is not refused.
    reason : str
        Why they would have none.
    *names : str
        Parameters of the command's function.

    Raises
    ------
    UsageError
        Naming the first of them that is given.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{parameter.opts[0]} has no effect here: {reason}; leave it out")
