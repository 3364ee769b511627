"""Nothing leaves the machine, and nothing is written elsewhere: the system calls of commands are watched.

The commands run in a network namespace, so that nothing can leave it whatever they try, under a home folder without
files, and without the variables by which libraries recognise a machine for tests.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from runs import write_images, write_model, write_sources, write_training

import pycam
from pycam.engines.caffe import find_caffe

pytestmark = pytest.mark.isolated

CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink,symlinkat"
)
OF_THE_RESOLVER = r'"/etc/(?:resolv\.conf|hosts|host\.conf)"'
NAMED = re.compile(r'"([^"]*)"')
DOWNLOAD = ["models", "download", "squeezenet-v1.0"]

RUN = """
import fcntl, json, os, signal, socket, struct, sys, threading, time
from urllib.request import urlopen
from pycam.cli import main

def visit():
    while True:
        try:
            page = urlopen("http://127.0.0.1:8123/", timeout=5).read()
            break
        except OSError:
            time.sleep(0.1)
    print("served", len(page) > 1000, flush=True)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    # The loopback of a new namespace is down.
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))
    for arguments in json.loads(sys.argv[1]):
        if arguments[0] == "serve":
            threading.Thread(target=visit, daemon=True).start()
        print("exit code", main(arguments), *arguments, flush=True)
