"""What is given in place of an image: web addresses, and files of other kinds; and what to do about them."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from pycam.errors import ImageError
from pycam.formats.files import exists
from pycam.formats.opening import TEXT, recognise

# A path in place of a text has lost one of the slashes.
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):(/{1,2})(?=[^/])", re.I)

_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF"}
"""Brands of the container that phones store photos in."""

_STARTS = {
    b"8BPS": "a Photoshop document",
    b"%PDF": "a PDF",
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\x76\x2f\x31\x01": "an OpenEXR image",
}


def is_address(name: str) -> bool:
    """Return whether a name is a web address, or another with a scheme before it."""
    return _ADDRESS.match(name) is not None


def refuse_address(name: str) -> None:
    """Raise an ImageError for a web address, with the command that downloads it."""
    found = _ADDRESS.match(name)
    if found is None:
        return
    address = f"{found[1]}://{name[found.end() :]}"
    if found[1].lower() not in ("http", "https", "ftp"):
        raise ImageError(f"{address}: images are read from this machine only: copy it here, and give its path")
    file = PurePosixPath(urlsplit(address).path).name or "image.jpg"
    raise ImageError(
        f"{address}: a web address; images are read from this machine only: download it first, "
        f"`curl -L -o {shlex.quote(file)} {shlex.quote(address)}`"
    )


def what_it_is(data: bytes, name: str) -> str:
    """Return what a file is in place of an image, and what to do; empty if that is not known.

    Parameters
    ----------
    data : bytes
        The content of the file.
    name : str
        The file, or what bytes without a file are called.
    """
    convert = "convert it to JPEG or PNG"
    if data[4:8] == b"ftyp":
        kind = next((kind for brand, kind in _BRANDS.items() if brand in data[8:64]), "")
        if not kind:
            return "a video (MP4 or MOV), not an image: save images of it as JPEG or PNG"
        return f"a photo in the form {kind}, which is not read: {convert}{_command(name)}"
    if not data:
        return "empty, not an image"
    for start, kind in _STARTS.items():
        if data.startswith(start):
            return f"{kind}, which is not read: {convert}"
    if b"<svg" in data[:1024]:
        return f"an SVG drawing, which has no pixels: {convert}"
    kind, fix = recognise(data[:4096])
    return f"{kind}, not an image: {fix}" if kind not in ("", TEXT, "an image") else ""


def _command(name: str) -> str:
    """Return the command that converts a file and replaces none; empty for bytes without a file."""
    stem = name.rpartition(".")[0] or name
    to = next((new for new in (f"{stem}.jpg", f"{stem}.png") if not exists(new)), None)
    return f", `magick {shlex.quote(name)} {shlex.quote(to)}`" if to is not None and exists(name) else ""
