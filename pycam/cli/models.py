"""`pycam models`: which models there are, where their files lie, and getting them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Annotated, Any, Optional

import msgspec
import typer

from pycam import zoo
from pycam.cli import options
from pycam.errors import ModelError, PycamError, UsageError
from pycam.protocols import PROTOCOLS
from pycam.tables import Table

app = typer.Typer(help="Show the models, and get their weights.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(help="Model by name or alias, or a card of your own (my-card.yaml).", autocompletion=options.models),
]


class ModelFile(str, Enum):
    """A file that belongs to a model."""

    WEIGHTS = "weights"
    PROTOTXT = "prototxt"
    LABELS = "labels"
    MEAN = "mean"
    CARD = "card"


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """List the models, and where their weights are on this machine."""
    found = [(card, zoo.find_weights(card)) for card in zoo.all_cards()]
    if as_json:
        keys = ("name", "title", "aliases", "cam", "licence")
        rows = [{key: getattr(card, key) for key in keys} | {"weights": path} for card, path in found]
        _print_json(rows)
        return
    cells = [(card.name, card.title, "yes" if card.cam else "no", str(path or "not here")) for card, path in found]
    _print_table(("model", "what it is", "class maps", "weights"), cells)


@app.command("show")
def show(name: Name, as_json: options.Json = False) -> None:
    """Show a model's card, and whether its weights on this machine are the published ones."""
    card = zoo.card(name)
    path = zoo.find_weights(card)
    state = zoo.identify(card, path) if path else f"not here: `pycam models download {name}`"
    facts = _without_folder(msgspec.to_builtins(card, enc_hook=str)) | {"found": {"weights": path, "which are": state}}
    if as_json:
        _print_json(facts)
        return
    _print_table(("field", "value"), _flat(facts))


@app.command("protocols")
def list_protocols(as_json: options.Json = False) -> None:
    """List the protocols: each row names what happens between an image and its maps and boxes."""
    if as_json:
        _print_json([dataclasses.asdict(row) for row in PROTOCOLS.values()])
        return
    facts = (*PROTOCOLS["default"].choices(), "top", "section")
    rows = [(fact, *(str(getattr(row, fact) or "-") for row in PROTOCOLS.values())) for fact in facts]
    _print_table(("protocol", *PROTOCOLS), rows)


@app.command("path")
def path(
    name: Name,
    of: Annotated[ModelFile, typer.Option(help="Which of the model's files.")] = ModelFile.WEIGHTS,
) -> None:
    """Print where a file of a model lies; fail when it is not there."""
    card = zoo.card(name)
    if of is ModelFile.WEIGHTS:
        print(zoo.weights_path(card))
    elif of is ModelFile.PROTOTXT:
        print(zoo.prototxt_path(card))
    elif of is ModelFile.MEAN:
        print(zoo.mean_path(card.mean or zoo.bvlc_mean()))
    elif of is ModelFile.CARD:
        print(card.path)
    elif labels := zoo.labels_path(card):
        print(labels)
    else:
        raise ModelError(f"{card.path}: the card names no labels")


@app.command("download")
def download(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="Models by name or alias, or cards of your own.", show_default=False, autocompletion=options.models
        ),
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Get the models' mean images too; without a model, BVLC's.")
    ] = False,
) -> None:
    """Download weights, check them, and print where they are; what is there already is only checked."""
    if not names and not mean:
        raise UsageError("nothing to download: name models (`pycam models list` shows them), or give --mean")
    failures: list[PycamError] = []
    for card in [zoo.card(name) for name in names or []]:
        try:
            weights = zoo.weights_path(card, download=True)
            print(card.name, weights, zoo.identify(card, weights), sep="\t")
            if mean:
                print(card.name, zoo.mean_path(card.mean or zoo.bvlc_mean(), download=True), "mean", sep="\t")
        except PycamError as error:
            failures.append(error)
    if not names:
        print("ilsvrc-2012", zoo.mean_path(zoo.bvlc_mean(), download=True), "mean", sep="\t")
    if failures:
        raise ModelError("; ".join(str(failure) for failure in failures))


def _without_folder(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out where a card lies, which each of its files would repeat."""
    items = ((key, value) for key, value in facts.items() if key != "folder")
    return {key: _without_folder(value) if isinstance(value, dict) else value for key, value in items}


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a nested dictionary says, key by key, leaving out what it does not say."""
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        elif value and isinstance(value, tuple):
            yield prefix + key, ", ".join(map(str, value))
        elif value not in (None, "", ()):
            yield prefix + key, str(value)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for people on a terminal, and with tabs between its columns elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print(*row, sep="\t")
        return
    from pandas import DataFrame

    Table("", DataFrame(list(rows), columns=list(columns))).show()


def _print_json(facts: Any) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
