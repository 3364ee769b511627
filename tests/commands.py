"""Command lines of pycam for sweeps, and processes that run them with other streams and in other locales.

A process imports what commands need once, and then forks for each command line, so that hundreds of them take seconds.
"""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import runs

NAMES = {
    "undecodable": b"caf\xe9\xff",
    "newline": b"a\nb\r\nc",
    "escape": b"\x1b[31mred\x1b]0;title\x07",
    "markup": b"[red]maps[bold]",
    "direction": "a\u202egpj.b\u2066".encode(),
    "decomposed": "e\u0301 u\u0308".encode(),
    "other letters": "日本 été Ω".encode(),
    "dash": b"-x",
    "quotes": b"a'b\"c\\d$e`f%g",
    "braces": b"a{b}c%s",
    "all of it": b"caf\xe9\n[red]\x1b[1m\r" + "\u202e日é\u0301{b}%s".encode(),
}
"""Names of files as other people choose them; all of them are possible on POSIX."""

LOCALES: Mapping[str, Mapping[str, str]] = {
    "C": {"LC_ALL": "C"},
    "POSIX, no UTF-8": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "unknown": {"LC_ALL": "xx_XX"},
    "UTF-8": {"LC_ALL": "en_US.UTF-8"},
    "ASCII streams": {"PYTHONIOENCODING": "ascii"},
    "Latin-1 streams": {"PYTHONIOENCODING": "latin-1", "TERM": "dumb", "COLUMNS": "1"},
}


class Fault(NamedTuple):
    """A call that fails, as `faults.c` counts them.

    `below` is the folder whose files are meant. `kind` is "open", "read", "write", "fsync", "rename" or "mkdir".
    `error` is the name of an error of the operating system, or "KILL". `n` counts from 1. A full disk stays full:
    after ENOSPC, all later calls of the kind fail, too.
    """

    below: str
    kind: str = ""
    error: str = "KILL"
    n: int = 0


class Line(NamedTuple):
    """A command line.

    `streams` says what stands in for a stream: "closed", "full" (a full device), "gone" (a pipe without a reader).
    `folder` is where the process is, if it is another than that of all. `fault` needs the library of `faults.c`.
    """

    arguments: Sequence[str]
    streams: Mapping[int, str] = {}
    folder: str = ""
    fault: Fault | None = None


class Outcome(NamedTuple):
    """What a process did; `calls` are kind and path of the calls that were counted for its fault."""

    line: Line
    code: int
    out: bytes
    err: bytes
    calls: tuple[str, ...] = ()


