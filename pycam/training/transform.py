"""Caffe's transformations of images: `transform_param`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import TrainingError
from pycam.formats.mean import read_mean
from pycam.net.layers import dims
from pycam.training.solver import beside

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Transform:
    """The transformation of an image before it enters a net: subtract the mean, crop, mirror, scale.

    Attributes
    ----------
    crop : int
        Side of the square crop; 0 for the whole image.
    anywhere : bool
        Crop at a random place, as in training; else in the center.
    mirror : bool
        Mirror half of the images, at random.
    mean : (C,), (1,) or (C, H, W) float32, optional
        Subtracted before cropping.
    scale : float
        The factor, applied last.
    """

    crop: int = 0
    anywhere: bool = False
    mirror: bool = False
    mean: Floats | None = None
    scale: float = 1.0

    def __call__(self, pixels: NDArray[Any], rng: np.random.Generator) -> Floats:
        """Return the net's input for an image, (H, W, C): (C, crop, crop) or (C, H, W) float32.

        Raises
        ------
        TrainingError
            The image is smaller than the crop, or the mean has another shape.
        """
        height, width, channels = pixels.shape
        tall, wide = (self.crop, self.crop) if self.crop else (height, width)
        if height < tall or width < wide:
            raise TrainingError(f"an image of {width}×{height} is smaller than crop_size {self.crop}")
        y, x = (height - tall) // 2, (width - wide) // 2
        if self.anywhere:
            y, x = (int(rng.integers(room + 1)) for room in (height - tall, width - wide))
        part = np.s_[:, y : y + tall, x : x + wide]
        cut: Floats = pixels.transpose(2, 0, 1)[part].astype(np.float32)
        if self.mean is not None:
            self._check_mean(channels, height, width)
            cut -= self.mean[part] if self.mean.ndim == 3 else self.mean[:, None, None]
        if self.mirror and rng.integers(2):
            cut = cut[:, :, ::-1]
        if self.scale != 1:
            cut = cut * np.float32(self.scale)
        return cut

    def _check_mean(self, *image: int) -> None:
        assert self.mean is not None
        if self.mean.ndim == 3 and self.mean.shape != image:
            raise TrainingError(
                f"a mean image of {dims(self.mean.shape)} for an image of {dims(image)} (channels×height×width): both "
                "need one size, before the crop"
            )
        if self.mean.ndim == 1 and len(self.mean) not in (1, image[0]):
            raise TrainingError(
                f"{len(self.mean)} mean_value for an image with {image[0]} channel{'s' * (image[0] > 1)}: "
                "give one, or one per channel"
            )


def read_transform(param: Any, path: Path, training: bool) -> Transform:
    """Return the transformation of a `TransformationParameter` in the prototxt `path`.

    Raises
    ------
    FormatError
        The mean file is missing or damaged.
    TrainingError
        Fields contradict each other.
    """
    if param.HasField("mean_file") and param.mean_value:
        raise TrainingError("mean_file and mean_value: only one of them can be subtracted, remove the other")
    mean = np.array(param.mean_value, np.float32) if param.mean_value else None
    if param.HasField("mean_file"):
        mean = read_mean(beside(param.mean_file, path), None)
    return Transform(int(param.crop_size), training, bool(param.mirror), mean, float(param.scale))
