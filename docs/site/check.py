"""Check a built site: `python docs/site/check.py FOLDER`.

Every link inside the site must lead to a file and, if it names one, to a place in it. Nothing that a page loads may
come from another origin, so that the site works without a network.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data"}
"""Attributes whose value a browser fetches by itself; `href` is one of them in a `link`."""


@dataclass
class Page(HTMLParser):
    """What a page offers and what it needs: its places, what it links to, and what it loads."""

    places: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses of a tag."""
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in LOADED or (name == "href" and tag == "link"):
                self.loaded.append(value or "")


def problems(folder: Path) -> list[str]:
    """Return one line per link that leads nowhere, and per address of another origin that a page loads."""
    pages = {path: Page() for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        page.feed(path.read_text("utf-8"))
    found = [
        f"{path.relative_to(folder)}: {problem}"
        for path, page in pages.items()
        for problem in _of_page(path, page, pages, folder)
    ]
    for path in sorted(folder.rglob("*.css")):
        for address in re.findall(r"url\(\s*[\"']?([^)\"']+)", path.read_text("utf-8")):
            if _foreign(address):
                found.append(f"{path.relative_to(folder)}: loads {address}")
    return found


def _of_page(path: Path, page: Page, pages: dict[Path, Page], folder: Path) -> list[str]:
    found = [f"loads {address}" for address in page.loaded if _foreign(address)]
    # A server shows this page at any address: its links begin at the root.
    base, root = (folder, "/") if path == folder / "404.html" else (path.parent, "")
    for address in (*page.links, *page.loaded):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (base / unquote(parts.path).removeprefix(root)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(folder) or not target.is_file():
            found.append(f"no file for {address}")
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
            found.append(f"no place for {address}")
    return found


def _foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data", "blob")


def main(folder: Path) -> None:
    """Print what is wrong, and end with exit code 1 if anything is."""
    found = problems(folder.resolve())
    print("\n".join(found) or f"{folder}: {len(list(folder.rglob('*.html')))} pages, all links lead somewhere")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
