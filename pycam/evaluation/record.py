"""The data of one image in a run: the task, and the stored result."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import ImageError, PycamError
from pycam.evaluation.image_file import NO_FILE, FileState
from pycam.evaluation.timing import Seconds
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
"""The stored prediction of an image: width and height; the five best classes, -1 where the net has fewer, and the
ground-truth class, with their scores; the number of boxes of each class, at most two, and these boxes, half-open; the
shape of the maps, (crops, classes, h, w)."""

STORED_RULES = 4
"""How many of `pycam.metrics.RULES`, the first, have stored hits: those of MaxBoxAcc and MaxBoxAccV2."""

TRUE = TOP
"""The position of the ground-truth class in a record: after the best classes."""


@dataclass(frozen=True)
class Result:
    """The stored result of an image.

    Attributes
    ----------
    position : int
        Position in the run's list of images, 0-based.
    file : FileState
        The content of the image's file that was evaluated.
    error : str
        Why the image could not be evaluated; empty if it was evaluated.
    record : bytes
        A `RECORD`.
    maps : bytes
        float32, C order: the class maps of each crop before any resizing; empty if no later step needs them.
    hits : bytes
        `pycam.metrics.box_hits` of the ground-truth class under the first `STORED_RULES`, packed to bits, if the
        protocol's metric needs them.
    true_maps : bytes
        float32, C order: the maps of the ground-truth class in each crop, (crops, h, w), which are not stored.
    error_type : type of PycamError
        The class of the error, which is not stored.
    """

    position: int
    file: FileState
    error: str = ""
    record: bytes = b""
    maps: bytes = b""
    hits: bytes = b""
    true_maps: bytes = field(default=b"", compare=False)
    error_type: type[PycamError] = field(default=ImageError, compare=False)

    @property
    def checksum(self) -> int:
        """CRC-32 of all stored fields."""
        state = zlib.crc32(f"{self.position} {tuple(self.file)} {self.error}".encode())
        for part in (self.record, self.maps, self.hits):
            state = zlib.crc32(part, state)
        return state


@dataclass(frozen=True, eq=False)
class Task:
    """An image that has to be evaluated.

    Attributes
    ----------
    position : int
        Position in the run's list of images, 0-based.
    path : str
        The image's file.
    label : int
        Ground-truth class, a network index.
    boxes : (b, 4) int64
        Boxes of the ground-truth class, half-open.
    size : (int, int)
        Width and height in the ground truth; zeros if it has none.
    file : FileState
        The content of the file that was read; `NO_FILE` before.
    stored : Result, optional
        An earlier result, in whose maps only boxes are found again.
    """

    position: int
    path: str
    label: int
    boxes: NDArray[np.int64]
    size: tuple[int, int]
    file: FileState = NO_FILE
    stored: Result | None = None


Batch = tuple[Task, ...]
Finished = tuple[list[Result], Seconds]
"""The results of a batch, and the seconds that this process spent since the batch before."""


def pack(prediction: Prediction) -> bytes:
    """Pack a prediction of the five best classes and the ground-truth class into a `RECORD`, without its maps."""
    record = np.zeros((), RECORD)
    # A net may have fewer classes than the best that are stored.
    ranks = np.append(np.arange(len(prediction.classes) - 1), TRUE)
    record["size"] = prediction.size
    record["classes"] = -1
    record["classes"][ranks] = prediction.classes
    record["scores"][ranks] = prediction.scores[prediction.classes]
    record["maps"] = prediction.feature_maps.shape
    # The ground-truth class is often among the best, with the same boxes.
    found: dict[int, Boxes] = {}
    for item in prediction.top:
        if item.index not in found:
            found[item.index] = item.boxes[:BOXES]
        boxes = found[item.index]
        record["found"][ranks[item.rank]] = len(boxes)
        record["boxes"][ranks[item.rank], : len(boxes)] = boxes
    return record.tobytes()


def unpack(stored: Result, placement: Placement, protocol: Protocol, **made_with: Any) -> Prediction:
    """Restore a prediction from its stored result, which must contain the maps.

    Parameters
    ----------
    stored : Result
        The stored result.
    placement : Placement
        How maps are placed on the image.
    protocol : Protocol
        The protocol of the prediction.
    **made_with
        Other attributes of `Prediction` that are not stored.
    """
    record = np.frombuffer(stored.record, RECORD)[0]
    made = record["classes"] >= 0
    classes = record["classes"][made].astype(np.intp)
    scores = np.full(classes.max() + 1, np.nan, np.float32)
    scores[classes] = record["scores"][made]
    maps = np.frombuffer(stored.maps, "<f4").reshape(record["maps"])
    width, height = record["size"].tolist()
    return Prediction(classes, scores, maps, (width, height), placement, protocol, **made_with)
