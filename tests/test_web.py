"""The server of `pycam serve`: its answers, and its refusals in one line."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import cv2
import numpy as np
import pytest
import requests
import samples

from pycam import zoo
from pycam.cli import main
from pycam.errors import EngineError, UsageError
from pycam.zoo.labels import Labels

pytestmark = pytest.mark.web


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with samples.served({"blobs": samples.cams, "broken": broken}) as address:
        yield address


def broken():
    raise EngineError("/home/somebody/secret.caffemodel is damaged")


def post(address, data, model="blobs", kind="image/jpeg", **more) -> requests.Response:
    parameters = {"model": model, **more}
    return requests.post(f"{address}/predict", data, params=parameters, headers={"Content-Type": kind}, timeout=60)


def test_answer_is_the_prediction(address):
    data = samples.jpeg(1)
    answer = post(address, data, name="fox.jpg").json()
    with samples.cam() as cam:
        expected = json.loads(json.dumps(cam(data).as_dict(boxes=True)))
    (run,) = answer["runs"]
    top = [{key: item[key] for key in ("index", "wnid", "label", "score", "box")} for item in run["top"]]
    assert top == expected["top"]
    for key in ("model", "engine", "protocol", "view"):
        assert run[key] == expected[key]
    assert (answer["name"], answer["width"], answer["height"]) == ("fox.jpg", 160, 120)


def test_models_side_by_side_and_chosen_classes():
    def other():
        return [samples.cam(seed=1)]

    def strange():
        cam = samples.cam()
        return [replace(cam, model=replace(cam.model, labels=STRANGE))]

    data = samples.jpeg(1)
    with samples.served({"blobs": samples.cams, "other": other, "strange": strange}) as address:
        plain = post(address, data).json()
        assert plain["classes"] == [["", label] for label in samples.LABELS.names]
        assert [run["label"] for run in plain["runs"]] == [""]
        both = post(address, data, model=["blobs", "other", "blobs"], **{"class": ["7", "Blob 2"]}).json()
        assert [run["label"] for run in both["runs"]] == ["blobs", "blobs (2)"]
        for run, cam in zip(both["runs"], (samples.cam(), samples.cam(seed=1)), strict=True):
            expected = cam(data, classes=[7, 2]).as_dict(boxes=True)["top"]
            assert [item["index"] for item in run["top"]] == [7, 2]
            assert [item["score"] for item in run["top"]] == [item["score"] for item in expected]
            assert [item["box"] for item in run["top"]] == [list(item["box"]) for item in expected]
        unknown = post(address, data, **{"class": "no\nsuch"})
        assert (unknown.status_code, unknown.json()["error"].count("\n")) == (422, 0)
        assert "no class, or several, have the name" in unknown.json()["error"]
        apart = post(address, data, model=["blobs", "strange"])
        assert apart.status_code == 422 and "no class of blobs has the WordNet ID or the label" in apart.json()["error"]
        assert post(address, data, model=["blobs", "x"]).status_code == 404


STRANGE = Labels(tuple("abcdefgh"))


def bomb() -> bytes:
    """Return a PNG of a few bytes that claims to have 30,000 × 30,000 pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


