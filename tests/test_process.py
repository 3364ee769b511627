"""The command as a process: other people's names, locales, streams that fail, and signals at any moment."""

from __future__ import annotations

import itertools
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest
from commands import LOCALES, NAMES, Line, Outcome

WHOLE = "PYCAM_FAULTS" in os.environ
pytestmark = [pytest.mark.posix, pytest.mark.faults]

EVERYTHING = [(name, locale) for name in NAMES for locale in LOCALES]
FAILS = {
    "net fit": 2,
    "heatmap of nothing": 6,
    "activations of no layer": 4,
    "net show of a list": 3,
    "net import": 3,
    "compare of engines": 2,
    "models show": 3,
    "models path": 5,
    "models download": 3,
    "verify": 11,
    "verify of no model": 5,
    "train": 3,
    "serve": 5,
    "doctor": 2,
    "no command": 2,
}
"""Exit codes of the command lines that do not succeed."""
MISSING = {"train": 7, "serve": 2}
"""The same where the packages of an extra are missing."""


def assert_readable(outcome: Outcome, encoding: str) -> None:
    """Check that the outputs can be read, and move no cursor."""
    for output in (outcome.out, outcome.err):
        text = output.decode(encoding)
        assert all(c.isprintable() or c in "\n\t" for c in text), ascii(text)
    assert b"Traceback" not in outcome.err
    assert b"Exception ignored" not in outcome.err


def pytest_generate_tests(metafunc):
    if "locale" in metafunc.fixturenames:
        some = EVERYTHING if WHOLE else [("all of it", "POSIX, no UTF-8")]
        metafunc.parametrize(("name", "locale"), some)


def test_any_name_in_any_locale(tmp_path, name, locale):
    lines = commands.workspace(tmp_path / "work", NAMES[name])
    if not WHOLE:
        del lines["train"]  # PyTorch takes seconds to import
    encoding = LOCALES[locale].get("PYTHONIOENCODING", "utf-8")
    outcomes = commands.run_all([Line(arguments) for arguments in lines.values()], tmp_path, LOCALES[locale])
    for title, outcome in zip(lines, outcomes, strict=True):
        codes = {FAILS.get(title, 0), MISSING.get(title, FAILS.get(title, 0))}
        # A model's name that begins with a dash is an option that does not exist.
        assert outcome.code in codes | ({2} if name == "dash" and title in FAILS else set()), (title, outcome.err)
        assert_readable(outcome, encoding)
        if "--json" in outcome.line.arguments:
            json.loads(outcome.out.decode(encoding))
        if outcome.code not in (0, 11):
            assert outcome.err.splitlines()[-1].startswith(b"pycam: ")
            assert title == "heatmap of nothing" or outcome.err.count(b"\n") == 1


