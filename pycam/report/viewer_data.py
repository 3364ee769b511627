"""The data of an image for the viewer, as values for JSON. They are small: maps keep the size of the features."""

from __future__ import annotations

import base64
import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.drawing import encode_jpeg
from pycam.images.read import Image
from pycam.images.resize import resize
from pycam.images.views import View
from pycam.maps.boxes import Box
from pycam.maps.methods import METHODS
from pycam.maps.placement import Placement
from pycam.predict import Cam
from pycam.prediction import ClassPrediction, Prediction
from pycam.protocols import Protocol
from pycam.report.outcomes import Outcome, Rescored
from pycam.variants import SideBySide, Variant
from pycam.zoo.labels import Labels

LARGEST_SIDE = 1280
"""Pixels of the longer side of a shown image. Boxes always count in the pixels of the original image."""

PAPER_THRESHOLD = 0.2
"""The threshold at which the page starts for a box rule that has none."""


@dataclass(frozen=True)
class Truth:
    """The ground truth of an image.

    Attributes
    ----------
    index : int
        The class: index among the net's outputs, 0-based.
    label : str
        Its label.
    boxes : sequence of Box
        Image pixels, 0-based half-open.
    objects : sequence of (str, Box)
        Label and box of every object, of any class, for a page of ground truth alone.
    """

    index: int
    label: str
    boxes: Sequence[Box] = ()
    objects: Sequence[tuple[str, Box]] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """An image of the report.

    Attributes
    ----------
    name : str
        Name of the image.
    image : Image
        The image.
    runs : mapping
        Label of each run or variant, `""` for a single one -> its prediction; empty on a page of ground truth alone.
    truth : Truth, optional
        Its ground truth.
    outcomes : sequence of Outcome
        Its outcome in each run; empty without ground truth.
    rescored : sequence of Rescored or None
        The image at every threshold in each run, None for a run without a threshold; empty if no run has one.
    shared : sequence of sequences
        For each variant, the classes of the first one in their order, None for one that its model lacks; empty for
        runs, which have classes of their own.
    every : sequence of EveryClass or None
        For each run or variant, every class of the page, None for one that does not have all maps at once; empty if the
        page has the classes of `runs` only.
    """

    name: str
    image: Image
    runs: Mapping[str, Prediction]
    truth: Truth | None = None
    outcomes: Sequence[Outcome] = ()
    rescored: Sequence[Rescored | None] = ()
    shared: Sequence[Sequence[ClassPrediction | None]] = ()
    every: Sequence[EveryClass | None] = ()

    @classmethod
    def of(cls, name: str, image: Image, found: SideBySide, every: Sequence[EveryClass | None] = ()) -> Entry:
        """Make the entry of an image that variants predicted."""
        labels = [shown_name(variant) for variant in found.variants]
        shared = [found.items(number) for number in range(len(found.variants))]
        return cls(name, image, dict(zip(labels, found.predictions, strict=True)), shared=shared, every=every)


@dataclass(frozen=True, eq=False)
class EveryClass:
    """The scores and the maps of all classes of an image.

    Attributes
    ----------
    scores : (C,) float32
        NaN for a class that the model lacks.
    maps : (n, C, h, w) float32
        One map per crop, at the size of the features.
    """

    scores: NDArray[np.float32]
    maps: NDArray[np.float32]


def shown_name(variant: Variant) -> str:
    """Return the name of a variant on the page."""
    parts = (METHODS[value].title if part == "method" else value for part, value in variant.parts.items())
    return " ".join(filter(None, parts))


def has_every_class(cam: Cam) -> bool:
    """Return whether one run of the net gives the maps of all classes."""
    return cam.method is not None and cam.method.from_class_weights


def predict_every_class(cam: Cam, image: Image, matches: NDArray[np.intp]) -> EveryClass | None:
    """Return the scores and the maps of all classes; None for a method that does not give them at once.

    Parameters
    ----------
    cam : Cam
        The model, the engine and the protocol.
    image : Image
        The image, for the channels of the model.
    matches : (C,) int
        The class here for each class of the page, -1 if the model does not have it.
    """
    if not has_every_class(cam):
        return None
    has = matches >= 0
    found = cam(image, classes=matches[has].tolist())
    crops, _, *size = found.feature_maps.shape
    scores = np.full(len(has), np.nan, np.float32)
    maps = np.zeros((crops, len(has), *size), np.float32)
    scores[has], maps[:, has] = found.scores[found.classes], found.feature_maps
    return EveryClass(scores, maps)


