"""Lay out the pages of the site: `python docs/site/pages.py FOLDER`.

The documents lie as in the repository, so that their links hold in both. The reference is written from the code, and
the gallery's commands are run.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from gallery import gallery_page
from reference import reference_pages

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent
DOCUMENTS = ("*.md", "docs/*.md", "benchmarks/*.md", "matlab_ports/*.md", "examples/*/*.md")
ASSETS = ("site.css", "iframe-worker.js")

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
"""A link to a file, without the place in it."""


def documents() -> list[Path]:
    """Return the documents of the repository."""
    return sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))


def copy_documents(folder: Path) -> None:
    """Copy the documents, and the files that they link to."""
    copied = set(documents())
    linked = {(path.parent / link).resolve() for path in copied for link in LINK.findall(path.read_text("utf-8"))}
    for path in copied | {path for path in linked if path.is_file()}:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def main(folder: Path) -> None:
    """Write all pages, and what they need, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_documents(folder)
    (folder / "docs/gallery.md").write_text(gallery_page(folder / "docs/gallery"), "utf-8")
    (folder / "reference").mkdir()
    for name, page in reference_pages().items():
        (folder / "reference" / f"{name}.md").write_text(page + "\n", "utf-8")
    (folder / "assets").mkdir()
    for name in ASSETS:
        shutil.copyfile(SITE / name, folder / "assets" / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
