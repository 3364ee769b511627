"""Downloads that leave the complete, right file in its place, or nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin

import requests
from rich.progress import DownloadColumn, Progress

from pycam.console import LineProgress, Notes
from pycam.errors import ModelError, PycamError, system_error
from pycam.formats.files import atomic_open
from pycam.formats.opening import HEAD, LFS_POINTER, WEB_PAGE, recognise
from pycam.zoo.cards import PublishedFile

CONNECT_SECONDS = 15.0
STALL_SECONDS = 30.0
ANSWER_SECONDS = 60.0
"""The most seconds until the first bytes of a file, redirects included."""
TOTAL_SECONDS = 6 * 3600.0
"""The most seconds for a file from one mirror."""
LEAST_RATE = 1000
"""The least bytes per second, over `STALL_SECONDS`."""
TOO_SLOW = f"less than {LEAST_RATE:,} bytes per second"
MOST_REDIRECTS = 10
# Protobuf messages, and so caffemodels, cannot be larger.
LARGEST = 2**31
CHUNK = 1 << 13


def fetch(file: PublishedFile, target: Path, check: Callable[[Path], object]) -> None:
    """Download `file` to `target` from the first of its mirrors that has the right one.

    The download goes to a temporary file beside the target. The file is checked there and then moved to its place in
    one step, so that no error, kill, or second download at the same time leaves a wrong file. A mirror that is slow,
    or that sends too much, is left for the next one.

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
        raise ModelError(f"cannot create the folder for downloads: {system_error(error)}") from None
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
            except (requests.RequestException, ValueError, PycamError) as error:
                problems.append(f"{url}: {_cause(error)}")
            except OSError as error:  # of this machine, not of the mirror
                raise ModelError(f"{target.name} could not be downloaded: {system_error(error)}") from None
    reasons = "; ".join(problems) or "no address is known"
    raise ModelError(
        f"{target.name} could not be downloaded: {reasons}. You can put the file into {target.parent} yourself. "
        "The bundled model works without a network (`pycam models list`)"
    )


def _receive(url: str, stream: BinaryIO, bar: Progress | LineProgress) -> None:
    """Write the body of `url` to `stream`; refuse it if it is incomplete, empty, a web page, or a Git LFS pointer."""
    begun, total, received, head = False, None, 0, b""
    task = bar.add_task(url.rpartition("/")[2], total=None)
    try:
        for piece in _in_time(_pieces(url)):
            if isinstance(piece, int):
                total = piece if piece >= 0 else None
                bar.update(task, total=total)
                begun = True
                continue
            received += len(piece)
            if received > LARGEST:
                raise ModelError(f"more than {LARGEST} bytes; a caffemodel cannot be that large")
            head = head or piece[:HEAD]
            stream.write(piece)
            bar.advance(task, len(piece))
    except requests.RequestException as error:
        if begun:
            raise ModelError(f"{_cause(error)} after {received} bytes") from None
        raise
    finally:
        bar.remove_task(task)
    if total not in (None, received):
        raise ModelError(f"the connection ended after {received} of {total} bytes")
    stream.flush()
    found, _ = recognise(head) if head else ("nothing", "")
    if found in ("nothing", WEB_PAGE, LFS_POINTER):
        raise ModelError(f"the server sent {found} instead of the file")


class _Redirect(Exception):
    """A server's answer that names another address, raised before its body is read: that may be endless."""


def _pieces(url: str) -> Iterator[int | bytes]:
    """Yield the length of a file, -1 if the server does not tell it, and then its bytes."""
    for _ in range(MOST_REDIRECTS + 1):
        try:
            with requests.get(
                url,
                stream=True,
                timeout=(CONNECT_SECONDS, STALL_SECONDS),
                headers={"Accept-Encoding": "identity"},
                hooks={"response": _stop_redirect},
            ) as answer:
                answer.raise_for_status()
                length = answer.headers.get("Content-Length", "")
                yield int(length[:20]) if length.isdecimal() else -1
                yield from answer.iter_content(CHUNK)
                return
        except _Redirect as redirect:
            target = str(redirect)
        if url.startswith("https:") and not target.startswith("https:"):
            raise ModelError("the server redirects from https to an address without encryption")
        url = target
    raise requests.TooManyRedirects


def _stop_redirect(answer: requests.Response, **_: Any) -> None:
    if answer.is_redirect:
        answer.close()
        raise _Redirect(urljoin(answer.url, answer.headers["Location"]))


def _in_time(pieces: Iterator[int | bytes]) -> Iterator[int | bytes]:
    """Yield what another thread receives, as long as it comes in time; a socket's own timeout bounds each byte only."""
    arrived: queue.Queue[int | bytes | Exception | None] = queue.Queue(maxsize=64)
    over = threading.Event()

    def put(piece: int | bytes | Exception | None) -> None:
        while not over.is_set():
            with suppress(queue.Full):
                return arrived.put(piece, timeout=1)
        raise GeneratorExit  # nobody takes it any more

    def receive() -> None:
        with suppress(GeneratorExit):
            try:
                for piece in pieces:
                    put(piece)
            except Exception as error:
                put(error)
            else:
                put(None)

    threading.Thread(target=receive, name="pycam-download", daemon=True).start()
    try:
        yield from _taken(arrived)
    finally:
        over.set()


def _taken(arrived: queue.Queue[int | bytes | Exception | None]) -> Iterator[int | bytes]:
    begin = time.monotonic()
    recent: deque[tuple[float, int]] = deque()  # when how many bytes came, in the last STALL_SECONDS
    first = None
    while True:
        try:
            piece = arrived.get(timeout=ANSWER_SECONDS if first is None else 2 * STALL_SECONDS)
        except queue.Empty:
            slow = f"no answer within {ANSWER_SECONDS:g} s" if first is None else TOO_SLOW
            raise ModelError(slow) from None
        if isinstance(piece, Exception):
            raise piece
        if piece is None:
            return
        yield piece
        now = time.monotonic()
        first = first or now
        recent.append((now, 0 if isinstance(piece, int) else len(piece)))
        while recent[0][0] < now - STALL_SECONDS:
            recent.popleft()
        if now - first > STALL_SECONDS and sum(size for _, size in recent) < LEAST_RATE * STALL_SECONDS:
            raise ModelError(TOO_SLOW)
        if now - begin > TOTAL_SECONDS:
            raise ModelError(f"not complete after {TOTAL_SECONDS:g} s")


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
