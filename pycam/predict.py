"""The road in one call: a picture becomes a `Prediction` with classes, scores, maps, boxes and overlays.

cam = pycam.load("googlenet-cam")
prediction = cam("fox.jpg")
prediction.top[0].words, prediction.top[0].score, prediction.top[0].box
prediction.save("out")
"""

from __future__ import annotations

import base64
import html
import itertools
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycam import boxes, engines, render, zoo
from pycam.cam import class_activation_maps
from pycam.engines.base import Engine
from pycam.errors import EngineError, FormatError, NetError, PycamError, UsageError
from pycam.files import write_whole
from pycam.formats.mean import read_mean
from pycam.labels import Labels, read_labels
from pycam.layers import dims
from pycam.net import CamHead, Net, read_net
from pycam.pictures import Picture, read_picture
from pycam.placement import Map, Placement
from pycam.protocols import Protocol
from pycam.protocols import protocol as get_protocol
from pycam.views import CANVAS, net_input, resize, view_of

if TYPE_CHECKING:
    from pycam.gradients import GradientMaps

Source = Picture | str | os.PathLike[str] | bytes | NDArray[np.uint8]
Prepared = tuple[Picture, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ClassMap:
    """One class of a prediction.

    Attributes
    ----------
    index
        Index among the net's outputs, 0-based.
    wnid
        WordNet ID, or `""` where the labels have none.
    words
        The class in words.
    score
        The net's score, averaged over the view's crops.
    feature_maps
        (n, h, w) float32: the class activation map of each crop, at the size of the features.
    """

    index: int
    wnid: str
    words: str
    score: float
    feature_maps: NDArray[np.float32] = field(repr=False)
    _of: _Road = field(repr=False)

    @cached_property
    def map(self) -> Map:
        """The map over what it is drawn on, `Prediction.base`: (H, W) float32, not normalised."""
        if self._of.protocol.base == "canvas":
            return self._of.placement.on_canvas(self.feature_maps)
        if self._of.protocol.base == "input":
            return self._of.placement.on_input(self.feature_maps)
        return self.picture_map

    @cached_property
    def picture_map(self) -> Map:
        """The map over the picture at its own size: (H, W) float32, not normalised."""
        height, width = self._of.picture.pixels.shape[:2]
        return self._of.placement.on_picture(self.feature_maps, height, width)

    @cached_property
    def box(self) -> tuple[int, int, int, int] | None:
        """The protocol's first box: (x0, y0, x1, y1), picture pixels, 0-based half-open. None where there is none."""
        return boxes.first_box(self.picture_map, self._of.protocol.box_rule)


@dataclass(frozen=True, eq=False)
class _Road:
    """What the classes of one prediction share."""

    picture: Picture
    protocol: Protocol
    placement: Placement


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a net says of a picture.

    Attributes
    ----------
    picture
        The picture, as read.
    model, engine, protocol
        What it was made with.
    top
        Classes, best first, or those that were asked for.
    scores
        (classes,) float32, of every class.
    """

    picture: Picture
    model: str
    engine: str
    protocol: Protocol
    top: tuple[ClassMap, ...]
    scores: NDArray[np.float32] = field(repr=False)

    @cached_property
    def base(self) -> NDArray[np.uint8]:
        """What maps are drawn on: (H, W, 3) uint8 BGR; the picture, 256×256 canvas or net's input, by the protocol."""
        if self.protocol.base == "picture":
            return self.picture.pixels
        side = CANVAS if self.protocol.base == "canvas" else self.placement.view.size
        canvas: NDArray[np.uint8] = np.rint(resize(self.picture.pixels, side, self.protocol.resizer)).astype(np.uint8)
        return canvas

    @property
    def placement(self) -> Placement:
        """How the maps come to lie on the picture."""
        return self.top[0]._of.placement

    def boxes(self) -> list[tuple[int, int, int, int] | None]:
        """Give the box of each class in `top`; see `ClassMap.box`."""
        return [item.box for item in self.top]

    def overlay(self, rank: int = 0, *, box: bool = False) -> NDArray[np.uint8]:
        """Draw the map of the class at `rank` over the picture.

        Parameters
        ----------
        rank
            0 for the best class.
        box
            Draw the class's box as well.

        Returns
        -------
        (H, W, 3) uint8 BGR, of the size of `base`
        """
        item = self.top[rank]
        height, width = self.base.shape[:2]
        region = item._of.placement.region(height, width)
        drawn = render.overlay(self.base, item.map, self.protocol.blend, region)
        if self.protocol.caption == "on_picture":
            drawn = render.write_on(drawn, f"Class activities is [{item.words}]")
        if box and item.box is not None:
            tall, wide = self.picture.pixels.shape[:2]
            x0, y0, x1, y1 = item.box
            drawn = render.draw_box(
                drawn,
                (x0 * width // wide, y0 * height // tall, -(-x1 * width // wide), -(-y1 * height // tall)),
            )
        return drawn

    def strip(self, *, box: bool = False) -> NDArray[np.uint8]:
        """Lay the picture and the overlays of `top` side by side: (H, W, 3) uint8 BGR."""
        overlays = [self.overlay(rank, box=box) for rank in range(len(self.top))]
        return self._strip_of(overlays)

    def _repr_jpeg_(self) -> bytes:
        return render.encode_jpeg(self.strip(box=True))

    def _repr_html_(self) -> str:
        """Show the prediction in a notebook: the strip with boxes, and the figures that do not fit into it."""
        rows = (
            f"<tr><td>{item.index}</td><td>{item.wnid}</td><td style='text-align: left'>{html.escape(item.words)}</td>"
            f"<td>{item.score:.4f}</td><td>{', '.join(map(str, item.box or ()))}</td></tr>"
            for item in self.top
        )
        made = f"{self.model}, view {self.protocol.view}, {self.engine}; boxes: x0, y0, x1, y1"
        return (
            f"<figure style='margin: 0'><img alt='The picture and the maps of its classes' style='max-width: 100%' "
            f"src='data:image/jpeg;base64,{base64.b64encode(self._repr_jpeg_()).decode()}'>"
            f"<figcaption>{html.escape(made)}</figcaption></figure>"
            "<table><tr><th>index</th><th></th><th style='text-align: left'>class</th><th>score</th><th>box</th></tr>"
            f"{''.join(rows)}</table>"
        )

    def _strip_of(self, overlays: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        if self.protocol.blend == "matlab_demo":
            return render.strip_matlab_demo(self.base, overlays)
        captions = [self._caption(rank) for rank in range(len(self.top))]
        return render.strip(self.base, overlays, captions, Path(self.picture.path).name)

    def _caption(self, rank: int) -> tuple[str, str]:
        """Give what stands below a class's map: words and score."""
        item = self.top[rank]
        words = item.words or f"class {item.index}"
        if self.protocol.caption == "ordinal":
            words = f"{_ORDINALS.get(rank + 1, f'{rank + 1}th')} class: {words}"
        return words, f"{item.score:.3f}"

    def as_dict(self, *, boxes: bool = False) -> dict[str, Any]:
        """Give what `save` writes as JSON; boxes are in picture pixels, 0-based half-open."""
        found: dict[str, Any] = {
            "picture": self.picture.path,
            "model": self.model,
            "engine": self.engine,
            "protocol": self.protocol.name,
            "view": self.protocol.view,
            "top": [
                {"index": item.index, "wnid": item.wnid, "words": item.words, "score": item.score}
                | ({"box": item.box} if boxes else {})
                for item in self.top
            ],
        }
        if self.protocol.method != "cam":
            found["method"] = self.protocol.method
        if self.picture.exif_orientation != 1:
            found["exif_orientation_not_applied"] = self.picture.exif_orientation
        return found

    def save(self, folder: str | os.PathLike[str], *, boxes: bool = False) -> list[Path]:
        """Write the overlays, the strip and the JSON of this prediction.

        Parameters
        ----------
        folder
            Made if need be.
        boxes
            Draw boxes, and write them to the JSON.

        Returns
        -------
        list of Path
            `<stem>_1.jpg` … best class first, `<stem>_strip.jpg`, `<stem>.json`; each is there whole or not at all.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(self.picture.path).stem or "picture"
        overlays = [self.overlay(rank, box=boxes) for rank in range(len(self.top))]
        files: dict[str, bytes | str] = {}
        for rank, drawn in enumerate(overlays):
            files[f"{stem}_{rank + 1}.jpg"] = render.encode_jpeg(render.caption(drawn, *self._caption(rank)))
        files[f"{stem}_strip.jpg"] = render.encode_jpeg(self._strip_of(overlays))
        files[f"{stem}.json"] = json.dumps(self.as_dict(boxes=boxes), indent=2, ensure_ascii=False) + "\n"
        for name, data in files.items():
            write_whole(folder / name, data)
        return [folder / name for name in files]


_ORDINALS = {1: "1st", 2: "2nd", 3: "3rd"}


@dataclass(frozen=True, eq=False)
class Cam:
    """A model made ready: call it with a picture. Made by `load`.

    Attributes
    ----------
    name
        The model's name, or its prototxt's.
    net, head
        The net, and where in it the maps come from.
    engine
        What runs the net.
    protocol, labels, mean
        What lies between a picture and its maps.
    gradients
        Makes the maps where the protocol's method asks for gradients.
    """

    name: str
    net: Net
    head: CamHead
    engine: Engine
    protocol: Protocol
    labels: Labels
    mean: NDArray[np.float32]
    gradients: GradientMaps | None = None

    def __call__(
        self, picture: Source, top: int | None = None, classes: Sequence[int | str] | None = None
    ) -> Prediction:
        """Predict one picture.

        Parameters
        ----------
        picture
            Path, bytes of a picture file, or (H, W, 3) uint8 BGR pixels.
        top
            How many classes, best first; as many as the protocol says if not given, 5 as a rule.
        classes
            These classes instead: indices, WordNet IDs or words.

        Returns
        -------
        Prediction

        Raises
        ------
        PictureError
            The picture cannot be read.
        UsageError
            No such class.
        """
        ((_, found),) = self.stream([picture], top=top, classes=classes, ahead=0)
        if isinstance(found, PycamError):
            raise found
        return found

    def stream(
        self,
        pictures: Iterable[Source],
        *,
        top: int | None = None,
        classes: Sequence[int | str] | None = None,
        batch: int = 1,
        ahead: int = 4,
    ) -> Iterator[tuple[Source, Prediction | PycamError]]:
        """Predict many pictures, in order, reading ahead while the net runs.

        Parameters
        ----------
        pictures
            As for calling.
        top, classes
            As for calling.
        batch
            How many pictures go through the net together.
        ahead
            How many batches are read ahead.

        Yields
        ------
        (picture, Prediction or PycamError)
            A picture that cannot be read gives its error; the others go on.
        """
        if top is None:
            top = min(self.protocol.top, self.class_count)
        if not 1 <= top <= self.class_count:
            raise UsageError(f"top {top}: the net has {self.class_count} classes")
        if batch < 1:
            raise UsageError(f"batch {batch}: must be 1 or more")
        wanted = None if classes is None else np.array([self.labels.find(name) for name in classes], np.intp)
        with ThreadPoolExecutor(1, "pycam-read") as reader:
            iterator = iter(pictures)
            groups = iter(lambda: list(itertools.islice(iterator, batch)), [])
            for group, prepared in _run_ahead(reader, self.prepare, groups, ahead):
                good = [each for each in prepared if not isinstance(each, PycamError)]
                predictions = iter(self._predict(good, top, wanted))
                for source, each in zip(group, prepared, strict=True):
                    yield source, each if isinstance(each, PycamError) else next(predictions)

    @property
    def class_count(self) -> int:
        """How many classes the net tells apart."""
        return math.prod(self.net.shapes[self.head.score_blob][1:])

    @cached_property
    def placement(self) -> Placement:
        """How maps come to lie on pictures."""
        row = self.protocol
        return Placement(view_of(row.view, self.input_size), row.map_resizer, row.merge, row.placement)

    @property
    def input_size(self) -> int:
        """Side of the net's square input."""
        return self.net.shapes[self.net.inputs[0]][-1]

    def prepare(self, pictures: Sequence[Source]) -> list[Prepared | PycamError]:
        """Read pictures and make the inputs of the net, (crops, 3, size, size); an unreadable one gives its error."""
        prepared: list[Prepared | PycamError] = []
        for source in pictures:
            try:
                picture = source if isinstance(source, Picture) else read_picture(source)
                row = self.protocol
                view, brightest = self.placement.view, float(row.brightest)
                crops = net_input(picture.pixels, view, self.mean, row.resizer, brightest=brightest)
                prepared.append((picture, crops))
            except PycamError as error:
                prepared.append(error)
        return prepared

    def look(self, prepared: Sequence[Prepared]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Run the net on pictures, all together.

        Parameters
        ----------
        prepared
            From `prepare`.

        Yields
        ------
        scores : (classes,) float32
            Averaged over the view's crops.
        features : (crops, K, h, w) float32
            What `maps` takes.

        Raises
        ------
        EngineError
            The net gave scores that are not finite; the picture is named.
        """
        if not prepared:
            return
        crops = len(self.placement.view.crops)
        inputs = prepared[0][1] if len(prepared) == 1 else np.concatenate([batch for _, batch in prepared])
        given = {self.net.inputs[0]: inputs}
        values = {**given, **self.engine.forward(given)}
        for i, (picture, _) in enumerate(prepared):
            own = slice(i * crops, (i + 1) * crops)
            scores = values[self.head.score_blob][own].reshape(crops, -1).mean(axis=0)
            if not np.isfinite(scores).all():
                raise EngineError(
                    f"{self.engine.name} gave scores that are not finite for {picture.path or 'the picture'}: "
                    "are the weights damaged?"
                )
            yield scores, values[self.head.feature_blob][own]

    def _predict(self, prepared: Sequence[Prepared], top: int, wanted: NDArray[np.intp] | None) -> Iterator[Prediction]:
        for (picture, _), (scores, features) in zip(prepared, self.look(prepared), strict=True):
            chosen = best(scores, top) if wanted is None else wanted
            maps = self.maps(features, chosen)
            road = _Road(picture, self.protocol, self.placement)
            items = tuple(
                ClassMap(
                    int(index),
                    self.labels.wnid(int(index)) or "",
                    self.labels.words(int(index)),
                    float(scores[index]),
                    maps[:, t],
                    road,
                )
                for t, index in enumerate(chosen)
            )
            yield Prediction(picture, self.name, self.engine.name, self.protocol, items, scores)

    def maps(self, features: NDArray[np.float32], classes: NDArray[np.intp]) -> NDArray[np.float32]:
        """Give the maps of classes from what `look` gave: (n, K, h, w) and (T,) indices -> (n, T, h, w) float32."""
        if self.gradients is not None:
            return self.gradients(features, classes)
        if self._class_weights is None:
            return features[:, classes]
        return class_activation_maps(features, self._class_weights[classes])

    @cached_property
    def _class_weights(self) -> NDArray[np.float32] | None:
        return None if self.head.class_layer is None else self.net.class_weights(self.head.class_layer)

    def close(self) -> None:
        """Let go of the engine."""
        self.engine.close()

    def __enter__(self) -> Cam:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def best(scores: NDArray[np.float32], top: int) -> NDArray[np.intp]:
    """Give the indices of the `top` largest scores, largest first; of equal scores the larger index, as released."""
    return np.argsort(scores, kind="stable")[::-1][:top]


def _run_ahead(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterator[Any], ahead: int
) -> Iterator[tuple[Any, Any]]:
    """Run `work` on items in another thread, at most `ahead` of them before they are asked for; results in order."""
    waiting: deque[tuple[Any, Future[Any]]] = deque()
    try:
        for item in items:
            if ahead == 0:
                yield item, work(item)
                continue
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > ahead:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def load(
    model: str | None = None,
    *,
    engine: str = engines.DEFAULT_ENGINE,
    protocol: str | Protocol = "default",
    view: str | None = None,
    method: str | None = None,
    layer: str | None = None,
    target: str | None = None,
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    mean: str | os.PathLike[str] | None = None,
    device: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Cam:
    """Make a model ready for pictures.

    Parameters
    ----------
    model
        Name or alias of a bundled model, or the path of a card of one's own. It can be left out with `prototxt` and
        `weights`: then the feature blob and the class-weight layer are found from the graph.
    engine
        `onnxruntime`, `openvino`, `torch`, `opencv` or `caffe`.
    protocol
        Name of a row of the protocol table, or a `pycam.protocols.Protocol`.
    view, method, layer, target
        Choices in place of the protocol's; see `pycam.protocols.Protocol`. Gradients need PyTorch.
    prototxt, weights, labels, mean
        Files in place of the model's.
    device, threads, precision
        For the engine.

    Returns
    -------
    Cam

    Raises
    ------
    ModelError
        No such model, or its files are not there.
    FormatError, NetError
        The files are not what they should be.
    EngineError
        The engine is not there, or cannot be exact on the net.
    """
    row = get_protocol(protocol) if isinstance(protocol, str) else protocol
    row = row.with_choices(view=view, method=method, layer=layer, target=target)
    card = None if model is None else zoo.card(model)
    net = model_net(card, prototxt, weights)
    if row.method == "cam":
        head, gradients = model_head(net, card), None
    else:
        head = _scores_head(net, card)
        gradients = _gradient_maps(net, head.score_blob, row, device, threads)
    made = Cam(
        name=card.name if card else net.name or Path(_path(net)).stem,
        net=net,
        head=head,
        engine=engines.make(
            engine,
            net,
            [blob for blob in (head.feature_blob, head.score_blob) if blob not in net.inputs],
            device=device,
            threads=threads,
            precision=precision,
        ),
        protocol=row,
        labels=_labels(card, labels, math.prod(net.shapes[head.score_blob][1:])),
        mean=model_mean(card, mean, row.mean),
        gradients=gradients,
    )
    _ = made.placement  # a view that the net's input cannot have is refused here, not at the first picture
    return made


def model_net(
    card: zoo.Card | None,
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> Net:
    """Read a model's net with its weights, or those given in their place.

    Raises
    ------
    UsageError
        Neither a card nor both files were given.
    ModelError, FormatError, NetError
        As `pycam.zoo.weights_path` and `pycam.net.read_net`.
    """
    if prototxt is None:
        if card is None:
            raise UsageError("neither a model nor a net: give a model's name, or both a prototxt and its weights")
        prototxt = zoo.prototxt_path(card)
    if weights is None:
        if card is None:
            raise UsageError(f"{prototxt}: no weights for this net: give its caffemodel as well")
        weights = zoo.weights_path(card)
    return read_net(prototxt, weights)


def _path(net: Net) -> str:
    return net.sources.prototxt if net.sources else "the net"


def model_head(net: Net, card: zoo.Card | None) -> CamHead:
    """Take from the card where a net's maps come from, or find it from the graph.

    Raises
    ------
    NetError
        The net takes no square pictures of three channels, has no class activation maps, or is not the card's.
    """
    path = _path(net)
    _check_input(net)
    if card is not None and not card.cam:
        raise NetError(
            f"{card.name} classifies, but has no class activation maps: no global average pooling before its scores"
        )
    if card is not None and card.feature_blob is not None:
        scores = card.score_blob or net.outputs[-1]
        for blob in (card.feature_blob, scores):
            if blob not in net.shapes:
                raise NetError(f"{path}: no blob {blob!r}, which {card.path} names: is this the card's net?")
        return CamHead(card.feature_blob, card.class_layer, scores)
    if net.cam_head is None:
        raise NetError(
            f"{path}: no global average pooling before the scores, so the net has no class activation maps as it stands"
        )
    return net.cam_head


def _scores_head(net: Net, card: zoo.Card | None) -> CamHead:
    """Give the input as what maps are made from, for gradients lead back to it, and the blob of the scores."""
    _check_input(net)
    scores = (card.score_blob if card else None) or net.outputs[-1]
    if scores not in net.shapes:
        raise NetError(f"{_path(net)}: no blob {scores!r}, which the model's card names: is this the card's net?")
    return CamHead(net.inputs[0], None, scores)


def _gradient_maps(net: Net, scores: str, row: Protocol, device: str | None, threads: int | None) -> GradientMaps:
    try:
        from pycam.gradients import GradientMaps
    except ImportError as error:
        raise EngineError(f"method {row.method!r} needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    return GradientMaps(net, scores, row.method, row.target, row.layer, device=device, threads=threads)


def _check_input(net: Net) -> None:
    path = _path(net)
    if len(net.inputs) != 1:
        raise NetError(
            f"{path}: {len(net.inputs)} inputs ({', '.join(net.inputs) or 'none'}): one for pictures is needed"
        )
    shape = net.shapes[net.inputs[0]]
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise NetError(f"{path}: its input is {dims(shape)}: pictures need 3 channels and a square, N×3×S×S")


def _labels(card: zoo.Card | None, path: str | os.PathLike[str] | None, classes: int) -> Labels:
    names = read_labels(Path(path)) if path is not None else zoo.labels(card) if card else None
    if names is None:
        names = Labels(tuple(f"class {index}" for index in range(classes)))
    if len(names) != classes:
        raise FormatError(
            f"{names.path}: {len(names)} labels, but the net has {classes} classes: give its own with --labels"
        )
    return names


FIXED_MEANS = {
    "vgg_pixel": (103.939, 116.779, 123.68),
    "whole_pixel": (104.0, 117.0, 123.0),
    "none": (0.0, 0.0, 0.0),
}
"""Mean pixels that protocols have of their own, BGR."""


def model_mean(
    card: zoo.Card | None, given: str | os.PathLike[str] | None = None, kind: str = "pixel"
) -> NDArray[np.float32]:
    """Give the mean pixel, (3,), or mean picture, (3, H, W), BGR: the user's, the protocol's, the card's, or BVLC's."""
    if given is not None:
        numbers = str(given).split(",")
        if len(numbers) == 3:
            try:
                return np.array([float(number) for number in numbers], np.float32)
            except ValueError:
                raise UsageError(f"mean {given}: expected a file, or three numbers as in 104,117,123 (BGR)") from None
        picture = read_mean(given)
    elif kind in FIXED_MEANS:
        return np.array(FIXED_MEANS[kind], np.float32)
    else:
        mean = (card.mean if card else None) or zoo.bvlc_mean()
        if kind == "pixel" and mean.pixel is not None:
            return np.array(mean.pixel, np.float32)
        picture = read_mean(zoo.mean_path(mean))
    return picture if kind == "picture" else picture.mean(axis=(1, 2))
