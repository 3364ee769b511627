"""Downloads that leave the right file, whole, in its place, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin

import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from pycam.errors import ModelError, PycamError
from pycam.formats.files import atomic_open
from pycam.formats.opening import HEAD, LFS_POINTER, WEB_PAGE, recognise
from pycam.progress import progress
from pycam.zoo.cards import PublishedFile

CONNECT_SECONDS = 15.0
STALL_SECONDS = 30.0
# No protobuf message, and so no caffemodel, can be larger.
LARGEST = 2**31
CHUNK = 1 << 16


def fetch(file: PublishedFile, target: Path, check: Callable[[Path], object]) -> None:
    """Download `file` to `target` from the first of its mirrors that has the right one.

    What arrives is written to a file of its own beside the target, checked there, and then moved to its place
    in one step, so that neither an error, a kill, nor a second download at the same time leaves a wrong file.

    Parameters
    ----------
    file : PublishedFile
        Its mirrors.
    target : Path
        Where to put it; the folder is made if it is not there.
    check : callable
        Gets the path of what arrived, and raises a `PycamError` when that is not the right file.

    Raises
    ------
    ModelError
        No mirror gave the right file; the message tells why, mirror by mirror.
    """
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{target.parent}: no folder can be made there for downloads: {error.strerror}") from None
    with progress(Console(stderr=True), DownloadColumn()) as bar:
        for url in file.mirrors:
            try:
                with atomic_open(target) as stream:
                    _receive(url, stream, bar)
                    try:
                        check(Path(stream.name))
                    except PycamError as error:
                        raise ModelError(str(error).replace(stream.name, target.name)) from None
                return
            # An address that a server redirects to can be wrong enough for a ValueError.
            except (OSError, ValueError, PycamError) as error:
                problems.append(f"{url}: {_cause(error)}")
    reasons = "; ".join(problems) or "no address is known"
    raise ModelError(
        f"{target.name} could not be downloaded: {reasons}. Or put the file into {target.parent} yourself. "
        "All else works without a network, with the model that comes with pycam (`pycam models list`)"
    )


def _receive(url: str, stream: BinaryIO, bar: Progress) -> None:
    """Write the body of `url` to `stream`, and see to it that all of it came."""
    with requests.get(
        url,
        stream=True,
        timeout=(CONNECT_SECONDS, STALL_SECONDS),
        headers={"Accept-Encoding": "identity"},
        hooks={"response": _refuse_downgrade},
    ) as answer:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        task = bar.add_task(url.rpartition("/")[2], total=total)
        received = 0
        try:
            for chunk in answer.iter_content(CHUNK):
                received += stream.write(chunk)
                bar.advance(task, len(chunk))
                if received > LARGEST:
                    raise ModelError(f"more than {LARGEST} bytes, no caffemodel is that large")
        except requests.RequestException as error:
            raise ModelError(f"{_cause(error)} after {received} bytes") from None
        finally:
            bar.remove_task(task)
        if total not in (None, received):
            raise ModelError(f"the connection ended after {received} of {total} bytes")
    stream.flush()
    os.fsync(stream.fileno())
    _refuse_page(Path(stream.name))


def _refuse_downgrade(answer: requests.Response, **_: Any) -> None:
    if answer.is_redirect:
        target = urljoin(answer.url, answer.headers["Location"])
        if answer.url.startswith("https:") and not target.startswith("https:"):
            answer.close()
            raise ModelError("it redirects from https to an address without encryption")


def _refuse_page(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    found, _ = recognise(head) if head else ("nothing", "")
    if found in ("nothing", WEB_PAGE, LFS_POINTER):
        raise ModelError(f"{found} came in place of the file")


def _cause(error: Exception) -> str:
    """Tell in a few words why a mirror failed; requests' own words are long and name its internals."""
    if isinstance(error, PycamError):
        return str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers with HTTP status {error.response.status_code}"
    if isinstance(error, requests.TooManyRedirects):
        return "it redirects in a circle"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no data for {STALL_SECONDS:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not accepted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "no connection: the name is unknown, or the server is not there or gone"
    if isinstance(error, requests.RequestException):
        return f"no usable answer ({type(error).__name__})"
    return getattr(error, "strerror", None) or str(error)
