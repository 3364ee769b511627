"""The data of an image for the viewer, as values for JSON. They are small: maps keep the size of the features."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.drawing import encode_jpeg
from pycam.images.read import Image
from pycam.images.resize import resize
from pycam.maps.boxes import Box
from pycam.maps.placement import Placement
from pycam.predict import Cam
from pycam.prediction import Prediction
from pycam.report.outcomes import Outcome, Rescored

LARGEST_SIDE = 1280
"""Pixels of the longer side of a shown image. Boxes always count in the pixels of the original image."""

PAGE_BOX_RULES = ("paper", "smoothed")
"""The box rules whose boxes the page itself finds, on the map that it shows."""

PAPER_THRESHOLD = 0.2
"""The threshold at which the page starts for a box rule that has none."""

METHODS = {
    "cam": "CAM",
    "gradcam": "Grad-CAM",
    "gradcam_mean": "Grad-CAM of the mean",
    "gradcam++": "Grad-CAM++",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "saliency": "saliency",
    "scorecam": "Score-CAM",
    "ablationcam": "Ablation-CAM",
}
"""Method of a protocol -> its name on the page."""

Methods = Sequence[Prediction]
"""Predictions of one image, one per method, with the same classes in the same order."""


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
        Label of each run, `""` for a single one -> its predictions; empty on a page of ground truth alone.
    truth : Truth, optional
        Its ground truth.
    outcomes : sequence of Outcome
        Its outcome in each run; empty without ground truth.
    rescored : sequence of Rescored or None
        The image at every threshold in each run, None for a run without a threshold; empty if no run has one.
    """

    name: str
    image: Image
    runs: Mapping[str, Methods]
    truth: Truth | None = None
    outcomes: Sequence[Outcome] = ()
    rescored: Sequence[Rescored | None] = ()


def predict_by_methods(cams: Sequence[Cam], image: Image) -> Methods:
    """Predict an image with each method of a model. The first one chooses the classes."""
    first = cams[0](image)
    return [first, *(cam(image, classes=first.classes.tolist()) for cam in cams[1:])]


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
    applied = "applied" if image.exif_applied else "not applied"
    note = f"EXIF orientation {image.exif_orientation} {applied}" if image.exif_orientation != 1 else ""
    return {
        "name": entry.name,
        "src": src or f"data:image/jpeg;base64,{base64.b64encode(shown(image.pixels)).decode()}",
        "width": image.width,
        "height": image.height,
        "note": note,
        "truth": truth and {name: getattr(truth, name) for name in ("index", "label", "boxes", "objects")},
        "runs": [
            _run_record(label, run, image) | {"boxes": rescored and rescored.packed_boxes()}
            for (label, run), rescored in itertools.zip_longest(entry.runs.items(), entry.rescored)
        ],
    }


def shown(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) uint8 BGR pixels for the page: a JPEG of at most `LARGEST_SIDE`, without metadata."""
    height, width = pixels.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1:
        pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)), "opencv_area")
    return encode_jpeg(pixels, quality=88)


def placement_record(placement: Placement, height: int, width: int) -> dict[str, Any]:
    """Return how `viewer/maps.js` places maps on an image of (height, width) pixels."""
    view = placement.view
    return {
        "view": view.name,
        "canvas": view.canvas,
        "size": view.size,
        "crops": [[crop.x, crop.y, crop.mirrored] for crop in view.crops],
        "region": placement.region(height, width),
        **{name: getattr(placement, name) for name in ("map_resizer", "merge", "placement")},
    }


def _run_record(label: str, predictions: Methods, image: Image) -> dict[str, Any]:
    first = predictions[0]
    protocol = first.protocol
    threshold = protocol.box_threshold
    return {
        "label": label,
        "model": first.model,
        "engine": first.engine,
        "protocol": first.protocol.name,
        "view": first.placement.view.name,
        # The page computes the box of the paper's rule, at any threshold.
        "own_rule": "" if protocol.box_rule in PAGE_BOX_RULES else protocol.boxes_by,
        "threshold": PAPER_THRESHOLD if threshold is None else threshold,
        "placement": placement_record(first.placement, image.height, image.width),
        "top": [
            {name: getattr(item, name) for name in ("index", "wnid", "label", "score", "box")}
            | {"maps": {METHODS[p.protocol.method]: _encoded(p.feature_maps[:, item.rank]) for p in predictions}}
            for item in first.top
        ],
    }


def _encoded(maps: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": maps.shape, "values": base64.b64encode(maps.astype("<f4").tobytes()).decode()}
