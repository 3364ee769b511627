"""The batches of data layers.

A batch follows from its number: the same number always gives the same values, cropped and mirrored in the same way. An
interrupted training therefore resumes from a number alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from pycam.errors import TrainingError
from pycam.prefetch import prefetch
from pycam.training.transform import Transform

Floats = NDArray[np.float32]


class Batches(ABC):
    """The batches of a data layer.

    Attributes
    ----------
    tops : tuple of str
        The blobs that it fills.
    notes : tuple of str
        What is read with a loss, or has no effect; one line for each kind.
    constant : frozenset of str
        The blobs that have the same values in every batch.
    """

    tops: tuple[str, ...]
    notes: tuple[str, ...] = ()
    constant: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the blobs, with the batch size."""

    @abstractmethod
    def __getitem__(self, number: int) -> dict[str, Floats]:
        """Return batch `number`, from 0: blob -> float32 array of its shape."""

    @abstractmethod
    def where(self, number: int, place: int) -> str:
        """Return where an item of a batch comes from, for error messages."""

    @final
    def stream(self, first: int, last: int) -> Iterator[dict[str, Floats]]:
        """Yield the batches from `first` up to, not including, `last`; the next one is made meanwhile."""
        with ThreadPoolExecutor(1, "pycam-data") as reader:
            yield from prefetch(lambda number: reader.submit(self.__getitem__, number), range(first, last), 2)


class Source(Protocol):
    """Images with labels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[NDArray[Any], int]:
        """Return an image, (H, W, C) BGR or grey, and its label."""
        ...

    def where(self, index: int) -> str:
        """Return where an image is from, for error messages."""
        ...


@final
@dataclass(frozen=True)
class ImageBatches(Batches):
    """Batches of images, and of labels if there is a second top.

    Attributes
    ----------
    source : Source
        The images and labels.
    transform : Transform
        Applied to each image.
    size : int
        Images per batch.
    shuffle : bool
        Shuffle the images before each epoch.
    skip : int
        Number of images that are skipped at the start.
    seed : tuple of int
        Seed of everything random here.
    """

    tops: tuple[str, ...]
    source: Source
    transform: Transform
    size: int
    shuffle: bool = False
    skip: int = 0
    seed: tuple[int, ...] = (0,)
    notes: tuple[str, ...] = ()

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the blobs: (N, C, H, W), (N,)."""
        image = self.transform(self.source[0][0], np.random.default_rng(0)).shape
        return ((self.size, *image), (self.size,))[: len(self.tops)]

    def __getitem__(self, number: int) -> dict[str, Floats]:
        """Return batch `number`, from 0: the images, (N, C, H, W) float32, and the labels, (N,) float32."""
        rng = np.random.default_rng([*self.seed, number])
        images = np.empty(self.shapes[0], np.float32)
        labels = np.empty(self.size, np.float32)
        for place in range(self.size):
            index = self._index(number, place)
            pixels, labels[place] = self.source[index]
            given = self.transform(pixels, rng)
            if given.shape != images.shape[1:]:
                raise TrainingError(
                    f"{self.source.where(index)}: an image of {given.shape}, but the first one is of "
                    f"{images.shape[1:]} (channels, height, width): all need one size: "
                    "set crop_size, or new_height and new_width of ImageData"
                )
            images[place] = given
        return dict(zip(self.tops, (images, labels), strict=False))

    def where(self, number: int, place: int) -> str:
        """Return the line of a list, the path, or the key of an image in a batch."""
        return self.source.where(self._index(number, place))

    def _index(self, number: int, place: int) -> int:
        round_, index = divmod(self.skip + number * self.size + place, len(self.source))
        return int(_order(len(self.source), (*self.seed, round_))[index]) if self.shuffle else index


@lru_cache(maxsize=2)
def _order(count: int, seed: tuple[int, ...]) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(count)
