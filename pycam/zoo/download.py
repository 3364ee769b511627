"""Downloads that leave the complete, right file in its place, or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin

import requests
from rich.progress import DownloadColumn, Progress

from pycam.console import Notes
from pycam.errors import ModelError, PycamError
from pycam.formats.files import atomic_open
from pycam.formats.opening import HEAD, LFS_POINTER, WEB_PAGE, recognise
from pycam.zoo.cards import PublishedFile

CONNECT_SECONDS = 15.0
STALL_SECONDS = 30.0
# Protobuf messages, and so caffemodels, cannot be larger.
LARGEST = 2**31
CHUNK = 1 << 16


def fetch(file: PublishedFile, target: Path, check: Callable[[Path], object]) -> None:
    """Download `file` to `target` from the first of its mirrors that has the right one.

    The download goes to a temporary file beside the target. The file is checked there and then moved to its place in
    one step, so that no error, kill, or second download at the same time leaves a wrong file.

    Parameters
    ----------
    file : PublishedFile
        The file, with its mirrors.
    target : Path
        Where to put the file; its folder is created if it does not exist.
    check : callable
        Takes the path of the downloaded file, and raises a `PycamError` if that is not the right file.

    Raises
    ------
    ModelError
        No mirror gave the right file; the message has the reason of each mirror.
    """
    problems = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{target.parent}: cannot create this folder for downloads: {error.strerror}") from None
    with Notes().progress(DownloadColumn()) as bar:
        for url in file.mirrors:
            try:
                with atomic_open(target) as stream:
                    _receive(url, stream, bar)
                    try:
                        check(Path(stream.name))
                    except PycamError as error:
                        raise ModelError(str(error).replace(stream.name, target.name)) from None
                return
            # Some malformed addresses that a server redirects to raise a ValueError.
            except (OSError, ValueError, PycamError) as error:
                problems.append(f"{url}: {_cause(error)}")
    reasons = "; ".join(problems) or "no address is known"
    raise ModelError(
        f"{target.name} could not be downloaded: {reasons}. You can put the file into {target.parent} yourself. "
        "The bundled model works without a network (`pycam models list`)"
    )


def _receive(url: str, stream: BinaryIO, bar: Progress) -> None:
    """Write the body of `url` to `stream`; refuse it if it is incomplete, empty, a web page, or a Git LFS pointer."""
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
                    raise ModelError(f"more than {LARGEST} bytes; a caffemodel cannot be that large")
        except requests.RequestException as error:
            raise ModelError(f"{_cause(error)} after {received} bytes") from None
        finally:
            bar.remove_task(task)
        if total not in (None, received):
            raise ModelError(f"the connection ended after {received} of {total} bytes")
    stream.flush()
    os.fsync(stream.fileno())
    with Path(stream.name).open("rb") as written:
        head = written.read(HEAD)
    found, _ = recognise(head) if head else ("nothing", "")
    if found in ("nothing", WEB_PAGE, LFS_POINTER):
        raise ModelError(f"the server sent {found} instead of the file")


def _refuse_downgrade(answer: requests.Response, **_: Any) -> None:
    if answer.is_redirect:
        target = urljoin(answer.url, answer.headers["Location"])
        if answer.url.startswith("https:") and not target.startswith("https:"):
            answer.close()
            raise ModelError("the server redirects from https to an address without encryption")


def _cause(error: Exception) -> str:
    """Describe in a few words why a mirror failed; requests' own messages are long and name its internals."""
    if isinstance(error, PycamError):
        return str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers with HTTP status {error.response.status_code}"
    stalled = f"no data for {STALL_SECONDS:g} s"
    causes: dict[type[Exception], str] = {
        requests.TooManyRedirects: "the server redirects in a circle",
        requests.ConnectTimeout: f"no connection within {CONNECT_SECONDS:g} s",
        requests.Timeout: stalled,
        requests.exceptions.SSLError: "the server's certificate is not accepted",
        requests.exceptions.ChunkedEncodingError: "the connection broke",
        requests.ConnectionError: stalled if "timed out" in str(error) else "no connection: unknown name or no server",
        requests.RequestException: f"no usable answer ({type(error).__name__})",
    }
    known = (text for kind, text in causes.items() if isinstance(error, kind))
    return next(known, None) or getattr(error, "strerror", None) or str(error)
