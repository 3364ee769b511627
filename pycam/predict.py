"""The road in one call: a picture becomes a `Prediction` with classes, scores, maps, boxes and overlays.

cam = pycam.load("googlenet-cam")
prediction = cam("fox.jpg")
prediction.top[0].words, prediction.top[0].score, prediction.top[0].box
prediction.save("out")
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycam import engines, zoo
from pycam.cam import class_activation_maps
from pycam.engines.base import Engine
from pycam.errors import EngineError, PycamError, UsageError
from pycam.labels import Labels
from pycam.model import expect_maps, model_head, model_labels, model_mean, model_name, model_net, scores_head
from pycam.net import CamHead, Net
from pycam.pictures import Picture, read_picture
from pycam.placement import Placement
from pycam.prediction import ClassMap, Origin, Prediction
from pycam.prefetch import prefetch
from pycam.protocols import Protocol
from pycam.protocols import protocol as get_protocol
from pycam.views import net_input, view_of

if TYPE_CHECKING:
    from pycam.gradients import GradientMaps

Source = Picture | str | os.PathLike[str] | bytes | NDArray[np.uint8]
Prepared = tuple[Picture, NDArray[np.float32]]


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
        if top is not None and classes is not None:
            raise UsageError(f"top {top} has no effect where classes are named: leave one of the two out")
        if top is None:
            top = min(self.protocol.top, self.class_count)
        if not 1 <= top <= self.class_count:
            raise UsageError(f"top {top}: the net has {self.class_count} classes")
        if batch < 1:
            raise UsageError(f"batch {batch}: must be 1 or more")
        wanted = None if classes is None else np.array([self.labels.find(name) for name in classes], np.intp)

        def read(group: list[Source]) -> tuple[list[Source], list[Prepared | PycamError]]:
            return group, self.prepare(group)

        def predict(
            group: tuple[list[Source], list[Prepared | PycamError]],
        ) -> list[tuple[Source, Prediction | PycamError]]:
            sources, prepared = group
            found = self._predict([each for each in prepared if not isinstance(each, PycamError)], top, wanted)
            results = [each if isinstance(each, PycamError) else next(found) for each in prepared]
            return list(zip(sources, results, strict=True))

        iterator = iter(pictures)
        groups = iter(lambda: list(itertools.islice(iterator, batch)), [])
        lanes = self.engine.options.lanes
        with ThreadPoolExecutor(1, "pycam-read") as reader, ThreadPoolExecutor(lanes, "pycam-look") as looker:
            prepared = (
                prefetch(lambda group: reader.submit(read, group), groups, ahead + 1) if ahead else map(read, groups)
            )
            # A single lane is this thread itself.
            beside = min(ahead, lanes) if lanes > 1 else 0
            found = (
                prefetch(lambda group: looker.submit(predict, group), prepared, beside + 1)
                if beside
                else map(predict, prepared)
            )
            yield from itertools.chain.from_iterable(found)

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
            road = Origin(picture, self.protocol, self.placement)
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
    lanes: int = 1,
    precision: str | None = None,
    allow_nonfinite: bool = False,
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
    device, threads, lanes, precision
        For the engine; see `pycam.engines.base.Options`. With a lane a core, `stream` gives the most pictures a second.
    allow_nonfinite
        Take weights that are infinite or not a number.

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
    if row.method == "cam":
        expect_maps(card)
    net = model_net(card, prototxt, weights, allow_nonfinite)
    if row.method == "cam":
        head, gradients = model_head(net, card), None
    else:
        head = scores_head(net, card)
        gradients = _gradient_maps(net, head.score_blob, row, device, threads)
    made = Cam(
        name=model_name(net, card),
        net=net,
        head=head,
        engine=engines.make(
            engine,
            net,
            [blob for blob in (head.feature_blob, head.score_blob) if blob not in net.inputs],
            device=device,
            threads=threads,
            lanes=1 if gradients else lanes,  # PyTorch's settings are those of the whole process
            precision=precision,
        ),
        protocol=row,
        labels=model_labels(card, labels, math.prod(net.shapes[head.score_blob][1:])),
        mean=model_mean(card, mean, row.mean),
        gradients=gradients,
    )
    _ = made.placement  # a view that the net's input cannot have is refused here, not at the first picture
    return made


def _gradient_maps(net: Net, scores: str, row: Protocol, device: str | None, threads: int | None) -> GradientMaps:
    try:
        from pycam.gradients import GradientMaps
    except ImportError as error:
        raise EngineError(f"method {row.method!r} needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    return GradientMaps(net, scores, row.method, row.target, row.layer, device=device, threads=threads)
