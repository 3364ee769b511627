"""What is done with a batch of pictures, wherever it is done: read them, run the net, find boxes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from pycam.boxes import BOX_RULES, Boxes
from pycam.errors import PictureError, PycamError, RunError
from pycam.evaluation.plan import Identity, Recipe
from pycam.evaluation.record import BOXES, RECORD, TOP, TRUE, Batch, Outcome, Sight, Task, file_state, sight_of
from pycam.ilsvrc.wsol import SIDE, box_hits, candidates, packed, scaled
from pycam.images.scaling import min_max_scale
from pycam.placement import Placement
from pycam.predict import Prepared, best
from pycam.protocols import RELEASED_BOX_RULES, Protocol
from pycam.tuning import beside_an_engine


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Call it by Python's name when OpenCV runs out of memory."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise


class Bench:
    """A recipe with its model, ready for batches. Its three steps may run in threads of their own.

    Parameters
    ----------
    recipe
        How pictures are evaluated.
    expected
        The recipe's identity where the run was planned.
    lanes
        How many threads may `look` at the same time, if the engine is one that can.

    Attributes
    ----------
    lanes
        How many can.

    Raises
    ------
    RunError
        The recipe's identity is another one on this machine.
    """

    def __init__(self, recipe: Recipe, expected: Identity, lanes: int = 1) -> None:
        self._cam = recipe.load(lanes)
        self.lanes = self._cam.engine.options.lanes
        self._settings = ExitStack()
        self._settings.enter_context(beside_an_engine())
        found = dict(recipe.identity(self._cam))
        for name, value in expected:
            if found.get(name) != value:
                self.close()
                raise RunError(f"a worker has another {name} than the run: {found.get(name)}, not {value}")

    @_memory_errors()
    def prepare(self, batch: Batch) -> list[Prepared | PycamError]:
        """Read pictures, and make the inputs of the net."""
        prepared = self._cam.prepare([task.path for task in batch])
        return [_checked(task, each) for task, each in zip(batch, prepared, strict=True)]

    def look(self, batch: Batch, prepared: Sequence[Prepared | PycamError]) -> list[Sight | PycamError]:
        """Run the net on a batch."""
        good = [each for each in prepared if not isinstance(each, PycamError)]
        looks = iter(self._cam.look(good))
        sights: list[Sight | PycamError] = []
        for task, each in zip(batch, prepared, strict=True):
            if isinstance(each, PycamError):
                sights.append(each)
                continue
            picture, _ = each
            scores, features = next(looks)
            classes = np.append(best(scores, TOP), task.true_class)
            sights.append(Sight(picture.size, classes, scores[classes], self._cam.maps(features, classes)))
        return sights

    @_memory_errors()
    def find(self, batch: Batch, sights: Sequence[Sight | PycamError]) -> list[Outcome]:
        """Find boxes in the maps of a batch."""
        outcomes = []
        for task, sight in zip(batch, sights, strict=True):
            if isinstance(sight, PycamError):
                outcomes.append(Outcome(task.position, file_state(task.path), str(sight)))
                continue
            found = find_boxes(task, sight, self._cam.placement, self._cam.protocol)
            # Only the ablation of the released protocol needs maps; elsewhere they would only fill the disk.
            row = self._cam.protocol
            kept = row.box_rule in RELEASED_BOX_RULES and row.method == "cam"
            maps = np.ascontiguousarray(sight.maps, "<f4").tobytes() if kept else b""
            outcomes.append(replace(found, maps=maps))
        return outcomes

    def close(self) -> None:
        """Let go of the engine."""
        self._settings.close()
        self._cam.close()


def find_boxes(task: Task, sight: Sight, placement: Placement, protocol: Protocol) -> Outcome:
    """Find boxes in a picture's maps, and pack what is kept of it, without the maps."""
    rule = BOX_RULES[protocol.box_rule]
    width, height = sight.size
    record = np.zeros((), RECORD)
    record["size"] = sight.size
    record["classes"] = sight.classes
    record["scores"] = sight.scores
    record["maps"] = sight.maps.shape
    # The true class is mostly among the best, and its map the same.
    known: dict[int, Boxes] = {}
    for rank, index in enumerate(sight.classes.tolist()):
        if index not in known:
            on_picture = placement.on_picture(sight.maps[:, rank], height, width)
            known[index] = rule.boxes(on_picture)[:BOXES]
        record["found"][rank] = len(known[index])
        record["boxes"][rank, : len(known[index])] = known[index]
    hits = b""
    if protocol.metric == "max_box_acc":
        score_map = min_max_scale(placement.on_picture(sight.maps[:, TRUE], SIDE, SIDE))
        true_boxes = scaled(task.true_boxes, sight.size, (SIDE, SIDE))
        hits = packed(box_hits(candidates(score_map), true_boxes)).tobytes()
    return Outcome(task.position, file_state(task.path), record=record.tobytes(), hits=hits)


def find_again(placement: Placement, protocol: Protocol, batch: Batch) -> list[Outcome]:
    """Find boxes in maps that were kept, by another protocol than before."""
    with beside_an_engine():
        return [find_boxes(task, sight_of(task.kept), placement, protocol) for task in batch if task.kept is not None]


_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What is wrong with the machine, not with the picture."""

_MAKING = threading.Lock()


def evaluate_batch(recipe: Recipe, expected: Identity, batch: Batch) -> list[Outcome]:
    """Evaluate a batch in a process that has little else to do; the model is made once and kept."""
    try:
        with _MAKING:
            bench, looking = _kept_bench(recipe, expected)
        prepared = bench.prepare(batch)
        # Not every engine can run twice at a time, and a Dask worker may have several threads.
        with looking:
            sights = bench.look(batch, prepared)
        return bench.find(batch, sights)
    except MemoryError:
        # What is left of the process is not to be trusted: it is replaced, and the batch done again.
        os._exit(1)


@lru_cache(1)
def _kept_bench(recipe: Recipe, expected: Identity) -> tuple[Bench, threading.Lock]:
    return Bench(recipe, expected), threading.Lock()


def _checked(task: Task, prepared: Prepared | PycamError) -> Prepared | PycamError:
    if isinstance(prepared, PycamError):
        cause = prepared.__context__
        if isinstance(cause, OSError) and cause.errno in _EXHAUSTED:
            raise RunError(f"{task.path}: cannot be read now ({cause.strerror}); the same command goes on from here")
        return prepared
    if task.size in ((0, 0), prepared[0].size):
        return prepared
    (width, height), (said_width, said_height) = prepared[0].size, task.size
    return PictureError(
        f"{task.path}: {width}×{height} pixels, but the ground truth is of a picture of {said_width}×{said_height}: "
        "its boxes would not fit; give the picture that was annotated"
    )
