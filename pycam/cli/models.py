"""`pycam models`: the models, the places of their files, and downloads."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pycam import zoo
from pycam.cli import options
from pycam.console import print_json, print_line
from pycam.errors import ModelError, PycamError, UsageError
from pycam.protocols import PROTOCOLS
from pycam.tables import Table
from pycam.zoo.cards import Card

app = typer.Typer(help="List and show models, and download their weights.")

Name = Annotated[
    str,
    typer.Argument(
        help="Name or alias of a model, or your own model card (my-card.yaml).", autocompletion=options.models
    ),
]


def _mean_path(card: Card, download: bool = False) -> Path | None:
    mean = card.mean or zoo.bvlc_mean()
    return None if mean.image is None else zoo.mean_path(mean, download=download, card=card)


FILES: dict[str, Callable[[Card], Path | None]] = {
    "weights": zoo.weights_path,
    "prototxt": zoo.prototxt_path,
    "labels": zoo.labels_path,
    "mean": _mean_path,
    "solver": zoo.solver_path,
    "card": lambda card: card.path,
}


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """List the models, and the places of their weights on this machine."""
    found = [(card, zoo.find_weights(card)) for card in zoo.all_cards()]
    keys = ("name", "title", "aliases", "cam", "licence")
    facts = [{key: getattr(card, key) for key in keys} | {"weights": path} for card, path in found]
    cells = [(card.name, card.title, "yes" if card.cam else "no", str(path or _absent(card))) for card, path in found]
    _present(as_json, facts, ("model", "description", "class maps", "weights"), cells)


@app.command("show")
def show(name: Name, as_json: options.Json = False) -> None:
    """Show the card of a model, and whether its weights on this machine are the published ones."""
    card = zoo.card(name)
    path = zoo.find_weights(card)
    if path is not None:
        state = zoo.identify(card, path)
    else:
        command = zoo.training_command(card)
        fix = f"train them with `{command}`" if command else f"run `pycam models download {name}`"
        state = f"{_absent(card)}: {fix}"
    facts = _without_folder(msgspec.to_builtins(card, enc_hook=str)) | {"found": {"weights": path, "state": state}}
    _present(as_json, facts, ("field", "value"), list(_flat(facts)))


@app.command("protocols")
def list_protocols(as_json: options.Json = False) -> None:
    """List the protocols: how an image becomes maps and boxes, with one column per protocol."""
    rows = [dataclasses.asdict(row) | {"threshold": row.box_threshold} for row in PROTOCOLS.values()]
    facts = (*PROTOCOLS["default"].choices(), "top", "section")
    cells = [(fact, *(str(row[fact] or "-") for row in rows)) for fact in facts]
    _present(as_json, rows, ("protocol", *PROTOCOLS), cells)


@app.command("path")
def path(
    name: Name,
    of: Annotated[str, options.one_of(FILES, "File of the model")] = "weights",
) -> None:
    """Print the path of a file of a model; fail if the file is missing."""
    if of not in FILES:
        raise UsageError(f"no file of a model is called {of!r}: the files are {', '.join(FILES)}")
    card = zoo.card(name)
    found = FILES[of](card)
    if found is None:
        raise ModelError(f"{card.path}: the card names no {'mean image' if of == 'mean' else of}")
    if sys.stdout.isatty():
        print_line(found)
    else:
        # For another program: the very bytes of the name, whatever the encoding.
        sys.stdout.buffer.write(os.fsencode(found) + b"\n")


@app.command("download")
def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or aliases of models, or your own model cards.",
            show_default=False,
            autocompletion=options.models,
        ),
    ] = None,
    mean: Annotated[
        bool, typer.Option("--mean", help="Download the models' mean images too; without a model, BVLC's mean image.")
    ] = False,
) -> None:
    """Download weights, check them, and print their paths. Existing files are only checked."""
    if not names and not mean:
        raise UsageError("nothing to download: give names of models (`pycam models list` shows them), or --mean")
    failures: list[PycamError] = []
    for card in [zoo.card(name) for name in names or []]:
        try:
            weights = zoo.weights_path(card, download=True)
            print_line(card.name, weights, zoo.identify(card, weights), sep="\t")
            if mean:
                found = _mean_path(card, download=True)
                print_line(card.name, found or "-", "mean" if found else "no mean image: a mean value", sep="\t")
        except PycamError as error:
            failures.append(error)
    if not names:
        print_line("ilsvrc-2012", zoo.mean_path(zoo.bvlc_mean(), download=True), "mean", sep="\t")
    if failures:
        raise ModelError("; ".join(str(failure) for failure in failures))


def _absent(card: Card) -> str:
    """Say why the weights of a card are not on this machine."""
    return "never published" if card.weights.solver is not None else "missing"


def _without_folder(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts without the card's folder, which each of its files would repeat."""
    items = ((key, value) for key, value in facts.items() if key != "folder")
    return {key: _without_folder(value) if isinstance(value, dict) else value for key, value in items}


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys and values of a nested dictionary as text, without empty values."""
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        elif value and isinstance(value, tuple):
            yield prefix + key, ", ".join(map(str, value))
        elif value not in (None, "", ()):
            yield prefix + key, str(value)


def _present(as_json: bool, facts: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print facts as JSON, or as a table: with rules on a terminal, and with tabs between its columns elsewhere."""
    if as_json:
        print_json(facts)
    elif sys.stdout.isatty():
        from pandas import DataFrame

        Table("", DataFrame(rows, columns=list(columns))).show()
    else:
        for row in (columns, *rows):
            print_line(*row, sep="\t")
