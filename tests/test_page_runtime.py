"""Where ONNX Runtime Web comes from: places, their order, npm, and what is refused.

A small package takes the place of the published one, and a script that of npm; one test reads the real package.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pycam.errors import EngineError
from pycam.page import runtime
from pycam.page.runtime import ADVICE, ARCHIVE, find_runtime

pytestmark = pytest.mark.posix

FILES = {name: b"".join(sha256(f"{name} {n}".encode()).digest() for n in range(20)) for name in runtime.FILES}
NPM = """#!/bin/sh
echo "$@" >>"$TEST_FOLDER/asked"
{does}
"""
PACKS = 'cp "$TEST_FOLDER/published.tgz" onnxruntime-web-1.30.0.tgz'
OFFLINE = """cat >&2 <<'END'
npm error code ENOTFOUND
npm error syscall getaddrinfo
npm error errno ENOTFOUND
npm error network request to https://registry.example/onnxruntime-web failed, reason: getaddrinfo ENOTFOUND
npm error A complete log of this run can be found in: /home/x/.npm/_logs/debug-0.log
END
exit 1"""


def packed(files: dict[str, bytes], version: str = "1.30.0", links: dict[str, str] | None = None) -> bytes:
    """Return what `npm pack` would write of such a package."""
    data = io.BytesIO()
    meta = {"package.json": json.dumps({"name": "onnxruntime-web", "version": version}).encode()}
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in {**meta, **{f"dist/{name}": each for name, each in files.items()}}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return gzip.compress(data.getvalue(), mtime=0)


PUBLISHED = packed(FILES)


def lay(folder: Path, files: dict[str, bytes] = FILES, version: str = "1.30.0") -> Path:
    """Write the package as npm installs it."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": version}))
    for name, data in files.items():
        (folder / "dist" / name).write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The small package is the published one."""
    for name, value in constants().items():
        monkeypatch.setattr(runtime, name, value)


def constants() -> dict[str, object]:
    return {
        "FILES": {name: sha256(data).hexdigest() for name, data in FILES.items()},
        "ARCHIVE_SHA256": sha256(PUBLISHED).hexdigest(),
        "ARCHIVE_SIZE": len(PUBLISHED),
    }


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Put a script in the place of npm. The working folder and the cache are empty, and there is no other npm."""
    programs, work = tmp_path / "programs", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    for name in ("cp", "cat", "sleep", "head"):
        (programs / name).symlink_to(shutil.which(name))
    (tmp_path / "published.tgz").write_bytes(PUBLISHED)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))

    def put(does: str) -> Path:
        (programs / "npm").write_text(NPM.format(does=does))
        (programs / "npm").chmod(0o755)
        return tmp_path

    return put


def asked(folder: Path) -> int:
    """Return how often npm was asked."""
    return len((folder / "asked").read_text().splitlines()) if (folder / "asked").exists() else 0


def kept(folder: Path) -> dict[str, bytes]:
    """Return the files in the cache."""
    return {path.name: path.read_bytes() for path in (folder / "cache").rglob("*") if path.is_file()}


def refused(*arguments, **options) -> str:
    with pytest.raises(EngineError, match="onnxruntime-web") as caught:
        find_runtime(*arguments, **options)
    text = str(caught.value)
    assert text.endswith(ADVICE)
    assert "\n" not in text
    return text.removesuffix(ADVICE)


@pytest.mark.parametrize(
    "place",
    [
        "a.tgz",
        "app/node_modules",
        "app",
        "app/node_modules/onnxruntime-web",
        "app/node_modules/onnxruntime-web/dist",
        "x",
    ],
)
def test_a_place_has_one_of_these_forms(tmp_path, place):
    lay(tmp_path / "app/node_modules/onnxruntime-web")
    (tmp_path / "a.tgz").write_bytes(PUBLISHED)
    lay(tmp_path / "x/package")
    found = find_runtime(tmp_path / place)
    assert found.files == FILES
    assert list(found.files) == list(FILES)
    assert found.version == "1.30.0"
    assert "Copyright (c) Microsoft Corporation" in found.license
    assert "v1.30.0/ThirdPartyNotices.txt" in found.license
    assert find_runtime(found.place).files == FILES


def test_a_linked_package_and_one_copied_into_another_project_are_read(tmp_path):
    # pnpm, a package manager, makes links to packages. A copied dist lies beside the package.json of a project.
    stored = lay(tmp_path / "store/onnxruntime-web")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/onnxruntime-web").symlink_to(stored)
    assert find_runtime(tmp_path / "node_modules").files == FILES
    (stored / "package.json").write_text('{"name": "my-site", "version": "0.1.0"}')
    assert find_runtime(stored).files == FILES


