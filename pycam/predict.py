"""The pipeline in one call: an image becomes a `Prediction` with classes, scores, maps, boxes and overlays.

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
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.engines.base import Engine
from pycam.errors import EngineError, PycamError, UsageError
from pycam.images.read import Image, read_image
from pycam.images.views import net_input, view_of
from pycam.maps.cam import class_activation_maps
from pycam.maps.placement import Placement
from pycam.model import Model, load_model
from pycam.net import CamHead
from pycam.prediction import Prediction
from pycam.prefetch import prefetch
from pycam.protocols import Protocol
from pycam.protocols import protocol as get_protocol

if TYPE_CHECKING:
    from pycam.maps.gradients import GradientMaps

Source = Image | str | os.PathLike[str] | bytes | NDArray[np.uint8]
Prepared = tuple[Image, NDArray[np.float32]]
"""An image, and what the net is given of it: (crops, 3, size, size)."""
Choose = Callable[[NDArray[np.float32]], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Cam:
    """A model made ready: call it with an image. Made by `load` or `make_cam`.

    Attributes
    ----------
    model : Model
        The net, its labels and its preprocessing.
    head : CamHead
        The blobs that maps and scores are made from.
    engine : Engine
        What runs the net.
    protocol : Protocol
        What lies between an image and its maps.
    mean : (3,) or (3, H, W) float32
        What is subtracted, BGR.
    gradients : GradientMaps, optional
        Makes the maps where the protocol's method asks for gradients.
    """

    model: Model
    head: CamHead
    engine: Engine
    protocol: Protocol
    mean: NDArray[np.float32]
    gradients: GradientMaps | None = None

    def __call__(self, image: Source, top: int | None = None, classes: Sequence[int | str] | None = None) -> Prediction:
        """Predict one image.

        Parameters
        ----------
        image
            Path, bytes of an image file, or (H, W, 3) uint8 BGR pixels.
        top
            How many classes, best first; as many as the protocol says if not given, 5 as a rule.
        classes
            These classes instead: indices, WordNet IDs or words; not together with `top`.

        Returns
        -------
        Prediction

        Raises
        ------
        ImageError
            The image cannot be read.
        UsageError
            No such class; or both a number and classes.
        """
        ((_, found),) = self.stream([image], top=top, classes=classes, ahead=0)
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
        """Predict many images, in order, reading ahead while the net runs.

        Parameters
        ----------
        images
            As for calling.
        top, classes
            As for calling.
        batch
            How many images go through the net together.
        ahead
            How many batches are read ahead.

        Yields
        ------
        (image, Prediction or PycamError)
            An image that cannot be read gives its error; the others go on.
        """
        if top is not None and classes is not None:
            raise UsageError(f"top {top} has no effect where classes are named: leave one of the two out")
        if top is None:
            top = min(self.protocol.top, self.model.class_count)
        if not 1 <= top <= self.model.class_count:
            raise UsageError(f"top {top}: the net has {self.model.class_count} classes")
        if batch < 1:
            raise UsageError(f"batch {batch}: must be 1 or more")
        wanted = None if classes is None else np.array([self.model.labels.find(name) for name in classes], np.intp)

        def choose(scores: NDArray[np.float32]) -> NDArray[np.intp]:
            return best(scores, top) if wanted is None else wanted

        def read(group: list[Source]) -> tuple[list[Source], list[Prepared | PycamError]]:
            return group, self.prepare(group)

        def predict(
            group: tuple[list[Source], list[Prepared | PycamError]],
        ) -> list[tuple[Source, Prediction | PycamError]]:
            sources, prepared = group
            return list(zip(sources, self.predict(prepared, [choose] * len(prepared)), strict=True))

        iterator = iter(images)
        groups = iter(lambda: list(itertools.islice(iterator, batch)), [])
        streams = self.engine.options.streams
        with ThreadPoolExecutor(1, "pycam-read") as reader, ThreadPoolExecutor(streams, "pycam-forward") as runner:
            prepared = (
                prefetch(lambda group: reader.submit(read, group), groups, ahead + 1) if ahead else map(read, groups)
            )
            # A single stream is this thread itself.
            beside = min(ahead, streams) if streams > 1 else 0
            found = (
                prefetch(lambda group: runner.submit(predict, group), prepared, beside + 1)
                if beside
                else map(predict, prepared)
            )
            yield from itertools.chain.from_iterable(found)

    @cached_property
    def placement(self) -> Placement:
        """How maps come to lie on images."""
        row = self.protocol
        return Placement(view_of(row.view, self.model.input_size), row.map_resizer, row.merge, row.placement)

    def prepare(self, images: Sequence[Source]) -> list[Prepared | PycamError]:
        """Read images and make the inputs of the net, (crops, 3, size, size); an unreadable one gives its error."""
        prepared: list[Prepared | PycamError] = []
        for source in images:
            try:
                image = source if isinstance(source, Image) else read_image(source)
                row = self.protocol
                view = self.placement.view
                crops = net_input(image.pixels, view, self.mean, row.resizer, input_scale=row.input_scale)
                prepared.append((image, crops))
            except PycamError as error:
                prepared.append(error)
        return prepared

    def predict(
        self, prepared: Sequence[Prepared | PycamError], choices: Sequence[Choose]
    ) -> list[Prediction | PycamError]:
        """Run the net on images, all together.

        Parameters
        ----------
        prepared
            From `prepare`; errors are handed through.
        choices
            For each image, what chooses the classes: (C,) scores -> (T,) indices.

        Raises
        ------
        EngineError
            The net gave scores that are not finite; the image is named.
        """
        inputs = [each[1] for each in prepared if not isinstance(each, PycamError)]
        outputs = self._run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs)) if inputs else iter(())
        return [
            each if isinstance(each, PycamError) else self._prediction(each[0], *next(outputs), choose)
            for each, choose in zip(prepared, choices, strict=True)
        ]

    def _run(self, inputs: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Give scores, (C,), and features, (n, K, h, w), of each image from its crops, (N, 3, S, S)."""
        crops = len(self.placement.view.crops)
        given = {self.model.image_input: inputs}
        values = {**given, **self.engine.forward(given)}
        for start in range(0, len(inputs), crops):
            own = slice(start, start + crops)
            scores = values[self.head.score_blob][own].reshape(crops, -1).mean(axis=0)
            yield scores, values[self.head.feature_blob][own]

    def _prediction(
        self, image: Image, scores: NDArray[np.float32], features: NDArray[np.float32], choose: Choose
    ) -> Prediction:
        if not np.isfinite(scores).all():
            raise EngineError(
                f"{self.engine.name} gave scores that are not finite for {image.path or 'the image'}: "
                "are the weights damaged?"
            )
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
        """Give the maps of classes: (n, K, h, w) and (T,) indices -> (n, T, h, w) float32."""
        if not len(classes):
            return features[:, :0]
        if self.gradients is not None:
            return self.gradients(features, classes)
        if self._class_weights is None:
            return features[:, classes]
        return class_activation_maps(features, self._class_weights[classes])

    @cached_property
    def _class_weights(self) -> NDArray[np.float32] | None:
        return None if self.head.class_layer is None else self.model.net.class_weights(self.head.class_layer)

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
    model: str | os.PathLike[str] | None = None,
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
    options: Options = Options(),
    allow_nonfinite: bool = False,
) -> Cam:
    """Make a model ready for images.

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
    options
        Of the engine. With a stream a core, `stream` gives the most images a second.
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
    loaded = load_model(
        model,
        prototxt=prototxt,
        weights=weights,
        labels=labels,
        mean=mean,
        allow_nonfinite=allow_nonfinite,
        needs_maps=row.method == "cam",
    )
    return make_cam(loaded, engine=engine, protocol=row, options=options)


def make_cam(
    model: Model, *, engine: str = engines.DEFAULT_ENGINE, protocol: Protocol, options: Options = Options()
) -> Cam:
    """Make a loaded model ready for images; parameters and errors as those of `load`."""
    if protocol.method == "cam":
        head, gradients = model.head, None
    else:
        # Gradients lead back to the input, which is what their maps are made from.
        head = CamHead(model.image_input, None, model.score_blob)
        gradients = _gradient_maps(model, protocol, options)
        options = replace(options, streams=1)  # PyTorch's settings are those of the whole process
    model.check_labels()
    outputs = [blob for blob in (head.feature_blob, head.score_blob) if blob not in model.net.inputs]
    mean = model.preprocessing.mean_values(protocol.mean)
    made = Cam(model, head, engines.make(engine, model.net, outputs, options), protocol, mean, gradients)
    _ = made.placement  # a view that the net's input cannot have is refused here, not at the first image
    return made


def _gradient_maps(model: Model, row: Protocol, options: Options) -> GradientMaps:
    try:
        from pycam.maps.gradients import GradientMaps
    except ImportError as error:
        raise EngineError(f"method {row.method!r} needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    return GradientMaps(model.net, model.score_blob, row.method, row.target, row.layer, options)
