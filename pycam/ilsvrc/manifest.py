"""The manifest of the maps that `pycam evaluate --save-maps` writes: what the arrays are, and where they lie."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, UsageError
from pycam.formats.files import is_file
from pycam.formats.opening import read_file
from pycam.images.scaling import min_max_scale
from pycam.images.views import view_of
from pycam.maps.placement import Placement
from pycam.metrics.baselines import SIDE
from pycam.protocols import Protocol

MANIFEST = "maps.json"
LARGEST = 1 << 20

SIZES = {
    "features": "the maps of each crop at the size of the features, (crops, h, w), which `score` places on the image",
    "image": "at the size of the image, (H, W)",
    "benchmark": "at the WSOL benchmark's 224×224 pixels",
}
"""The sizes of saved maps, and their meaning."""


Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]


@dataclass(frozen=True)
class Manifest:
    """What a folder of maps holds, one `.npy` for each image: the map of its ground-truth class.

    Attributes
    ----------
    size : str
        A key of `SIZES`.
    dtype : str
        float32 or float16.
    normalisation : str
        `none`; `largest`: each map is divided by its largest absolute value; or `min-max`: each map is in [0, 1].
    view, input, canvas, map_resizer, merge, placement
        As in `pycam.maps.placement.Placement`; `input` is the size of the view, height and width.
    model, protocol : str
        Their names.
    identity : mapping
        Everything that affects the maps.
    """

    size: Literal["features", "image", "benchmark"]
    dtype: Literal["float32", "float16"]
    normalisation: Literal["none", "largest", "min-max"]
    view: Literal["center", "full", "ten"]
    input: tuple[Side, Side]
    canvas: tuple[Side, Side]
    map_resizer: str
    merge: str
    placement: str
    model: str
    protocol: str
    identity: dict[str, str]

    @classmethod
    def of(cls, size: Any, dtype: Any, placement: Placement, **made_with: Any) -> Manifest:
        """Return the manifest of maps in a form; `made_with` are the last three attributes."""
        # Half precision ends at 65504, and class maps have any scale.
        of_features = "largest" if dtype == "float16" else "none"
        names = ("map_resizer", "merge", "placement")
        return cls(
            size,
            dtype,
            "min-max" if size != "features" else of_features,  # type: ignore[arg-type]
            placement.view.name,  # type: ignore[arg-type]
            placement.view.size,
            placement.view.canvas,
            **{name: getattr(placement, name) for name in names},
            **made_with,
        )

    def text(self) -> str:
        """Return the content of the file."""
        return json.dumps({**asdict(self), "class": "ground truth"}, indent=2, ensure_ascii=False) + "\n"

    def array(self, maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.floating[Any]]:
        """Return what is saved of the maps of an image, (crops, h, w); `size` is its width and height."""
        if self.size == "features":
            scale = np.abs(maps).max() if self.normalisation == "largest" else 0
            return (maps / scale if scale > 0 else maps).astype(self.dtype)
        width, height = size if self.size == "image" else (SIDE, SIDE)
        return min_max_scale(self._placement.on_image(maps, height, width)).astype(self.dtype)

    def score_map(self, maps: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Place the maps of an image at the size of the features as an evaluation does: (224, 224) in [0, 1]."""
        return min_max_scale(self._placement.on_image(maps, SIDE, SIDE))

    @property
    def _placement(self) -> Placement:
        return Placement(view_of(self.view, self.input, self.canvas), self.map_resizer, self.merge, self.placement)

    def fits(self, maps: NDArray[Any]) -> bool:
        """Return whether an array can be the maps of an image at the size of the features."""
        crops = len(self._placement.view.crops)
        return maps.ndim == 3 and len(maps) == crops and maps.size > 0 and maps.dtype.kind == "f"


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; return None if it has none.

    Raises
    ------
    GroundTruthError
        The file is damaged.
    """
    path = folder / MANIFEST
    if not is_file(path):
        return None
    try:
        found = json.loads(read_file(path, "a manifest of maps", LARGEST, GroundTruthError))
        manifest = msgspec.convert(found, Manifest)
        # The choices are checked here, not at the first map.
        choices = {name: getattr(manifest, name) for name in ("view", "map_resizer", "merge", "placement")}
        Protocol(name="maps", **choices)
        view_of(manifest.view, manifest.input, manifest.canvas)
        return manifest
    except (ValueError, UsageError, RecursionError) as error:
        raise GroundTruthError(f"{path}: not a manifest of maps ({error}): save the maps again") from None
