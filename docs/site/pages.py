"""Lay out the pages of the site: `python docs/site/pages.py FOLDER`.

The documents lie as in the repository, so that their links hold in both. The reference of the commands and of the
Python names is written from the code, and the gallery's commands are run.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pycam
from commands import commands_page
from gallery import gallery_page

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent
DOCUMENTS = ("*.md", "docs/*.md", "benchmarks/*.md", "matlab_ports/*.md", "examples/*/*.md")
ASSETS = ("site.css", "iframe-worker.js")
INTERNAL = {"cli", "console", "prefetch"}
"""Parts of the package that are for the others: the commands have a page of their own."""

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")


def copy_documents(folder: Path) -> None:
    """Copy the documents, and the files that they link to."""
    documents = [path for pattern in DOCUMENTS for path in ROOT.glob(pattern)]
    linked = {
        (path.parent / link).resolve() for path in documents for link in LINK.findall(path.read_text("utf-8"))
    }
    for path in {*documents, *(path for path in linked if path.is_file())}:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (folder / "assets").mkdir()
    for name in ASSETS:
        shutil.copyfile(SITE / name, folder / "assets" / name)


def python_pages() -> Iterator[tuple[str, str]]:
    """Give for each part of the package its name and its page."""
    yield "pycam", python_page("pycam", pycam.__all__)
    for part in pkgutil.iter_modules(pycam.__path__, "pycam."):
        if part.name.startswith("pycam._") or part.name.removeprefix("pycam.") in INTERNAL:
            continue
        yield part.name, python_page(part.name)
    yield "matlab_ports", python_page("matlab_ports")


def python_page(name: str, members: list[str] | None = None) -> str:
    """Return the page of a module; that of a package has the modules in it."""
    module = importlib.import_module(name)
    if members is not None:
        return f"# {name}\n\n{_names(name, members)}"
    if not hasattr(module, "__path__"):
        return f"# {name}\n\n{_names(name)}"
    inside = sorted(each.name for each in pkgutil.walk_packages(module.__path__, f"{name}."))
    parts = [f"# {name}\n\n{_names(name, [])}"]
    parts += [f"## {each}\n\n{_names(each, level=3)}" for each in inside if "._" not in each]
    return "\n\n".join(parts)


def _names(module: str, members: list[str] | None = None, level: int = 2) -> str:
    """Return what mkdocstrings replaces with the documentation of a module's names."""
    shown = "" if members is None else f"\n      members: {members or 'false'}"
    return f"::: {module}\n    options:\n      heading_level: {level}{shown}"


def main(folder: Path) -> None:
    """Write all pages into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_documents(folder)
    (folder / "docs/gallery.md").write_text(gallery_page(folder / "docs/gallery"), "utf-8")
    (folder / "reference").mkdir()
    for name, page in (("commands", commands_page()), *python_pages()):
        (folder / "reference" / f"{name}.md").write_text(page + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
