"""Commands for the scripts of the release: options from a signature, errors and warnings in one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

import typer

from pycam import cli


def run(script: Callable[..., None]) -> NoReturn:
    """Run a function as a program, and exit with its exit code."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(script)
    warnings.showwarning = lambda message, *_, **__: print(f"pycam: {message}", file=sys.stderr)
    sys.exit(cli.main(application=application))
