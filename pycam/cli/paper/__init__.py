"""`pycam paper`: the paper's tables and figures, one module per subcommand."""

from __future__ import annotations

import typer

from pycam.cli.paper.figure13 import figure13

app = typer.Typer(help="Make the paper's tables and figures.", no_args_is_help=True)
app.command()(figure13)
