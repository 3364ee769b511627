"""`pycam score --faithfulness`: one row per method, of what masked images do to the scores of their classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pycam.cli import options
from pycam.console import Notes
from pycam.engines.threads import beside_an_engine
from pycam.errors import GroundTruthError, PycamError
from pycam.evaluation.faithfulness import (
    figures_of,
    gives_probabilities,
    measure_faithfulness,
    resume_faithfulness,
)
from pycam.evaluation.plan import Identity, identity_of
from pycam.evaluation.store import Store
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.names import join
from pycam.model import Model
from pycam.predict import Cam, Choose, best_streams, make_cam


def score_faithfulness(
    images: Sequence[Path],
    model: Model,
    methods: options.MethodOptions,
    engine: options.EngineOptions,
    *,
    truth: GroundTruth | None,
    class_name: str | None,
    steps: int,
    out: Path | None,
    notes: Notes,
) -> tuple[dict[str, Any], list[PycamError]]:
    """Measure the faithfulness of the maps of images.

    Parameters
    ----------
    images : sequence of Path
        The images.
    model : Model
        The model.
    methods, engine
        The options of the command.
    truth : GroundTruth, optional
        Names the class of each image.
    class_name : str, optional
        The class of all images. Without it and without ground truth, it is the best class of each image.
    steps : int
        The steps of insertion and deletion.
    out : Path, optional
        The folder that keeps what is measured, so that the same command resumes it.
    notes : Notes
        Told about the model, and the progress.

    Returns
    -------
    result : dict
        What the command prints as JSON.
    failures : list of PycamError
        One for each image that a method could not measure.
    """
    rows = methods.rows
    for note in model.notes(maps=methods.needs_maps):
        notes.say(note)
    if not gives_probabilities(model.net, model.score_blob):
        notes.say(f"the probabilities are the softmax of {model.score_blob!r}: no softmax or sigmoid comes before it")
    classes = None if truth is None else _true_classes(images, truth, model)
    result: dict[str, Any] = {
        "images": len(images),
        "model": model.name,
        "engine": engine.engine,
        "protocol": methods.protocol,
        "steps": steps,
        "classes": "ground truth" if truth else class_name or "best of each image",
        "methods": [],
        "by_image": [],
    }
    failures: dict[Path, PycamError] = {}
    with beside_an_engine(), notes.progress() as shown:
        bar = shown.add_task("faithfulness", total=len(images) * len(rows))
        for number, row in enumerate(rows, start=1):
            run = replace(engine.options, streams=best_streams(engine.engine, row, engine.options))
            with make_cam(model, engine=engine.engine, protocol=row, options=run) as cam:
                choices = _choices(cam, len(images), class_name, classes)
                keywords: dict[str, Any] = {"steps": steps, "progress": lambda share: shown.advance(bar, share)}
                if out is None:
                    measured = list(measure_faithfulness(cam, images, choices, **keywords))
                else:
                    asked = class_name if classes is None else classes
                    with Store(out / f"{number}.sqlite", _identity(cam, images, asked, steps)) as store:
                        if earlier := len(store.files()):
                            notes.say(f"resuming {row.method}: {earlier} of {len(images)} images are done")
                        measured = list(resume_faithfulness(cam, images, choices, store, **keywords))
                found = list(zip(images, measured, strict=True))
                assert cam.method is not None
                name = {"method": row.method, "layer": cam.method.layer, "target": row.target}
                result |= {"engine": cam.engine.description, "view": cam.protocol.view}
            failures |= {path: each for path, each in found if isinstance(each, PycamError)}
            done = [(path, each) for path, each in found if not isinstance(each, PycamError)]
            result["by_image"] += [{"image": str(path)} | name | each.as_dict() for path, each in done]
            if done:
                result["methods"].append(name | {"images": len(done)} | figures_of([each for _, each in done]))
    return result, list(failures.values())


def _identity(cam: Cam, images: Sequence[Path], classes: str | Sequence[int] | None, steps: int) -> Identity:
    """Return everything that what is measured of the images depends on."""
    names = sha256("\n".join(map(str, images)).encode(errors="surrogatepass")).hexdigest()
    return (
        *identity_of(cam),
        ("images", f"{len(images)} in the list {names}"),
        ("classes", json.dumps(classes)),
        ("steps", str(steps)),
    )


def _choices(cam: Cam, count: int, class_name: str | None, classes: Sequence[int] | None) -> list[Choose]:
    """Return the function that selects the class of each image."""
    if classes is not None:
        return [_choice(index) for index in classes]
    return [cam.chooser(1) if class_name is None else cam.chooser(classes=[class_name])] * count


def _choice(index: int) -> Choose:
    return lambda _: np.array([index])


def _true_classes(images: Sequence[Path], truth: GroundTruth, model: Model) -> list[int]:
    """Return the ground-truth class of each image, which the model must have."""
    names = join([str(image) for image in images], truth.names)
    if None in names:
        raise GroundTruthError(f"{images[names.index(None)]}: the ground truth does not name this image; leave it out")
    classes: list[int] = truth.select([name for name in names if name is not None]).classes.tolist()
    if max(classes) >= model.class_count:
        raise GroundTruthError(
            f"{images[classes.index(max(classes))]}: its class in the ground truth is {max(classes)}, but {model.name} "
            f"has {model.class_count} classes, from 0: give the ground truth of its classes"
        )
    return classes
