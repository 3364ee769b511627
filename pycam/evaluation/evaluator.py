"""The steps of the work on a batch of images: read the images, run the net, find boxes."""

from __future__ import annotations

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
from pycam.evaluation.image_file import read_file
from pycam.evaluation.plan import Identity, Recipe, identity_of
from pycam.evaluation.record import STORED_RULES, TOP, Batch, Finished, Result, Task, pack, unpack
from pycam.evaluation.timing import Clock
from pycam.images.read import read_image
from pycam.images.scaling import min_max_scale
from pycam.maps.placement import Placement
from pycam.maps.rules import box_rules
from pycam.metrics.baselines import SIDE
from pycam.metrics.box_accuracy import box_hits, candidates, scaled
from pycam.predict import Cam, Prepared, best
from pycam.prediction import Prediction
from pycam.protocols import RELEASED_BOX_RULES, Protocol


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise Python's MemoryError when OpenCV runs out of memory."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise


@_memory_errors()
def prepare(cam: Cam, batch: Batch) -> tuple[Batch, list[Prepared | PycamError]]:
    """Read the images of a batch, and make the inputs of the net.

    Returns
    -------
    batch : Batch
        The same images, with the content of their files that was read.
    prepared : list of (Image, array) or PycamError
        An image that cannot be read becomes its error.

    Raises
    ------
    RunError
        The machine cannot read an image now.
    """
    found = [_prepared(cam, task) for task in batch]
    return tuple(task for task, _ in found), [each for _, each in found]


def _prepared(cam: Cam, task: Task) -> tuple[Task, Prepared | PycamError]:
    try:
        data, state = read_file(task.path)
    except ImageError as error:
        return task, error
    task = replace(task, file=state)
    try:
        image = read_image(data, channels=cam.model.channels, path=task.path, exif=cam.protocol.exif)
    except ImageError as error:
        return task, error
    if task.size in ((0, 0), image.size):
        return task, cam.prepare([image])[0]
    (width, height), (expected_width, expected_height) = image.size, task.size
    return task, ImageError(
        f"{task.path}: {width}×{height} pixels, but the ground truth is for an image of "
        f"{expected_width}×{expected_height}: its boxes would not fit; give the image that was annotated"
    )


def forward(cam: Cam, batch: Batch, prepared: Sequence[Prepared | PycamError]) -> list[Prediction | PycamError]:
    """Predict the five best classes and the ground-truth class, last, of each image of a batch."""
    choices = [lambda scores, index=task.label: np.append(best(scores, TOP), index) for task in batch]
    predictions = cam.predict(prepared, choices)
    if box_rules[cam.protocol.box_rule].needs_image:
        return predictions
    # The pixels are not needed any more.
    return [each if isinstance(each, PycamError) else replace(each, image=None) for each in predictions]


@_memory_errors()
def find_boxes(batch: Batch, predictions: Sequence[Prediction | PycamError]) -> list[Result]:
    """Find boxes in the maps of a batch."""
    return [_stored_result(task, prediction) for task, prediction in zip(batch, predictions, strict=True)]


def _stored_result(task: Task, prediction: Prediction | PycamError) -> Result:
    """Return the result of an image, with the maps that are looked at again; or why it has none."""
    if isinstance(prediction, PycamError):
        return Result(task.position, task.file, str(prediction), error_type=type(prediction))
    # Only the ablation of the released protocol needs the maps; otherwise they would only fill the disk.
    row = prediction.protocol
    needed = row.box_rule in RELEASED_BOX_RULES and row.method == "cam"
    maps = np.ascontiguousarray(prediction.feature_maps, "<f4").tobytes() if needed else b""
    true_maps = np.ascontiguousarray(prediction.feature_maps[:, -1], "<f4").tobytes()
    try:
        return replace(_result(task, prediction, maps), true_maps=true_maps)
    except ImageError as error:
        return Result(task.position, task.file, f"{task.path}: {error}")


def find_boxes_again(placement: Placement, protocol: Protocol, batch: Batch) -> Finished:
    """Find boxes in the stored maps of a batch, with another protocol than before."""
    clock = Clock()
    with beside_an_engine(), clock.stage("boxes"):
        found = [_result(task, unpack(task.stored, placement, protocol)) for task in batch if task.stored is not None]
    return found, clock.take()


def _result(task: Task, prediction: Prediction, maps: bytes = b"") -> Result:
    hits = b""
    if prediction.protocol.metric == "max_box_acc":
        score_map = prediction.placement.on_image(prediction.feature_maps[:, -1], SIDE, SIDE)
        boxes = scaled(task.boxes, prediction.size, (SIDE, SIDE))
        found = box_hits(candidates(min_max_scale(score_map)), boxes)
        hits = np.packbits(found[:STORED_RULES], axis=-1).tobytes()
    return Result(task.position, task.file, record=pack(prediction), maps=maps, hits=hits)


_CREATION = threading.Lock()
_SETTINGS = ExitStack()
"""The thread settings of a worker, which apply until its process ends."""


def evaluate_batch(recipe: Recipe, expected: Identity, batch: Batch) -> Finished:
    """Evaluate a batch in a worker process. The model is loaded for the first batch only.

    Raises
    ------
    RunError
        The worker's library versions or files are not those of the run, `expected`.
    """
    try:
        with _CREATION:
            cam = _worker_model(recipe, expected)
        clock = Clock()
        with clock.stage("decode"):
            batch, prepared = prepare(cam, batch)
        predictions = forward(cam, batch, prepared)
        with clock.stage("boxes"):
            found = find_boxes(batch, predictions)
        return found, clock.take()
    except MemoryError:
        # After this error the state of the process is unreliable. A new process does the batch again.
        os._exit(1)


@lru_cache(1)
def _worker_model(recipe: Recipe, expected: Identity) -> Cam:
    cam = recipe.make(recipe.load())
    found = dict(identity_of(cam))
    for name, value in expected:
        if found.get(name) != value:
            cam.close()
            raise RunError(f"a worker has another {name} than the run: {found.get(name)}, not {value}")
    _SETTINGS.enter_context(beside_an_engine())
    return cam
