"""ONNX Runtime Web, which runs a net in a browser: found on this machine or fetched by npm, and checked.

It is published as npm's package `onnxruntime-web`. pycam uses the published files only: each must have its checksum,
wherever it comes from, so that neither a registry nor a folder can put other code into a page.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from pycam.console import Notes, print_error
from pycam.errors import EngineError, PycamError, system_error
from pycam.formats.files import atomic_write, is_file, is_folder
from pycam.formats.opening import WEB_PAGE, read_file, recognise
from pycam.zoo import cache_folder

NAME = "onnxruntime-web"
VERSION = "1.30.0"
PACKAGE = f"{NAME}@{VERSION}"
ARCHIVE = f"{NAME}-{VERSION}.tgz"
"""The file that `npm pack` writes."""
ARCHIVE_SIZE = 33_106_585
ARCHIVE_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

FILES = {
    "ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.js": "7d65dad7eb4564ad98db9924a259af2e2c68ebfbdbf254fa5d728f1c5736e07a",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""The files of the package's `dist` that a page needs, with their SHA-256: a build for WebAssembly, one for WebGPU."""

INSIDE = (".", "dist", "package/dist", f"{NAME}/dist", f"node_modules/{NAME}/dist")
"""Where the files may lie in a folder: itself their folder, the package, the package unpacked, with other packages."""

LARGEST = 1 << 26
"""More bytes than the archive and each of the files have."""
NPM_SECONDS = 1800.0
"""The most seconds for npm."""

ADVICE = f"run `npm pack {PACKAGE}` where npm and a network are, then give its file with --runtime {ARCHIVE}"


@dataclass(frozen=True)
class Runtime:
    """The published files of ONNX Runtime Web.

    Attributes
    ----------
    files : mapping of str to bytes
        The files of `FILES` by their names.
    place : Path
        The archive or the folder that they were read from.
    version : str
        The version of the package.
    license : str
        The licence, which a copy of the files must contain.
    """

    files: Mapping[str, bytes]
    place: Path
    version: str
    license: str

    def __repr__(self) -> str:
        return f"<Runtime {NAME} {self.version}, {self.place}>"


def find_runtime(place: Path | None = None, *, download: bool = True, quiet: bool = False) -> Runtime:
    """Find ONNX Runtime Web on this machine, or let npm fetch it once into the cache.

    Parameters
    ----------
    place : Path, optional
        The archive that `npm pack` writes, a folder that contains the package or its `dist`, or a `node_modules`. None:
        a `node_modules` of the working folder or above it that has the right version, else the cache.
    download : bool
        Let npm fetch the package if it is not on this machine. npm's own configuration says where from.
    quiet : bool
        Do not say that npm fetches it.

    Returns
    -------
    Runtime

    Raises
    ------
    EngineError
        The package is not there, is not the published one, or cannot be fetched; the message says where to get it.
    """
    if place is not None:
        return _from_folder(place) if is_folder(place) else _from_archive(place)
    cached = cache_folder() / f"{NAME}-{VERSION}"
    passed_over = []
    for folder in (*_near(), cached):
        if is_folder(folder):
            try:
                return _from_folder(folder)
            except EngineError as error:
                # A node_modules is there for something else, which may need another version.
                passed_over.append(str(error).removesuffix(f": {ADVICE}"))
    if not download:
        found = "; ".join(passed_over) or f"neither a node_modules here nor {cached.parent} has it"
        raise EngineError(f"{NAME} {VERSION} is not on this machine: {found}: {ADVICE}")
    return _fetched(cached, Notes(quiet))


def _near() -> Iterator[Path]:
    """Yield where the package would be in a node_modules of the working folder and of those above it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / "node_modules" / NAME


def _from_folder(place: Path) -> Runtime:
    folder = next((place / each for each in INSIDE if is_file(place / each / next(iter(FILES)))), None)
    if folder is None:
        raise EngineError(f"{place}: expected {NAME} {VERSION}, found none of its files in this folder: {ADVICE}")
    found = _version(folder.resolve().parent / "package.json")
    if found not in ("", VERSION):
        raise EngineError(f"{folder.parent}: expected {NAME} {VERSION}, found version {found}: {ADVICE}")
    files = {}
    for name, expected in FILES.items():
        try:
            files[name] = read_file(folder / name, f"a file of {NAME} {VERSION}", LARGEST, EngineError)
        except EngineError as error:
            raise EngineError(f"{error}: {ADVICE}") from None
        if (digits := sha256(files[name]).hexdigest()) != expected:
            raise EngineError(
                f"{folder / name}: this is not the file of {NAME} {VERSION}: its SHA-256 is {digits}, the published "
                f"one is {expected}: {ADVICE}"
            )
    return Runtime(files, folder, VERSION, _license())


def _version(path: Path) -> str:
    """Return the version in the package's package.json; an empty text if there is none, or that of another package."""
    try:
        content = json.loads(read_file(path, "a package.json", 1 << 20))
    except (PycamError, ValueError, RecursionError):
        return ""
    if not isinstance(content, dict) or content.get("name") != NAME:
        return ""
    return str(content.get("version", ""))[:40]


