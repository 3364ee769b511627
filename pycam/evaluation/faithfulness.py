"""Faithfulness of the maps of images: the runs of the net on masked images, in the streams of the engine.

What is measured of an image can be stored, so that an interrupted measurement is resumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import PycamError, RunError, UsageError
from pycam.evaluation.image_file import NO_FILE, FileState, read_source
from pycam.evaluation.record import Result
from pycam.evaluation.store import Store
from pycam.maps.target import class_scores
from pycam.metrics.faithfulness import STEPS, Faithfulness, area, faithfulness_figures, faithfulness_of
from pycam.metrics.intervals import interval, samples
from pycam.net import Net
from pycam.net.layers import Sigmoid, Softmax
from pycam.net.linear_path import RENAMING
from pycam.predict import Cam, Choose, Prepared, Progress, Source, unseen
from pycam.tables import PERCENT, Table

FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "average_drop": ("average drop", PERCENT),
    "increase_in_confidence": ("increase in confidence", PERCENT),
    "average_gain": ("average gain", PERCENT),
    "insertion": ("insertion", "{:.4f}".format),
    "deletion": ("deletion", "{:.4f}".format),
}
"""Figure -> its title and its form in tables."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The faithfulness of the map of one class of an image.

    Attributes
    ----------
    index : int
        The class.
    label : str
        Its label.
    values : Faithfulness
        The scores of the masked images.
    """

    index: int
    label: str
    values: Faithfulness

    def as_dict(self) -> dict[str, Any]:
        """Return the values for JSON: the areas and the scores of the curves, too."""
        values = self.values
        return {
            "index": self.index,
            "label": self.label,
            "score": values.score,
            "masked": values.masked,
            "insertion": area(values.insertion),
            "deletion": area(values.deletion),
            "insertion_curve": values.insertion.tolist(),
            "deletion_curve": values.deletion.tolist(),
        }


def figures_of(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return the figures of a method over images, with their 95 % intervals.

    Parameters
    ----------
    measured : sequence of Measured
        One per image; at least one.

    Returns
    -------
    dict
        Name -> mean, as from `pycam.metrics.faithfulness.faithfulness_figures`; and of several images `intervals`, name
        -> (low, high).
    """
    by_image = faithfulness_figures(each.values for each in measured)
    means: dict[str, Any] = {name: float(values.mean()) for name, values in by_image.items()}
    if len(measured) > 1:
        times = samples(len(measured))
        spread = {name: interval(times @ values / len(values)) for name, values in by_image.items()}
        means["intervals"] = {name: bounds.tolist() for name, bounds in spread.items()}
    return means


def faithfulness_table(result: Mapping[str, Any]) -> Table:
    """Return the table of a result of `pycam score --faithfulness`, with one row per method."""
    from pandas import DataFrame

    rows = []
    for each in result["methods"]:
        row = {"method": each["method"], "layer": each["layer"], "images": each["images"]}
        for name, (title, _) in FIGURES.items():
            row[title] = each[name]
            if "intervals" in each:
                row[f"{title} low"], row[f"{title} high"] = each["intervals"][name]
        rows.append(row)
    formats = {f"{title}{end}": form for title, form in FIGURES.values() for end in ("", " low", " high")}
    note = (
        f"{result['model']}, {result['engine']}, view {result['view']}; class: {result['classes']}; "
        f"{result['steps']} steps. Lower is better: average drop, deletion; higher: the others."
    )
    return Table("Faithfulness", DataFrame(rows), note, formats)


def gives_probabilities(net: Net, scores: str) -> bool:
    """Return whether scores come from a softmax or a sigmoid."""
    layer = net.producer[scores]
    while isinstance(layer, RENAMING):
        layer = net.producer[layer.inputs[0]]
    return isinstance(layer, Softmax | Sigmoid)


def measure_faithfulness(
    cam: Cam,
    images: Iterable[Source],
    choices: Iterable[Choose],
    *,
    steps: int = STEPS,
    progress: Progress = unseen,
) -> Generator[Measured | PycamError]:
    """Measure the faithfulness of the map of one class of each image.

    Parameters
    ----------
    cam : Cam
        The model, the method and the engine. The view has one crop, which is what is masked.
    images : iterable
        Images as for `Cam.stream`.
    choices : iterable of callables
        For each image, the function that selects the class: (C,) scores -> (1,) indices.
    steps : int
        The steps of insertion and deletion.
    progress : callable
        See `pycam.predict.Progress`.

    Yields
    ------
    Measured or PycamError
        In the order of the images; an error for an image that cannot be read, or whose scores are not finite.

    Raises
    ------
    UsageError
        The view has several crops, or the number of steps is not possible.
    """
    size = cam.placement.view.size
    if len(cam.placement.view.crops) != 1:
        raise UsageError(
            f"view {cam.protocol.view!r} has {len(cam.placement.view.crops)} crops: faithfulness masks the input of "
            "the net, so choose view center or full"
        )
    if not 1 <= steps <= size[0] * size[1]:
        raise UsageError(
            f"steps is {steps}; expected 1 to {size[0] * size[1]}, the number of pixels of the net's input"
        )
    remaining = iter(choices)

    def measure(prepared: list[Prepared | PycamError]) -> list[Measured | PycamError]:
        return [_measured(cam, each, next(remaining), steps, progress) for each in prepared]

    # One after the other: the runs on the masked images of one use all streams.
    yield from (found for _, found in cam.on_batches(images, measure, at_once=1))


