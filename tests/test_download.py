from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import urllib3

from pycam.errors import ModelError
from pycam.zoo import download
from pycam.zoo.cards import PublishedFile

RIGHT = bytes(range(256)) * 1024
PAGE = b"\n<!DOCTYPE html><html><body>Log in to continue</body></html>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        self.close_connection = True
        with contextlib.suppress(OSError):
            getattr(self, self.path.strip("/").partition(".")[0])()

    def log_message(self, *_):
        pass

    def answer(self, body, length=None, status=200, **headers):
        self.send_response(status)
        self.send_header("Connection", "close")
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def right(self):
        self.answer(RIGHT, len(RIGHT))

    def wrong(self):
        self.answer(RIGHT[::-1], len(RIGHT))

    def half(self):
        self.answer(RIGHT[: len(RIGHT) // 2], len(RIGHT))

    def half_unsaid(self):
        self.answer(RIGHT[: len(RIGHT) // 2])

    def half_in_chunks(self):
        self.answer(b"400\r\n" + RIGHT[:1024], **{"Transfer-Encoding": "chunked"})

    def longer(self):
        self.answer(RIGHT + b"more", len(RIGHT) + 4)

    def nothing(self):
        self.answer(b"", 0)

    def page(self):
        self.answer(PAGE, len(PAGE))

    def lfs(self):
        body = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"
        self.answer(body, len(body))

    def missing(self):
        self.answer(PAGE, len(PAGE), status=404)

    def moved(self):
        self.answer(b"", 0, status=302, Location="/right.bin")

    def circle(self):
        self.answer(b"", 0, status=302, Location="/circle.bin")

    def astray(self):
        self.answer(b"", 0, status=302, Location="http://[::1")

    def gone(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def nonsense(self):
        self.wfile.write(b"\x00\x01\x02\r\n\r\n")

    def stalled(self):
        self.answer(RIGHT[: len(RIGHT) // 2], len(RIGHT))
        self.server.over.wait(60)

    def endless_redirect(self):
        self.answer(b"", 2**60, status=302, Location="/right.bin")
        self.endless()

    def endless_error(self):
        self.answer(b"", 2**60, status=503)
        self.endless()

    def endless_header(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.endless(b"x", 0.05)

    def drip(self):
        self.answer(RIGHT[: len(RIGHT) // 2], len(RIGHT))
        self.endless(b"x", 0.02)

    def slow(self):
        self.answer(b"", 2**40)
        self.endless(b"x" * 8192, 0.01)

    def endless(self, block=bytes(1 << 16), pause=0.0):
        # Not for ever: who does not give up fails, and does not hang.
        end = time.monotonic() + 60
        while not self.server.over.wait(pause) and time.monotonic() < end:
            self.wfile.write(block)

    def together(self):
        self.answer(RIGHT[: len(RIGHT) // 2], len(RIGHT))
        self.server.both.wait(60)
        self.wfile.write(RIGHT[len(RIGHT) // 2 :])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = []
        self.over = threading.Event()
        self.both = threading.Barrier(2)

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}.bin"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


def get(target, *urls):
    """Download from `urls` what has the checksum of RIGHT."""
    file = PublishedFile(target.name, mirrors=urls)

    def check(path):
        if path.read_bytes() != RIGHT:
            raise ModelError(f"{path}: not the published file")

    download.fetch(file, target, check)


def test_the_right_file_comes_to_its_place_and_nothing_else(server, tmp_path):
    target = tmp_path / "new" / "folder" / "weights.bin"
    get(target, server.url("right"))
    assert target.read_bytes() == RIGHT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.posix
def test_others_may_read_it_as_the_umask_says(server, tmp_path):
    get(tmp_path / "weights.bin", server.url("right"))
    (tmp_path / "plain").touch()
    assert (tmp_path / "weights.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_redirect_is_followed(server, tmp_path):
    get(tmp_path / "weights.bin", server.url("moved"))
    assert (tmp_path / "weights.bin").read_bytes() == RIGHT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("wrong", r"weights\.bin: not the published file"),
        ("longer", r"weights\.bin: not the published file"),
        ("half_unsaid", r"weights\.bin: not the published file"),
        ("half", r"the connection (broke after 131072 bytes|ended after 131072 of 262144 bytes)"),
        ("half_in_chunks", r"the connection broke after (0|1024) bytes"),
        ("nothing", "the server sent nothing instead of the file"),
        ("page", "the server sent a web page instead of the file"),
        ("lfs", "the server sent a git-LFS pointer instead of the file"),
        ("missing", "the server answers with HTTP status 404"),
        ("circle", "the server redirects in a circle"),
        ("astray", r"astray\.bin: .*(Invalid|URL)"),
        ("gone", "no connection: unknown name or no server"),
        ("nonsense", "no connection"),
        # A busy machine may notice after twice the time, in another way.
        ("stalled", r"(no data for 0\.3 s|less than 1,000 bytes per second)"),
    ],
)
@pytest.mark.parametrize("before", [None, b"an older one"])
def test_a_failure_leaves_the_place_as_it_was(server, tmp_path, monkeypatch, path, reason, before):
    if path == "stalled":
        monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    target = tmp_path / "weights.bin"
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(ModelError, match=reason) as caught:
        get(target, server.url(path))
    assert list(tmp_path.iterdir()) == ([] if before is None else [target])
    assert before is None or target.read_bytes() == before
    message = str(caught.value)
    assert server.url(path) in message and ".part" not in message and message.isprintable()


def test_a_refused_connection_and_an_unknown_name(tmp_path, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("NO_PROXY", "*")
    told = r"weights\.bin could not be .*: no connection.*yourself\. The bundled model"
    with socket.socket() as closed, pytest.raises(ModelError, match=told):
        closed.bind(("127.0.0.1", 0))  # and does not listen
        get(tmp_path / "weights.bin", f"http://127.0.0.1:{closed.getsockname()[1]}/right.bin")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # some resolvers take a minute, and some know any name
    with pytest.raises(ModelError, match="no connection: unknown name or no server"):
        get(tmp_path / "weights.bin", "http://no-such-host.invalid/right.bin")
    assert not any(tmp_path.iterdir())


def test_mirrors_are_tried_in_order_until_one_is_right(server, tmp_path):
    get(tmp_path / "weights.bin", *map(server.url, ("missing", "wrong", "page", "right", "half")))
    assert (tmp_path / "weights.bin").read_bytes() == RIGHT
    assert server.asked == ["/missing.bin", "/wrong.bin", "/page.bin", "/right.bin"]


def test_when_all_mirrors_fail_each_is_named_with_its_reason(server, tmp_path):
    with pytest.raises(
        ModelError, match=r"missing\.bin: .* 404; .*wrong\.bin: .*; .*page\.bin: .* a web page"
    ) as caught:
        get(tmp_path / "weights.bin", *map(server.url, ("missing", "wrong", "page")))
    assert f"put the file into {tmp_path} yourself" in str(caught.value)


def test_without_mirrors_there_is_nothing_to_try(tmp_path):
    with pytest.raises(ModelError, match=r"could not be downloaded: no address is known"):
        get(tmp_path / "weights.bin")


def test_https_does_not_lead_to_http(server, tmp_path, monkeypatch):
    plainly = requests.adapters.HTTPAdapter.send

    def send(adapter, request, **options):
        if request.url.startswith("http:"):
            return plainly(adapter, request, **options)
        headers = {"Location": server.url("right")}
        raw = urllib3.HTTPResponse(io.BytesIO(), headers, 302, preload_content=False)
        return adapter.build_response(request, raw)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    with pytest.raises(ModelError, match="the server redirects from https to an address without encryption"):
        get(tmp_path / "weights.bin", "https://example.org/weights.bin")
    assert server.asked == [] and not any(tmp_path.iterdir())


def test_an_endless_file_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1000)
    with pytest.raises(ModelError, match="more than 1000 bytes"):
        get(tmp_path / "weights.bin", server.url("right"))
    assert not any(tmp_path.iterdir())


def test_a_redirect_that_never_ends_is_followed(server, tmp_path):
    get(tmp_path / "weights.bin", server.url("endless_redirect"))
    assert (tmp_path / "weights.bin").read_bytes() == RIGHT


@pytest.mark.parametrize(
    ("path", "limits", "reason"),
    [
        ("endless_error", {}, "HTTP status 503"),
        ("endless_header", {"ANSWER_SECONDS": 0.6}, r"no answer within 0\.6 s"),
        # A busy machine may let it rest for so long.
        ("drip", {"STALL_SECONDS": 0.3}, r"(less than 1,000 bytes per second|no data for 0\.3 s)"),
        ("slow", {"TOTAL_SECONDS": 0.5}, r"not complete after 0\.5 s"),
    ],
)
def test_a_mirror_that_never_ends_is_given_up(server, tmp_path, monkeypatch, path, limits, reason):
    for name, seconds in limits.items():
        monkeypatch.setattr(download, name, seconds)
    with pytest.raises(ModelError, match=reason):
        get(tmp_path / "weights.bin", server.url(path))
    assert not any(tmp_path.iterdir())


def test_two_at_once_are_both_right(server, tmp_path):
    target = tmp_path / "weights.bin"
    failures = []

    def run():
        try:
            get(target, server.url("together"))
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and list(tmp_path.iterdir()) == [target] and target.read_bytes() == RIGHT


def test_an_interrupt_leaves_nothing(server, tmp_path):
    def interrupt(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(PublishedFile("w", mirrors=(server.url("right"),)), tmp_path / "w", interrupt)
    assert not any(tmp_path.iterdir())


@pytest.mark.posix
def test_a_kill_leaves_no_wrong_file_in_place(server, tmp_path):
    target = tmp_path / "weights.bin"
    code = (
        "import sys, pathlib; from pycam.zoo.download import fetch; from pycam.zoo.cards import PublishedFile; "
        "fetch(PublishedFile('w', mirrors=(sys.argv[1],)), pathlib.Path(sys.argv[2]), lambda path: None)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.url("stalled"), str(target)])
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert child.poll() is None and time.monotonic() < deadline, "the download did not start"
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert not target.exists()
    get(target, server.url("right"))
    assert target.read_bytes() == RIGHT


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"cannot create the folder for downloads: .*(exists|directory)"):
        get(tmp_path / "file" / "weights.bin", "http://127.0.0.1:9/right.bin")


def test_a_full_disk_is_told_and_leaves_nothing(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match=r"weights\.bin: No space left on device: make room on this disk"):
        get(tmp_path / "weights.bin", server.url("right"), server.url("right"))
    assert server.asked == ["/right.bin"], "another mirror makes no room"
    assert not any(tmp_path.iterdir())
