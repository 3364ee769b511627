"""Writing: complete or absent, at the right place, with the right mode, and no temporary file left."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from pycam.errors import ADVICE, Interrupted, system_error
from pycam.formats import files
from pycam.formats.files import atomic_open, atomic_write
from pycam.formats.names import distinct_names, safe_name

OWN = ".report.json.{machine}0123456789abcdef01234567.part"


@pytest.fixture(autouse=True)
def unswept():
    """Each test is the first to write into its folder."""
    files._sweep.cache_clear()


@pytest.mark.posix
def test_links_are_followed_and_modes_are_kept(tmp_path):
    target, link, dangling = tmp_path / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to("target")
    dangling.symlink_to("later")
    before = target.stat().st_ino
    atomic_write(link, b"new")
    atomic_write(dangling, b"first")
    assert link.is_symlink() and link.readlink() == Path("target")
    assert target.read_bytes() == b"new" and target.stat().st_ino != before
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert dangling.is_symlink() and (tmp_path / "later").read_bytes() == b"first"
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "mine", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "later", "link", "mine", "target"]


@pytest.mark.linux
def test_pipes_and_devices_are_written_to(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    atomic_write(fifo, b"through")
    reader.join(60)
    assert read == [b"through"] and stat.S_ISFIFO(fifo.stat().st_mode)
    atomic_write(os.devnull, b"nothing")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(tmp_path / "full", b"x")
    assert caught.value.filename == str(tmp_path / "full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "pipe"]


@pytest.mark.linux
def test_standard_output_is_written_to_in_its_order(tmp_path):
    code = (
        "from pycam.formats.files import atomic_write; print('before'); "
        "atomic_write('/dev/stdout', 'written\\n'); print('after')"
    )
    out = tmp_path / "out"
    out.write_text("kept\n")
    with out.open("a") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert out.read_text() == "kept\nbefore\nwritten\nafter\n"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"before\nwritten\nafter\n"


@pytest.mark.posix
def test_file_and_folder_are_on_the_disk(tmp_path, monkeypatch):
    events = []
    sync, rename = os.fsync, os.replace

    def synced(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        sync(descriptor)

    def renamed(*paths, **options):
        events.append("rename")
        rename(*paths, **options)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", lambda self, target: renamed(self, target))
    atomic_write(tmp_path / "a", b"12345")
    assert events == [5, "rename", "folder"]


@pytest.mark.parametrize("point", ["fsync", "fstat", "write", "close", "rename", "block"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_an_error_at_any_point_names_the_file_and_leaves_the_old_one(point, code, tmp_path, monkeypatch):
    final = tmp_path / "a.txt"
    final.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    if point == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    elif point in ("fsync", "fstat"):
        monkeypatch.setattr(files.os, "fsync" if point == "fsync" else "fchmod", fail, raising=False)
        final.chmod(0o600)

    class Failing(files.NamedFile):
        def write(self, data):
            with files._errors_name(final):
                fail()

    if point in ("write", "close"):
        monkeypatch.setattr(files, "NamedFile", Failing)
    expected = None if point == "block" else str(final)
    with pytest.raises(OSError, match=os.strerror(code)) as caught, atomic_open(final) as file:
        file.write(b"x" * (100_000 if point == "write" else 10))
        if point == "block":
            fail()
    assert caught.value.filename == expected
    assert list(tmp_path.iterdir()) == [final] and final.read_bytes() == b"old"
    line = system_error(caught.value)
    assert ADVICE[errno.errorcode[code]] in line and "\n" not in line


@pytest.mark.linux
def test_a_limit_on_the_size_of_files_is_one_line(tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "from pycam.cli import main; sys.exit(main(['net', 'write', 'deploy_googlenetCAM', '--out', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr and "File too large: no file may become this large" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone" / "net.md"
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write(gone, "x")
    assert system_error(caught.value) == (
        f"{gone}: No such file or directory: check the name, and whether its folder still exists"
    )
    with pytest.raises(IsADirectoryError) as folder:
        atomic_write(tmp_path, "x")
    assert folder.value.filename == str(tmp_path)


@pytest.mark.byte_names
@pytest.mark.parametrize("name", ["日" * 78 + ".json", "日" * 85, "a" * 255, "a" * 250 + ".json", "\udcff" * 255])
def test_every_name_that_the_disk_takes_can_be_written(name, tmp_path):
    atomic_write(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_no_utf8_is_written_as_an_escape(tmp_path):
    atomic_write(tmp_path / "a.json", '{"image": "\udcff.jpg"}')
    assert (tmp_path / "a.json").read_bytes() == b'{"image": "\\udcff.jpg"}'


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # one that is interrupted while it opens
def test_an_exception_on_any_line_leaves_no_temporary_file(tmp_path):
    """Signals raise theirs anywhere."""
    path = tmp_path / "report.json"

    def write(last: int) -> int:
        """Write, with an exception on a line of files.py; return the number of lines that were run."""
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            if frame.f_code.co_filename != files.__file__:
                return None
            lines += event == "line"
            if lines == last:
                sys.settrace(None)
                raise Interrupted
            return trace

        files._sweep.cache_clear()
        path.write_bytes(b"old")
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            atomic_write(path, b"new")
        finally:
            sys.settrace(before)
        return lines

    count = write(-1)
    assert count > 30
    for last in range(1, count + 1):
        with suppress(Interrupted):
            write(last)
        assert [each.name for each in tmp_path.iterdir()] == ["report.json"], last
        assert path.read_bytes() in (b"old", b"new")


def _write_for_ever(path, begun):
    with atomic_open(path) as file:
        file.write(b"half" * 10_000)
        begun.set()
        time.sleep(1000)


@pytest.mark.linux
def test_what_a_kill_left_is_swept_and_what_lives_is_not(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = []
    for name in ("dead", "alive"):
        begun = context.Event()
        writer = context.Process(target=_write_for_ever, args=(tmp_path / name, begun), daemon=True)
        writer.start()
        assert begun.wait(600)
        writers.append(writer)
    dead, alive = writers
    os.kill(dead.pid, signal.SIGKILL)
    dead.join()
    old, new = (tmp_path / OWN.format(machine=machine) for machine in ("0000000a", "0000000b"))
    users = [tmp_path / name for name in ("mine.part", ".mine.part", ".a.0123.part", f"x{OWN.format(machine='0' * 8)}")]
    for path in (old, new, *users):
        path.touch()
    for path in (old, *users):
        os.utime(path, (0, 0))
    (tmp_path / OWN.format(machine=files._machine())).symlink_to("mine.part")
    assert len(list(tmp_path.glob(".*.part"))) == 7
    atomic_write(tmp_path / "a", b"")
    left = {path.name for path in tmp_path.glob(".*.part")}
    assert not old.exists() and new.name in left, "another machine's file is left until it is old"
    assert all(path.exists() for path in users)
    assert not any(name.startswith(".dead.") for name in left)
    assert any(name.startswith(".alive.") for name in left)
    assert len(left) == 5
    alive.kill()
    alive.join()


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, swept = files._locks, []

    def late(descriptor):
        if not swept:
            swept.extend(tmp_path.glob(".*.part"))
            swept[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(files, "_locks", late)
    atomic_write(tmp_path / "a", b"whole")
    assert swept and (tmp_path / "a").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1


NAMES = st.text(max_size=20).map(lambda text: text * 20) | st.lists(
    st.sampled_from([".", "..", "/", "\\", "-", " ", "con", "NUL", "a", "A", "é", "e\u0301", "\n", ":", "\udcff"]),
    max_size=6,
).map("".join)


@settings(max_examples=50)
@given(names=st.lists(NAMES, max_size=8))
def test_names_stay_in_their_folder_and_differ(names):
    made = distinct_names(names)
    assert len({name.casefold() for name in made}) == len(names)
    for name in made:
        assert name not in ("", ".", "..") and not set(name) & set('/\\:*?"<>|\0\n')
        assert name[0] not in "-." and name[-1] not in " ."
        assert len(name.encode(errors="replace")) <= 250
        assert name.partition(".")[0].rstrip().casefold() not in ("con", "nul")
        assert os.path.normpath(Path("out", name)) == str(Path("out", name)) and Path("out", name).parent == Path("out")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("fox", "fox"),
        ("ILSVRC2012_val_00000001", "ILSVRC2012_val_00000001"),
        ("Füchse im Wald (2)", "Füchse im Wald (2)"),
        ("", "image"),
        ("..", "image"),
        (". .", "image"),
        (".hidden", "_.hidden"),
        ("-rf", "_-rf"),
        ("photo ", "photo"),
        ("con", "_con"),
        ("Nul.tar", "_Nul.tar"),
        ("console", "console"),
        ("a/b", "a_b"),
        ("12:30\n", "12_30_"),
        ("a" * 300, "a" * 240),
        ("日" * 100, "日" * 80),
    ],
)
def test_safe_names(name, safe):
    assert safe_name(name) == safe


def test_equal_names_are_numbered_in_linear_time():
    begin = time.process_time()
    made = distinct_names(["x"] * 20_000)
    assert time.process_time() - begin < 5
    assert made[:3] == ["x", "x-2", "x-3"] and len(set(made)) == 20_000
    assert distinct_names(["x-2", "x", "x", "X"]) == ["x-2", "x", "x-3", "X-4"]
