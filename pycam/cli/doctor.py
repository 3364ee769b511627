"""`pycam doctor`: the parts of pycam that work on this machine, and fixes for the others."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.text import Text

from pycam.cli import options
from pycam.verification import doctor as library

STYLES = {"ok": "green", "not here": "dim", "wrong": "bold red"}


def doctor(as_json: options.Json = False) -> None:
    """Check versions, engines (each runs a small net), files, models and extras, and suggest fixes.

    Exit code 0 if the core works: the default engine, the bundled model, and their dependencies. 1 if it does not.
    """
    console, about, good = Console(highlight=False), "", True
    findings = []
    for finding in library.examine():
        findings.append(asdict(finding))
        good &= not (finding.core and finding.state == "wrong")
        if as_json:
            continue
        if finding.about != about:
            about = finding.about
            console.print(Text(f"{'' if about == 'versions' else chr(10)}{about}", "bold"))
        line = Text.assemble(f"  {finding.name:27}", (f"{finding.state:9}", STYLES[finding.state]), finding.told)
        if finding.fix:
            line.append(f" → {finding.fix}")
        console.print(line, soft_wrap=True)
    if as_json:
        print(json.dumps({"works": good, "findings": findings}, indent=2, ensure_ascii=False))
    else:
        wrong = sum(finding["state"] == "wrong" for finding in findings)
        core = "works" if good else "does not work"
        console.print(f"\nthe core {core}; {wrong or 'nothing'} {'is' if wrong < 2 else 'are'} wrong", soft_wrap=True)
    if not good:
        raise typer.Exit(1)
