"""Runs that are killed, stopped, without resources, damaged, or done by several workers: the results stay the same.

`PYCAM_KILLS` is the number of kills in each test that kills runs; 10 by default, and 30 where `PYCAM_FAULTS` is set.
"""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, count, repeat
from pathlib import Path

import pytest
from runs import (
    BATCH,
    COUNT,
    LOG,
    assert_same,
    dead_batch,
    log,
    logged_batch,
    make_plan,
    starved_batch,
    use_up_memory,
)

import pycam
from pycam.errors import PycamError, RunError, UsageError
from pycam.evaluation import evaluator, plan, run
from pycam.evaluation.plan import Plan, identity_of
from pycam.evaluation.run import STORE, carry_out, evaluate
from pycam.evaluation.store import Store

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("PYCAM_KILLS", "30" if "PYCAM_FAULTS" in os.environ else "10"))
RESUMES = "the same command resumes the run"

# Forked from a process that has imported everything, a process starts quickly.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pycam.evaluation.run", "pycam.engines.onnxruntime", "pycam.maps.class_weights"])


def give_up_privileges() -> None:
    """Drop all capabilities, so that permissions are checked for root, too."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def leave_file_handles(spare: int) -> int:
    """Let this process open only `spare` more files; return the former limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
    while os.dup(2) < highest:
        pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, most))
    return most


def live(planned: Plan, folder: Path, notes: Path, options: dict) -> None:
    """Evaluate in a process that a test disturbs; log each computed batch and the error."""
    os.environ[LOG] = str(notes / "log.txt")
    os.dup2(os.open(notes / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.setpgrp()
    if options.get("unprivileged"):
        give_up_privileges()
    if "file_size" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_size"],) * 2)
    if "spare_files" in options:
        most_files = leave_file_handles(options["spare_files"])
    if "numpy" in options:
        plan.np.__version__ = options["numpy"]  # of this process, not of its workers
    workers = options.get("workers", 1)
    scheduler = f"local:{options['dask']}" if "dask" in options else None
    run.evaluate_batch = options.get("work", logged_batch)
    find_boxes = evaluator.find_boxes

    def logged_find_boxes(batch, predictions):
        found = find_boxes(batch, predictions)
        log(batch)
        return found

    evaluator.find_boxes = logged_find_boxes
    kills = list(options.get("kill_workers_at", ()))
    hoard = []

    def progress(done: int) -> None:
        if "begun" in options:
            options["begun"].set()
        if done and "held" in options:
            options["held"].wait(300)
        time.sleep(options.get("pause", 0) / 1000)
        if kills and done >= kills[0]:
            kills.pop(0)
            random.Random(done).choice(multiprocessing.active_children()).kill()
        if done >= options.get("starve_at", COUNT + 1):
            use_up_memory(hoard)

    try:
        evaluate(
            planned, folder, workers=workers, scheduler=scheduler, skip=options.get("skip", False), progress=progress
        )
    except PycamError as error:
        hoard.clear()
        if "spare_files" in options:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
        (notes / "error.txt").write_text(str(error))
        os._exit(error.exit_code)


def begin(planned: Plan, folder: Path, notes: Path | None = None, **options: object) -> multiprocessing.Process:
    process = SERVER.Process(target=live, args=(planned, folder, notes or folder.parent, options))
    process.start()
    return process


def computed(folder: Path) -> Counter[str]:
    """Count how often each image was computed, by position."""
    return Counter((folder.parent / "log.txt").read_text().split())


def assert_all_computed(folder: Path, most: int) -> None:
    times = computed(folder)
    assert set(times) == {str(position) for position in range(COUNT)}
    assert times.total() <= most


def wait_until(met) -> None:
    deadline = time.monotonic() + 300
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Killed and stopped


@pytest.mark.slow
def test_killed_at_random_moments(model, images, whole, tmp_path):
    """Nothing is lost or changed, and a kill costs at most one batch."""
    planned = make_plan(model, images)
    moments = random.Random(0)
    kills = 0
    while kills < KILLS:
        place = tmp_path / str(kills)
        place.mkdir()
        lives = 0
        while True:
            lives += 1
            process = begin(planned, place / "run", pause=20)
            process.join(moments.uniform(0.02, 0.4) * 1.1**lives)  # so that a busy machine makes progress, too
            if not process.is_alive():
                break
            process.kill()
            process.join()
        assert process.exitcode == 0
        assert_same(place / "run", whole)
        assert_all_computed(place / "run", COUNT + (lives - 1) * BATCH)
        kills += lives - 1


@pytest.mark.slow
def test_killed_with_workers(model, images, whole, tmp_path):
    """Workers whose parent is killed end, too, and leave no lock; a kill costs at most one batch per worker."""
    workers = 2
    moments = random.Random(0)
    kills = 0
    while kills < KILLS / 10:
        place = tmp_path / str(kills)
        place.mkdir()
        lives = 0
        while True:
            lives += 1
            process = begin(make_plan(model, images), place / "run", workers=workers, pause=150)
            process.join(moments.uniform(0.5, 3) * 1.2**lives)
            try:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            except OSError:  # it has ended
                process.join()
                break
            process.kill()
            process.join()
            wait_until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))  # noqa: B023
        assert process.exitcode == 0
        assert_same(place / "run", whole)
        assert_all_computed(place / "run", COUNT + (lives - 1) * workers * BATCH)
        kills += lives - 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("options", [{}, {"workers": 2}, pytest.param({"dask": 2}, marks=pytest.mark.cluster)])
