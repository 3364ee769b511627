"""What the viewer is told of an image: plain JSON, small because maps stay at the size of the features."""

from __future__ import annotations

import base64
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
from pycam.protocols import RELEASED_BOX_RULES

LARGEST_SIDE = 1280
"""Pixels of the longer side of an image that is shown; figures always count in the pixels of the image itself."""


METHODS = {"cam": "CAM", "gradcam": "Grad-CAM", "gradcam_mean": "Grad-CAM of the mean", "saliency": "saliency"}
"""What the page calls the methods of protocols."""


Methods = Sequence[Prediction]
"""Predictions of one image, one per method, of the same classes in one order."""


@dataclass(frozen=True)
class Truth:
    """What is true of an image: its class, and boxes in image pixels, 0-based half-open."""

    index: int
    label: str
    boxes: Sequence[Box] = ()


def predict_by_methods(cams: Sequence[Cam], image: Image) -> Methods:
    """Predict an image by each method of a model, of which the first one chooses the classes."""
    first = cams[0](image)
    return [first, *(cam(image, classes=first.classes.tolist()) for cam in cams[1:])]


def image_record(
    image: Image,
    runs: Mapping[str, Methods],
    *,
    name: str,
    truth: Truth | None = None,
    src: str | None = None,
) -> dict[str, Any]:
    """Tell the viewer of one image.

    Parameters
    ----------
    image
        As read.
    runs
        What each run is called, or `""` where there is only one -> its predictions.
    name
        What the image is called.
    truth
        What is true, where it is known.
    src
        Address of the image to show; None to put the image itself into the record.

    Returns
    -------
    dict
        What `viewer/viewer.js` shows.
    """
    turned = f"EXIF orientation {image.exif_orientation} not applied"
    return {
        "name": name,
        "src": src or f"data:image/jpeg;base64,{base64.b64encode(shown(image.pixels)).decode()}",
        "width": image.width,
        "height": image.height,
        "note": turned if image.exif_orientation != 1 else "",
        "truth": truth and {"index": truth.index, "label": truth.label, "boxes": list(truth.boxes)},
        "runs": [_run_record(label, run, image) for label, run in runs.items()],
    }


def shown(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image to be shown: a JPEG of at most `LARGEST_SIDE`, without the file's EXIF or anything else."""
    height, width = pixels.shape[:2]
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1:
        pixels = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale)), "opencv_area")
    return encode_jpeg(pixels, quality=88)


def placement_record(placement: Placement, height: int, width: int) -> dict[str, Any]:
    """Tell how maps come to lie on an image of that size, for `viewer/maps.js`."""
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


def _run_record(label: str, predictions: Methods, image: Image) -> dict[str, Any]:
    first = predictions[0]
    rule = first.protocol.box_rule
    return {
        "label": label,
        "model": first.model,
        "engine": first.engine,
        "protocol": first.protocol.name,
        "view": first.placement.view.name,
        "own_rule": rule if rule in RELEASED_BOX_RULES else "",
        "placement": placement_record(first.placement, image.height, image.width),
        "top": [
            {
                "index": item.index,
                "wnid": item.wnid,
                "label": item.label,
                "score": item.score,
                "box": item.box,
                "maps": {
                    METHODS[each.protocol.method]: _encoded(each.feature_maps[:, item.rank]) for each in predictions
                },
            }
            for item in first.top
        ],
    }


def _encoded(maps: NDArray[np.float32]) -> dict[str, Any]:
    return {"shape": maps.shape, "values": base64.b64encode(maps.astype("<f4").tobytes()).decode()}
