"""The gallery: the commands of docs/gallery.md are run, and what they write is shown below them."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from pycam import cli

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^## (?P<title>.+?)$(?P<text>.*?)^```sh result=(?P<result>\S+)\n(?P<code>.+?)^```$", re.M | re.S)
"""A section: its heading, its text, the file that is shown, and the commands that write it."""


def gallery_page(folder: Path) -> str:
    """Run the commands of the page, copy what they write to a folder beside the page, and return the page with it."""
    page = (ROOT / "docs/gallery.md").read_text("utf-8")

    def shown(block: re.Match[str]) -> str:
        for line in block["code"].replace("\\\n", " ").splitlines():
            _run(line)
        copy = folder / block["result"]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(block["result"], copy)
        link = f"{folder.name}/{block['result']}"
        result = f"[Open the page]({link})" if copy.suffix == ".html" else f"![{block['title']}]({link})"
        return f"## {block['title']}{block['text']}```sh\n{block['code']}```\n\n{result}"

    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            return BLOCK.sub(shown, page)
        finally:
            os.chdir(before)


def _run(line: str) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program != "pycam":
        raise SystemExit(f"docs/gallery.md: `{line}` is not a command of pycam")
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed):
        code = cli.main(arguments)
    if code:
        raise SystemExit(f"docs/gallery.md: `{line}` ended with exit code {code}:\n{printed.getvalue()}")
