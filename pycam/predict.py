"""The pipeline in one call: predict the classes, scores, maps and boxes of an image.

cam = pycam.load("googlenet-cam")
prediction = cam("fox.jpg")
prediction.top[0].label, prediction.top[0].score, prediction.top[0].box
prediction.save("out")
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.engines.base import Engine, not_finite
from pycam.errors import EngineError, ImageError, PycamError, UsageError
from pycam.images.read import Image, Source as ReadSource, bgr_of_rgb, read_image
from pycam.images.views import net_input, view_of
from pycam.maps.cam import class_activation_maps
from pycam.maps.placement import Placement
from pycam.model import Model, load_model
from pycam.net import CamHead, HeadWeights, head_weights
from pycam.prediction import Prediction
from pycam.prefetch import prefetch
from pycam.protocols import Protocol, protocol as get_protocol

if TYPE_CHECKING:
    from pycam.maps.gradients import GradientMaps

_T = TypeVar("_T")

Source = Image | ReadSource
Prepared = tuple[Image, NDArray[np.float32]]
"""An image, and the input that the net gets: (crops, C, height, width)."""
Batch = tuple[list[Source], list[Prepared | PycamError]]
"""Images, and each of them prepared, or its error."""
Choose = Callable[[NDArray[np.float32]], NDArray[np.intp]]
"""A function that selects classes: (C,) scores -> (T,) indices."""


@dataclass(frozen=True, eq=False)
class Cam:
    """A model that is ready for images: call it with one. Made by `load` or `make_cam`.

    Attributes
    ----------
    model : Model
        The net, its labels and its preprocessing.
    head : CamHead or None
        The blobs and the layers that the maps are computed from; None if they are computed from gradients.
    engine : Engine
        The engine that runs the net.
    protocol : Protocol
        The choices for the steps from an image to its maps and boxes. In the place of the view `model`, it gets the
        model's own.
    mean : (C,) or (C, H, W) float32
        The mean that is subtracted; for three channels BGR.
    gradients : GradientMaps, optional
        Computes the maps if the method of the protocol uses gradients.
    scale : (C,) or (1,) float32
        The factors for pixels minus the mean.
    """

    model: Model
    head: CamHead | None
    engine: Engine
    protocol: Protocol
    mean: NDArray[np.float32]
    gradients: GradientMaps | None = None
    scale: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocol", self.protocol.for_view(self.model.view))

    def __repr__(self) -> str:
        return f"<Cam of {self.model.name[:60]!r}, {self.engine!r}, {self.protocol!r}>"

    def __call__(
        self,
        image: Source,
        top: int | None = None,
        classes: Sequence[int | str] | None = None,
        *,
        rgb: bool = False,
    ) -> Prediction:
        """Predict one image.

        Parameters
        ----------
        image : path, bytes, array, PIL.Image.Image or Image
            A path, the bytes of an image file, (H, W, 3) uint8 BGR pixels, or Pillow's image;
            `pycam.images.read.read_image` says what nets of another number of channels take.
        top : int, optional
            The number of classes, best first. The default is that of the protocol, usually 5.
        classes : sequence of int or str, optional
            The classes, instead of the best ones: indices, WordNet IDs or labels. Not together with `top`.
        rgb : bool
            Whether the pixels of an array are RGB.

        Returns
        -------
        Prediction

        Raises
        ------
        ImageError
            The image cannot be read.
        UsageError
            A class is unknown, both `top` and `classes` are given, or `rgb` is given for what is no array.
        """
        source = bgr_of_rgb(image) if rgb else image
        ((_, found),) = self.stream([source], top=top, classes=classes, ahead=0)
        if isinstance(found, PycamError):
            raise found
        return found

    def stream(
        self,
        images: Iterable[Source],
        *,
        top: int | None = None,
        classes: Sequence[int | str] | None = None,
        batch: int = 1,
        ahead: int = 4,
    ) -> Iterator[tuple[Source, Prediction | PycamError]]:
        """Predict many images in order; read images ahead while the net runs.

        Parameters
        ----------
        images : iterable
            Images as for a call.
        top, classes
            The same as for a call.
        batch : int
            The number of images that the net runs on together.
        ahead : int
            The number of batches that are read ahead.

        Yields
        ------
        (image, Prediction or PycamError)
            An error for an image that cannot be read, or whose scores are not finite; it does not stop the other
            images. An exception of the engine, or of the iterable, is raised after the images before it.
        """
        choose = self.chooser(top, classes)

        def predict(prepared: list[Prepared | PycamError]) -> list[Prediction | PycamError]:
            return self.predict(prepared, [choose] * len(prepared))

        yield from self.on_batches(images, predict, batch=batch, ahead=ahead)

    def chooser(self, top: int | None = None, classes: Sequence[int | str] | None = None) -> Choose:
        """Return the function that selects the classes of an image; parameters and errors are those of a call."""
        if top is not None and classes is not None:
            raise UsageError(f"top {top} has no effect with classes: leave out one of the two")
        if classes is not None:
            wanted = np.array([self.model.labels.find(name) for name in classes], np.intp)
            return lambda _: wanted
        count = min(self.protocol.top, self.model.class_count) if top is None else top
        if not 1 <= count <= self.model.class_count:
            raise UsageError(f"top is {count}; expected 1 to {self.model.class_count}, the number of classes")
        return lambda scores: best(scores, count)

    def on_batches(
        self,
        images: Iterable[Source],
        work: Callable[[list[Prepared | PycamError]], list[_T]],
        *,
        batch: int = 1,
        ahead: int = 4,
    ) -> Iterator[tuple[Source, _T]]:
        """Prepare many images, and call a function with each batch, in order; read images ahead while it works.

        Parameters
        ----------
        images, batch, ahead
            The same as for `stream`.
        work : callable
            Takes the results of `prepare` for a batch and returns one value per image. As many threads call it at the
            same time as the engine has streams.

        Yields
        ------
        (image, value)
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; expected 1 or more")

        def read(sources: list[Source]) -> Batch:
            return sources, self.prepare(sources)

        def run(batch: Batch) -> list[tuple[Source, _T]]:
            sources, prepared = batch
            return list(zip(sources, work(prepared), strict=True))

        streams = self.engine.options.streams
        with ThreadPoolExecutor(1, "pycam-read") as reader, ThreadPoolExecutor(streams, "pycam-forward") as runner:
            prepared = prefetch(lambda sources: reader.submit(read, sources), _batches(images, batch), ahead + 1)
            # A single stream runs in the calling thread.
            found = (
                prefetch(lambda each: runner.submit(run, each), prepared, min(ahead, streams) + 1)
                if streams > 1
                else map(run, prepared)
            )
            yield from itertools.chain.from_iterable(found)

    @cached_property
    def placement(self) -> Placement:
        """The placement of maps on images."""
        row = self.protocol
        return Placement(view_of(row.view, self.model.input_size), row.map_resizer, row.merge, row.placement)

    def prepare(self, images: Sequence[Source]) -> list[Prepared | PycamError]:
        """Read images and compute net inputs, (crops, C, height, width); return the error of an unreadable image."""
        view, channels = self.placement.view, self.model.channels
        prepared: list[Prepared | PycamError] = []
        for source in images:
            try:
                image = source if isinstance(source, Image) else read_image(source, channels=channels)
                if self.protocol.exif == "apply":
                    image = image.upright()
                if image.channels != channels:
                    raise ImageError(
                        f"{image.path or 'the image'}: read with {image.channels} channels, but the net takes "
                        f"{channels}: read it with channels={channels}"
                    )
                crops = net_input(image.values, view, self.mean, self.protocol.resizer, self.scale)
                prepared.append((image, crops))
            except PycamError as error:
                prepared.append(error)
        return prepared

    def predict(
        self, prepared: Sequence[Prepared | PycamError], choices: Sequence[Choose]
    ) -> list[Prediction | PycamError]:
        """Run the net on images, all of them together.

        Parameters
        ----------
        prepared : sequence of (Image, array) or PycamError
            Results of `prepare`; errors are returned as they are.
        choices : sequence of callables
            For each image, the function that selects the classes: (C,) scores -> (T,) indices.

        Returns
        -------
        list of Prediction or PycamError
            An EngineError for an image whose scores are not finite; the message has its path.
        """
        inputs = [each[1] for each in prepared if not isinstance(each, PycamError)]
        outputs = self._run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs)) if inputs else iter(())
        return [
            each if isinstance(each, PycamError) else self._prediction(each[0], *next(outputs), choose)
            for each, choose in zip(prepared, choices, strict=True)
        ]

    def _run(self, inputs: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield the scores, (C,), and the features, (n, K, h, w), of each image; inputs are all crops, (N, 3, S, S)."""
        crops = len(self.placement.view.crops)
        values = self.engine.forward({self.model.image_input: inputs})
        # Gradient maps are computed from the input, not from features.
        features = inputs if self.head is None else values[self.head.feature_blob]
        scores = values[self.model.score_blob].reshape(len(inputs), self.model.class_count, -1).mean(axis=2)
        for start in range(0, len(inputs), crops):
            own = slice(start, start + crops)
            yield scores[own].mean(axis=0), features[own]

    def _prediction(
        self, image: Image, scores: NDArray[np.float32], features: NDArray[np.float32], choose: Choose
    ) -> Prediction | PycamError:
        if not np.isfinite(scores).all():
            return not_finite(self.engine.name, "scores", image.path)
        classes = choose(scores)
        return Prediction(
            classes,
            scores,
            self._maps(features, classes),
            image.size,
            self.placement,
            self.protocol,
            self.model.name,
            self.engine.name,
            self.model.labels,
            image,
        )

    def _maps(self, features: NDArray[np.float32], classes: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the maps of classes: (n, K, h, w) and (T,) indices -> (n, T, h, w) float32."""
        if not len(classes):
            return features[:, :0]
        if self.gradients is not None:
            return self.gradients(features, classes)
        weights = self.head_weights
        chosen = (
            features[:, classes] if weights.matrix is None else class_activation_maps(features, weights.matrix[classes])
        )
        return chosen if weights.coverage is None else chosen * weights.coverage

    @cached_property
    def head_weights(self) -> HeadWeights:
        """The class weights of the head."""
        assert self.head is not None
        return head_weights(self.model.net, self.head)

    def close(self) -> None:
        """Close the engine. The model cannot be used afterwards."""
        self.engine.close()

    def __enter__(self) -> Cam:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batches(images: Iterable[Source], size: int) -> Iterator[list[Source]]:
    """Yield lists of so many images; those that were taken before the iterable raises are yielded first."""
    taken: list[Source] = []
    try:
        for image in images:
            taken.append(image)
            if len(taken) == size:
                yield taken
                taken = []
    except Exception:
        if taken:
            yield taken
        raise
    if taken:
        yield taken


def best(scores: NDArray[np.float32], top: int) -> NDArray[np.intp]:
    """Return the indices of the `top` largest scores, largest first; equal scores in falling order of their indices."""
    return np.argsort(scores, kind="stable")[::-1][:top]


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    engine: str = engines.DEFAULT_ENGINE,
    protocol: str | Protocol = "default",
    view: str | None = None,
    exif: str | None = None,
    method: str | None = None,
    layer: str | None = None,
    target: str | None = None,
    box_rule: str | None = None,
    threshold: float | None = None,
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    mean: str | os.PathLike[str] | None = None,
    std: str | None = None,
    input_scale: str | None = None,
    head: str | None = None,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
    options: Options = Options(),
    allow_nonfinite: bool = False,
) -> Cam:
    """Load a model and prepare it for images.

    Parameters
    ----------
    model : str or path, optional
        Name or alias of a bundled model, or the path of a card. Not needed with both `prototxt` and `weights`: then
        the feature blob and the class-weight layer are found in the graph.
    engine : str
        `onnxruntime`, `openvino`, `ncnn`, `torch`, `opencv` or `caffe`.
    protocol : str or Protocol
        The name of a row of the protocol table, or a `pycam.protocols.Protocol`.
    view, exif, method, layer, target, box_rule : str, optional
        Choices that replace those of the protocol; see `pycam.protocols.Protocol`. Without a view, the protocol
        `default` takes the one of the model's card. Gradients need PyTorch.
    threshold : float, optional
        The threshold of the box rule, in place of the rule's default.
    prototxt, weights, labels, mean : path, optional
        Files that replace those of the model. The mean may be numbers, one per channel: "104,117,123".
    std : str, optional
        What pixels minus the mean are divided by, in place of the model's: numbers, one per channel.
    input_scale : str, optional
        The factor for pixels minus the mean, in place of the protocol's or the model's: "0.017" or "1/255".
    head : str, optional
        The head of a net that has several: the blob of its scores, or its class-weight layer.
    phase, stages, level
        The state that selects the layers of the net, as for `pycam.read_net`.
    options : Options
        Options of the engine. With as many streams as `best_streams` says, `Cam.stream` predicts the most images per
        second.
    allow_nonfinite : bool
        Whether to accept weights that are infinite or NaN.

    Returns
    -------
    Cam

    Raises
    ------
    ModelError
        The model is unknown, or its files are not available.
    FormatError, NetError
        A file is damaged, or the files do not belong together.
    EngineError
        The engine is not available, or it cannot run the net exactly.
    """
    row = get_protocol(protocol) if isinstance(protocol, str) else protocol
    row = row.with_choices(
        view=view,
        exif=exif,
        method=method,
        layer=layer,
        target=target,
        input_scale=input_scale,
        box_rule=box_rule,
        threshold=threshold,
    )
    loaded = load_model(
        model,
        prototxt=prototxt,
        weights=weights,
        labels=labels,
        mean=mean,
        std=std,
        head=head,
        phase=phase,
        stages=stages,
        level=level,
        allow_nonfinite=allow_nonfinite,
        needs_maps=row.method == "cam",
    )
    return make_cam(loaded, engine=engine, protocol=row, options=options)