def workspace(folder: Path, name: bytes) -> dict[str, list[str]]:
    """Write files of a small net and a run under one name; return the command lines that read and write them."""
    stem = os.fsdecode(name)
    folder = folder / "maps[" / "red]"
    folder.mkdir(parents=True)
    net, weights = runs.write_model(folder)
    files = {
        "net": f"{stem}.prototxt",
        "weights": f"{stem}.caffemodel",
        "image": f"{stem}.jpg",
        "list": f"{stem}.txt",
        "card": f"{stem}.yaml",
    }
    files = {kind: str(folder / file) for kind, file in files.items()}
    net.rename(files["net"])
    weights.rename(files["weights"])
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    Path(files["image"]).write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    images, truth = (folder / os.fsdecode(name + end) for end in (b".images", b".truth"))
    for each in (images, truth):
        each.mkdir()
    runs.write_sources(truth, runs.write_images(images, 2), {f"{n:03}": (n, (5, 5, 30, 30)) for n in range(2)})
    Path(files["list"]).write_text("1 2 3 4 5\n" * 2)
    Path(files["card"]).write_text("title: 1\n")
    prefix = "" if name.startswith(b"-") else str(folder / stem)
    out = str(folder / os.fsdecode(b"out " + name))
    model = ["--prototxt", files["net"], "--weights", files["weights"]]
    run = ["--images", str(images), "--ground-truth", str(truth), "--out", f"{out}.run", "--protocol", "default"]
    # Images and annotations have such names, too, which XML cannot state.
    for path in truth.iterdir():
        path.write_text(path.read_text().replace(f"<filename>{path.stem}</filename>", ""))
    for path in (*images.iterdir(), *truth.iterdir()):
        path.rename(path.with_name(f"{stem}{path.name}"))
    return {
        "heatmap": ["heatmap", files["image"], *model, "--out", out, "--threads", "1"],
        "heatmap --json": ["heatmap", files["image"], *model, "--out", f"{out}.json", "--json", "--boxes"],
        "heatmap of nothing": ["heatmap", f"{prefix}.missing", files["image"], *model, "--out", f"{out}.2"],
        "activations": ["activations", files["image"], *model, "--layers", "conv", "--out", f"{out}.grids"],
        "activations of no layer": ["activations", files["image"], *model, "--layers", stem],
        "features": ["features", files["image"], *model, "--out", f"{out}.features.npz"],
        "net fit": ["net", "fit", f"{out}.features.npz", "--out", f"{out}.fitted.caffemodel"],
        "net show": ["net", "show", files["net"], files["weights"]],
        "net show --json": ["net", "show", files["net"], "--json"],
        "net show of a list": ["net", "show", files["list"]],
        "net export": ["net", "export", *model, "--onnx", f"{out}.onnx"],
        "net cam": [*("net", "cam", files["net"], "--after", "conv", "--classes", "3"), "--out", f"{out}.prototxt"],
        "net write": ["net", "write", "deploy_alexnetplusCAM_imagenet", "--out", folder.as_posix()],
        "net import": ["net", "import", files["image"], "--out", f"{out}.caffemodel"],
        "evaluate": ["evaluate", *run, *model, "--threads", "1"],
        "evaluate --json": ["evaluate", *run, *model, "--threads", "1", "--json", "--quiet"],
        "report tables": ["report", "tables", f"{out}.run"],
        "report tables --out": ["report", "tables", f"{out}.run", "--out", f"{out}.csv"],
        "report html": ["report", "html", f"{out}.run", "--out", f"{out}.html"],
        "report html of images": ["report", "html", files["image"], *model, "--out", f"{out}.2.html"],
        "score": ["score", "--predictions", files["list"], "--ground-truth", str(truth)],
        "score --json": ["score", "--predictions", files["list"], "--ground-truth", str(truth), "--json"],
        "compare --save": ["compare", "onnxruntime", *model, "--save", f"{out}.npz", "--threads", "1"],
        "compare": ["compare", f"{out}.npz", f"{out}.npz", *model],
        "compare of engines": ["compare", stem, "onnxruntime", *model],
        "models list": ["models", "list"],
        "models show": ["models", "show", files["card"]],
        "models path": ["models", "path", stem],
        "models download": ["models", "download", files["card"]],
        "verify": ["verify", *model, "--engine", "onnxruntime", "--out", f"{out}.md"],
        "verify of no model": ["verify", stem],
        "train": ["train", "--solver", files["list"]],
        "serve": ["serve", "--model", stem],
        "doctor": ["doctor", stem],
        "no command": [stem],
        "help": ["--help"],
        "version": ["--version"],
    }


