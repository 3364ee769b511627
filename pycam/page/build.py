"""The page of a model: a folder for any host of files, or one file that opens by double click.

The page contains the net with its maps as ONNX, ONNX Runtime Web, the viewer, the labels, and examples. Before it shows
anything, the page compares its scores of a small image with those that pycam computes here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam import __version__
from pycam.drawing import encode_jpeg
from pycam.engines.onnx_graph import onnx_cam_model
from pycam.errors import UsageError
from pycam.formats.files import atomic_open, atomic_write, utf8
from pycam.formats.schema import Message
from pycam.images.read import read_bytes, read_image
from pycam.model import Model
from pycam.page.card import CAM_PAPER, files_for_hosts
from pycam.page.recipe import input_record, output_record
from pycam.page.runtime import Runtime
from pycam.predict import Cam
from pycam.report.html import UNFINISHED, is_one_file, new_folder
from pycam.report.page import json_block, json_text, page, page_text
from pycam.report.viewer_data import classes_record
from pycam.zoo.cards import Card

LARGEST_EMBEDDED = 384_000_000
"""Bytes of a file that a page of one file can contain: as base64, it must fit into a text of a browser."""

NET = "model.onnx"
WORKER = "service-worker.js"

_BROWSER = "page/browser/"
_OWN = ("desk.js", *(f"{_BROWSER}{name}.js" for name in ("files", "runner", "camera", "page")))
_IN_WORKER = (
    "resize.js",
    "maps.js",
    *(f"{_BROWSER}{name}.js" for name in ("resizers", "pixels", "record", "headers", "png", "decode", "net")),
)

_SHOWN_AS_THEY_ARE = {b"\xff\xd8": "image/jpeg", b"\x89PNG": "image/png"}
"""The first bytes of the files that every browser decodes to the pixels that pycam reads, and the type of each."""

_THUMBNAIL = 64


@dataclass(frozen=True, eq=False)
class Example:
    """An image that the page offers.

    Attributes
    ----------
    name : str
        Its name on the page.
    data : bytes
        The file: a JPEG or a PNG.
    type : str
        The type of the file, as `image/png`.
    thumbnail : bytes
        A small JPEG.
    """

    name: str
    data: bytes
    type: str
    thumbnail: bytes

    @classmethod
    def read(cls, path: Path) -> Example:
        """Read an image. What is no JPEG or PNG becomes a PNG of the same pixels.

        Raises
        ------
        ImageError
            The file cannot be read as an image.
        """
        data = read_bytes(path)
        image = read_image(data, path=str(path))
        kind = next((kind for start, kind in _SHOWN_AS_THEY_ARE.items() if data.startswith(start)), "")
        if not kind:
            data, kind = cv2.imencode(".png", image.pixels)[1].tobytes(), "image/png"
        pixels = image.upright().pixels
        scale = _THUMBNAIL / min(pixels.shape[:2])
        size = [max(1, round(side * min(1, scale))) for side in pixels.shape[1::-1]]
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return cls(path.name, data, kind, encode_jpeg(np.asarray(small, np.uint8), quality=80))


@dataclass(frozen=True, eq=False)
class _File:
    """A file of the page: what is stored, and what it contains if it is packed by gzip."""

    content: bytes
    packed: bytes | None = None

    @property
    def stored(self) -> bytes:
        return self.content if self.packed is None else self.packed

    def record(self) -> dict[str, Any]:
        return {
            "bytes": len(self.stored),
            "size": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "packed": self.packed is not None,
        }


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    total, net, runtime : int
        Bytes of all, of the net, and of ONNX Runtime Web.
    """

    total: int
    net: int
    runtime: int


def write_page(
    place: Path, cam: Cam, runtime: Runtime, *, title: str = "", examples: Sequence[Example] = ()
) -> Written:
    """Write the page of a model.

    Parameters
    ----------
    place : Path
        A file name with the ending `.html` gets the whole page. Anything else is a folder, new or empty.
    cam : Cam
        The model, ready with the engine that the page is checked with.
    runtime : Runtime
        ONNX Runtime Web.
    title : str
        Title of the page. Default: that of the model.
    examples : sequence of Example
        Images that the page offers.

    Returns
    -------
    Written

    Raises
    ------
    UsageError
        The page cannot do what the protocol says, the net is too large for one file, or the folder is not empty.
    NetError
        The net has no class activation maps.
    """
    one_file = is_one_file(place)
    net = onnx_cam_model(cam.model.net, cam.model.head, top=None)
    files = _files(net, runtime, examples)
    for name, file in files.items():
        if one_file and len(file.stored) > LARGEST_EMBEDDED:
            raise UsageError(
                f"{place}: {name} has {len(file.stored) / 1e6:.0f} MB, and a page of one file can contain files of up "
                f"to {LARGEST_EMBEDDED / 1e6:.0f} MB: write a folder, with --out NAME and without --single-file"
            )
    facts = _facts(cam, runtime, title, examples) | {
        "net": _net_record(cam.model, net),
        "files": {name: file.record() for name, file in files.items()},
        "worker": None if one_file else WORKER,
    }
    begin, end = page(
        facts["title"],
        "desk.css",
        f"{_BROWSER}page.css",
        *_OWN,
        scripts="blob: 'wasm-unsafe-eval'",
        images="data: blob:",
        answers="'none'" if one_file else "'self'",
        workers="blob:" if one_file else "'self' blob:",
    )
    head = begin + json_block("page", facts) + json_block("worker", page_text(*_IN_WORKER))
    in_net = len(files[NET].stored)
    in_runtime = sum(len(file.stored) for name, file in files.items() if name.startswith("runtime/"))
    if one_file:
        total = _write_file(place, head, files, end)
    else:
        beside = files_for_hosts(
            cam.model, cam.protocol, title=facts["title"], net_size=in_net, runtime=runtime, runtime_size=in_runtime
        )
        new_folder(place)
        total = _write_folder(place, head + end, files, beside)
    return Written(total, in_net, in_runtime)


