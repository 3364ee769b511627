"""The reference of the commands and of the Python names, written from the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pycam
from pycam import cli
from pycam.cli.examples import EXAMPLES

INTERNAL = {"pycam.cli", "pycam.console", "pycam.prefetch"}
"""Parts of the package that are for the others; the commands have a page of their own."""


def reference_pages() -> dict[str, str]:
    """Return the name of each page and its text."""
    pages = {"commands": commands_page(), "pycam": python_page("pycam", pycam.__all__)}
    for part in pkgutil.iter_modules(pycam.__path__, "pycam."):
        if part.name not in INTERNAL and not part.name.startswith("pycam._"):
            pages[part.name] = python_page(part.name)
    return pages | {"matlab_ports": python_page("matlab_ports")}


def commands_page() -> str:
    """Return the page of the commands: a heading for each, and a definition for each argument and option."""
    parts = ["# Commands", "`pycam COMMAND --help` prints the same in a terminal."]
    for title, names in cli.PANELS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _command(f"pycam {name}", cli.load_command(name), level=3)
    return "\n\n".join(parts)


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{path}`"
    yield from (_text(part) for part in (command.help or command.short_help).split("\n\n"))
    if lines := EXAMPLES.get(path.removeprefix("pycam ")):
        yield "```sh\n" + "\n".join(f"pycam {line}" for line in lines) + "\n```"
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from _command(f"{path} {name}", each, level + 1)
        return
    context = command.make_context(path, [], resilient_parsing=True)
    yield f"```console\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    for parameter in command.params:
        if record := parameter.get_help_record(context):
            term, definition = record
            yield f"`{term}`\n:   {_text(definition)}"


def _text(text: str) -> str:
    """Return text of a help page as Markdown: its code stays, and what Markdown would take for marks is escaped."""
    quoted = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(part if index % 2 else re.sub(r"([\\*_<\[])", r"\\\1", part) for index, part in enumerate(quoted))


def python_page(name: str, members: Sequence[str] | None = None) -> str:
    """Return the page of a module: that of a package has all modules in it, or only the names of `members`."""
    module = importlib.import_module(name)
    if members is not None or not hasattr(module, "__path__"):
        return f"# {name}\n\n{_names(name, members)}"
    inside = sorted(each.name for each in pkgutil.walk_packages(module.__path__, f"{name}.") if "._" not in each.name)
    parts = [f"# {name}\n\n{_names(name, [])}", *(f"## {each}\n\n{_names(each, level=3)}" for each in inside)]
    return "\n\n".join(parts)


def _names(module: str, members: Sequence[str] | None = None, level: int = 2) -> str:
    """Return what the site replaces with the documentation of a module's names."""
    shown = "" if members is None else f"\n      members: {list(members) or 'false'}"
    return f"::: {module}\n    options:\n      heading_level: {level}{shown}"
