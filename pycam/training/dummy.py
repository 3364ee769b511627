"""The values of `DummyData` layers, from fillers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from pycam.errors import TrainingError
from pycam.formats import schema
from pycam.net.layers import DummyData
from pycam.training.batches import Batches, Floats
from pycam.training.fillers import filled


@final
class DummyBatches(Batches):
    """Batches from fillers: as in Caffe, constants are the same in every batch, other fillers draw again.

    Parameters
    ----------
    layer : LayerParameter
        Of type `DummyData`.
    seed : sequence of int
        Seed of the random fillers.

    Raises
    ------
    TrainingError, NetError
        The number of shapes or fillers does not fit the number of tops, or a filler is not supported.
    """

    def __init__(self, layer: Any, seed: Sequence[int]) -> None:
        fillers = list(layer.dummy_data_param.data_filler) or [schema.FillerParameter()]
        if len(fillers) not in (1, len(layer.top)):
            raise TrainingError(
                f"{len(fillers)} data_filler for {len(layer.top)} tops: give none for 0, one for all, or one per top"
            )
        self.tops = tuple(layer.top)
        self._shapes = tuple(DummyData.shapes_of(layer))
        self._fillers = fillers * (len(self.tops) if len(fillers) == 1 else 1)
        of_tops = zip(self.tops, self._fillers, strict=True)
        self.constant = frozenset(top for top, filler in of_tops if filler.type == "constant")
        self._name = layer.name
        self._seed = (*seed, zlib.crc32(layer.name.encode()))
        for filler, shape in zip(self._fillers, self._shapes, strict=True):
            # A filler that pycam lacks is an error before the start; the shape is checked where the net is linked.
            filled(filler, (1,) * max(1, len(shape)), np.random.default_rng(0))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the blobs."""
        return self._shapes

    def __getitem__(self, number: int) -> dict[str, Floats]:
        rng = np.random.default_rng([*self._seed, number])
        pairs = zip(self._fillers, self._shapes, strict=True)
        return dict(zip(self.tops, (filled(filler, shape, rng) for filler, shape in pairs), strict=True))

    def where(self, number: int, place: int) -> str:
        """Return the layer: all of its values are from its fillers."""
        return f"the filler of layer {self._name!r}"
