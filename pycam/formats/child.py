"""Processes to read with what a bad file can crash: they die of it, and this process does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1))\n"


def run_child(program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program in Python, with the same packages to import and `arguments` in `sys.argv[1:]`, to its end."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program, json.dumps(sys.path), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )


def death(process: subprocess.CompletedProcess[bytes]) -> str:
    """Name the signal that a process died of; empty if it ended by itself."""
    return signal.Signals(-process.returncode).name if process.returncode < 0 else ""


def last_words(process: subprocess.CompletedProcess[bytes]) -> str:
    """Give the last line that a process wrote to stderr: after an exception, what it says."""
    return process.stderr.decode(errors="replace").strip().rpartition("\n")[2]


def limit(seconds: int, memory: int | None = None) -> None:
    """Bound the processor time and the memory, in bytes, that this process takes from now on, where it can be done."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    pages = Path("/proc/self/statm")
    if memory is not None and pages.exists():
        memory += int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