def _write_file(place: Path, head: str, files: Mapping[str, _File], end: str) -> int:
    place.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with atomic_open(place) as out:
        for part in itertools.chain([utf8(head)], _blocks(files), [utf8(end)]):
            out.write(part)
            total += len(part)
    return total


def _blocks(files: Mapping[str, _File]) -> Iterator[bytes]:
    """Yield the files as blocks that a page contains: browsers neither run nor show them."""
    for name, file in files.items():
        yield f'<script type="text/plain" id="file-{name}">'.encode()
        yield base64.b64encode(file.stored)
        yield b"</script>\n"


def _write_folder(place: Path, index: str, files: Mapping[str, _File], beside: Mapping[str, bytes]) -> int:
    contents = {name: file.stored for name, file in files.items()} | {"index.html": utf8(index)}
    digests = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in sorted(contents.items())]
    kept = {
        "version": hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16],
        "files": list(files),
        # The build for WebGPU is large, and kept where it is used.
        "first": [name for name in files if not any(part in name for part in ("webgpu", "asyncify"))],
    }
    contents |= beside
    contents[WORKER] = utf8(f"const PAGE = {json_text(kept)};\n{page_text(f'{_BROWSER}{WORKER}')}")
    for name, content in contents.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(place / name, content)
    (place / UNFINISHED).unlink()
    return sum(map(len, contents.values()))


def _files(net: Message, runtime: Runtime, examples: Sequence[Example]) -> dict[str, _File]:
    return {
        NET: _File(net.SerializeToString()),
        **{f"runtime/{name}.gz": _File(data, _packed(data)) for name, data in runtime.files.items()},
        **{_example_file(number, example): _File(example.data) for number, example in enumerate(examples, 1)},
    }


@cache
def _packed(data: bytes) -> bytes:
    """Compress a file of ONNX Runtime Web; it takes seconds, and every page has the same ones."""
    return gzip.compress(data, 6, mtime=0)


def _example_file(number: int, example: Example) -> str:
    return f"examples/{number}.{'png' if example.type == 'image/png' else 'jpg'}"


def _facts(cam: Cam, runtime: Runtime, title: str, examples: Sequence[Example]) -> dict[str, Any]:
    """Return what the scripts of the page need to know."""
    model, protocol = cam.model, cam.protocol
    name = (model.card and model.card.title) or model.name
    of_protocol = "" if protocol.name == "default" else f"protocol {protocol.name}"
    facts = (name, f"{model.class_count} classes", f"view {protocol.view}", of_protocol)
    return {
        "title": title or f"Class activation maps of {name}",
        "about": [fact for fact in facts if fact],
        "footer": [*_sources(model.card), *model.notes(boxes=True), *_ABOUT, f"Made with pycam {__version__}."],
        "licence": f"ONNX Runtime Web {runtime.version}\n\n{runtime.license}",
        "classes": classes_record(model.labels),
        "top": min(protocol.top, model.class_count),
        "run": output_record(model, protocol, f"onnxruntime-web {runtime.version}"),
        "input": input_record(model, protocol),
        "check": _check_record(cam),
        "model": NET,
        "examples": [
            {
                "name": example.name,
                "type": example.type,
                "file": _example_file(number, example),
                "thumbnail": f"data:image/jpeg;base64,{base64.b64encode(example.thumbnail).decode()}",
            }
            for number, example in enumerate(examples, 1)
        ],
    }


_ABOUT = (
    f"Maps: {CAM_PAPER}. A box surrounds the largest region of a map above the threshold.",
    "Images stay in this browser: it computes everything itself, and sends nothing.",
)


def _sources(card: Card | None) -> Iterator[str]:
    """Yield where a model comes from."""
    if card is not None:
        for what, text in (("Model", card.paper), ("Licence", card.licence)):
            if text:
                yield f"{what}: {text}."


def _net_record(model: Model, net: Message) -> dict[str, Any]:
    """Return the names and the shapes of the ONNX file."""
    (given,), (scores, maps) = net.graph.input, net.graph.output
    return {
        "input": given.name,
        "scores": scores.name,
        "maps": maps.name,
        "classes": model.class_count,
        "shape": [model.channels, *model.input_size],
    }


_CHECKED = (48, 64)
"""Height and width of the image that the page checks itself with."""


def _check_record(cam: Cam) -> dict[str, Any]:
    """Return a small image and its scores, as pycam computes them."""
    pixels = _check_image()
    found = cam(read_image(pixels, channels=cam.model.channels))
    rgba = np.dstack([pixels[:, :, ::-1], np.full(_CHECKED, 255, np.uint8)])
    height, width = _CHECKED
    return {"width": width, "height": height, "rgba": _base64(rgba), "scores": _base64(found.scores.astype("<f4"))}


def _check_image() -> NDArray[np.uint8]:
    """Return soft spots of all colours, (H, W, 3) uint8 BGR."""
    spots = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(cv2.resize(spots, _CHECKED[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
