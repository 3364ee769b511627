"""`pycam paper`: the paper's tables and figures, one module per subcommand."""

from __future__ import annotations

import typer

from pycam.cli.paper.figure5 import figure5
from pycam.cli.paper.figure7 import figure7, figure8
from pycam.cli.paper.figure9 import figure9
from pycam.cli.paper.figure10 import figure10
from pycam.cli.paper.figure11 import figure11

app = typer.Typer(help="Make the paper's tables and figures.", no_args_is_help=True)
app.command()(figure5)
app.command()(figure7)
app.command()(figure8)
app.command()(figure9)
app.command()(figure10)
app.command()(figure11)
