"""The page of the commands, written from the program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pycam import cli
from pycam.cli.examples import EXAMPLES


def commands_page() -> str:
    """Return the page: a heading for each command, and a definition for each argument and option."""
    parts = ["# Commands", "`pycam COMMAND --help` prints the same in a terminal."]
    for name in cli.COMMANDS:
        parts += _command(f"pycam {name}", cli.load_command(name), level=2)
    return "\n\n".join(parts)


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{path}`"
    yield _text(command.help or command.short_help)
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from _command(f"{path} {name}", each, level + 1)
        return
    if lines := EXAMPLES.get(path.removeprefix("pycam ")):
        yield "```sh\n" + "\n".join(f"pycam {line}" for line in lines) + "\n```"
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
