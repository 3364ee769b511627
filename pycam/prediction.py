"""The prediction of an image: classes, scores, maps, boxes, and drawings of them."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycam import drawing
from pycam.drawing.layout import write_on
from pycam.errors import ImageError, UsageError
from pycam.formats.files import atomic_write
from pycam.formats.names import stem_of
from pycam.images.read import Image
from pycam.images.resize import resize
from pycam.maps.boxes import Box, Boxes
from pycam.maps.placement import Map, Placement
from pycam.maps.rules import box_rules
from pycam.protocols import Protocol
from pycam.zoo.labels import Labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

    from pycam.drawing.print_figure import Grid, Panel

BOX_SIDES = ["x0", "y0", "x1", "y1"]
"""The columns of a box."""

NO_CLASS = "not a class of this model"
"""The caption in the place of a class that the model does not have."""

_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The prediction of an image.

    Attributes
    ----------
    classes : (T,) int
        Indices among the outputs of the net, 0-based: best first, or in the order of the request.
    scores : (C,) float32
        The scores of all classes, averaged over the crops of the view; NaN if only those of `classes` were kept.
    feature_maps : (n, T, h, w) float32
        The map of each class in each crop, at the size of the features.
    size : (int, int)
        Width and height of the image.
    placement : Placement
        The placement of maps on the image.
    protocol : Protocol
        The protocol of the prediction.
    model, engine : str
        The names of the model and the engine.
    labels : Labels
        The labels of the classes.
    image : Image, optional
        The image; None if only maps and boxes are needed.
    kept_boxes : sequence of (n, 4) int, optional
        The boxes of each class, if they were computed before; see `ClassPrediction.boxes`.
    """

    classes: NDArray[np.intp]
    scores: NDArray[np.float32]
    feature_maps: NDArray[np.float32]
    size: tuple[int, int]
    placement: Placement
    protocol: Protocol
    model: str = ""
    engine: str = ""
    labels: Labels = field(default=Labels(()))
    image: Image | None = None
    kept_boxes: Sequence[Boxes] | None = None

    @cached_property
    def top(self) -> tuple[ClassPrediction, ...]:
        """The classes with their scores, maps and boxes, in the order of `classes`."""
        return tuple(ClassPrediction(self, rank) for rank in range(len(self.classes)))

    @cached_property
    def base(self) -> NDArray[np.uint8]:
        """The pixels below the maps, (H, W, 3) uint8 BGR: the image, the canvas, or the input of the net."""
        if self.protocol.base == "image":
            return self._image.pixels
        size = self.placement.canvas if self.protocol.base == "canvas" else self.placement.view.size
        resized = resize(self._image.pixels, *size, self.protocol.resizer)
        return np.asarray(np.rint(resized), np.uint8)

    @property
    def _image(self) -> Image:
        if self.image is None:
            raise UsageError("this prediction has no image: only its maps and boxes are kept, and none can be drawn")
        return self.image

    def __repr__(self) -> str:
        best = f", best {self.top[0].index} {self.top[0].label[:60]!r} {self.top[0].score:.4f}" if self.top else ""
        path = "" if self.image is None else self.image.path
        return f"<Prediction of {path[-60:]!r} by {self.model[-40:]}, {len(self.top)} classes{best}>"

    def overlay(self, rank: int = 0, *, box: bool = False, rgb: bool = False) -> NDArray[np.uint8]:
        """Draw the map of a class over the image.

        Parameters
        ----------
        rank : int
            The position of the class in `top`; 0 for the best class.
        box : bool
            Whether to draw the box of the class.
        rgb : bool
            Whether to return RGB, as matplotlib and Pillow take it, in place of BGR, as OpenCV does.

        Returns
        -------
        (H, W, 3) uint8 BGR or RGB
            The size is that of `base`.
        """
        on_base = self._box_on_base(rank) if box else None
        drawn = self._overlay(rank)
        if on_base is not None:
            drawn = drawing.draw_box(drawn, on_base)
        return np.ascontiguousarray(drawn[:, :, ::-1]) if rgb else drawn

    def _overlay(self, rank: int) -> NDArray[np.uint8]:
        item = self.top[rank]
        height, width = self.base.shape[:2]
        region = self.placement.region(height, width)
        drawn = drawing.overlay(self.base, item.map, self.protocol.overlay, region)
        if self.protocol.caption == "on_image":
            drawn = write_on(drawn, f"Class activities is [{item.label}]")
        return drawn

    def _box_on_base(self, rank: int) -> Box | None:
        found = self.top[rank].box
        height, width = self.base.shape[:2]
        return None if found is None else drawing.scaled_box(found, self.size, (width, height))

    def panel(
        self,
        grid: Grid,
        rank: int | None,
        *,
        captions: Iterable[str] = (),
        box: bool = False,
        truth: Iterable[Sequence[float]] = (),
    ) -> Panel:
        """Make a panel of a figure for print.

        Parameters
        ----------
        grid : Grid
            The figure.
        rank : int or None
            The position of the class in `top` whose map lies over the image; None for the image without a map.
        captions : iterable of str
            Lines below the panel.
        box : bool
            Whether to draw the box of the class, in red.
        truth : iterable of (x0, y0, x1, y1)
            Ground-truth boxes in image pixels, 0-based, half-open; they are drawn in green.
        """
        from pycam.drawing.print_figure import FOUND, TRUTH

        height, width = self.base.shape[:2]
        scale = np.tile([width / self.size[0], height / self.size[1]], 2)
        boxes = [(np.multiply(each, scale).tolist(), TRUTH) for each in truth]
        if box and rank is not None and (found := self.top[rank].box) is not None:
            boxes.append((np.multiply(found, scale).tolist(), FOUND))
        return grid.panel(self.base if rank is None else self.overlay(rank), captions, boxes)

    def plot(self, *, box: bool = False) -> Axes:
        """Plot the image and the overlays of `top` side by side, with the label and the score of each.

        Parameters
        ----------
        box : bool
            Whether to draw the box of each class.

        Returns
        -------
        matplotlib.axes.Axes
            The panel of the image. Its `figure` is the whole plot, which a notebook or `pyplot.show()` shows.

        Raises
        ------
        UsageError
            matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise UsageError(f"a plot needs matplotlib: pip install 'caffe-cam[paper]' ({error})") from None
        name = Path(self._image.path).name
        panels: list[tuple[NDArray[np.uint8], Sequence[str]]] = [(self.base[:, :, ::-1], [name])]
        panels += [(self.overlay(rank, box=box, rgb=True), self._caption(rank)) for rank in range(len(self.top))]
        height, width = self.base.shape[:2]
        size = (min(2.4 * len(panels), 30), min(2.4 * len(panels), 30) / len(panels) * height / width + 0.6)
        _, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
        for axis, (pixels, lines) in zip(axes[0], panels, strict=True):
            axis.imshow(pixels)
            # A dollar sign would begin a formula.
            axis.set_title("\n".join(lines).replace("$", r"\$"), fontsize="small")
            axis.set_axis_off()
        first: Axes = axes[0, 0]
        return first

    def to_frame(self) -> DataFrame:
        """Return the classes as a table, one row per class: image, rank from 1, index, wnid, label, score and box.

        Returns
        -------
        pandas.DataFrame
            x0, y0, x1, y1 are in image pixels, 0-based, half-open; they are missing for a class without a box.
        """
        from pandas import DataFrame

        path = "" if self.image is None else self.image.path
        rows = [
            (path, item.rank + 1, item.index, item.wnid, item.label, item.score, *(item.box or [None] * 4))
            for item in self.top
        ]
        columns = ["image", "rank", "index", "wnid", "label", "score", *BOX_SIDES]
        frame: DataFrame = DataFrame(rows, columns=columns).astype(dict.fromkeys(BOX_SIDES, "Int64"))
        return frame

    def strip(self, *, box: bool = False) -> NDArray[np.uint8]:
        """Return the image and the overlays of `top` side by side: (H, W, 3) uint8 BGR."""
        ranks = range(len(self.top))
        boxes = [self._box_on_base(rank) if box else None for rank in ranks]
        tiles = [self._tile(self._overlay(rank), len(ranks), boxes[rank]) for rank in ranks]
        return self._strip_of(tiles, [self._caption(rank) for rank in ranks])

    def _repr_jpeg_(self) -> bytes:
        return self._jpeg(self.strip(box=True))

    def _repr_html_(self) -> str:
        """Return the prediction as HTML for a notebook: the strip with boxes, and a table of the classes."""
        rows = (
            f"<tr><td>{item.index}</td><td>{item.wnid}</td><td style='text-align: left'>{html.escape(item.label)}</td>"
            f"<td>{item.score:.4f}</td><td>{', '.join(map(str, item.box or ()))}</td></tr>"
            for item in self.top
        )
        about = (
            f"{self.model}, view {self.protocol.view}, {self.engine}; boxes: x0, y0, x1, y1; {self.protocol.boxes_by}"
        )
        return (
            f"<figure style='margin: 0'><img alt='The image and the maps of its classes' style='max-width: 100%' "
            f"src='data:image/jpeg;base64,{base64.b64encode(self._repr_jpeg_()).decode()}'>"
            f"<figcaption>{html.escape(about)}</figcaption></figure>"
            "<table><tr><th>index</th><th></th><th style='text-align: left'>class</th><th>score</th><th>box</th></tr>"
            f"{''.join(rows)}</table>"
        )

    def _drawn(self, rank: int, box: bool, count: int) -> tuple[NDArray[np.uint8], bytes]:
        """Return the tile of a class for a strip of so many, and its overlay as a JPEG.

        The overlay itself is as large as the image, and ends here.
        """
        # First the box, whose memory is free again before there is an overlay.
        on_base = self._box_on_base(rank) if box else None
        overlay = self._overlay(rank)
        tile = self._tile(overlay, count, on_base)
        if on_base is not None:
            overlay = drawing.draw_box(overlay, on_base)
        try:
            return tile, self._jpeg(drawing.caption(overlay, *self._caption(rank)))
        except ImageError as error:
            raise ImageError(f"{self._image.path}: {error}") from None

    def _jpeg(self, pixels: NDArray[np.uint8]) -> bytes:
        return drawing.encode_jpeg(pixels, self.protocol.quality)

    def _tile(self, overlay: NDArray[np.uint8], count: int, box: Box | None = None) -> NDArray[np.uint8]:
        return drawing.strip_tile(overlay, count, self.protocol.strip, box)

    def _strip_of(self, tiles: Sequence[NDArray[np.uint8]], captions: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
        return drawing.strip(self.base, tiles, captions, Path(self._image.path).name, self.protocol.strip)

    def _caption(self, rank: int) -> tuple[str, str]:
        """Return the label of a class, as the protocol writes it, and its score."""
        item = self.top[rank]
        label = item.label or f"class {item.index}"
        if self.protocol.caption == "ordinal":
            label = f"{_ORDINALS.get(rank + 1, f'{rank + 1}th')} class: {label}"
        return label, f"{item.score:.3f}"

    def as_dict(self, *, boxes: bool = False) -> dict[str, Any]:
        """Return the values that `save` writes as JSON; boxes are in image pixels, 0-based, half-open.

        `input` says what the net got: its channels, height and width, those of the canvas, and the part of the image
        that each crop covers. `box_pixels` says which pixels boxes and crops count in: those of the `upright` image,
        with its EXIF orientation applied, or those `stored` in the file. An orientation that turns the image is in
        `exif_orientation_applied` or in `exif_orientation_not_applied`.
        """
        view = self.placement.view
        width, height = self.size
        found: dict[str, Any] = {
            "image": self._image.path,
            "model": self.model,
            "engine": self.engine,
            "protocol": self.protocol.name,
            "view": self.protocol.view,
            "box_pixels": "upright" if self.protocol.exif == "apply" else "stored",
            "input": {
                "channels": self._image.channels,
                "size": view.size,
                "canvas": view.canvas,
                "crops": [{"box": view.region(crop, height, width), "mirrored": crop.mirrored} for crop in view.crops],
            },
            "top": [
                {"index": item.index, "wnid": item.wnid, "label": item.label, "score": item.score}
                | ({"box": item.box} if boxes else {})
                for item in self.top
            ],
        }
        if boxes:
            found |= {"box_rule": self.protocol.box_rule, "threshold": self.protocol.box_threshold}
        if self.protocol.method != "cam":
            found["method"] = self.protocol.method
        if self._image.exif_orientation != 1:
            applied = "applied" if self._image.exif_applied else "not_applied"
            found[f"exif_orientation_{applied}"] = self._image.exif_orientation
        return found

    def save(self, folder: str | os.PathLike[str], *, boxes: bool = False, maps: bool = False) -> list[Path]:
        """Write the overlays, the strip and the JSON of the prediction.

        Parameters
        ----------
        folder : path
            The output folder; it is created if it does not exist.
        boxes : bool
            Whether to draw boxes and to write them to the JSON.
        maps : bool
            Whether to write the maps, too, as float32, without scaling.

        Returns
        -------
        list of Path
            `<stem>_1.jpg` …, best class first, `<stem>_strip.jpg`, and `<stem>.json`; with maps also `<stem>_maps.npy`,
            (T, H, W) at the size of the image, and `<stem>_features.npy`, (n, T, h, w), the map of each class in each
            crop at the size of the features. Each file is written atomically.

        Raises
        ------
        UsageError
            There are more classes than the strip has room for.
        ImageError
            The image is longer or wider than a JPEG can be.
        """
        start = Path(folder) / stem_of(self._image.path)
        written, strip = self.save_maps(start, range(len(self.top)), boxes=boxes, maps=maps)
        written.append(write_file(start, "_strip.jpg", self._jpeg(strip)))
        text = json.dumps(self.as_dict(boxes=boxes), indent=2, ensure_ascii=False) + "\n"
        written.append(write_file(start, ".json", text))
        return written

    def save_maps(
        self, start: Path, ranks: Sequence[int | None], *, boxes: bool = False, maps: bool = False
    ) -> tuple[list[Path], NDArray[np.uint8]]:
        """Write the overlays, and return them and the image as a strip; parameters and errors are those of `save`.

        Parameters
        ----------
        start : Path
            What the names of the files begin with.
        ranks : sequence of int or None
            The position in `top` of each class to write; None leaves its place in the strip dark, and its number out.
        boxes, maps : bool
            As for `save`.
        """
        drawing.check_strip(self.base.shape[1], len(ranks), self.protocol.strip)
        written, tiles, captions = [], [], []
        for number, rank in enumerate(ranks, start=1):
            if rank is None:
                tiles.append(self._tile(np.zeros_like(self.base), len(ranks)))
                captions.append((NO_CLASS, ""))
                continue
            tile, jpeg = self._drawn(rank, boxes, len(ranks))
            tiles.append(tile)
            captions.append(self._caption(rank))
            written.append(write_file(start, f"_{number}.jpg", jpeg))
        if maps:
            placed = [item.image_map for item in self.top]
            empty = np.empty((0, *self.size[::-1]), np.float32)
            written.append(write_file(start, "_maps.npy", _npy(np.stack(placed) if placed else empty)))
            written.append(write_file(start, "_features.npy", _npy(self.feature_maps)))
        return written, self._strip_of(tiles, captions)


def write_file(start: Path, ending: str, data: bytes | str) -> Path:
    """Write one of the files of an image, whose names begin with `start`, and return it; the folder is created."""
    start.parent.mkdir(parents=True, exist_ok=True)
    path = start.with_name(start.name + ending)
    atomic_write(path, data)
    return path


def _npy(array: NDArray[np.float32]) -> bytes:
    """Return the content of a `.npy` file."""
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array, np.float32))
    return content.getvalue()


@dataclass(frozen=True, eq=False, repr=False)
class ClassPrediction:
    """A class of a prediction; all values are computed on demand.

    Attributes
    ----------
    prediction : Prediction
        The prediction that the class belongs to.
    rank : int
        The position in `prediction.classes`, from 0.
    """

    prediction: Prediction
    rank: int

    def __repr__(self) -> str:
        return f"<ClassPrediction {self.rank}: {self.index} {self.wnid} {self.label[:80]!r}, score {self.score:.4f}>"

    @property
    def index(self) -> int:
        """The index among the outputs of the net, 0-based."""
        return int(self.prediction.classes[self.rank])

    @property
    def wnid(self) -> str:
        """The WordNet ID, or `""` if the labels have none."""
        return self.prediction.labels.wnid(self.index) or ""

    @property
    def label(self) -> str:
        """The label of the class."""
        return self.prediction.labels.label(self.index)

    @property
    def score(self) -> float:
        """The score, averaged over the crops of the view."""
        return float(self.prediction.scores[self.index])

    @property
    def feature_maps(self) -> NDArray[np.float32]:
        """The map of each crop at the size of the features: (n, h, w) float32."""
        return self.prediction.feature_maps[:, self.rank]

    @property
    def map(self) -> Map:
        """The map at the size of `Prediction.base`: (H, W) float32, not normalised."""
        placement = self.prediction.placement
        place = {"canvas": placement.on_canvas, "input": placement.on_input}.get(self.prediction.protocol.base)
        return place(self.feature_maps) if place else self.image_map

    @property
    def image_map(self) -> Map:
        """The map at the size of the image: (H, W) float32, not normalised."""
        width, height = self.prediction.size
        return self.prediction.placement.on_image(self.feature_maps, height, width)

    @cached_property
    def boxes(self) -> Boxes:
        """The boxes by the rule of the protocol: (n, 4) int, x0, y0, x1, y1 in image pixels, 0-based, half-open."""
        if self.prediction.kept_boxes is not None:
            return self.prediction.kept_boxes[self.rank]
        protocol, image = self.prediction.protocol, self.prediction.image
        rule = box_rules[protocol.box_rule]
        pixels = image.pixels if rule.needs_image and image is not None else None
        return rule.image_boxes(self.image_map, protocol.threshold, pixels)

    @property
    def box(self) -> Box | None:
        """The first of `boxes`, or None if there are none."""
        for x0, y0, x1, y1 in self.boxes[:1].tolist():
            return x0, y0, x1, y1
        return None
