"""What the viewer is told of a picture: plain JSON, small because maps stay at the size of the features."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.boxes import Box
from pycam.drawing import encode_jpeg
from pycam.images.resize import resize
from pycam.pictures import Picture
from pycam.placement import Placement
from pycam.predict import Cam
from pycam.prediction import Prediction
from pycam.protocols import RELEASED_BOX_RULES

LARGEST_SIDE = 1280
"""Pixels of the longer side of a picture that is shown; figures always count in the pixels of the picture itself."""


METHODS = {"cam": "CAM", "gradcam": "Grad-CAM", "gradcam_mean": "Grad-CAM of the mean", "saliency": "saliency"}
"""What the page calls the methods of protocols."""


@dataclass(frozen=True, eq=False)
class Guess:
    """A class that a net considers.

    Attributes
    ----------
    index, wnid, words, score
        As in `pycam.prediction.ClassMap`.
    box
        The protocol's box in picture pixels, 0-based half-open.
    maps
        Method, as in `METHODS` -> (n, h, w) float32: a map a crop, at the size of the features.
    """

    index: int
    wnid: str
    words: str
    score: float
    box: Box | None
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one model, or one run, saw in a picture: its classes, best first, and how their maps lie on it."""

    model: str
    engine: str
    protocol: str
    box_rule: str
    placement: Placement
    guesses: Sequence[Guess]


@dataclass(frozen=True)
class Truth:
    """What is true of a picture: its class, and boxes in picture pixels, 0-based half-open."""

    index: int
    words: str
    boxes: Sequence[Box] = ()


def look(cams: Sequence[Cam], picture: Picture, classes: Sequence[int | str] | None = None) -> Seen:
    """Show a picture to a model under each of its methods, of which the first one chooses the classes."""
    first = cams[0](picture, classes=classes)
    chosen = [item.index for item in first.top]
    return seen([first, *(cam(picture, classes=chosen) for cam in cams[1:])])


def seen(predictions: Sequence[Prediction]) -> Seen:
    """Take what the viewer shows from predictions of one picture, a method each, of the same classes in one order."""
    first = predictions[0]
    guesses = [
        Guess(
            item.index,
            item.wnid,
            item.words,
            item.score,
            item.box,
            {METHODS[each.protocol.method]: each.top[rank].feature_maps for each in predictions},
        )
        for rank, item in enumerate(first.top)
    ]
    return Seen(first.model, first.engine, first.protocol.name, first.protocol.box_rule, first.placement, guesses)


def picture_record(
    picture: Picture,
    runs: Mapping[str, Seen],
    *,
    name: str,
    truth: Truth | None = None,
    src: str | None = None,
) -> dict[str, Any]:
    """Tell the viewer of one picture.

    Parameters
    ----------
    picture
        As read.
    runs
        What each run is called, or `""` where there is only one -> what it saw.
    name
        What the picture is called.
    truth
        What is true, where it is known.
    src
        Address of the picture to show; None to put the picture itself into the record.

    Returns
    -------
    dict
        What `viewer/viewer.js` shows.
    """
    turned = f"EXIF orientation {picture.exif_orientation} not applied"
    return {
        "name": name,
        "src": src or f"data:image/jpeg;base64,{base64.b64encode(shown(picture.pixels)).decode()}",
        "width": picture.width,
        "height": picture.height,
        "note": turned if picture.exif_orientation != 1 else "",
        "truth": truth and {"index": truth.index, "words": truth.words, "boxes": list(truth.boxes)},
        "runs": [_run_record(label, run, picture) for label, run in runs.items()],
    }


def shown(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture to be shown: a JPEG of at most `LARGEST_SIDE`, without the file's EXIF or anything else."""
    height, width = pixels.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1:
        pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)), "opencv_area")
    return encode_jpeg(pixels, quality=88)


def placement_record(placement: Placement, height: int, width: int) -> dict[str, Any]:
    """Tell how maps come to lie on a picture of that size, for `viewer/maps.js`."""
    view = placement.view
    return {
        "view": view.name,
        "canvas": view.canvas,
        "size": view.size,
        "crops": [[crop.x, crop.y, crop.mirrored] for crop in view.crops],
        "map_resizer": placement.map_resizer,
        "merge": placement.merge,
        "placement": placement.placement,
        "region": placement.region(height, width),
    }


def _run_record(label: str, run: Seen, picture: Picture) -> dict[str, Any]:
    return {
        "label": label,
        "model": run.model,
        "engine": run.engine,
        "protocol": run.protocol,
        "view": run.placement.view.name,
        "own_rule": run.box_rule if run.box_rule in RELEASED_BOX_RULES else "",
        "placement": placement_record(run.placement, picture.height, picture.width),
        "top": [
            {
                "index": guess.index,
                "wnid": guess.wnid,
                "words": guess.words,
                "score": guess.score,
                "box": guess.box,
                "maps": {method: _encoded(maps) for method, maps in guess.maps.items()},
            }
            for guess in run.guesses
        ],
    }


def _encoded(maps: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": maps.shape, "values": base64.b64encode(maps.astype("<f4").tobytes()).decode()}
