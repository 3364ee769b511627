"""The n-th call of each kind fails, or kills the process there: the same command, given again, ends as undisturbed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import Fault, Forks, Line, Outcome
from runs import without_timing, write_images, write_model, write_sources, write_training

WHOLE = "PYCAM_FAULTS" in os.environ
pytestmark = [pytest.mark.compiler, pytest.mark.faults]

SOME = 5
"""How many faults of each command a reduced sweep tries, spread over its calls."""

ERRORS = {
    "open": ("EIO", "ENOSPC", "EINTR", "KILL"),
    "read": ("EIO", "EINTR", "KILL"),
    "write": ("EIO", "ENOSPC", "EINTR", "KILL"),
    "fsync": ("EIO", "ENOSPC", "EINTR", "KILL"),
    "rename": ("EIO", "ENOSPC", "EINTR", "KILL"),
    "mkdir": ("EIO", "ENOSPC", "EINTR", "KILL"),
}
"""What befalls a call of each kind."""

CAUSES = {
    "EIO": "disk I/O error|unable to open database|database disk image is malformed.* give the same command again",
    "ENOSPC": "database or disk is full|disk I/O error|unable to open database",
    "EINTR": "disk I/O error|unable to open database",
}
"""SQLite's own words for errors of the operating system."""

TEMPORARY = re.compile(r"\.part$|\.lock$|^\.|-wal$|-shm$|-journal$")
"""Names that are no results."""
FINAL = re.compile(r"^\.(.+)\.[0-9a-f]{32}\.part$|(-wal|-journal|-shm)$")
"""What becomes the name of a file that people know when the first group takes its place."""
GROWING = re.compile(r"\.sqlite|_log\.csv$|_curves\.png$")
"""Names of files that are complete at the end only; how SQLite orders the rows in its file, it may choose."""
KEPT = re.compile(r"_log-[0-9]+\.csv$")
"""The log of a training that was cut off, which the next one keeps under a number."""

MODULES = [
    *(f"pycam.cli.{name}" for name in ("heatmap", "evaluate", "net", "models", "report")),
    *("pycam.engines.onnxruntime", "pycam.evaluation.run", "pycam.report.runs", "PIL.Image", "requests"),
]
"""What the commands import."""

