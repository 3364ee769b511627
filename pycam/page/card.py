"""The files beside a page that hosts read: the card of a Hugging Face Space, and a marker file for GitHub Pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from pycam import __version__
from pycam.formats.files import utf8
from pycam.model import Model
from pycam.page.runtime import Runtime
from pycam.protocols import Protocol

LICENSES = (
    "agpl-3.0",
    "apache-2.0",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "isc",
    "lgpl-3.0",
    "mit",
    "mpl-2.0",
    "unlicense",
)
"""Licences by their names on the Hub; any other one is `other` there."""

CAM_PAPER = "Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016"
CAM_DOI = "https://doi.org/10.1109/CVPR.2016.319"

# A page in a Space gets several threads only with these.
_HEADERS = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "cross-origin",
}


def files_for_hosts(
    model: Model, protocol: Protocol, *, title: str, net_size: int, runtime: Runtime, runtime_size: int
) -> dict[str, bytes]:
    """Return the files of a page that hosts read, and no browser.

    Parameters
    ----------
    model : Model
        The model; what its card says of it is on the card of the page.
    protocol : Protocol
        The protocol of the page.
    title : str
        Title of the page.
    net_size, runtime_size : int
        Bytes of the net and of ONNX Runtime Web in the folder.
    runtime : Runtime
        ONNX Runtime Web.

    Returns
    -------
    dict
        `README.md`, the card of a static Space: its settings as YAML, then text. `.nojekyll`, so that GitHub Pages
        publishes the folder as it is. `LICENSE-onnxruntime-web.txt`.
    """
    head = yaml.safe_dump(dict(_settings(model, title)), sort_keys=False, allow_unicode=True, width=float("inf"))
    rows = [f"| {what} | {text} |" for what, text in _rows(model, protocol, net_size, runtime_size)]
    card = model.card
    parts = [
        f"---\n{head}---",
        f"# {_plain(title)}",
        "Open or drop an image: the page shows its most likely classes, the class activation map of each, and the box "
        "around its largest region. The net runs in your own browser; no image leaves it.",
        "\n".join(["| | |", "|---|---|", *rows]),
        "## Citation",
        "\n".join(f"- {paper}" for paper in _papers(model)),
        *(["## Notes", _plain(card.notes)] if card and card.notes else []),
        "## Software",
        f"Made with pycam {__version__} (MIT). ONNX Runtime Web {runtime.version} (MIT) runs the net: "
        "[its licence](LICENSE-onnxruntime-web.txt).",
    ]
    return {
        "README.md": utf8("\n\n".join(parts) + "\n"),
        ".nojekyll": b"",
        "LICENSE-onnxruntime-web.txt": utf8(runtime.license),
    }


def _settings(model: Model, title: str) -> Iterator[tuple[str, object]]:
    yield "title", _one_line(title)
    yield "emoji", "🔍"
    yield "colorFrom", "indigo"
    yield "colorTo", "red"
    yield "sdk", "static"
    yield "short_description", "Class activation maps, made in your own browser"
    if model.card is not None and (licence := model.card.licence):
        # As in "MIT, as pycam": what follows is about parts of the model.
        name = re.split(r"[,;(]", licence)[0].strip().casefold().replace(" ", "-")
        yield "license", name if name in LICENSES else "other"
    yield "tags", ["class-activation-maps", "caffe", "onnx"]
    yield "custom_headers", _HEADERS


def _rows(model: Model, protocol: Protocol, net_size: int, runtime_size: int) -> Iterator[tuple[str, str]]:
    card, sources = model.card, model.net.sources
    yield "Model", _plain((card and card.title) or model.name)
    height, width = model.input_size
    yield "Classes", str(model.class_count)
    yield "Input", f"{height}×{width}, {model.channels} channel{'s' if model.channels != 1 else ''}"
    row = f"view {protocol.view}, resizer {protocol.resizer}, mean {protocol.mean}, {protocol.boxes_by}"
    yield "Protocol", _plain(f"{protocol.name}: {row}")
    yield "Size", f"{net_size / 1e6:.1f} MB, and {runtime_size / 1e6:.1f} MB for ONNX Runtime Web"
    if sources is not None and sources.caffemodel is not None:
        yield "Weights", f"{_plain(Path(sources.caffemodel).name)}, SHA-256 `{model.digests['weights']}`"
    if card is not None and card.source:
        yield "Source", _link(card.source)
    if card is not None and card.licence:
        yield "Licence", _plain(card.licence)


def _papers(model: Model) -> Iterator[str]:
    if model.card is not None and model.card.paper:
        yield f"The model: {_plain(model.card.paper)}"
    yield f"The maps: {CAM_PAPER}, <{CAM_DOI}>"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """Return a text of others as Markdown that shows it, and nothing else."""
    return re.sub(r"([\\`*_\[\]<>&|#~$])", r"\\\1", _one_line(text))


def _link(text: str) -> str:
    return f"<{text}>" if re.fullmatch(r"https?://[^\s<>|]+", text) else _plain(text)
