"""A run's results on disk: a SQLite file that any kill leaves whole, and that only one process can have open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType

from pycam.errors import RunError
from pycam.evaluation.plan import Identity
from pycam.evaluation.record import FileState, Result

_TABLES = """
CREATE TABLE identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    position INTEGER PRIMARY KEY,
    file_size INTEGER NOT NULL, file_modified INTEGER NOT NULL, file_crc INTEGER NOT NULL,
    error TEXT NOT NULL, record BLOB NOT NULL, maps BLOB NOT NULL, hits BLOB NOT NULL, checksum INTEGER NOT NULL
);
"""
_TYPES = [int, int, int, int, str, bytes, bytes, bytes, int]
"""Of a row of `images`."""

_MACHINE = ("full", "I/O", "unable to open", "readonly")
"""Words of SQLite on what is wrong with the disk, not with the file."""


class Store:
    """The results of a run, in a file. Use it in a `with` block; while it is open, nobody else can open it.

    Parameters
    ----------
    path
        Made if need be, its folder too.
    identity
        All that decides the results.

    Raises
    ------
    RunError
        The file is open elsewhere, is damaged, cannot be written, or belongs to a run of another identity; what
        differs is named.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path.parent}: cannot be made ({error.strerror}): name another --out") from None
        with self._complaints():
            self._db = sqlite3.connect(path, timeout=0)
        try:
            with self._complaints(), self._db:
                # Set before the first access, this locks the file until it is closed, and a kill unlocks it.
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._take_tables()
                (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise self._damaged(" ".join(verdict.split()))
                self._db.execute("BEGIN IMMEDIATE")
                self._take_identity(identity)
        except BaseException:
            self._db.close()
            raise

    def _take_tables(self) -> None:
        tables = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        if not self._db.execute(tables).fetchall():
            # At once: of a store that was killed here, there is nothing yet.
            self._db.executescript(f"BEGIN; {_TABLES} COMMIT;")
        with closing(sqlite3.connect(":memory:")) as fresh:
            fresh.executescript(_TABLES)
            if self._db.execute(tables).fetchall() != fresh.execute(tables).fetchall():
                raise self._damaged("its tables are others")

    def _take_identity(self, identity: Identity) -> None:
        kept = dict(self._db.execute("SELECT name, value FROM identity"))
        if not kept:
            self._db.executemany("INSERT INTO identity VALUES (?, ?)", identity)
            return
        if not all(isinstance(text, str) for pair in kept.items() for text in pair):
            raise self._damaged("what its run is of cannot be read")
        given = dict(identity)
        if differing := [name for name in {**kept, **given} if kept.get(name) != given.get(name)]:
            said = ", ".join(f"{name} ({_short(kept.get(name))}, now {_short(given.get(name))})" for name in differing)
            raise RunError(f"{self.path.parent}: holds another run, which differs in {said}: name another --out")

    def add(self, results: Iterable[Result]) -> None:
        """Keep results, all or none of them, and be sure that they are on the disk."""
        rows = [
            (each.position, *each.file, each.error, each.record, each.maps, each.hits, each.checksum)
            for each in results
        ]
        with self._complaints(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def files(self) -> dict[int, FileState]:
        """Give what the file of each image that was evaluated or failed was like, by its position.

        Raises
        ------
        RunError
            Anything that is kept is not as it was kept: all of it is read.
        """
        return {each.position: each.file for each in self._read("TRUE")}

    def failures(self) -> dict[int, str]:
        """Give the error of each image that failed, by its position, in order."""
        return {each.position: each.error for each in self._read("error != ''")}

    def results(self, start: int = 0, stop: int = 2**62) -> Iterator[Result]:
        """Read what came of the images from position `start` to `stop`, without those that failed, in order.

        Raises
        ------
        RunError
            What is read is not what was kept.
        """
        return self._read("position >= ? AND position < ? AND error = ''", (start, stop))

    def _read(self, which: str, values: tuple[int, ...] = ()) -> Iterator[Result]:
        with self._complaints():
            rows = self._db.execute(f"SELECT * FROM images WHERE {which} ORDER BY position", values)
            for row in rows:
                position, size, modified, crc, *rest, checksum = row
                result = Result(position, FileState(size, modified, crc), *rest)
                if [type(value) for value in row] != _TYPES or result.checksum != checksum:
                    raise self._damaged(f"image {result.position + 1} is not as it was written")
                yield result

    def close(self) -> None:
        """Let go of the file."""
        with self._complaints():
            self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Turn what SQLite complains of into what the user can do about it."""
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = str(error)
            if "locked" in reason:
                raise RunError(f"{self.path.parent}: another process is at work on this run") from None
            if not any(word in reason for word in _MACHINE):
                raise self._damaged(reason) from None
            raise RunError(
                f"{self.path}: cannot be read or written ({reason}): make room, or make it writable; "
                "the same command then goes on where this one stopped"
            ) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None
        except UnicodeDecodeError:  # of what SQLite complains of
            raise self._damaged("its tables cannot be read") from None

    def _damaged(self, reason: str) -> RunError:
        return RunError(f"{self.path}: damaged ({reason}): remove it, or name another --out, and start again")


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    return " ".join(word[:12] + "…" if len(word) > 32 else word for word in value.split())