def test_a_signal_lets_the_batch_finish_and_tells_how_to_resume(model, images, whole, tmp_path, number, options):
    """Ctrl-C and a closed terminal reach a whole group of processes; SIGTERM reaches only one process."""
    folder = tmp_path / "run"
    held = SERVER.Event()
    process = begin(make_plan(model, images), folder, held=held, **options)
    wait_until((tmp_path / "log.txt").exists)
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    held.set()
    process.join()
    assert process.exitcode == 128 + number
    message = (tmp_path / "error.txt").read_text()
    assert f"stopped by {number.name} with " in message
    assert message.endswith(" of 30 images done: the same command resumes the run")
    assert (tmp_path / "stderr.txt").read_text() == ""
    done = []
    evaluate(make_plan(model, images), folder, progress=done.append)
    assert f"with {done[0]} of 30" in message
    assert 0 < done[0] < COUNT
    assert computed(folder).total() == done[0]
    assert_same(folder, whole)


@pytest.mark.parametrize("options", [{"workers": 2}, pytest.param({"dask": 2}, marks=pytest.mark.cluster)])
@pytest.mark.parametrize("moment", [0, 0.3, 0.6, 1.2])
def test_ctrl_c_while_workers_begin(model, images, whole, tmp_path, options, moment):
    """They print no errors."""
    folder = tmp_path / "run"
    begun, held = SERVER.Event(), SERVER.Event()
    process = begin(make_plan(model, images), folder, begun=begun, held=held, **options)
    assert begun.wait(300)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGINT)
    held.set()
    process.join()
    assert process.exitcode == 128 + signal.SIGINT
    assert (tmp_path / "stderr.txt").read_text() == ""
    evaluate(make_plan(model, images), folder)
    assert_same(folder, whole)


def test_a_second_run_in_the_folder_is_refused(model, images, whole, tmp_path):
    folder = tmp_path / "run"
    held = SERVER.Event()
    process = begin(make_plan(model, images), folder, held=held)
    wait_until((tmp_path / "log.txt").exists)
    with pytest.raises(RunError, match="run: another process is at work on this run"):
        evaluate(make_plan(model, images), folder)
    held.set()
    process.join()
    assert process.exitcode == 0
    assert_same(folder, whole)


