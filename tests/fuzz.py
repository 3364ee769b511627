"""Damage files for a given time, and check every reader with `corpus.attempt`.

    python tests/fuzz.py --minutes 5 [--reader NAME] [--findings FOLDER]

Each reader runs in a separate process, round by round, with limits: five seconds of processor time for a file, and
three times the file and 200 MB of memory. The corpus grows by files that were read and files that were refused with a
new message. A forbidden behavior of a reader is a finding: its file is kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from corpus import READERS, Reader, attempt, damaged

ROUND = 20
SECONDS = 5
MEMORY = 200 << 20
PIXELS = 1 << 30
"""The memory that a sound image may take; the largest is in a database."""
POOL = 500


def main() -> int:
    """Fuzz; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--reader", default="", help="only readers whose name contains this")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [reader for reader in READERS if options.reader in reader.name]
    if options.child:
        (reader,) = [reader for reader in chosen if reader.name == options.reader]
        _work(reader, options.child, options.findings, random.Random(options.seed))
        return 0
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    totals: dict[str, Counter[str]] = {reader.name: Counter() for reader in chosen}
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder, suppress(KeyboardInterrupt):
        for number in itertools.count():
            if time.monotonic() > end:
                break
            reader = chosen[number % len(chosen)]
            place = Path(folder, str(number % len(chosen)))
            place.mkdir(exist_ok=True)
            totals[reader.name] += _round(reader, place, options.findings, options.seed + number)
    print(f"{'reader':28}{'tried':>10}{'read':>10}{'refused':>10}{'findings':>10}{'CPU min':>9}")
    total: Counter[str] = Counter()
    for found in totals.values():
        total += found
    for name, found in [*totals.items(), ("all", total)]:
        counts = "".join(f"{found[key]:10}" for key in ("tried", "read", "refused", "findings"))
        print(f"{name:28}{counts}{found['milliseconds'] / 60_000:9.1f}")
    return 1 if total["findings"] else 0


def _round(reader: Reader, place: Path, findings: Path, seed: int) -> Counter[str]:
    """Damage and read files in a process for a while, and count the results."""
    command = [sys.executable, __file__, "--reader", reader.name, "--findings", str(findings.absolute())]
    with (place / "stderr").open("wb") as stderr:
        process = subprocess.Popen([*command, "--seed", str(seed), "--child", str(place)], stderr=stderr)
        try:
            code = process.wait(timeout=ROUND * 6)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    counts = Counter({key: int(value) for key, value in re.findall(r"(\w+) (\d+)", _text(place / "counts"))})
    (place / "counts").unlink(missing_ok=True)
    if code:
        end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        _keep(reader, place / "files" / reader.file, findings, f"{end}\n{_text(place / 'stderr')}")
        counts["findings"] += 1
    return counts


def _work(reader: Reader, place: Path, findings: Path, rng: random.Random) -> None:
    """Damage and read files until the round is over."""
    files = place / "files"
    files.mkdir(exist_ok=True)
    pool = place / "pool"
    pool.mkdir(exist_ok=True)
    contents = [*reader.seeds, *(path.read_bytes() for path in sorted(pool.iterdir()))]
    seen = set(_text(place / "seen").split("\n"))
    counts: Counter[str] = Counter()
    for seed in reader.seeds:
        assert attempt(reader, files, seed) == "", "a sound file is refused"
    base = _memory()
    noise = Path("/dev/fd/2").stat().st_size
    end = time.monotonic() + ROUND
    while time.monotonic() < end:
        # Most files that grew are refused, and their successors would be, too.
        data = damaged(rng.choice(reader.seeds if rng.random() < 0.5 else contents), rng, reader)
        started = _seconds()
        try:
            message = attempt(reader, files, data)
        except BaseException:
            message = "a finding"
            if (where := re.sub(r".*File|'.*'|\d", "", "".join(traceback.format_exc().splitlines()[-3:]))) not in seen:
                seen.add(where)
                counts["findings"] += 1
                _keep(reader, files / reader.file, findings, traceback.format_exc())
        counts["tried"] += 1
        counts["refused" if message else "read"] += 1
        kind = re.sub(r"'.*'|\"[^\"]*\"|[\d.]+", "#", message.replace(str(files), ""))
        if (kind not in seen if message else rng.random() < 0.02) and len(contents) < POOL:
            seen.add(kind)
            contents.append(data)
            (pool / f"{len(contents):04}").write_bytes(data)
        limits = {
            f"more than {SECONDS} s": _seconds() - started > SECONDS,
            "memory": _memory() - base > (PIXELS if reader.noisy else MEMORY) + 3 * len(data),
            "words besides the message": not reader.noisy and Path("/dev/fd/2").stat().st_size > noise,
        }
        for limit, broken in limits.items():
            if broken and limit not in seen:
                seen.add(limit)
                counts["findings"] += 1
                _keep(reader, files / reader.file, findings, f"{limit}: {message}")
        base, noise = max(base, _memory()), Path("/dev/fd/2").stat().st_size
    (place / "seen").write_text("\n".join(seen))
    counts["milliseconds"] = int(1000 * _seconds())
    (place / "counts").write_text(" ".join(f"{key} {value}" for key, value in counts.items()))


def _keep(reader: Reader, file: Path, findings: Path, why: str) -> None:
    findings.mkdir(parents=True, exist_ok=True)
    kept = findings / f"{reader.name.replace(' ', '-')}-{os.getpid()}-{time.time_ns() % 10**9}"
    kept.write_bytes(file.read_bytes() if file.exists() else b"")
    kept.with_name(f"{kept.name}.txt").write_text(why, errors="backslashreplace")
    print(f"{reader.name}: {kept}: {why.strip().splitlines()[-1][:200]}", flush=True)


def _text(path: Path) -> str:
    return path.read_text(errors="backslashreplace") if path.exists() else ""


def _seconds() -> float:
    """Return the processor time of this process and of those that it waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _memory() -> int:
    """Return the peak memory of this process or of one that it waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) * 1024


if __name__ == "__main__":
    sys.exit(main())
