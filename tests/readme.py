"""The code blocks of README.md, and a shell that runs those that need nothing else, in order.

`python tests/readme.py WHEEL` does it as a newcomer would: in an empty folder with an empty home, with what `pip`
installs, the wheel in the place of the package's name. It says when the first overlay was there, and how much of the
time a core was busy, which does not depend on what else the machine does.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
PACKAGE = re.compile(r"'caffe-cam(\[[\w,]+\])?'")
START, LIMIT = 2, 90
"""The first blocks, so many, write the first overlay; the seconds that a core may need for them."""

WRITTEN = (
    "demo-output/report.html",
    "heatmaps/coffee/coffee_1.jpg",
    "out/coffee_strip.jpg",
    "maps/motorcycle_left/motorcycle_left.json",
    "own/coffee/coffee.json",
    "mine/coffee/coffee_1.jpg",
    "runs/demo/report.json",
    "run.html",
    "report.html",
    "cam.onnx",
)
PRINTED = re.compile(r"^cup 0\.\d\d \(\d+, \d+, \d+, \d+\)$", re.MULTILINE)
"""What the blocks write, and what they print."""

# A server ends with a signal only, and another one may have its usual port.
PRELUDE = r"""
set -euo pipefail
pycam() {
    if [ "$1" != serve ]; then command pycam "$@"; return; fi
    command pycam "$@" --port 0 >serve.log &
    local server=$! address
    until address=$(grep -o 'http://127.0.0.1:[0-9]*/' serve.log); do kill -0 $server; sleep 0.1; done
    python -c "import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + 'healthz', timeout=30)" "$address"
    kill -TERM $server
    wait $server || true
}
"""


@dataclass(frozen=True)
class Block:
    """A code block: its language, its content, and what the line before it says that it needs, or ""."""

    language: str
    content: str
    needs: str

    @property
    def installs(self) -> bool:
        """Whether it makes the environment."""
        return "pip install" in self.content


def blocks(text: str) -> list[Block]:
    """Return the blocks of a document in order; `*Needs …:*` before a block says what a reader must have."""
    found = re.findall(r"(?:^\*Needs ([^*]+):\*\n\n)?^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(language, content, needs) for needs, language, content in found]


def script(found: list[Block], package: str) -> str:
    """Return one shell script of the blocks that need nothing else.

    Parameters
    ----------
    found : list of Block
        The blocks, in order.
    package : str
        What pip installs in the place of the package's name.
    """
    parts = [PRELUDE]
    for block in found:
        if block.needs:
            continue
        content = PACKAGE.sub(lambda match: shlex.quote(package + (match[1] or "")), block.content)
        if block.language == "python":
            content = f"python - <<'END'\n{content}END\n"
        parts += [f"printf '%s\\n' {shlex.quote(line)}\n" for line in ("", *block.content.splitlines())]
        parts += [content, "times >>../times"]
    return "\n".join(parts)


def run(text: str, folder: Path, path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new folder, with an empty home, and nothing of the environment."""
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    return subprocess.run(
        ["bash", "-c", text],
        cwd=work,
        env={**environment, "HOME": str(home), "PATH": path, "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def fault(done: subprocess.CompletedProcess[str], work: Path) -> str:
    """Say what the blocks, which have run in a folder, did not do; or ""."""
    if done.returncode:
        return f"a block ends with {done.returncode}"
    lacking = [path for path in WRITTEN if not (work / path).exists() or not (work / path).stat().st_size]
    if lacking:
        return f"the blocks do not write {', '.join(lacking)}"
    return "" if PRINTED.search(done.stdout) else f"no block prints {PRINTED.pattern}"


def main(wheel: Path) -> None:
    """Install the wheel as the README says, and run its blocks."""
    # Where pip looks for packages belongs to the machine.
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    settings = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    pip = {"PIP_CACHE_DIR": str(caches / "pip"), "PIP_CONFIG_FILE": str(settings / "pip" / "pip.conf")}
    pip |= {name: value for name, value in os.environ.items() if re.match(r"PIP_|SSL_|\w+_PROXY$", name, re.IGNORECASE)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        programs = folder / "bin"
        programs.mkdir()
        # The Python that runs this is the machine's.
        (programs / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (programs / "python3").chmod(0o755)
        commands = script(blocks(README.read_text("utf-8")), str(wheel.resolve()))
        start = time.time()
        done = run(commands, folder, f"{programs}:{os.defpath}", **pip)
        whole = time.time() - start
        print(done.stdout)
        if complaint := fault(done, folder / "work"):
            sys.exit(f"README.md: {complaint}")
        first = min(path.stat().st_mtime for path in (folder / "work").rglob("*_1.jpg")) - start
        # After each block, a line for the shell itself and one for its commands.
        busy = [sum(map(_seconds, line.split())) for line in (folder / "times").read_text().splitlines()[1::2]]
    print(f"The first overlay: after {first:.0f} s; a core was busy for {busy[START - 1]:.0f} s.")
    print(f"All blocks: after {whole:.0f} s; a core was busy for {busy[-1]:.0f} s.")
    if busy[START - 1] > LIMIT:
        sys.exit(f"README.md: the first overlay keeps a core busy for {busy[START - 1]:.0f} s; {LIMIT} s are allowed")


def _seconds(text: str) -> float:
    minutes, _, seconds = text.rstrip("s").partition("m")
    return 60 * int(minutes) + float(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