# Without resources


@pytest.mark.parametrize("file_size", [1_000, 30_000, 60_000])
def test_a_full_disk_stops_the_run_until_there_is_room(model, images, whole, tmp_path, file_size):
    folder = tmp_path / "run"
    process = begin(make_plan(model, images), folder, file_size=file_size)
    process.join()
    assert process.exitcode == RunError.exit_code
    assert RESUMES in (tmp_path / "error.txt").read_text()
    evaluate(make_plan(model, images), folder)
    assert_same(folder, whole)


@pytest.mark.parametrize("options", [{}, {"workers": 2}])
def test_without_file_handles_it_stops_and_no_image_counts_as_bad(model, images, whole, tmp_path, options):
    """From no spare handles to enough of them."""
    stopped = 0
    for spare in chain(range(8) if not options else (0, 6, 12), count(24, 8)):
        place = tmp_path / str(spare)
        place.mkdir()
        process = begin(make_plan(model, images), place / "run", spare_files=spare, skip=True, **options)
        process.join()
        if process.exitcode == 0:
            assert_same(place / "run", whole)
            break
        stopped += 1
        assert len((place / "error.txt").read_text().splitlines()) == 1
        evaluate(make_plan(model, images), place / "run", skip=True)
        assert_same(place / "run", whole)
    assert stopped > 2


def test_without_memory_it_stops(model, images, whole, tmp_path):
    folder = tmp_path / "run"
    process = begin(make_plan(model, images), folder, starve_at=8, skip=True)
    process.join()
    assert process.exitcode != 0
    if process.exitcode == RunError.exit_code:
        assert RESUMES in (tmp_path / "error.txt").read_text()
    done = []
    evaluate(make_plan(model, images), folder, skip=True, progress=done.append)
    assert done[0] >= 8
    assert_same(folder, whole)


@pytest.mark.parametrize("options", [{"workers": 2}, pytest.param({"dask": 2}, marks=pytest.mark.cluster)])
def test_a_worker_without_memory_is_replaced(model, images, whole, tmp_path, options):
    folder = tmp_path / "run"
    process = begin(make_plan(model, images), folder, work=starved_batch, **options)
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "starved").exists()
    assert_same(folder, whole)


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        (
            "locked",
            f"{STORE}: cannot be read or written (unable to open database file): make room, or make it writable",
        ),
        ("locked/run", "locked/run: cannot be made (Permission denied): name another --out"),
    ],
)
def test_a_folder_that_cannot_be_written(model, images, whole, tmp_path, folder, complaint):
    (tmp_path / "locked").mkdir(mode=0o555)
    process = begin(make_plan(model, images), tmp_path / folder, tmp_path, unprivileged=True)
    process.join()
    assert process.exitcode == RunError.exit_code
    assert complaint in (tmp_path / "error.txt").read_text()
    (tmp_path / "locked").chmod(0o755)
    evaluate(make_plan(model, images), tmp_path / folder)
    assert_same(tmp_path / folder, whole)


def read_store(folder: Path, reading: bool, found: Path) -> None:
    """Write what a user without rights to write finds in a store, or the error."""
    give_up_privileges()
    identity = tuple(json.loads((folder / "report.json").read_text())["identity"].items())
    try:
        with Store(folder / STORE, identity, reading=reading) as store:
            found.write_text(repr(list(store.results())))
    except RunError as error:
        found.write_text(str(error))