def image_record(entry: Entry, src: str | None = None) -> dict[str, Any]:
    """Return the data of one image for the viewer, the argument of `show` in `viewer/viewer.js`.

    Parameters
    ----------
    entry : Entry
        The image.
    src : str, optional
        Address of the image to show. Default: the data contains the image.
    """
    image, truth = entry.image, entry.truth
    tops = entry.shared or [run.top for run in entry.runs.values()]
    applied = "applied" if image.exif_applied else "not applied"
    note = f"EXIF orientation {image.exif_orientation} {applied}" if image.exif_orientation != 1 else ""
    return {
        "name": entry.name,
        "src": src or f"data:image/jpeg;base64,{base64.b64encode(shown(image.pixels)).decode()}",
        "width": image.width,
        "height": image.height,
        "note": note,
        "truth": truth and {name: getattr(truth, name) for name in ("index", "label", "boxes", "objects")},
        "shared": bool(entry.shared),
        "runs": [
            _run_record(label, run, top, tops[0], image) | {"boxes": rescored and rescored.packed_boxes()}
            for (label, run), top, rescored in itertools.zip_longest(entry.runs.items(), tops, entry.rescored)
        ],
    }


def classes_record(labels: Labels) -> list[tuple[str, str]]:
    """Return the WordNet ID and the label of each class, for the search."""
    return [(labels.wnid(index) or "", name) for index, name in enumerate(labels.names)]


def every_class_record(every: Sequence[EveryClass | None]) -> list[dict[str, Any] | None]:
    """Return all classes of an image for the search: base64 of float32, which is compressed by zlib."""
    return [
        None
        if each is None
        else {"scores": _deflated(each.scores), "shape": each.maps.shape, "maps": _deflated(each.maps)}
        for each in every
    ]


def _deflated(values: NDArray[np.float32]) -> str:
    return base64.b64encode(zlib.compress(values.astype("<f4").tobytes())).decode()


def shown(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels for the page: a JPEG of at most `LARGEST_SIDE`, without metadata."""
    height, width = pixels.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1:
        pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)), "opencv_area")
    return encode_jpeg(pixels, quality=88)


def placement_record(placement: Placement, height: int, width: int) -> dict[str, Any]:
    """Return how `viewer/maps.js` places maps on an image of (height, width) pixels."""
    return placement_choices(placement) | {"region": placement.region(height, width)}


def placement_choices(placement: Placement) -> dict[str, Any]:
    """Return the part of a `placement_record` that is the same for images of any size."""
    choices = {name: getattr(placement, name) for name in ("map_resizer", "merge", "placement")}
    return {"view": placement.view.name, **view_record(placement.view), **choices}


def view_record(view: View) -> dict[str, Any]:
    """Return the sizes of a view and its crops: x, y, and whether the crop is mirrored."""
    return {
        "canvas": view.canvas,
        "size": view.size,
        "crops": [[crop.x, crop.y, crop.mirrored] for crop in view.crops],
    }


def _run_record(
    label: str,
    prediction: Prediction,
    top: Sequence[ClassPrediction | None],
    firsts: Sequence[ClassPrediction | None],
    image: Image,
) -> dict[str, Any]:
    return run_facts(prediction.model, prediction.engine, prediction.protocol, label) | {
        "placement": placement_record(prediction.placement, image.height, image.width),
        "top": [
            _missing_record(first) if item is None else _class_record(item)
            for item, first in itertools.zip_longest(top, firsts if None in top else top)
        ],
    }


def run_facts(model: str, engine: str, protocol: Protocol, label: str = "") -> dict[str, Any]:
    """Return what the viewer says of a run, the same for all images.

    Parameters
    ----------
    model, engine : str
        The names of the model and the engine.
    protocol : Protocol
        The choices, with the view of the model.
    label : str
        The label of the run among several.
    """
    threshold = protocol.box_threshold
    return {
        "label": label,
        "model": model,
        "engine": engine,
        "protocol": protocol.name,
        "method": METHODS[protocol.method].title,
        "view": protocol.view,
        # The page computes the box of the paper's rule, at any threshold.
        "own_rule": "" if protocol.box_rule == "paper" else protocol.boxes_by,
        "threshold": PAPER_THRESHOLD if threshold is None else threshold,
    }


def _class_record(item: ClassPrediction) -> dict[str, Any]:
    record = {name: getattr(item, name) for name in ("index", "wnid", "label", "score", "box")}
    return record | {"maps": _encoded(item.feature_maps)}


def _missing_record(first: ClassPrediction | None) -> dict[str, Any]:
    """Return the place of a class that the model lacks, with the first variant's names of it."""
    assert first is not None
    return {"index": None, "wnid": first.wnid, "label": first.label, "score": None, "box": None, "maps": None}


def _encoded(maps: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": maps.shape, "values": base64.b64encode(maps.astype("<f4").tobytes()).decode()}