CARD = """
name: tiny
prototxt: tiny.prototxt
weights: {{file: there.caffemodel, mirrors: ["http://127.0.0.1:{0}/tiny0.caffemodel"]}}
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Workshop(NamedTuple):
    """Files that commands read, the command lines, and the compiled library."""

    files: Path
    lines: dict[str, list[str]]
    library: Path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Iterator[Workshop]:
    # In one folder with what is written, and apart from what the test itself keeps.
    files = tmp_path_factory.mktemp("workshop")
    library = files / "faults.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("faults.c"), "-ldl"], check=True
    )
    for name in ("images", "truth"):
        (files / name).mkdir()
    write_model(files)
    names = [path.stem for path in sorted(write_images(files / "images", 3).iterdir())]
    write_sources(files / "truth", files / "images", dict.fromkeys(names, (7, (5, 5, 30, 30))))
    write_training(files, "snapshot: 1 display: 1 random_seed: 1")
    site = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Quiet(*given, directory=str(files)))
    threading.Thread(target=site.serve_forever, daemon=True).start()
    (files / "tiny.yaml").write_text(CARD.format(site.server_port))
    image = str(files / "images/000.png")
    model = ["--prototxt", f"{files}/tiny.prototxt", "--weights", f"{files}/tiny0.caffemodel"]
    run = [*model, "--images", f"{files}/images", "--ground-truth", f"{files}/truth", "--protocol", "paper"]
    lines = {
        "heatmap": ["heatmap", image, *model, "--out", "out/maps", "--top", "2", "--threads", "1", "--quiet"],
        "evaluate": ["evaluate", *run, "--out", "out/run", "--batch", "2", "--threads", "1", "--quiet"],
        "net export": ["net", "export", *model, "--onnx", "net.onnx"],
        "models download": ["models", "download", f"{files}/tiny.yaml"],
        "report html of images": ["report", "html", image, *model, "--out", "page.html"],
        "report html of a run": ["report", "html", "run", "--out", "page.html"],
        "train": ["train", "--solver", f"{files}/solver.prototxt", "--threads", "1", "--quiet"],
    }
    yield Workshop(files, lines, library)
    site.shutdown()
    site.server_close()


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, by their names; reports without the time that was taken."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): without_timing(path) if path.name == "report.json" else path.read_bytes()
        for path in files
    }


def differences(folder: Path, whole: dict[str, bytes], complete: bool) -> list[str]:
    """Return what is wrong with the files that a command left; not all are there if it is not complete."""
    found = tree(folder)
    wrong = [f"left: {name}" for name in found if TEMPORARY.search(Path(name).name)] if complete else []
    wrong += [f"missing: {name}" for name in whole if name not in found and complete]
    return wrong + [
        f"{'half' if name in whole else 'unexpected'}: {name}"
        for name, content in found.items()
        if not TEMPORARY.search(Path(name).name) and not KEPT.search(name)
        if name not in whole or content != whole[name]
        if not (name in whole and GROWING.search(name) and (not complete or ".sqlite" in name))
    ]


def said_wrongly(outcome: Outcome) -> list[str]:
    """Return what is wrong with how a command ended that a call failed, other than with success."""
    fault, said = outcome.line.fault, outcome.err.decode()
    assert fault is not None
    if fault.error == "KILL":
        return [] if outcome.code == -9 else [f"not killed: {outcome.code} {said}"]
    if not 1 <= outcome.code <= 11 or "Traceback" in said or said.count("pycam: ") != 1:
        return [f"exit code {outcome.code}: {said}"]
    calls = [call.partition(" ")[2] for call in outcome.calls if call.startswith(f"{fault.kind} ")]
    failed = calls[fault.n - 1 :] if fault.error == "ENOSPC" else [calls[fault.n - 1]]
    names = {FINAL.sub(r"\1", Path(path).name) for path in failed}
    cause = f"{re.escape(os.strerror(getattr(errno, fault.error)))}|{CAUSES[fault.error]}"
    wrong = [] if any(name in said for name in names) else [f"{failed[0]} is not named: {said}"]
    return wrong + ([] if re.search(cause, said) else [f"no cause: {said}"])


def faults_for(calls: tuple[str, ...], below: Path) -> list[Fault]:
    """Return the faults to try, of a command that makes these calls undisturbed."""
    counts: Counter[str] = Counter()
    places = []
    for call in calls:
        kind = call.partition(" ")[0]
        counts[kind] += 1
        places.append((kind, counts[kind]))
    if WHOLE:
        return [Fault(str(below), kind, error, n) for kind, n in places for error in ERRORS[kind]]
    some = [places[(2 * number + 1) * len(places) // (2 * SOME)] for number in range(SOME)]
    return [
        Fault(str(below), kind, ERRORS[kind][number % len(ERRORS[kind])], n) for number, (kind, n) in enumerate(some)
    ]


def sweep(workshop: Workshop, folder: Path, titles: list[str], *modules: str) -> None:
    """Let calls of command lines fail, and give them again; fail with all that went wrong."""
    files = workshop.files
    environment = {"LD_PRELOAD": str(workshop.library), "PYCAM_CACHE": "cache", "NO_PROXY": "127.0.0.1"}
    wrong: list[str] = []
    with Forks(folder, environment, [*MODULES, *modules]) as forks:
        for title in titles:
            line = workshop.lines[title]
            place = files / f"trials of {title}"
            given = place / "given"
            given.mkdir(parents=True)
            if title == "report html of a run":
                (done,) = forks.run_all([Line([*workshop.lines["evaluate"], "--out", "run"], folder=str(given))])
                assert done.code == 0, done.err
            shutil.copytree(given, place / "whole")
            (done,) = forks.run_all([Line(line, folder=str(place / "whole"), fault=Fault(str(files)))])
            assert done.code == 0, done.err
            whole = tree(place / "whole")
            assert whole and not any(TEMPORARY.search(Path(name).name) for name in whole), list(whole)
            tried = faults_for(done.calls, files)
            for fault in tried:
                trial = place / "trial"
                shutil.copytree(given, trial)
                first, *_ = forks.run_all([Line(line, folder=str(trial), fault=fault)])
                found = said_wrongly(first) if first.code else []
                if sum(call.startswith(fault.kind) for call in first.calls) < fault.n:
                    found.append("the call was never made")
                # What SQLite could not move from its log into its file, it takes from there when it is opened again.
                found += [
                    each
                    for each in differences(trial, whole, complete=not first.code)
                    if not each.endswith(".sqlite-wal")
                ]
                (again,) = forks.run_all([Line(line, folder=str(trial))])
                if again.code:
                    found.append(f"again: exit code {again.code}: {again.err.decode()}")
                found += [f"again: {each}" for each in differences(trial, whole, complete=True)]
                if found:
                    wrong.append(f"{title}, {fault.kind} {fault.n} {fault.error}: {'; '.join(found)}")
                    print(wrong[-1], flush=True)  # A whole sweep takes long.
                shutil.rmtree(trial)
            print(f"{title}: {len(done.calls)} calls, {len(tried)} tries, {len(wrong)} wrong so far")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_after_any_fault_the_same_command_ends_as_undisturbed(workshop, tmp_path):
    titles = [title for title in workshop.lines if title != "train"]
    sweep(workshop, tmp_path, titles)


@pytest.mark.torch
def test_after_any_fault_the_same_training_ends_as_undisturbed(workshop, tmp_path):
    sweep(workshop, tmp_path, ["train"], "pycam.training.loop", "matplotlib.figure", "matplotlib.backends.backend_agg")
