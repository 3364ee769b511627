"""An image on its way through a run: the task, and what is kept of its prediction."""

from __future__ import annotations

import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycam.ilsvrc.synsets import CLASSES
from pycam.maps.boxes import Boxes
from pycam.maps.placement import Placement
from pycam.prediction import Prediction
from pycam.protocols import Protocol

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
"""What is kept of an image: width and height; the five best classes and the true one, with their scores; how many
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
class Result:
    """What came of an image.

    Attributes
    ----------
    position
        In the run's list, from 0.
    file
        What the image's file was like.
    error
        Why the image could not be evaluated; empty for one that could.
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
    """An image to be evaluated.

    Attributes
    ----------
    position
        In the run's list, from 0.
    path
        The image's file.
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
    kept: Result | None = None


Batch = tuple[Task, ...]


def pack(prediction: Prediction) -> bytes:
    """Pack a prediction of the five best classes and the true one into a `RECORD`, without its maps."""
    record = np.zeros((), RECORD)
    record["size"] = prediction.size
    record["classes"] = prediction.classes
    record["scores"] = prediction.scores[prediction.classes]
    record["maps"] = prediction.feature_maps.shape
    # The true class is mostly among the best, and its boxes the same.
    found: dict[int, Boxes] = {}
    for item in prediction.top:
        boxes = found.setdefault(item.index, item.boxes[:BOXES]) if item.index not in found else found[item.index]
        record["found"][item.rank] = len(boxes)
        record["boxes"][item.rank, : len(boxes)] = boxes
    return record.tobytes()


def unpack(kept: Result, placement: Placement, protocol: Protocol, **made_with: Any) -> Prediction:
    """Make the prediction again from what was kept of it; its maps must be among that.

    Parameters
    ----------
    kept
        What was kept.
    placement, protocol, made_with
        What is not: attributes of `Prediction`.
    """
    record = np.frombuffer(kept.record, RECORD)[0]
    classes = record["classes"].astype(np.intp)
    scores = np.full(CLASSES, np.nan, np.float32)
    scores[classes] = record["scores"]
    maps = np.frombuffer(kept.maps, "<f4").reshape(record["maps"])
    width, height = record["size"].tolist()
    return Prediction(classes, scores, maps, (width, height), placement, protocol, **made_with)