def resume_faithfulness(
    cam: Cam,
    images: Sequence[Path],
    choices: Sequence[Choose],
    store: Store,
    *,
    steps: int = STEPS,
    progress: Progress = unseen,
) -> Iterator[Measured | PycamError]:
    """Measure the faithfulness of those images whose values are not in a store yet, and store each at once.

    Parameters
    ----------
    cam, images, choices, steps, progress
        As for `measure_faithfulness`. The first call of `progress` has the number of images in the store.
    store : Store
        Its identity has all that the values depend on, the steps and the classes too. Images that fail are not stored,
        and tried again.

    Yields
    ------
    Measured or PycamError
        As from `measure_faithfulness`, for all images.

    Raises
    ------
    RunError
        A file has changed since it was measured, or the store cannot be used.
    UsageError
        As for `measure_faithfulness`.
    """
    done = store.done(images, skip=False)
    progress(len(done))
    todo = [number for number in range(len(images)) if number not in done]
    states: deque[FileState] = deque()

    def read() -> Iterator[Source]:
        for number in todo:
            source, state = _source(images[number])
            states.append(state)
            yield source

    chosen = [choices[number] for number in todo]
    with closing(measure_faithfulness(cam, read(), chosen, steps=steps, progress=progress)) as measured:
        for number in range(len(images)):
            if number in done:
                (stored,) = store.results(number, number + 1)
                yield _unpacked(stored.record, cam, steps)
                continue
            found = next(measured)
            state = states.popleft()
            if isinstance(found, Measured):
                store.add([Result(number, state, record=_packed(found))])
            yield found


def _source(path: Path) -> tuple[Source, FileState]:
    try:
        return read_source(path)
    except RunError:
        return path, NO_FILE  # what cannot be read fails when it is measured


def _packed(measured: Measured) -> bytes:
    values = measured.values
    numbers = np.array([measured.index, values.score, values.masked])
    return np.concatenate([numbers, values.deletion, values.insertion]).astype("<f8").tobytes()


def _unpacked(record: bytes, cam: Cam, steps: int) -> Measured:
    (index, score, masked), deletion, insertion = np.split(np.frombuffer(record, "<f8"), [3, steps + 4])
    return Measured(
        int(index), cam.model.labels.label(int(index)), Faithfulness(float(score), float(masked), deletion, insertion)
    )


def _measured(
    cam: Cam, prepared: Prepared | PycamError, choose: Choose, steps: int, progress: Progress
) -> Measured | PycamError:
    (prediction,) = cam.predict([prepared], [choose], lambda share: progress(share / 2))
    if isinstance(prepared, PycamError) or isinstance(prediction, PycamError):
        progress(1 / 2)
        assert isinstance(prediction, PycamError)
        return prediction
    _, (image,) = prepared
    (index,) = prediction.classes.tolist()
    map_ = cam.placement.on_input(prediction.feature_maps[:, 0])

    def predict(masked: Iterator[NDArray[np.float32]]) -> NDArray[np.float64]:
        found = []
        for scores in _probabilities(cam, masked):
            found.append(scores[:, index])
            progress(len(scores) / (2 * steps + 3) / 2)
        return np.concatenate(found)

    try:
        return Measured(index, cam.model.labels.label(index), faithfulness_of(image, map_, predict, steps))
    except UsageError as error:
        return UsageError(f"{prepared[0].path or 'the image'}: {error}")


def _probabilities(cam: Cam, images: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float64]]:
    """Yield the probabilities of the classes, (M, C), of so many images as make a batch."""
    engine, model = cam.engine, cam.model
    batches = ({model.image_input: np.stack(batch)} for batch in _in_batches(images, engine.batch_size))
    softmax = not gives_probabilities(model.net, model.score_blob)
    for values in engine.forward_many(batches):
        scores = class_scores(values[model.score_blob]).astype(np.float64)
        if softmax:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
        yield np.minimum(scores, 1)  # in single precision a softmax can be a little above 1


def _in_batches(images: Iterable[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    images = iter(images)
    while batch := list(islice(images, size)):
        yield batch