STREAMS = {
    "version": ["--version"],
    "help": ["--help"],
    "table": ["models", "protocols"],
    "json": ["models", "list", "--json"],
    "error": ["models", "show", "no-such-model"],
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> dict[tuple[str, str], Outcome]:
    """Outcomes of command lines with standard output and standard error that fail, by the line and what fails."""
    folder = tmp_path_factory.mktemp("streams")
    kinds = {"": {}, "in closed": {0: "closed"}, "both closed": {1: "closed", 2: "closed"}}
    kinds |= {
        f"{name} {kind}": {n: kind} for n, name in ((1, "out"), (2, "err")) for kind in ("closed", "full", "gone")
    }
    lines = commands.workspace(folder / "work", b"image")
    given = {
        **STREAMS,
        "heatmap": lines["heatmap"],
        "heatmap --json": lines["heatmap --json"],
        "show": lines["net show"],
    }
    cases = list(itertools.product(given, kinds))
    outcomes = commands.run_all([Line(given[line], kinds[kind]) for line, kind in cases], folder)
    return dict(zip(cases, outcomes, strict=True))


@pytest.mark.linux  # has /dev/full
def test_streams_that_fail(streams):
    for (line, kind), outcome in streams.items():
        usual = streams[line, ""]
        assert_readable(outcome, "utf-8")
        prints = bool(usual.out)
        if kind == "out full" and prints:
            assert outcome.code == 1
            assert outcome.err.splitlines()[-1] == b"pycam: standard output: No space left on device"
        elif kind == "out gone" and prints:
            assert outcome.code == 141
            assert b"pycam: " not in outcome.err
        else:
            assert outcome.code == usual.code, (line, kind, outcome.err)
        if not kind.startswith(("out", "both")):
            assert outcome.out == usual.out
        if not kind.startswith(("err", "both", "out full", "out gone")):
            assert outcome.err == usual.err


@pytest.mark.parametrize("terminal", ["xterm", "dumb", ""] if WHOLE else ["xterm"])
def test_a_terminal_of_one_column(tmp_path, terminal):
    """A progress bar, a table and the help fit nowhere, and harm nothing."""
    lines = commands.workspace(tmp_path / "work", b"image")
    reader, writer = pty.openpty()
    settings = {**os.environ, "COLUMNS": "1", "TERM": terminal}
    # The reader of a terminal must be quick, or its buffer fills.
    with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sink:
        for arguments in (["--help"], lines["net show"], lines["heatmap"]):
            done = subprocess.run(
                [sys.executable, "-m", "pycam", *arguments], env=settings, stdout=writer, stderr=writer, timeout=600
            )
            assert done.returncode == 0
        sink.kill()
    os.close(reader)
    os.close(writer)


START = """
import sys
from pycam.__main__ import run
print("begun", flush=True)
sys.exit(run())
"""
"""What the installed script does, and a line that says when."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS = 2.5
"""Longer than the commands of the sweep take on a quick machine."""


def moments() -> list[tuple[str, signal.Signals, float, int]]:
    """Return command line, signal, moment, and how many times it is sent."""
    if WHOLE:
        steps = [step * 0.02 for step in range(round(SECONDS / 0.02))]
        lines = (
            "heatmap",
            "evaluate",
            "evaluate, 2 workers",
            "activations",
            "net export",
            "net cam",
            "report html of images",
        )
        return [
            (line, number, step, times) for line in lines for number in SIGNALS for step in steps for times in (1, 2)
        ]
    choice = random.Random(0)
    each = zip(["heatmap", "evaluate", "evaluate", "heatmap"] * 2, itertools.cycle(SIGNALS), [1, 1, 1, 1, 2, 1, 2, 1])
    return [(line, number, choice.uniform(0, SECONDS), times) for line, number, times in each]


def test_a_signal_at_any_moment_is_at_most_one_line(tmp_path):
    wrong = []
    for number, (line, sent, moment, times) in enumerate(moments()):
        folder = tmp_path / str(number)
        lines = commands.workspace(folder, b"image")
        arguments = lines[line.partition(",")[0]] + (["--quiet"] if line in ("heatmap", "evaluate") else [])
        if "workers" in line:
            arguments += ["--workers", "2"]
        command = [sys.executable, "-c", START, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as child:
            child.stdout.readline()
            time.sleep(moment)
            for again in range(times):
                time.sleep(0.01 * again)
                if child.poll() is None:
                    os.killpg(child.pid, sent)
            said = child.communicate(timeout=600)[1].decode()
        left = [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".part")]
        good = child.returncode in (0, 128 + sent, -sent) and said.count("\n") <= 1 and "Traceback" not in said
        if not good or (left and times == 1):
            wrong.append((line, sent.name, moment, times, child.returncode, left, said))
    assert wrong == []


LOST = """
import os, sys, time, typer
from pycam.cli import main
from pycam.formats.files import atomic_open

class Ends:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000):
            pass  # the exception is raised in here

def write(path: str):
    with atomic_open(path):
        for _ in range({times}):
            Ends()
        time.sleep(600)

application = typer.Typer()
application.command()(write)
sys.exit(main([{path!r}], application))
"""


@pytest.mark.parametrize("sent", SIGNALS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_in_a_destructor_ends_the_command_as_anywhere_else(tmp_path, sent, times):
    """Python drops what a destructor raises."""
    script = LOST.format(number=int(sent), times=times, path=str(tmp_path / "file"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 128 + sent
    end = "interrupted" if sent is signal.SIGINT else f"ended by {sent.name}"
    assert done.stderr.splitlines() == [f"pycam: {end}"]
    assert list(tmp_path.iterdir()) == []


IGNORED = """
import signal
from pycam.cli.process import interruptible

with interruptible([]):
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        print(signal.getsignal(number) is signal.SIG_IGN)
"""


def test_a_signal_that_is_ignored_stays_ignored():
    script = "trap '' HUP INT; exec \"$@\""
    command = ["sh", "-c", script, "sh", sys.executable, "-c", IGNORED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_the_script_is_the_one_that_is_guarded():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert 'pycam = "pycam.__main__:run"' in text
