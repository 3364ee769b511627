"""What is done with a batch of images, wherever it is done: read them, run the net, find boxes."""

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

from pycam.engines.threads import beside_an_engine
from pycam.errors import ImageError, PycamError, RunError
from pycam.evaluation.plan import Identity, Recipe
from pycam.evaluation.record import TOP, TRUE, Batch, Result, Task, file_state, pack, unpack
from pycam.ilsvrc.wsol import SIDE, box_hits, candidates, packed, scaled
from pycam.images.scaling import min_max_scale
from pycam.maps.placement import Placement
from pycam.predict import Cam, Prepared, best
from pycam.prediction import Prediction
from pycam.protocols import RELEASED_BOX_RULES, Protocol


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Call it by Python's name when OpenCV runs out of memory."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise


class Evaluator:
    """A recipe's model, ready for batches. Its three steps may run in threads of their own.

    Parameters
    ----------
    cam
        From `Recipe.load`.

    Attributes
    ----------
    streams
        How many threads may `look` at the same time.
    """

    def __init__(self, cam: Cam) -> None:
        self._cam = cam
        self.streams = cam.engine.options.streams
        self._settings = ExitStack()
        self._settings.enter_context(beside_an_engine())

    @_memory_errors()
    def prepare(self, batch: Batch) -> list[Prepared | PycamError]:
        """Read images, and make the inputs of the net."""
        prepared = self._cam.prepare([task.path for task in batch])
        return [_checked(task, each) for task, each in zip(batch, prepared, strict=True)]

    def look(self, batch: Batch, prepared: Sequence[Prepared | PycamError]) -> list[Prediction | PycamError]:
        """Run the net on a batch: the five best classes, then the true one."""
        choices = [lambda scores, true=task.true_class: np.append(best(scores, TOP), true) for task in batch]
        predictions = self._cam.predict(prepared, choices)
        # Their pixels are not needed any more.
        return [each if isinstance(each, PycamError) else replace(each, image=None) for each in predictions]

    @_memory_errors()
    def find(self, batch: Batch, predictions: Sequence[Prediction | PycamError]) -> list[Result]:
        """Find boxes in the maps of a batch."""
        results = []
        for task, prediction in zip(batch, predictions, strict=True):
            if isinstance(prediction, PycamError):
                results.append(Result(task.position, file_state(task.path), str(prediction)))
                continue
            # Only the ablation of the released protocol needs maps; elsewhere they would only fill the disk.
            row = prediction.protocol
            kept = row.box_rule in RELEASED_BOX_RULES and row.method == "cam"
            maps = np.ascontiguousarray(prediction.feature_maps, "<f4").tobytes() if kept else b""
            results.append(replace(find_boxes(task, prediction), maps=maps))
        return results

    def close(self) -> None:
        """Set back what was set for the process."""
        self._settings.close()


def find_boxes(task: Task, prediction: Prediction) -> Result:
    """Find boxes in an image's maps, and pack what is kept of it, without the maps."""
    hits = b""
    if prediction.protocol.metric == "max_box_acc":
        true_map = prediction.placement.on_image(prediction.feature_maps[:, TRUE], SIDE, SIDE)
        true_boxes = scaled(task.true_boxes, prediction.size, (SIDE, SIDE))
        hits = packed(box_hits(candidates(min_max_scale(true_map)), true_boxes)).tobytes()
    return Result(task.position, file_state(task.path), record=pack(prediction), hits=hits)


def find_again(placement: Placement, protocol: Protocol, batch: Batch) -> list[Result]:
    """Find boxes in maps that were kept, by another protocol than before."""
    with beside_an_engine():
        return [find_boxes(task, unpack(task.kept, placement, protocol)) for task in batch if task.kept is not None]


_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What is wrong with the machine, not with the image."""

_MAKING = threading.Lock()


def evaluate_batch(recipe: Recipe, expected: Identity, batch: Batch) -> list[Result]:
    """Evaluate a batch in a process that has little else to do; the model is made once and kept."""
    try:
        with _MAKING:
            evaluator, looking = _kept_evaluator(recipe, expected)
        prepared = evaluator.prepare(batch)
        # Not every engine can run twice at a time, and a Dask worker may have several threads.
        with looking:
            predictions = evaluator.look(batch, prepared)
        return evaluator.find(batch, predictions)
    except MemoryError:
        # What is left of the process is not to be trusted: it is replaced, and the batch done again.
        os._exit(1)


@lru_cache(1)
def _kept_evaluator(recipe: Recipe, expected: Identity) -> tuple[Evaluator, threading.Lock]:
    cam = recipe.make(recipe.load())
    found = dict(recipe.identity(cam))
    for name, value in expected:
        if found.get(name) != value:
            cam.close()
            raise RunError(f"a worker has another {name} than the run: {found.get(name)}, not {value}")
    return Evaluator(cam), threading.Lock()


def _checked(task: Task, prepared: Prepared | PycamError) -> Prepared | PycamError:
    if isinstance(prepared, PycamError):
        cause = prepared.__context__
        if isinstance(cause, OSError) and cause.errno in _EXHAUSTED:
            raise RunError(f"{task.path}: cannot be read now ({cause.strerror}); the same command goes on from here")
        return prepared
    if task.size in ((0, 0), prepared[0].size):
        return prepared
    (width, height), (said_width, said_height) = prepared[0].size, task.size
    return ImageError(
        f"{task.path}: {width}×{height} pixels, but the ground truth is of an image of {said_width}×{said_height}: "
        "its boxes would not fit; give the image that was annotated"
    )
