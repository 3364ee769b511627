"""The results of a run on disk: a SQLite file that stays intact after any kill and has one user at a time."""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from pycam.errors import RunError
from pycam.evaluation.image_file import FileState, state_of
from pycam.evaluation.plan import Identity
from pycam.evaluation.record import Result
from pycam.evaluation.timing import Seconds
from pycam.formats.files import exists

_TABLES = """
CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    position INTEGER PRIMARY KEY,
    file_size INTEGER NOT NULL, file_crc INTEGER NOT NULL,
    error TEXT NOT NULL, record BLOB NOT NULL, maps BLOB NOT NULL, hits BLOB NOT NULL, checksum INTEGER NOT NULL
);
"""
_TIMING = "CREATE TABLE timing (stage TEXT PRIMARY KEY, seconds REAL NOT NULL);"
"""Runs of earlier versions lack this table."""
_ADD_SECONDS = """
INSERT INTO timing VALUES (?, ?) ON CONFLICT (stage) DO UPDATE SET seconds = seconds + excluded.seconds
"""

_TYPES = [int, int, int, str, bytes, bytes, bytes, int]
"""Types of the columns of `images`."""

_MACHINE = ("full", "I/O", "unable to open", "readonly", "out of memory", "interrupted", "locking protocol")
"""Words in SQLite's errors about the disk, not about the file."""

_CHECK_ERROR = re.compile(r"error code=(\d+)")
_MACHINE_CODES = {
    7: "out of memory",
    9: "interrupted",
    10: "disk I/O error",
    13: "database or disk is full",
    14: "unable to open database file",
}
"""SQLite's codes of the same, in what its check of the file finds, and its words for them."""


