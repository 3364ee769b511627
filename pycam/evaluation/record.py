"""A picture on its way through a run: the task, what the net said of it, and what is kept of it."""

from __future__ import annotations

import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TOP = 5
BOXES = 2

RECORD = np.dtype(
    [
        ("size", "<i4", 2),
        ("classes", "<i4", TOP + 1),
        ("scores", "<f4", TOP + 1),
        ("found", "<i4", TOP + 1),
        ("boxes", "<i4", (TOP + 1, BOXES, 4)),
        ("maps", "<i4", 4),
    ]
)
"""What is kept of a picture: width and height; the five best classes and the true one, with their scores; how many
boxes each has, two at most, and these boxes, half-open; the shape of the maps, (crops, 6, h, w)."""

TRUE = TOP
"""Where the true class stands in a record, after the best."""


class FileState(NamedTuple):
    """What a file was like.

    Attributes
    ----------
    size
        In bytes; -1 where there is no file.
    modified
        When, in nanoseconds.
    crc
        CRC-32 of its content.
    """

    size: int
    modified: int
    crc: int

    def is_of(self, path: Path | str) -> bool:
        """Whether a file still has this content; it is read only if it was written since."""
        try:
            found = Path(path).stat()
        except OSError:
            return self == NO_FILE
        if (found.st_size, found.st_mtime_ns) == (self.size, self.modified):
            return True
        now = file_state(path)
        return (now.size, now.crc) == (self.size, self.crc)


NO_FILE = FileState(-1, 0, 0)


def file_state(path: Path | str) -> FileState:
    """Say what a file is like now: `NO_FILE` where there is none, or none that can be read."""
    try:
        found = Path(path).stat()
        if stat.S_ISREG(found.st_mode):
            return FileState(found.st_size, found.st_mtime_ns, zlib.crc32(Path(path).read_bytes()))
    except (FileNotFoundError, PermissionError):
        pass
    return NO_FILE


@dataclass(frozen=True)
class Outcome:
    """What came of a picture.

    Attributes
    ----------
    position
        In the run's list, from 0.
    file
        What the picture's file was like.
    error
        Why the picture could not be evaluated; empty for one that could.
    record
        A `RECORD`.
    maps
        float32, C order: the class maps of each crop as they left the net; empty where nobody will ask for them.
    hits
        `pycam.ilsvrc.wsol.box_hits` of the true class, packed to bits, if the protocol judges it; else empty.
    """

    position: int
    file: FileState
    error: str = ""
    record: bytes = b""
    maps: bytes = b""
    hits: bytes = b""

    @property
    def checksum(self) -> int:
        """CRC-32 of what is kept."""
        state = zlib.crc32(f"{self.position} {tuple(self.file)} {self.error}".encode())
        for part in (self.record, self.maps, self.hits):
            state = zlib.crc32(part, state)
        return state


@dataclass(frozen=True, eq=False)
class Task:
    """A picture to be evaluated.

    Attributes
    ----------
    position
        In the run's list, from 0.
    path
        The picture's file.
    true_class
        A network index.
    true_boxes
        (b, 4) int64, of the true class, as in `GroundTruth`.
    size
        Width and height that the ground truth says; zeros where it says none.
    kept
        What came of it before, when boxes are only to be found anew.
    """

    position: int
    path: str
    true_class: int
    true_boxes: NDArray[np.int64]
    size: tuple[int, int]
    kept: Outcome | None = None


Batch = tuple[Task, ...]


@dataclass(frozen=True, eq=False)
class Sight:
    """What the net says of a picture, before boxes are found.

    Attributes
    ----------
    size
        Width and height of the picture.
    classes, scores
        (6,): the five best classes, then the true one.
    maps
        (crops, 6, h, w) float32: their maps as they left the net.
    """

    size: tuple[int, int]
    classes: NDArray[np.intp]
    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


def sight_of(kept: Outcome) -> Sight:
    """Unpack what the net said of a picture from what was kept of it."""
    record = np.frombuffer(kept.record, RECORD)[0]
    maps = np.frombuffer(kept.maps, "<f4").reshape(record["maps"])
    width, height = record["size"].tolist()
    return Sight((width, height), record["classes"].astype(np.intp), record["scores"], maps)