def best_streams(engine: str, protocol: Protocol, options: Options = Options()) -> int:
    """Return the number of streams with which `Cam.stream` predicts the most images per second on this machine."""
    # Gradients take turns: PyTorch's settings apply to the whole process.
    return engines.best_streams(engine, options) if protocol.method == "cam" else 1


def make_cam(
    model: Model, *, engine: str = engines.DEFAULT_ENGINE, protocol: Protocol, options: Options = Options()
) -> Cam:
    """Prepare a loaded model for images; parameters and errors are those of `load`."""
    head, gradients = None, None
    if protocol.method == "cam":
        head = model.head
    else:
        try:
            from pycam.maps.gradients import GradientMaps
        except ImportError as error:
            raise EngineError(
                f"method {protocol.method!r} needs PyTorch: pip install 'caffe-cam[torch]' ({error})"
            ) from None
        choices = protocol.method, protocol.target, protocol.layer
        gradients = GradientMaps(model.net, model.score_blob, *choices, options)
        if options.streams > 1:
            raise UsageError(
                f"{options.streams} streams: method {protocol.method!r} computes one image after another: use one"
            )
    model.check_labels()
    outputs = [model.score_blob] if head is None else [head.feature_blob, head.score_blob]
    mean = model.preprocessing.mean_values(protocol.mean)
    scale = model.preprocessing.scale(protocol.input_scale)
    return Cam(model, head, engines.make(engine, model.net, outputs, options), protocol, mean, gradients, scale)