GOOD = samples.jpeg(1)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
REFUSED = {
    "no image": (b"hello", "image/jpeg", 422),
    "empty": (b"", "image/jpeg", 422),
    "wrong type": (GOOD, "text/html", 415),
    "form": (GOOD, "multipart/form-data; boundary=x", 415),
    "truncated": (GOOD[: len(GOOD) // 2], "image/jpeg", 422),
    "bomb": (bomb(), "image/png", 422),
    "svg": (SVG, "image/svg+xml", 422),
    "too large": (bytes(20_000_001), "image/jpeg", 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_in_one_line(address, name):
    data, kind, status = REFUSED[name]
    answer = post(address, data, kind=kind, name="../../etc/passwd")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert len(line) > 5
    for leak in ("\n", "Traceback", "/home", "/tmp", "passwd", ".py"):
        assert leak not in line


def test_other_faults_are_refused_in_one_line(address):
    assert post(address, GOOD, model="../models/x.yaml").status_code == 404
    assert post(address, GOOD, model="x").json() == {"error": "unknown model; the models are blobs, broken"}
    unnamed = requests.post(f"{address}/predict", GOOD, headers={"Content-Type": "image/jpeg"}, timeout=60)
    assert (unnamed.status_code, unnamed.json()) == (422, {"error": "name a model, as in /predict?model=NAME"})
    assert requests.get(f"{address}/no/such/page", timeout=60).json() == {"error": "Not Found"}
    assert requests.get(f"{address}/predict", timeout=60).status_code == 405
    assert requests.get(address, headers={"Host": "evil.example"}, timeout=60).status_code == 400


def test_fault_of_the_model_tells_nothing_of_the_machine(address):
    answer = post(address, GOOD, model="broken")
    assert answer.status_code == 500
    assert answer.json() == {"error": "the prediction failed; the server's terminal shows the reason"}
    assert requests.get(f"{address}/healthz", timeout=60).json() == {"status": "ok"}


@pytest.mark.parametrize("name", ["../../x.jpg", "<script>alert(1)</script>.jpg", "a\nb.jpg", "x" * 5000])
def test_names_stay_names(address, name):
    assert post(address, GOOD, name=name).json()["name"] == name


def test_limits_are_those_given():
    with samples.served({"blobs": samples.cams}, upload=1000, pixels=10_000) as address:
        assert post(address, GOOD).status_code == 413
        large = cv2.imencode(".png", np.zeros((100, 101, 3), np.uint8))[1].tobytes()
        assert len(large) < 1000
        answer = post(address, large, kind="image/png")
        assert answer.status_code == 422
        assert "0.01 million pixels" in answer.json()["error"]


def test_page_holds_no_address_of_another_host(address):
    page = requests.get(address, timeout=60)
    assert "default-src 'none'" in page.text
    assert "http" not in page.text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert page.headers["X-Frame-Options"] == "DENY"


def test_endless_upload_is_cut_off(address, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    host, port = address.removeprefix("http://").split(":")
    megabyte = b"F4240\r\n" + bytes(1_000_000) + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        request = "POST /predict?model=blobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        connection.sendall(f"{request}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        while sent < 5000 and not select.select([connection], [], [], 0)[0]:
            connection.sendall(megabyte)
            sent += 1
        answer = b""
        while not answer.endswith(b"}"):
            piece = connection.recv(10_000)
            assert piece, answer
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"error":"more than 20 MB; send a smaller image"}')
    assert 20 <= sent < 500
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_reads_late_gets_its_answer(address):
    answer = post(address, (bytes(1_000_000) for _ in range(300)))
    assert (answer.status_code, answer.json()) == (413, {"error": "more than 20 MB; send a smaller image"})


def test_slow_model_is_given_up():
    go = threading.Event()

    def stuck():
        go.wait(60)
        return samples.cams()

    with samples.served({"blobs": stuck}, answer_seconds=0.1) as address:
        assert post(address, GOOD).status_code == 503
        go.set()


def at_once(address, images, threads) -> list[tuple[int, dict]]:
    with ThreadPoolExecutor(threads) as pool:
        answers = pool.map(lambda data: post(address, data), images)
        return [(answer.status_code, answer.json()) for answer in answers]


def test_hundred_uploads_eight_at_a_time(address):
    answers = at_once(address, [samples.jpeg(number, 40, 60) for number in range(100)], 8)
    assert [status for status, _ in answers] == [200] * 100


def test_too_many_requests_are_refused_and_none_is_lost():
    go = threading.Event()

    def held():
        go.wait(60)
        return samples.cams()

    with samples.served({"blobs": held}, waiting=3) as address, ThreadPoolExecutor(20) as pool:
        coming = [pool.submit(post, address, GOOD) for _ in range(20)]
        # The model is blocked until all requests have arrived: one is being predicted, three wait.
        while sum(each.done() for each in coming) < 16:
            time.sleep(0.01)
        go.set()
        answers = [each.result() for each in coming]
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 16
    for answer in answers:
        if answer.status_code == 200:
            assert len(answer.json()["runs"][0]["top"]) == 5
        else:
            assert answer.headers["Retry-After"] == "1"
            assert answer.json() == {"error": "too many images at the same time; try again in a second"}


STATES = """
import socket, sys, time
from pycam.report.connections import ImageServer, Limits
from pycam.report.server import application

limits = Limits(upload_seconds=1000, answer_seconds=1000, idle_seconds=1000)
server = ImageServer(application({"stuck": lambda: time.sleep(1000)}, limits), limits)
with socket.create_server(("127.0.0.1", 0)) as listener, server.capture_signals():
    print(listener.getsockname()[1], flush=True)
    server.run([listener])
sys.exit(server.exit_code)
"""
HEADERS = "POST /predict?model=stuck HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Open connections, and send the start of a request."""
    with ExitStack() as stack:

        def connect(address: str, start: str = "") -> socket.socket:
            host, port = address.removeprefix("http://").split(":")
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            connection.sendall(start.encode())
            return connection

        yield connect


@pytest.mark.posix
@pytest.mark.parametrize(
    ("signals", "code"), [([signal.SIGINT], 0), ([signal.SIGTERM], 143), ([signal.SIGHUP, signal.SIGINT], 130)]
)
def test_a_signal_ends_the_server_whatever_it_does(connect, signals, code):
    """It waits for nothing that it does, which would take a thousand seconds.

    The clock of a busy machine says nothing: the limit is that of the timer which ends the process.
    """
    from pycam.report.connections import END_SECONDS, GRACE_SECONDS

    assert GRACE_SECONDS <= END_SECONDS < 2
    command = [sys.executable, "-c", STATES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        connect(address)
        stalled = f"{HEADERS}Content-Length: 1000\r\n\r\nabc"
        predicted = f"{HEADERS}Content-Length: 3\r\n\r\nabc"
        # Pages that nobody reads fill the buffers.
        unread = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
        for start in ("GET / HTTP/1.1\r\nHost: loc", stalled, predicted, predicted, unread):
            connect(address, start)
        assert requests.get(f"{address}/healthz", timeout=60).ok
        time.sleep(0.3)
        for number in signals:
            server.send_signal(number)
        said = server.communicate(timeout=60)
    assert (server.returncode, said) == (code, ("", ""))


def test_slow_upload_is_given_up(connect):
    with samples.served({"blobs": samples.cams}, upload_seconds=0.1) as address:
        stalled = connect(address, f"{HEADERS.replace('stuck', 'blobs')}Content-Length: 1000\r\n\r\nabc")
        assert stalled.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_connections_without_a_request_are_closed(connect):
    with samples.served({"blobs": samples.cams}, idle_seconds=1) as address:
        starts = ["", "POST /predict HTTP/1.1\r\nHo", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal"]
        clients = [connect(address, start) for start in starts]
        stalled = connect(address, f"{HEADERS.replace('stuck', 'blobs')}Content-Length: 1000\r\n\r\nabc")
        for client in clients:
            while client.recv(1000):
                pass
        assert stalled.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_many_idle_connections_and_stalled_uploads_lock_nobody_out(connect):
    """Each may last for longer than this test waits."""
    start = f"{HEADERS.replace('stuck', 'blobs')}Content-Length: 1000\r\n\r\nabc"
    with samples.served({"blobs": samples.cams}, idle_seconds=1000, upload_seconds=1000) as address:
        for begun in [""] * 200 + [start] * 100:
            connect(address, begun)
        assert requests.get(address, timeout=60).ok
        end = time.monotonic() + 60
        while (answer := post(address, GOOD)).status_code == 429 and time.monotonic() < end:
            time.sleep(0.1)
        assert answer.status_code == 200


def test_a_new_connection_has_time_for_its_request_among_many_uploads(connect, monkeypatch):
    monkeypatch.setattr("pycam.report.connections.REQUEST_SECONDS", 60)
    with samples.served({"blobs": samples.cams}, connections=2) as address:
        for _ in range(4):
            connect(address, f"{HEADERS.replace('stuck', 'blobs')}Content-Length: 1000\r\n\r\nabc")
        client = connect(address)
        time.sleep(0.3)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://{host}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
    ids=str,
)
def test_another_origin_is_refused_by_the_server(address, headers):
    host = address.removeprefix("http://")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    for path in ("", "healthz", "no/such/page"):
        answer = requests.get(f"{address}/{path}", headers=sent, timeout=60)
        assert (answer.status_code, answer.json()) == (403, {"error": "this server answers its own page only"})
    sent["Content-Type"] = "image/jpeg"
    assert requests.post(f"{address}/predict?model=blobs", GOOD, headers=sent, timeout=60).status_code == 403
    assert requests.post(f"{address}/predict?model=blobs", bytes(10**7), headers=sent, timeout=60).status_code == 403


def test_the_own_page_and_a_link_to_it_are_answered(address):
    own = {"Origin": address, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Content-Type": "image/jpeg"}
    assert requests.post(f"{address}/predict?model=blobs", GOOD, headers=own, timeout=60).status_code == 200
    tunnel = own | {"Host": "localhost:1", "Origin": "http://localhost:1"}
    assert requests.post(f"{address}/predict?model=blobs", GOOD, headers=tunnel, timeout=60).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert requests.get(address, headers=link, timeout=60).status_code == 200


def test_a_problem_is_one_line_on_the_terminal(connect, capsys):
    def bug():
        raise ZeroDivisionError("a bug\nof two lines")

    with samples.served({"broken": broken, "bug": bug}) as address:
        assert post(address, GOOD, model="broken").status_code == 500
        assert post(address, GOOD, model="bug").status_code == 500
        assert connect(address, "no HTTP\r\n\r\n").recv(1000).startswith(b"HTTP/1.1 400 ")
    # The other server of this file hears uvicorn's one logger, too.
    assert list(dict.fromkeys(capsys.readouterr().err.splitlines())) == [
        "pycam: broken: the prediction failed: /home/somebody/secret.caffemodel is damaged",
        "pycam: bug: the prediction failed: ZeroDivisionError('a bug\\nof two lines')",
        "pycam: Invalid HTTP request received.",
    ]


@pytest.mark.shared
def test_command_serves_until_it_is_told_to_stop(shared):
    environment = {**os.environ, "PYCAM_MODELS": str(shared / "data" / "weights")}
    # As in a container, whose port is published: other names of the machine are refused all the same.
    command = [sys.executable, "-m", "pycam", "serve", "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        line = server.stdout.readline()
        address = line.split("/ serves ")[0]
        assert address.startswith("http://127.0.0.1:")
        assert "squeezenet-v1.0" in line
        for _ in range(100):
            try:
                assert requests.get(f"{address}/healthz", timeout=60).json() == {"status": "ok"}
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        answer = post(address, (shared / "data/samples/cat.jpg").read_bytes(), model="squeezenet-v1.0").json()
        assert answer["runs"][0]["model"] == "squeezenet-v1.0"
        port = address.rpartition(":")[2]
        assert requests.get(address, headers={"Host": f"10.0.0.7:{port}"}, timeout=60).status_code == 400
        taken = subprocess.run([*command[:-1], port], env=environment, capture_output=True, text=True, timeout=600)
        assert taken.returncode == 2
        assert taken.stderr.startswith(f"pycam: port {port} is not available")
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=60)
    assert (server.returncode, rest) == (0, ("", ""))


def test_a_card_of_ones_own_is_offered_by_its_name_and_each_name_once(monkeypatch, tmp_path, capsys):
    offered = {}

    def application(models, limits):
        offered.update(models)
        raise UsageError("no server in this test")

    monkeypatch.setattr("pycam.report.server.application", application)
    bundled = zoo.card(zoo.BUNDLED)
    shutil.copy(zoo.weights_path(bundled), tmp_path / "own.caffemodel")
    own = f"name: my-net\nprototxt: {bundled.prototxt}\nweights: own.caffemodel\nlabels: caltech101\n"
    (tmp_path / "own.yaml").write_text(own)
    mine = ["--model", str(tmp_path / "own.yaml")]
    assert main(["serve", *mine, "--model", zoo.BUNDLED]) == UsageError.exit_code
    assert list(offered) == ["my-net", zoo.BUNDLED]
    (cam,) = offered["my-net"]()
    with cam:
        assert cam.model.name == "my-net"
    assert main(["serve", *mine, *mine]) == UsageError.exit_code
    assert "two models are called 'my-net'" in capsys.readouterr().err


def test_command_needs_models_it_knows(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)
    for arguments, said in (
        (["--model", "no-such-model"], "no model is called 'no-such-model'"),
        (["--model", "googlenet-cam"], "is not on this machine"),
        (["--protocol", "x"], "unknown protocol 'x'"),
        (["--model", zoo.BUNDLED, "--upload", "inf"], "Invalid value for '--upload'"),
        (["--host", "10.0.0.7"], "--host 10.0.0.7: expected 127.0.0.1, or 0.0.0.0 in a container"),
    ):
        assert main(["serve", *arguments]) in (2, 5)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
