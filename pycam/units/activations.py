"""Running a net for its units: their maps, the logits and the scores of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.engines.base import not_finite
from pycam.errors import NoMapsError, PycamError, UsageError
from pycam.images.read import Image
from pycam.maps.boxes import Box
from pycam.maps.class_weights import ClassWeightMaps
from pycam.model import Model
from pycam.net.receptive_fields import ReceptiveField, receptive_fields
from pycam.predict import Cam, Prepared, Source
from pycam.protocols import Protocol
from pycam.units.head import Account, Floats, UnitHead, unit_head


@dataclass(frozen=True, eq=False)
class UnitCam:
    """A model that is ready to compute the units of images. Made by `unit_cam`.

    Attributes
    ----------
    cam : Cam
        The model, its engine and its protocol.
    head : UnitHead
        Its units.
    logits : str
        The value of the scores before the last activation.
    """

    cam: Cam
    head: UnitHead
    logits: str

    @cached_property
    def field(self) -> ReceptiveField:
        """The receptive field of the units."""
        return receptive_fields(self.cam.model.net, self.cam.model.image_input)[self.head.blob]

    def stream(self, images: Iterable[Source]) -> Iterator[tuple[Source, Activations | PycamError]]:
        """Run the net on images, in order.

        Yields
        ------
        (image, Activations or PycamError)
            An error for an image that cannot be read, or whose scores are not finite.
        """
        return self.cam.on_batches(images, self._run)

    def _run(self, prepared: Sequence[Prepared | PycamError]) -> list[Activations | PycamError]:
        return [each if isinstance(each, PycamError) else self._activations(*each) for each in prepared]

    def _activations(self, image: Image, crops: NDArray[np.float32]) -> Activations | PycamError:
        model = self.cam.model
        values = self.cam.engine.forward({model.image_input: crops})
        logits, scores = (
            values[name].reshape(len(crops), model.class_count, -1).mean(axis=(0, 2), dtype=np.float64)
            for name in (self.logits, model.score_blob)
        )
        if not (np.isfinite(scores).all() and np.isfinite(logits).all()):
            return not_finite(self.cam.engine.name, "scores", image.path)
        features, pooled = values[self.head.blob], None
        if name := self.head.pooled_value:
            pooled = values[name].reshape(len(crops), features.shape[1], -1).mean(axis=2, dtype=np.float64)
        return Activations(self, image, features, logits, scores, pooled)

    def close(self) -> None:
        """Close the engine."""
        self.cam.close()

    def __enter__(self) -> UnitCam:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class Place:
    """A position of a unit's map.

    Attributes
    ----------
    crop, row, column : int
        The crop of the view, and the position in the unit's map.
    activation : float
        The value there.
    field : (x0, y0, x1, y1)
        Its receptive field in the net's input, half-open.
    image_field : (x0, y0, x1, y1)
        The same in pixels of the image.
    """

    crop: int
    row: int
    column: int
    activation: float
    field: Box
    image_field: Box


@dataclass(frozen=True, eq=False)
class Activations:
    """The units, logits and scores of an image.

    Attributes
    ----------
    source : UnitCam
        What computed them.
    image : Image
        The image.
    features : (n, K, h, w) float32
        The maps of the units for each crop of the view.
    logits, scores : (T,) float64
        Scores before and after the last activation: means over crops, and over the positions of scores that have some.
    pooled : (n, K) float64, optional
        What the weights multiply, if it is neither the mean nor the maximum.
    """

    source: UnitCam
    image: Image
    features: NDArray[np.float32]
    logits: Floats
    scores: Floats
    pooled: Floats | None = None

    def account(self, index: int) -> Account:
        """Return how much each unit adds to the logit of a class."""
        return self.source.head.accounts(self.features, self.pooled, [index])[0]

    def largest(self, unit: int) -> Place:
        """Return where a unit is largest: of equal positions the first, by crop, row and column."""
        maps = self.features[:, unit]
        crop, row, column = (int(each) for each in np.unravel_index(np.argmax(maps), maps.shape))
        field = self.source.field.box(row, column)
        view = self.source.cam.placement.view
        on_image = view.on_image(view.crops[crop], field, self.image.height, self.image.width)
        return Place(crop, row, column, float(maps[crop, row, column]), field, on_image)


def unit_cam(
    model: Model, *, engine: str = engines.DEFAULT_ENGINE, protocol: Protocol, options: Options = Options()
) -> UnitCam:
    """Prepare a model for the units of images; parameters and errors are those of `pycam.predict.make_cam`.

    Raises
    ------
    NoMapsError
        The net has no class activation maps.
    UsageError
        The protocol makes its maps from gradients.
    """
    if protocol.method != "cam":
        raise UsageError(
            f"protocol {protocol.name!r} makes maps by {protocol.method}: units have weights with method cam only; "
            "choose another protocol"
        )
    try:
        head = model.head
    except NoMapsError as error:
        # What the message says to do gives maps, but no units.
        reason = str(error).rpartition("; ")[0]
        raise NoMapsError(
            f"{reason}, so that its scores are no sum over units; convert the net with `pycam net cam`, or choose "
            "another model"
        ) from None
    units = unit_head(model.net, head)
    model.check_labels()
    outputs = dict.fromkeys([units.blob, head.logits, model.score_blob, *filter(None, [units.pooled_value])])
    made = engines.make(engine, model.net, list(outputs), options)
    mean = model.preprocessing.mean_values(protocol.mean)
    scale = model.preprocessing.scale(protocol.input_scale)
    method = ClassWeightMaps(model.net, head)
    return UnitCam(Cam(model, method, made, protocol, mean, scale), units, head.logits)