"""


class Watched:
    """What commands did: their exit codes, what they asked of the network, and where they wrote."""

    def __init__(self, folder: Path, *commands: list[str], **environment: str) -> None:
        home, temporary, work, log = (folder / name for name in ("home", "tmp", "work", "log"))
        for each in (home, temporary, work):
            each.mkdir(exist_ok=True)
        (folder / "run.py").write_text(RUN)
        paths = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(Path(pycam.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        isolated = ["unshare", "-rn", "strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-o", str(log)]
        self.done = subprocess.run(
            [*isolated, sys.executable, str(folder / "run.py"), json.dumps(commands)],
            cwd=work,
            env={**paths, **environment},
            capture_output=True,
            text=True,
        )
        self.codes = [int(code) for code in re.findall("^exit code (\\d+)", self.done.stdout, re.M)]
        calls = log.read_text(errors="replace").splitlines()
        addressed = [line for line in calls if re.search(r"\b(connect|send\w+)\(.*AF_(?!UNIX|NETLINK|UNSPEC)", line)]
        self.network = [line for line in addressed if "htons(8123)" not in line]
        self.network += [line for line in calls if re.search(OF_THE_RESOLVER, line)]
        self.written = {
            path
            for line in calls
            if not line.endswith(")") and " = -1 " not in line
            if "O_CREAT" in line or not re.search(r"\b(open|openat|connect|send\w+)\(", line)
            for path in NAMED.findall(line)
            if path.startswith("/") and not path.startswith(("/dev/", "/proc/", str(work), str(temporary)))
        }
        self.left = {path.relative_to(folder) for place in (home, temporary) for path in place.rglob("*")}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A net with its weights, images, ground truth, and a training."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("images", "truth"):
        (folder / name).mkdir()
    write_model(folder)
    names = [path.stem for path in sorted(write_images(folder / "images", 4).iterdir())]
    write_sources(folder / "truth", folder / "images", dict.fromkeys(names, (7, (5, 5, 30, 30))))
    write_training(folder, "snapshot: 2")
    return folder


OUTPUTS = {"maps", "gradients", "layers", "run", "other", "tables.md", "report.html", "blobs.npz", "certificate.md"}
OUTPUTS |= {"out", "net.onnx", "nets", "demo"}
"""What the commands below are told to write."""

BUNDLED = ["--model", "squeezenet-cam-caltech101"]


def commands(files: Path) -> list[list[str]]:
    """Every command but `models download`, with every engine."""
    image = str(files / "images/000.png")
    model = ["--prototxt", f"{files}/tiny.prototxt", "--weights", f"{files}/tiny0.caffemodel"]
    truth = ["--ground-truth", f"{files}/truth"]
    run = ["evaluate", *model, "--images", f"{files}/images", *truth, "--protocol", "paper", "--quiet"]
    engines = ("onnxruntime", "openvino", "ncnn", "torch", "opencv")
    return [
        *(["heatmap", image, *BUNDLED, "--engine", engine, "--out", "maps"] for engine in engines),
        ["heatmap", image, *BUNDLED, "--method", "gradcam", "--out", "gradients"],
        ["activations", image, *BUNDLED, "--layers", "conv1", "--out", "layers"],
        [*run, "--out", "run", "--workers", "2"],
        [*run, "--out", "other", "--engine", "openvino"],
        ["score", "--predictions", "run/predictions.txt", *truth],
        ["report", "tables", "run", "--out", "tables.md"],
        ["report", "html", "run", "--out", "report.html"],
        ["compare", "openvino", "onnxruntime", *model, "--save", "blobs.npz"],
        ["verify", *model, "--engine", "onnxruntime", "--engine", "torch", "--out", "certificate.md"],
        ["train", "--solver", f"{files}/solver.prototxt", "--quiet"],
        ["net", "show", f"{files}/tiny.prototxt"],
        ["net", "export", *model, "--onnx", "net.onnx"],
        ["net", "write", "deploy_alexnetplusCAM_imagenet", "--out", "nets"],
        ["models", "list"],
        ["models", "show", "squeezenet-v1.0"],
        ["models", "path", BUNDLED[1]],
        ["models", "protocols"],
        ["demo", "--out", "demo"],
        ["doctor"],
        ["serve", *BUNDLED, "--port", "8123"],
    ]


@pytest.mark.torch
@pytest.mark.openvino
@pytest.mark.ncnn
@pytest.mark.opencv
@pytest.mark.web
@pytest.mark.demo
def test_no_command_and_no_engine_reaches_for_the_network_or_writes_elsewhere(files, tmp_path):
    asked = commands(files)
    watched = Watched(tmp_path, *asked)
    assert watched.codes == [0] * len(asked), watched.done.stdout[-3000:] + watched.done.stderr[-3000:]
    assert "served True" in watched.done.stdout
    assert watched.network == []
    assert {path.name for path in (tmp_path / "work").iterdir()} == OUTPUTS
    cache = tmp_path / "home/.cache/pycam"
    assert {path for path in watched.written if not Path(path).is_relative_to(cache)} <= {str(cache.parent)}
    assert {path for path in watched.left if not (tmp_path / path).is_relative_to(cache)} <= {Path("home/.cache")}


@pytest.mark.caffe
def test_real_caffe_writes_nothing_elsewhere(files, tmp_path):
    command = ["heatmap", f"{files}/images/000.png", *BUNDLED, "--engine", "caffe", "--out", "maps"]
    watched = Watched(tmp_path, command, PYCAM_CAFFE=shlex.join(find_caffe()))
    assert watched.codes == [0], watched.done.stderr
    assert (watched.network, watched.written, watched.left) == ([], set(), set())


def test_a_download_is_seen(tmp_path):
    watched = Watched(tmp_path, DOWNLOAD)
    assert watched.codes not in ([], [0])
    assert any("htons(53)" in line for line in watched.network)


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_a_users_own_setting_stays(value):
    script = "import os, pycam; print(repr(os.environ['ORT_DISABLE_TELEMETRY']))"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": value}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(value)


@pytest.mark.openvino
@pytest.mark.parametrize(("choice", "hidden"), [(None, True), ("0", True), ("1", False)])
def test_only_users_who_agreed_to_openvinos_telemetry_keep_it(choice, hidden, tmp_path):
    if choice is not None:
        (tmp_path / "intel").mkdir()
        (tmp_path / "intel/openvino_telemetry").write_text(choice)
    script = (
        "import sys, pycam.engines.openvino, openvino.tools.ovc.telemetry_utils as used\n"
        "import openvino_telemetry\n"
        "print(used.tm is not openvino_telemetry)"
    )
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", script],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(hidden)
