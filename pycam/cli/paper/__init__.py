"""`pycam paper`: the living paper and its bundle; the paper's tables and figures, one module per subcommand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.cli.paper.figure5 import figure5
from pycam.cli.paper.figure7 import figure7, figure8
from pycam.cli.paper.figure9 import figure9
from pycam.cli.paper.figure10 import figure10
from pycam.cli.paper.figure11 import figure11
from pycam.cli.paper.figure13 import figure13
from pycam.cli.paper.table4 import table4
from pycam.cli.paper.table5 import table5
from pycam.console import Notes, print_error, print_line
from pycam.errors import UsageError
from pycam.formats.files import atomic_write

app = typer.Typer(invoke_without_command=True)
app.command()(table4)
app.command()(table5)
app.command()(figure5)
app.command()(figure7)
app.command()(figure8)
app.command()(figure9)
app.command()(figure10)
app.command()(figure11)
app.command()(figure13)

PAGE = Path("paper.html")


@app.callback()
def paper(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            help="Folder of a run, of a table or of a figure, or with such folders in it; one or more.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="File of the page.")] = PAGE,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Margin of all verdicts, in points. Default: 0.5 for classification, 1 for localization and accuracy."
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write a bundle that checks itself, in place of the page: a new folder.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Check a bundle: compute it again, and name the first difference.")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make the paper's tables and figures.

    Without a subcommand: write the living paper, a page with every cell and figure of the paper, published and ours.
    """
    every = ("runs", "out", "margin", "bundle", "check", "quiet")
    if context.invoked_subcommand is not None:
        options.refuse(context, f"it belongs to the page, not to {context.invoked_subcommand}", *every)
        return
    if check is not None:
        options.refuse(context, "a bundle has its runs", "runs", "out", "margin", "bundle")
        _check(check, quiet)
        return
    from pycam.paper.sources import Sources
    from pycam.paper.tables import missing_weights

    sources, weights = Sources.read(runs or ()), missing_weights()
    for sentence in sources.left_out():
        print_error(sentence)
    if bundle is not None:
        from pycam.report.bundle import write_bundle

        options.refuse(context, "the page is in the bundle", "out")
        write_bundle(bundle, sources, weights, margin)
        Notes(quiet).say(f"wrote {bundle}: check it with `pycam paper --check {bundle}`")
        return
    from pycam.paper.living import living_paper
    from pycam.report.html import is_one_file
    from pycam.report.paper_page import paper_page

    if not is_one_file(out):
        raise UsageError(f"--out {out}: expected a file name that ends in .html")
    living = living_paper(sources, weights, margin)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, paper_page(living))
    counts = ", ".join(f"{count} {state}" for state, count in sorted(living.counts().items()))
    Notes(quiet).say(f"wrote {out}: cells of Tables 1 to 5: {counts}")


def _check(folder: Path, quiet: bool) -> None:
    from pycam.report.bundle import check_bundle

    found = check_bundle(folder)
    for text in found.unchecked:
        print_line(f"not checked: {text}")
    if found.difference:
        print_line(f"different: {found.difference}")
        raise typer.Exit(options.NOT_CONFIRMED)
    if not quiet:
        for text in found.confirmed:
            print_line(f"the same: {text}")
