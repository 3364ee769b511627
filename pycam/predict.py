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
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.engines.base import Engine, not_finite
from pycam.errors import ImageError, PycamError, UsageError
from pycam.images.read import Image, Source as ReadSource, bgr_of_rgb, read_image
from pycam.images.views import net_input, view_of
from pycam.maps.methods import Floats, MapMethod, Perturb, Request, method_class
from pycam.maps.placement import Placement
from pycam.maps.target import class_scores
from pycam.model import Model, load_model
from pycam.net import CamHead
from pycam.prediction import Prediction
from pycam.prefetch import prefetch
from pycam.protocols import Protocol, protocol as get_protocol

_T = TypeVar("_T")

Source = Image | ReadSource
Prepared = tuple[Image, NDArray[np.float32]]
"""An image, and the input that the net gets: (crops, C, height, width)."""
Batch = tuple[list[Source], list[Prepared | PycamError]]
"""Images, and each of them prepared, or its error."""
Choose = Callable[[NDArray[np.float32]], NDArray[np.intp]]
"""A function that selects classes: (C,) scores -> (T,) indices."""
Progress = Callable[[float], object]
"""Takes the share of an image that was computed since the last call: the shares of an image sum to 1."""


def unseen(share: float) -> None:
    """Show no progress."""


@dataclass(frozen=True, eq=False)
class Cam:
    """A model that is ready for images: call it with one. Made by `load` or `make_cam`.

    Attributes
    ----------
    model : Model
        The net, its labels and its preprocessing.
    method : MapMethod or None
        Computes the maps; None if only inputs are prepared.
    engine : Engine
        The engine that runs the net.
    protocol : Protocol
        The choices for the steps from an image to its maps and boxes. In the place of the view `model`, it gets the
        model's own.
    mean : (C,) or (C, H, W) float32
        The mean that is subtracted; for three channels BGR.
    scale : (C,) or (1,) float32
        The factors for pixels minus the mean.
    pass_engine : Engine, optional
        Runs the further passes of the method; it may be `engine`.
    """

    model: Model
    method: MapMethod | None
    engine: Engine
    protocol: Protocol
    mean: NDArray[np.float32]
    scale: NDArray[np.float32] = field(default_factory=lambda: np.ones(1, np.float32))
    pass_engine: Engine | None = None

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
        progress: Progress = unseen,
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
        progress : callable
            See `Progress`; several threads may call it.

        Yields
        ------
        (image, Prediction or PycamError)
            An error for an image that cannot be read, or whose scores are not finite; it does not stop the other
            images. An exception of the engine, or of the iterable, is raised after the images before it.
        """
        choose = self.chooser(top, classes)

        def predict(prepared: list[Prepared | PycamError]) -> list[Prediction | PycamError]:
            return self.predict(prepared, [choose] * len(prepared), progress)

        yield from self.on_batches(images, predict, batch=batch, ahead=ahead)

    def chooser(self, top: int | None = None, classes: Sequence[int | str] | None = None) -> Choose:
        """Return the function that selects the classes of an image; parameters and errors are those of a call."""
        if top is not None and classes is not None:
            raise UsageError(f"top {top} has no effect with classes: leave out one of the two")
        if isinstance(classes, str):
            raise UsageError(f"classes is {classes!r}; expected a list, as in [{classes!r}]")
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
        at_once: int | None = None,
    ) -> Iterator[tuple[Source, _T]]:
        """Prepare many images, and call a function with each batch, in order; read images ahead while it works.

        Parameters
        ----------
        images, batch, ahead
            The same as for `stream`.
        work : callable
            Takes the results of `prepare` for a batch and returns one value per image. Several threads call it.
        at_once : int, optional
            The number of these threads, in place of `batches_at_once`.

        Yields
        ------
        (image, value)

        Raises
        ------
        UsageError
            `batch` is below 1, `ahead` below 0, or a single image is given.
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; expected 1 or more")
        if ahead < 0:
            raise UsageError(f"ahead is {ahead}; expected 0 or more")
        if isinstance(images, str | bytes | os.PathLike):
            raise UsageError("one image is given where many are expected: give a list, or call the Cam with the image")

        def read(sources: list[Source]) -> Batch:
            return sources, self.prepare(sources)

        def run(batch: Batch) -> list[tuple[Source, _T]]:
            sources, prepared = batch
            return list(zip(sources, work(prepared), strict=True))

        streams = at_once or self.batches_at_once
        with ThreadPoolExecutor(1, "pycam-read") as reader, ThreadPoolExecutor(streams, "pycam-forward") as runner:
            prepared = prefetch(lambda sources: reader.submit(read, sources), _batches(images, batch), ahead + 1)
            # A single stream runs in the calling thread.
            found = (
                prefetch(lambda each: runner.submit(run, each), prepared, min(ahead, streams) + 1)
                if streams > 1
                else map(run, prepared)
            )
            yield from itertools.chain.from_iterable(found)

    @property
    def head(self) -> CamHead | None:
        """The blobs and the layers of the class weights, or None if the maps are computed without them."""
        return self.method.head if self.method else None

    @property
    def batches_at_once(self) -> int:
        """The number of batches that use the streams of the engine: one if the passes of one image use all of them."""
        return 1 if self.pass_engine else self.engine.options.streams

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

    def preprocess(self, image: Source) -> NDArray[np.float32]:
        """Return the input of the net for one image, for programs that run the net themselves.

        Parameters
        ----------
        image : path, bytes, array or Image
            The same as for a call.

        Returns
        -------
        (n, C, H, W) float32
            One crop, or ten with the view `ten`: resized, less the mean, scaled; for three channels BGR.

        Raises
        ------
        ImageError
            The image cannot be read.
        """
        (found,) = self.prepare([image])
        if isinstance(found, PycamError):
            raise found
        return found[1]

    def predict(
        self,
        prepared: Sequence[Prepared | PycamError],
        choices: Sequence[Choose],
        progress: Progress = unseen,
    ) -> list[Prediction | PycamError]:
        """Run the net on images, all of them together.

        Parameters
        ----------
        prepared : sequence of (Image, array) or PycamError
            Results of `prepare`; errors are returned as they are.
        choices : sequence of callables
            For each image, the function that selects the classes: (C,) scores -> (T,) indices.
        progress : callable
            See `Progress`.

        Returns
        -------
        list of Prediction or PycamError
            An EngineError for an image whose scores are not finite; the message has its path.
        """
        inputs = [each[1] for each in prepared if not isinstance(each, PycamError)]
        outputs = self._run(inputs[0] if len(inputs) == 1 else np.concatenate(inputs)) if inputs else iter(())
        found: list[Prediction | PycamError] = []
        for each, choose in zip(prepared, choices, strict=True):
            shown = _Shares(progress)
            found.append(
                each if isinstance(each, PycamError) else self._prediction(*each, *next(outputs), choose, shown)
            )
            shown.finish()
        return found

    def _run(self, inputs: Floats) -> Iterator[tuple[Floats, dict[str, Floats]]]:
        """Yield the scores, (C,), and the values of all outputs, of each image; inputs are all crops, (N, C, H, W)."""
        crops = len(self.placement.view.crops)
        values = self.engine.forward({self.model.image_input: inputs})
        scores = values[self.model.score_blob].reshape(len(inputs), self.model.class_count, -1).mean(axis=2)
        for start in range(0, len(inputs), crops):
            own = slice(start, start + crops)
            yield scores[own].mean(axis=0), {name: each[own] for name, each in values.items()}

    def _prediction(
        self, image: Image, inputs: Floats, scores: Floats, values: dict[str, Floats], choose: Choose, shown: _Shares
    ) -> Prediction | PycamError:
        if not np.isfinite(scores).all():
            return not_finite(self.engine.name, "scores", image.path)
        assert self.method is not None
        classes = choose(scores)
        maps = self.method(
            inputs, classes, values, lambda perturb, count: self._pass(perturb, count, shown, crops=len(inputs))
        )
        return Prediction(
            classes,
            scores,
            maps,
            image.size,
            self.placement,
            self.protocol,
            self.model.name,
            self.engine.name,
            self.model.labels,
            image,
        )

    def _pass(self, perturb: Perturb, count: int, shown: _Shares, crops: int) -> Floats:
        """Run passes in batches of one size, in the streams of the engine; return the class scores, (count, C)."""
        assert self.method is not None and self.method.passes is not None and self.pass_engine is not None
        passes, size = self.method.passes, min(self.pass_engine.batch_size, count)
        starts = range(0, count, size)

        def filled(start: int) -> dict[str, Floats]:
            """Return the inputs of a batch; the last one is filled up: some engines prepare for each batch size."""
            inputs = perturb(range(start, min(start + size, count)))
            return {name: np.concatenate([rows, *[rows[-1:]] * (size - len(rows))]) for name, rows in inputs.items()}

        scores = []
        for values in self.pass_engine.forward_many(filled(start) for start in starts):
            scores.append(class_scores(values[passes.target]))
            shown.add(size / (passes.count * crops))
        return np.concatenate(scores)[:count]

    def close(self) -> None:
        """Close the engines. The model cannot be used afterwards."""
        self.engine.close()
        if self.pass_engine is not None:
            self.pass_engine.close()

    def __enter__(self) -> Cam:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shares:
    """What is shown of the progress of one image: never more than all of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._left = 1.0

    def add(self, share: float) -> None:
        """Show a further share of the image."""
        share = min(share, self._left)
        self._left -= share
        self._progress(share)

    def finish(self) -> None:
        """Show the rest of the image."""
        self.add(self._left)


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
    onnx: str | os.PathLike[str] | None = None,
    preprocess: str | None = None,
    input_size: int | tuple[int, int] | str | None = None,
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
        Name or alias of a bundled model, or the path of a card or of an ONNX file. Not needed with both `prototxt` and
        `weights`, or with `onnx`: then the feature blob and the class-weight layer are found in the graph.
    engine : str
        `onnxruntime`, `openvino`, `ncnn`, `torch`, `opencv` or `caffe`.
    protocol : str or Protocol
        The name of a row of the protocol table, or a `pycam.protocols.Protocol`.
    view, exif, method, layer, target, box_rule : str, optional
        Choices that replace those of the protocol; see `pycam.protocols.Protocol`. Without a view, the protocol
        `default` takes the one of the model's card. Methods that use gradients need PyTorch.
    threshold : float, optional
        The threshold of the box rule, in place of the rule's default.
    prototxt, weights, labels, mean : path, optional
        Files that replace those of the model. The mean may be numbers, one per channel: "104,117,123".
    onnx : path, optional
        A net and its weights as one ONNX file.
    preprocess : str, optional
        What an ONNX file expects of images: `imagenet`, `tf`, `unit`, `caffe` or `none` (`pycam.onnx.PREPROCESSINGS`).
    input_size : int or (int, int) or str, optional
        Height and width for an ONNX file that leaves them open.
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
    UsageError
        No protocol or engine has this name, choices cannot be combined, or one has no effect.
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
        onnx=onnx,
        preprocess=preprocess,
        input_size=input_size,
        labels=labels,
        mean=mean,
        std=std,
        head=head,
        phase=phase,
        stages=stages,
        level=level,
        allow_nonfinite=allow_nonfinite,
        needs_maps=method_class(row.method).from_class_weights,
    )
    return make_cam(loaded, engine=engine, protocol=row, options=options)


def best_streams(engine: str, protocol: Protocol, options: Options = Options(), images: int | None = None) -> int:
    """Return the number of streams with which `Cam.stream` predicts the most images per second on this machine.

    Parameters
    ----------
    engine : str
        The name of the engine.
    protocol : Protocol
        Its method decides: PyTorch's settings apply to the whole process, so that gradients have one stream.
    options : Options
        Device and threads; the number of streams does not matter.
    images : int, optional
        The number of images, if it is known.
    """
    method = method_class(protocol.method)
    if not method.by_engine:
        return 1
    most = engines.best_streams(engine, options)
    # The passes of a single image use all streams.
    return most if images is None or method.perturbs else min(images, most)


def make_cam(
    model: Model, *, engine: str = engines.DEFAULT_ENGINE, protocol: Protocol, options: Options = Options()
) -> Cam:
    """Prepare a loaded model for images; parameters and errors are those of `load`."""
    kind = method_class(protocol.method)
    if options.streams > 1 and not kind.by_engine:
        raise UsageError(
            f"{options.streams} streams: method {protocol.method!r} computes one image after another: use one"
        )
    scores = model.head.score_blob if kind.from_class_weights else model.score_blob
    choices = protocol.method, protocol.target, protocol.layer
    method = kind.of(Request(model.net, scores, lambda: model.head, *choices, options))
    model.check_labels()
    mean = model.preprocessing.mean_values(protocol.mean)
    scale = model.preprocessing.scale(protocol.input_scale)
    outputs = tuple(dict.fromkeys([*method.outputs, scores]))
    with ExitStack() as stack:
        runner = stack.enter_context(engines.make(engine, model.net, outputs, options))
        pass_engine = None
        if passes := method.passes:
            own = passes.net is model.net
            pass_engine = (
                runner if own else stack.enter_context(engines.make(engine, passes.net, [passes.target], options))
            )
        cam = Cam(model, method, runner, protocol, mean, scale, pass_engine)
        stack.pop_all()
    return cam
