"""`pycam doctor`: the parts of pycam that work on this machine, and fixes for the others."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pycam.cli import options
from pycam.console import print_json, print_line, print_styled
from pycam.verification import doctor as library

STYLES = {"ok": "green", "not here": "dim", "wrong": "bold red"}


def doctor(as_json: options.Json = False) -> None:
    """Check versions, engines (each runs a small net), files, models and extras, and suggest fixes.

    Exit code 0 if the core works: the default engine, the bundled model, and their dependencies. 1 if it does not.
    """
    about, good = "", True
    findings = []
    for finding in library.examine():
        findings.append(asdict(finding))
        good &= not (finding.core and finding.state == "wrong")
        if as_json:
            continue
        if finding.about != about:
            if about:
                print_line()
            about = finding.about
            print_styled((about, "bold"))
        told = finding.told + (f" → {finding.fix}" if finding.fix else "")
        print_styled((f"  {finding.name:27}", ""), (f"{finding.state:9}", STYLES[finding.state]), (told, ""))
    if as_json:
        print_json({"works": good, "findings": findings})
    else:
        wrong = sum(finding["state"] == "wrong" for finding in findings)
        core = "works" if good else "does not work"
        print_line()
        print_line(f"the core {core}; {wrong or 'nothing'} {'is' if wrong < 2 else 'are'} wrong")
    if not good:
        raise typer.Exit(1)