def test_the_order_is_node_modules_here_and_above_then_the_cache_then_npm(npm, monkeypatch):
    folder = npm(PACKS)
    first = find_runtime()
    assert (first.files, first.place, asked(folder)) == (FILES, folder / "cache/onnxruntime-web-1.30.0", 1)
    assert kept(folder) == FILES
    assert find_runtime() == first
    assert find_runtime(download=False) == first
    assert asked(folder) == 1
    above = lay(folder / "node_modules/onnxruntime-web")
    assert find_runtime().place == above / "dist"
    here = lay(folder / "work/node_modules/onnxruntime-web", version="1.22.0")
    assert find_runtime().place == above / "dist"
    shutil.rmtree(here)
    lay(here)
    assert find_runtime().place == here / "dist"
    assert (folder / "asked").read_text().startswith("pack onnxruntime-web@1.30.0 ")


def test_a_damaged_or_incomplete_cache_is_fetched_again(npm):
    folder = npm(PACKS)
    cached = find_runtime().place
    (cached / "ort.wasm.min.js").write_bytes(b"changed")
    (cached / "ort.webgpu.min.js").unlink()
    assert "ort.wasm.min.js: this is not the file of onnxruntime-web 1.30.0" in refused(download=False)
    assert find_runtime().files == kept(folder) == FILES
    (cached / "ort.wasm.min.js").unlink()
    assert "found none of its files" in refused(download=False)
    assert find_runtime().files == FILES
    assert asked(folder) == 3


def test_without_leave_npm_is_not_asked(npm):
    folder = npm(PACKS)
    assert "is not on this machine: neither a node_modules here nor " in refused(download=False)
    lay(folder / "work/node_modules/onnxruntime-web", version="1.22.0")
    assert "node_modules/onnxruntime-web: expected onnxruntime-web 1.30.0, found version 1.22.0" in refused(
        download=False
    )
    assert not asked(folder)
    assert not (folder / "cache").exists()


WRONG_ARCHIVES = {
    "of another version": (packed(FILES, "1.22.0"), r"found another one or a part of it \(.*SHA-256 "),
    "truncated": (PUBLISHED[:-9], rf"a part of it \({len(PUBLISHED) - 9:,} bytes in place of {len(PUBLISHED):,}; "),
    "with a link out of it": (packed({}, links=dict.fromkeys(FILES, "/etc/passwd")), "found another one"),
    "a bomb": (gzip.compress(bytes(1 << 24)), "found another one"),
    "a web page": (b"<!DOCTYPE html><html></html>", "found a web page"),
    "plain text": (b"not found", "found a file that is no .tgz"),
    "empty": (b"", "found an empty file: download the file itself again"),
}


@pytest.mark.parametrize(("data", "told"), WRONG_ARCHIVES.values(), ids=WRONG_ARCHIVES)
def test_another_archive_is_refused_and_not_unpacked(npm, monkeypatch, tmp_path, data, told):
    monkeypatch.setattr(tarfile, "open", None)
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(EngineError, match=told):
        find_runtime(tmp_path / "a.tgz")
    assert refused(tmp_path / "a.tgz").startswith(f"{tmp_path / 'a.tgz'}: expected the archive {ARCHIVE}")
    # So is what npm brings.
    (tmp_path / "published.tgz").write_bytes(data)
    npm(PACKS)
    if data:
        assert refused().startswith(
            "what npm fetched (`npm config get registry` says where from): expected the archive"
        )
    assert kept(tmp_path) == {}


@given(st.integers(0, len(PUBLISHED) - 1), st.integers(1, 255), st.booleans())
def test_one_wrong_byte_is_enough(tmp_path_factory, place, difference, cut):
    data = bytearray(PUBLISHED)
    data[place] ^= difference
    path = tmp_path_factory.getbasetemp() / "one.tgz"
    path.write_bytes(data[: place + 1] if cut else data)
    refused(path)


def test_a_folder_that_is_not_the_package_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "found none of its files in this folder" in refused(tmp_path / "empty")
    lay(tmp_path / "older", version="1.22.0")
    assert refused(tmp_path / "older") == (
        f"{tmp_path / 'older'}: expected onnxruntime-web 1.30.0, found version 1.22.0: "
    )
    for number, name in enumerate(FILES):
        changed = lay(tmp_path / f"changed{number}", {**FILES, name: FILES[name][:-1]})
        assert refused(changed).startswith(f"{changed / 'dist' / name}: this is not the file of onnxruntime-web 1.30.0")
        lacking = lay(tmp_path / f"lacking{number}")
        (lacking / "dist" / name).unlink()
        assert "found none of its files" in refused(lacking) or f"{name}: expected a file of" in refused(lacking)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    assert "but: No such file or directory" in refused(tmp_path / "nothing.tgz")
    os.mkfifo(tmp_path / "pipe")
    assert "found a pipe or device" in refused(tmp_path / "pipe")
    folder = lay(tmp_path / "package")
    (folder / "dist/ort.webgpu.min.js").unlink()
    (folder / "dist/ort.webgpu.min.js").symlink_to("/dev/zero")
    assert "found a pipe or device" in refused(folder)


