"""Self-contained pages: they contain their styles, scripts and colours, and their policy forbids requests.

The browser runs only the scripts that are listed here, whatever a file name or a label contains.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from pycam.drawing.colormaps import opencv_jet, viridis


def page(
    title: str,
    *files: str,
    scripts: str = "",
    images: str = "data:",
    answers: str = "'none'",
    workers: str = "'none'",
) -> tuple[str, str]:
    """Return the beginning and the end of a page. The data lies between them, as `json_block`s.

    Parameters
    ----------
    title : str
        Title of the page.
    *files : str
        The scripts and styles that make the page, besides those of the viewer, as for `page_text`.
    scripts, images, answers, workers : str
        Further sources of scripts, of images, of answers to requests and of workers, for the Content-Security-Policy.

    Returns
    -------
    (str, str)
        HTML: up to the beginning of the body, and from the end of the body.
    """
    style = page_text("viewer.css", *(name for name in files if name.endswith(".css")))
    code = page_text(*_VIEWER, *(name for name in files if name.endswith(".js")))
    policy = f"script-src '{_hash(code)}' {scripts}; img-src {images}; connect-src {answers}; worker-src {workers}"
    noscript = "<noscript>This page draws its maps in the browser: allow its scripts.</noscript>\n"
    end = f"{json_block('colours', colour_tables())}<script>{code}</script>\n{_END}"
    return _begin(title, style, policy) + noscript, end


def static_page(title: str, style: str, body: str) -> str:
    """Return a page that runs no script and shows only images that it contains.

    Parameters
    ----------
    title : str
        Title of the page.
    style : str
        The file in `viewer/` with its styles, besides `viewer.css`.
    body : str
        HTML.
    """
    return _begin(title, page_text("viewer.css", style), "img-src data:") + body + _END


_VIEWER = ("resize.js", "maps.js", "elements.js", "search.js", "export.js", "viewer.js")
_END = "</body>\n</html>\n"


def _begin(title: str, style: str, policy: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; "
        f"form-action 'none'; style-src '{_hash(style)}'; {policy}\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )


def json_block(name: str, value: Any) -> str:
    """Return a value as a block of JSON for the page's scripts. Nothing in it can end the block or run."""
    return f'<script type="application/json" id="{name}">{json_text(value)}</script>\n'


def json_text(value: Any) -> str:
    """Return JSON in ASCII that is safe inside HTML."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def page_text(*names: str) -> str:
    """Return scripts or styles as one text: names of files in `viewer/`, or their paths in the package `pycam`."""
    package = resources.files("pycam")
    return "\n".join(
        package.joinpath(name if "/" in name else f"report/viewer/{name}").read_text("utf-8") for name in names
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def colour_tables() -> dict[str, str]:
    """Return each colour map as base64 of 256 RGB triples."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    tables = {"JET": opencv_jet(levels), "viridis": viridis(levels)}
    return {name: base64.b64encode(bgr[:, 0, ::-1].tobytes()).decode() for name, bgr in tables.items()}