class Store(AbstractContextManager["Store"]):
    """The results of a run, in a file. Use it in a `with` block; no other process can open it meanwhile.

    Parameters
    ----------
    path : Path
        The file; it is created if it does not exist, with its folder.
    identity : Identity
        Everything that affects the results.
    reading : bool
        Whether results are read only: then a file and a folder that cannot be written will do.

    Raises
    ------
    RunError
        The file is open in another process, is damaged, cannot be written, or belongs to a run of another identity;
        the message names what differs.
    """

    def __init__(self, path: Path, identity: Identity, *, reading: bool = False) -> None:
        self.path = path
        self._frozen = reading and _is_frozen(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path.parent}: cannot be made ({error.strerror}): name another --out") from None
        with self._errors():
            if self._frozen:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
            else:
                self._db = sqlite3.connect(path, timeout=0)
        try:
            with self._errors(), self._db:
                if not self._frozen:
                    # Set before the first access, this locks the file until it is closed, and a kill unlocks it.
                    self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                    self._db.execute("PRAGMA journal_mode = WAL")
                    self._db.execute("PRAGMA synchronous = FULL")
                self._check_tables()
                (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
                if state != "ok":
                    code = _CHECK_ERROR.search(state)
                    if code and (reason := _MACHINE_CODES.get(int(code[1]) & 0xFF)):
                        raise self._unusable(reason)
                    raise self._damaged(" ".join(state.split()))
                self._db.execute("BEGIN" if self._frozen else "BEGIN IMMEDIATE")
                self._check_identity(identity)
        except BaseException:
            self._db.close()
            raise

    def _check_tables(self) -> None:
        tables = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(_TABLES)
            earlier = fresh.execute(tables).fetchall()
            fresh.executescript(_TIMING)
            found = self._db.execute(tables).fetchall()
            if self._frozen and found == earlier:
                return
            if not self._frozen and found in ([], earlier):
                # In one transaction: a kill leaves either no tables or all of them.
                self._db.executescript(f"BEGIN; {'' if found else _TABLES} {_TIMING} COMMIT;")
            if self._db.execute(tables).fetchall() != fresh.execute(tables).fetchall():
                raise self._damaged("it has other tables")

    def _check_identity(self, identity: Identity) -> None:
        stored = dict(self._db.execute("SELECT name, value FROM identity"))
        if not stored:
            self._db.executemany("INSERT INTO identity VALUES (?, ?)", identity)
            return
        if not all(isinstance(text, str) for pair in stored.items() for text in pair):
            raise self._damaged("the identity of its run cannot be read")
        given = dict(identity)
        differences = ", ".join(
            f"{name} ({_short(stored.get(name))}, now {_short(given.get(name))})"
            for name in {**stored, **given}
            if stored.get(name) != given.get(name)
        )
        if differences:
            raise RunError(f"{self.path.parent}: holds another run, which differs in {differences}: name another --out")

    def add(self, results: Iterable[Result], spent: Seconds = MappingProxyType({})) -> None:
        """Store results and the seconds spent on them, all or none of them, and wait until they are on the disk.

        Raises
        ------
        RunError
            The file cannot be written, or was removed.
        """
        rows = [
            (each.position, *each.file, each.error, each.record, each.maps, each.hits, each.checksum)
            for each in results
        ]
        # A file that was removed can still be written, and is lost when it is closed.
        if not exists(self.path):
            raise RunError(f"{self.path}: was removed during the run, and its results with it: start the run again")
        with self._errors(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.executemany(_ADD_SECONDS, spent.items())

    def spent(self) -> Seconds:
        """Return the seconds that were spent on all stored results, in all sessions of the run."""
        with self._errors():
            found = dict(self._db.execute("SELECT stage, seconds FROM timing"))
        if not all(isinstance(seconds, float) and math.isfinite(seconds) for seconds in found.values()):
            raise self._damaged("the timing of its run cannot be read")
        return found

    def files(self) -> dict[int, FileState]:
        """Return the file state of each stored image, evaluated or failed, by position.

        Raises
        ------
        RunError
            The store is damaged: this reads all of it.
        """
        return {each.position: each.file for each in self._read("TRUE")}

    def done(self, images: Sequence[Path], skip: bool) -> set[int]:
        """Return the positions of the images that are done.

        A failed image is tried again if its file has changed, or if failures are not to be skipped.

        Parameters
        ----------
        images : sequence of Path
            The files of all images of the run.
        skip : bool
            Whether an image that failed is done.

        Raises
        ------
        RunError
            An image has changed after it was evaluated, or cannot be read now.
        """
        failed = self.failures()
        done = set()
        for position, was in self.files().items():
            path = images[position]
            # The whole file is read: a file can change, and keep its size and its time.
            if state_of(path) == was:
                if skip or position not in failed:
                    done.add(position)
            elif position not in failed:
                raise RunError(
                    f"{path}: has changed since it was evaluated, it had {was.size} bytes: name another --out"
                )
        return done

    def failures(self) -> dict[int, str]:
        """Return the error of each image that failed, by position, in order."""
        return {each.position: each.error for each in self._read("error != ''")}

    def results(self, start: int = 0, stop: int = 2**62) -> Iterator[Result]:
        """Yield the results from position `start` to before `stop`, without failed images, in order.

        Raises
        ------
        RunError
            A result is damaged.
        """
        return self._read("position >= ? AND position < ? AND error = ''", (start, stop))

    def _read(self, which: str, values: tuple[int, ...] = ()) -> Iterator[Result]:
        with self._errors():
            for row in self._db.execute(f"SELECT * FROM images WHERE {which} ORDER BY position", values):
                position, size, crc, *rest, checksum = row
                result = Result(position, FileState(size, crc), *rest)
                if [type(value) for value in row] != _TYPES or result.checksum != checksum:
                    raise self._damaged(f"image {result.position + 1} is not as it was written")
                yield result

    def __exit__(self, *_: object) -> None:
        with self._errors():
            self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into errors that tell what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "locked" in reason:
                raise RunError(
                    f"{self.path.parent}: another process is at work on this run: wait for it; or, if there is none, "
                    "the file system cannot lock files: name an --out on another"
                ) from None
            if not any(word in reason for word in _MACHINE):
                raise self._damaged(reason) from None
            raise self._unusable(reason) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None
        except UnicodeDecodeError:  # raised for the text of SQLite's own error
            raise self._damaged("its tables cannot be read") from None

    def _unusable(self, reason: str) -> RunError:
        return RunError(
            f"{self.path}: cannot be read or written ({' '.join(reason.split())}): make room, or make it writable; "
            "then the same command resumes the run"
        )

    def _damaged(self, reason: str) -> RunError:
        # SQLite also calls a file malformed whose disk has failed for a moment.
        again = "give the same command again; if that says the same, " if "image is malformed" in reason else ""
        return RunError(f"{self.path}: damaged ({reason}): {again}remove it, or name another --out, and start again")


def _is_frozen(path: Path) -> bool:
    """Return whether a file is complete and cannot be written: SQLite then needs no lock, and no file beside it."""
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return exists(path) and not writable and not exists(path.with_name(f"{path.name}-wal"))


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return " ".join(word[:12] + "…" if len(word) > 32 else word for word in value.split())