NPM_FAILS = {
    "no network": (OFFLINE, "failed: network request to https://registry.example/onnxruntime-web failed, reason: "),
    "no such version": (
        "echo 'npm ERR! code ETARGET\nnpm ERR! notarget No matching version for onnxruntime-web@1.30.0.' >&2; exit 1",
        "failed: notarget No matching version for onnxruntime-web@1.30.0.: ",
    ),
    "no node": ("echo \"env: 'node': No such file or directory\" >&2; exit 127", "failed: env: 'node': No such file"),
    "no reason": ("exit 3", "failed: exit code 3: "),
    "no file": ("exit 0", "failed: no file onnxruntime-web-1.30.0.tgz: "),
    "binary": ('head -c 300 "$TEST_FOLDER/published.tgz" >&2; exit 1', "failed: "),
    "half a file": ('head -c 500 "$TEST_FOLDER/published.tgz" >onnxruntime-web-1.30.0.tgz', "(500 bytes in place of "),
    "stuck": ("sleep 60", "did not end within 0.5 s: "),
}


@pytest.mark.parametrize(("does", "told"), NPM_FAILS.values(), ids=NPM_FAILS)
def test_when_npm_fails_one_line_says_why(npm, monkeypatch, does, told):
    monkeypatch.setattr(runtime, "NPM_SECONDS", 0.5 if does == "sleep 60" else 30)
    folder = npm(does)
    assert told in refused()
    assert list((folder / "cache").iterdir()) == []
    # The advice helps.
    npm(PACKS)
    assert subprocess.run(["npm", "pack", "onnxruntime-web@1.30.0"], check=True).returncode == 0
    assert find_runtime(Path(ARCHIVE)).files == FILES


def test_without_npm_a_line_says_so(npm):
    assert "is not on this machine, and there is no npm to fetch it: " in refused()
    assert run().returncode == 7


def test_a_cache_that_cannot_be_written_is_told_before_npm_is_asked(npm, tmp_path):
    folder = npm(PACKS)
    (tmp_path / "cache").write_bytes(b"")
    start = "onnxruntime-web cannot be fetched into the cache (PYCAM_CACHE names another folder): "
    assert refused().startswith(f"{start}{tmp_path}/cache")
    assert asked(folder) == 0


def run(**options) -> subprocess.CompletedProcess[str]:
    """Run what `make test` runs, with the small package."""
    return subprocess.run(command(), capture_output=True, text=True, env=environment(), **options)


def command() -> list[str]:
    code = "\n".join(
        [
            "import sys",
            "from pycam.page import runtime",
            *(f"runtime.{name} = {value!r}" for name, value in constants().items()),
            "sys.exit(runtime.main())",
        ]
    )
    return [sys.executable, "-c", code]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], *filter(None, sys.path))))}


def test_two_at_once_and_one_that_is_stopped_leave_right_files(npm):
    folder = npm(f"sleep 0.5; {PACKS}")
    both = [subprocess.Popen(command(), env=environment()) for _ in range(2)]
    assert [each.wait(600) for each in both] == [0, 0]
    assert kept(folder) == FILES
    assert asked(folder) == 2
    shutil.rmtree(folder / "cache")
    npm("sleep 30")
    for number in (signal.SIGTERM, signal.SIGKILL):
        one = subprocess.Popen(command(), env=environment())
        before = asked(folder)
        while asked(folder) == before:
            assert one.poll() is None
            time.sleep(0.01)
        one.send_signal(number)
        assert one.wait(600) == -number
        assert kept(folder) == {}
    npm(PACKS)
    done = run()
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "npm fetches onnxruntime-web@1.30.0, 0 MB, once\n"
    assert kept(folder) == FILES


def test_quiet_says_nothing(npm, capsys):
    npm(PACKS)
    find_runtime(quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.ortweb
def test_the_published_package(monkeypatch, ortweb):
    monkeypatch.undo()
    found = find_runtime(ortweb)
    assert {name: sha256(data).hexdigest() for name, data in found.files.items()} == runtime.FILES
    # Each script loads its module, and that its WebAssembly: all of them must be there.
    for script, stem in (("ort.wasm.min.js", ""), ("ort.webgpu.min.js", ".asyncify")):
        module, binary = f"ort-wasm-simd-threaded{stem}.mjs", f"ort-wasm-simd-threaded{stem}.wasm"
        assert b"ONNX Runtime Web v1.30.0" in found.files[script]
        assert module.encode() in found.files[script]
        assert binary.encode() in found.files[module]
        assert found.files[binary].startswith(b"\0asm")