@pytest.mark.parametrize("locked", ["folder", "file"])
def test_a_finished_run_that_cannot_be_written_is_read(whole, tmp_path, locked):
    folder = shutil.copytree(whole, tmp_path / "a run? #1")
    identity = tuple(json.loads((folder / "report.json").read_text())["identity"].items())
    with Store(folder / STORE, identity) as store:
        expected = repr(list(store.results()))
    place, rights = (folder, 0o555) if locked == "folder" else (folder / STORE, 0o444)
    place.chmod(rights)

    def found(reading: bool) -> str:
        process = SERVER.Process(target=read_store, args=(folder, reading, tmp_path / "found.txt"))
        process.start()
        process.join()
        return (tmp_path / "found.txt").read_text()

    names = {path.name for path in folder.iterdir()}
    assert found(reading=True) == expected
    assert {path.name for path in folder.iterdir()} == names
    assert "cannot be read or written" in found(reading=False)
    folder.chmod(0o755)


def test_a_log_in_a_folder_that_cannot_be_written_counts(whole, tmp_path):
    folder, copy = shutil.copytree(whole, tmp_path / "run"), tmp_path / "copy"
    with closing(sqlite3.connect(folder / STORE)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        with database:
            database.execute("DELETE FROM images WHERE position > 0")
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    assert (copy / f"{STORE}-wal").stat().st_size > 0
    copy.chmod(0o555)
    process = SERVER.Process(target=read_store, args=(copy, True, tmp_path / "found.txt"))
    process.start()
    process.join()
    assert (tmp_path / "found.txt").read_text().count("Result(position=") == 1
    copy.chmod(0o755)


# Damaged


class CutOffError(Exception):
    """Simulates the end of the process, in the process."""


@pytest.fixture(scope="module")
def cut_off(model, images, tmp_path_factory) -> Path:
    """A run's folder after a kill: a part is in the database, and a part in its write-ahead log."""
    folder, image = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("image") / "run"

    def stop(done: int) -> None:
        if done >= 14:
            raise CutOffError

    def cut(done: int) -> None:
        if done >= 22:
            shutil.copytree(folder, image)
            raise CutOffError

    for progress in (stop, cut):
        with pytest.raises(CutOffError):
            evaluate(make_plan(model, images), folder, progress=progress)
    assert (image / f"{STORE}-wal").stat().st_size > 0
    return image


def tear(path: Path, way: str, source: random.Random) -> None:
    content = bytearray(path.read_bytes())
    at = source.randrange(len(content))
    length = source.choice([1, 100, 4096])
    if way == "cut":
        del content[at:]
    elif way == "zeros":
        content[at : at + length] = bytes(len(content[at : at + length]))
    else:
        content[at : at + length] = source.randbytes(len(content[at : at + length]))
    path.write_bytes(content)


@pytest.mark.parametrize("way", ["cut", "zeros", "noise"])
@pytest.mark.parametrize("name", [STORE, f"{STORE}-wal"])
def test_a_damaged_store_is_refused_or_recovered(model, images, whole, cut_off, tmp_path, name, way):
    ends = Counter()
    for seed in range(15):
        folder = tmp_path / str(seed)
        shutil.copytree(cut_off, folder)
        tear(folder / name, way, random.Random(seed))
        try:
            evaluate(make_plan(model, images), folder)
        except RunError as error:
            (line,) = str(error).splitlines()
            # Noise in the text of the identity leaves an intact database of another run.
            assert f"{folder / STORE}: damaged (" in line or f"{folder}: holds another run" in line
            assert "name another --out" in line
            ends["refused"] += 1
        else:
            assert_same(folder, whole)
            ends["recovered"] += 1
    # SQLite's log has checksums: its intact part is used.
    assert set(ends) == {"recovered"} if name.endswith("-wal") else "refused" in ends


def test_the_content_of_a_lost_log_is_computed_again(model, images, whole, cut_off, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(cut_off, folder)
    (folder / f"{STORE}-wal").unlink()
    done = []
    evaluate(make_plan(model, images), folder, progress=done.append)
    assert done[0] == 14
    assert_same(folder, whole)


# Other workers


@pytest.mark.parametrize(
    "options",
    [{"workers": 2}, {"workers": 4}, pytest.param({"dask": 2}, marks=pytest.mark.cluster)],
    ids=lambda options: "-".join(map(str, *options.items())),
)
def test_other_workers_give_the_same_bytes_though_some_are_killed(model, images, whole, tmp_path, options):
    folder = tmp_path / "run"
    moments = sorted(random.Random(str(options)).sample(range(BATCH, COUNT - 2 * BATCH), 2))
    process = begin(make_plan(model, images), folder, kill_workers_at=moments, pause=50, **options)
    process.join()
    assert process.exitcode == 0
    assert_same(folder, whole)
    (workers,) = options.values()
    assert_all_computed(folder, COUNT + len(moments) * workers * BATCH)


def test_workers_that_always_die_end_the_run(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "evaluate_batch", dead_batch)
    with pytest.raises(RunError, match=r"workers died 3 times in a row, near .*000\.png: out of memory"):
        evaluate(make_plan(model, images), tmp_path, workers=2)


def test_a_result_that_arrives_twice_is_stored_once(model, images, whole, tmp_path):
    planned = make_plan(model, images)
    with planned.recipe.make(planned.recipe.load()) as cam:
        expected = identity_of(cam)

    def executor(batches):
        for batch in batches:
            yield from repeat(evaluator.evaluate_batch(planned.recipe, expected, batch), 2)

    done = []
    carry_out(planned, planned.identity(expected), tmp_path, executor, progress=done.append)
    assert done[-1] == COUNT
    assert_same(tmp_path, whole)


@pytest.mark.cluster
def test_faulty_scheduler_addresses(model, images, tmp_path):
    for scheduler, complaint in (("local:none", "local:N was expected"), ("host:8786", "tcp://host:port was expected")):
        with pytest.raises(UsageError, match=complaint):
            evaluate(make_plan(model, images), tmp_path, scheduler=scheduler)


@pytest.mark.cluster
def test_a_cluster_tells_why_a_worker_refuses(model, images, tmp_path):
    process = begin(make_plan(model, images), tmp_path / "run", dask=1, numpy="1.0")
    process.join()
    assert process.exitcode == RunError.exit_code
    assert "a worker has another NumPy than the run" in (tmp_path / "error.txt").read_text()


@pytest.mark.cluster
def test_workers_of_a_cluster_print_no_log(capfd):
    """They would print how they lose the scheduler when a run ends."""
    from pycam.evaluation.cluster import _client

    with _client("local:1") as client:
        client.run(lambda: logging.getLogger("distributed.worker").error("no scheduler"))
    assert capfd.readouterr() == ("", "")


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start a scheduler and a worker like those on other machines; yield the scheduler's address and process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(pycam.__file__).parents[1])}
    told = folder / "scheduler.json"
    scheduler, worker = (
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{role}", *arguments, "--scheduler-file", told],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for role, arguments in (
            ("scheduler", ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]),
            ("worker", ["--nthreads", "1", "--no-nanny", "--death-timeout", "300", "--no-dashboard"]),
        )
    )
    try:
        wait_until(lambda: told.exists() and told.read_text().rstrip().endswith("}"))
        yield json.loads(told.read_text())["address"], scheduler
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


@pytest.mark.cluster
def test_a_lost_scheduler_stops_the_run(model, images, whole, tmp_path):
    import dask

    with dask.config.set({}), cluster(tmp_path) as (address, scheduler):

        def progress(done: int) -> None:
            if done >= 8:
                # Only now: on a busy machine the first connection takes longer.
                dask.config.set({"distributed.comm.timeouts.connect": "2s"})
                scheduler.kill()
                scheduler.wait()

        with pytest.raises(
            RunError, match=rf"{address}: no scheduler answers there .*The same command resumes the run"
        ):
            evaluate(make_plan(model, images), tmp_path / "run", scheduler=address, progress=progress)
    done = []
    evaluate(make_plan(model, images), tmp_path / "run", progress=done.append)
    assert done[0] >= 8
    assert_same(tmp_path / "run", whole)