class Forks:
    """A process that imports once and forks for each command line; use it in a `with` block.

    Parameters
    ----------
    folder : Path
        Where the processes are, and where their outputs are kept for a while.
    environment : mapping
        Variables, besides those of this process.
    modules : sequence of str
        What is imported, besides what most commands need.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = {}, modules: Sequence[str] = ()) -> None:
        self._said = tempfile.TemporaryDirectory(dir=folder, prefix="said-")
        said = self._said.name
        settings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYCAM_CACHE": said, **environment}
        self._process = subprocess.Popen(
            [sys.executable, __file__, said, *modules],
            cwd=folder,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._said.cleanup()

    def run_all(self, lines: Sequence[Line], timeout: int = 600) -> list[Outcome]:
        """Run command lines one after the other, each in a process of its own."""
        return [self._run(line, timeout) for line in lines]

    def _run(self, line: Line, timeout: int) -> Outcome:
        assert self._process.stdin is not None and self._process.stdout is not None
        case = json.dumps([list(line.arguments), line.streams, line.folder, line.fault, timeout])
        print(case, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that forks has ended"
        out, err, calls = (Path(self._said.name, end).read_bytes() for end in ("out", "err", "calls"))
        return Outcome(line, int(answer), out, err, tuple(os.fsdecode(calls).splitlines()))


def run_all(
    lines: Sequence[Line], folder: Path, environment: Mapping[str, str] = {}, timeout: int = 600
) -> list[Outcome]:
    """Run command lines one after the other, each in a process of its own, in a folder."""
    with Forks(folder, environment) as forks:
        return forks.run_all(lines, timeout)


def _main(said: Path, modules: Sequence[str]) -> None:
    import importlib

    for module in (
        "cv2",
        "onnxruntime",
        "pandas",
        "rich.progress",
        "rich.table",
        "pycam.predict",
        "pycam.zoo",
        *modules,
    ):
        importlib.import_module(module)
    with redirect_stderr(io.StringIO()):
        # Typer and Pillow import the rest of themselves when they are used.
        importlib.import_module("pycam.cli").main(["net", "show", "no-such-file"])
        importlib.import_module("PIL.Image").preinit()
    for case in sys.stdin:
        arguments, streams, folder, fault, timeout = json.loads(case)
        for end in ("out", "err", "calls"):
            Path(said, end).write_bytes(b"")
        child = os.fork()
        if not child:
            signal.alarm(timeout)
            _become(arguments, streams, said)
            if folder:
                os.chdir(folder)
            if fault:
                _prepare(Fault(*fault), said)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _prepare(fault: Fault, said: Path) -> None:
    number = 0 if fault.error == "KILL" else getattr(errno, fault.error)
    paths = (os.fsencode(path) for path in (fault.below, said / "calls"))
    stays = fault.error == "ENOSPC"
    ctypes.CDLL(None).faults_begin(*paths, fault.kind.encode(), ctypes.c_long(fault.n), number, stays)


def _become(arguments: Sequence[str], streams: Mapping[str, str], said: Path) -> None:
    """Turn this process into one that has just been started with these arguments and streams."""
    sys.argv = ["pycam", *(os.fsdecode(each.encode("utf-8", "surrogateescape")) for each in arguments)]
    for number, (name, end) in enumerate((("stdin", ""), ("stdout", "out"), ("stderr", "err"))):
        file = os.open(said / end, os.O_RDWR) if end else os.open(os.devnull, os.O_RDONLY)
        kind = streams.get(str(number))
        if kind == "full":
            file = os.open("/dev/full", os.O_WRONLY)
        elif kind == "gone":
            reader, file = os.pipe()
            os.close(reader)
        os.dup2(file, number)
        os.close(file)
        before = getattr(sys, name)
        mode, line_buffering = ("w", number == 2) if number else ("r", False)
        stream = open(number, mode, encoding=before.encoding, errors=before.errors, closefd=False)  # noqa: SIM115
        if number:
            stream.reconfigure(line_buffering=line_buffering)
        if kind == "closed":
            os.close(number)
        setattr(sys, name, None if kind == "closed" else stream)
        # What Python flushes at its end are these.
        setattr(sys, f"__{name}__", getattr(sys, name))


if __name__ == "__main__":
    pid = os.getpid()
    _main(Path(sys.argv[1]), sys.argv[2:])
    if os.getpid() != pid:
        from pycam.__main__ import run

        ended = run()
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            ended = 120  # as Python's own end
        # The whole end would wait for threads of engines, which a fork does not have.
        os._exit(ended)