def _from_archive(path: Path) -> Runtime:
    try:
        data = read_file(path, f"the archive {ARCHIVE}", LARGEST, EngineError)
    except EngineError as error:
        raise EngineError(f"{error}: {ADVICE}") from None
    return Runtime(_unpacked(data, str(path)), path, VERSION, _license())


def _unpacked(data: bytes, source: str) -> dict[str, bytes]:
    """Return the files of an archive, if it is the published one; an error begins with the source."""
    if (digits := sha256(data).hexdigest()) != ARCHIVE_SHA256:
        raise EngineError(f"{source}: expected the archive {ARCHIVE}, found {_other(data, digits)}: {ADVICE}")
    files = {}
    with tarfile.open(fileobj=BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            if (name := member.name.removeprefix("package/dist/")) in FILES and (stream := archive.extractfile(member)):
                files[name] = stream.read()
    return {name: files[name] for name in FILES}


def _other(data: bytes, digits: str) -> str:
    """Say what a file is that is not the published archive."""
    if not data.startswith(b"\x1f\x8b"):
        kind, _ = recognise(data[:4096])
        return WEB_PAGE if kind == WEB_PAGE else "a file that is no .tgz"
    size = f"{len(data):,} bytes in place of {ARCHIVE_SIZE:,}; " if len(data) != ARCHIVE_SIZE else ""
    return f"another one or a part of it ({size}SHA-256 {digits}, published {ARCHIVE_SHA256})"


def _fetched(target: Path, notes: Notes) -> Runtime:
    """Let npm fetch the archive, and write its files into a folder if it is the published one."""
    npm = shutil.which("npm")
    if npm is None:
        raise EngineError(f"{NAME} {VERSION} is not on this machine, and there is no npm to fetch it: {ADVICE}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            notes.say(f"npm fetches {PACKAGE}, {ARCHIVE_SIZE / 1e6:.0f} MB, once")
            _pack(npm, Path(folder))
            archive = Path(folder, ARCHIVE).read_bytes()
        files = _unpacked(archive, "what npm fetched (`npm config get registry` says where from)")
        target.mkdir(exist_ok=True)
        for name, data in files.items():
            atomic_write(target / name, data)
    except OSError as error:
        place = "into the cache (PYCAM_CACHE names another folder)"
        raise EngineError(f"{NAME} cannot be fetched {place}: {system_error(error)}; or {ADVICE}") from None
    return Runtime(files, target, VERSION, _license())


def _pack(npm: str, folder: Path) -> None:
    """Run `npm pack` in a folder: it fetches the archive, and runs nothing of it."""
    # Without a network, npm would try again for more than a minute.
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--loglevel=error", "--fetch-retries=0"]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", timeout=NPM_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"`npm pack {PACKAGE}` did not end within {NPM_SECONDS:g} s: {ADVICE}") from None
    if done.returncode or not is_file(folder / ARCHIVE):
        raise EngineError(f"`npm pack {PACKAGE}` failed: {_reason(done)}: {ADVICE}")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line in which npm says why it failed."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line).strip() for line in done.stderr.splitlines()]
    told = [line for line in lines if line and not re.match(r"(code|errno|syscall|path|dest|A complete log)\b", line)]
    if told or done.returncode:
        return told[0][:300] if told else f"exit code {done.returncode}"
    return f"no file {ARCHIVE}"


def _license() -> str:
    return Path(__file__).with_name(f"{NAME}-license.txt").read_text("utf-8")


def main() -> int:
    """Fetch ONNX Runtime Web for the tests that need it; return an exit code."""
    try:
        find_runtime()
    except EngineError as error:
        print_error(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
