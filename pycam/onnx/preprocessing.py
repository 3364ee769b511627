"""Preprocessings by the names that frameworks know them by: an ONNX file does not say which one its net expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycam.errors import UsageError, suggest


@dataclass(frozen=True)
class NamedPreprocessing:
    """What a net expects of pixels from 0 to 255: (pixels − mean) / std.

    Attributes
    ----------
    about : str
        Who uses it.
    mean, std : tuple of float
        One number per channel, in the order of the net's channels, or one for all.
    rgb : bool
        Whether the channels are red, green and blue; else they are blue, green and red.
    """

    about: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool = True

    def fits(self, channels: int) -> bool:
        """Return whether it is for so many channels."""
        return channels == 3 or max(len(self.mean), len(self.std)) == 1

    @property
    def mean_bgr(self) -> tuple[float, ...]:
        """The mean in the order blue, green, red."""
        return _bgr(self.mean, self.rgb)

    @property
    def std_bgr(self) -> tuple[float, ...]:
        """The divisors in the order blue, green, red."""
        return _bgr(self.std, self.rgb)


def _bgr(values: Sequence[float], rgb: bool) -> tuple[float, ...]:
    return tuple(values[::-1] if rgb else values)


def _of_255(*values: float) -> tuple[float, ...]:
    return tuple(255 * value for value in values)


PREPROCESSINGS = {
    "imagenet": NamedPreprocessing(
        "torchvision, timm: RGB, 0 to 1, less ImageNet's mean, over its deviation",
        _of_255(0.485, 0.456, 0.406),
        _of_255(0.229, 0.224, 0.225),
    ),
    "tf": NamedPreprocessing("TensorFlow's Inception, MobileNet, EfficientNet-Lite: RGB, −1 to 1", (127.5,), (127.5,)),
    "unit": NamedPreprocessing("RGB, 0 to 1", (0.0,), (255.0,)),
    "caffe": NamedPreprocessing(
        "Caffe, Keras's ResNet and VGG: BGR, 0 to 255, less VGG's mean", (103.939, 116.779, 123.68), (1.0,), rgb=False
    ),
    "none": NamedPreprocessing("a net that does it itself: RGB, 0 to 255", (0.0,), (1.0,)),
}
"""Name -> preprocessing."""


def preprocessing_of(name: str | None, channels: int) -> tuple[str, NamedPreprocessing]:
    """Return a preprocessing and its name; without a name `imagenet` for three channels, else `none`.

    Raises
    ------
    UsageError
        There is no such name, or it is for three channels and the net has another number.
    """
    name = name or ("imagenet" if channels == 3 else "none")
    if name not in PREPROCESSINGS:
        names = ", ".join(PREPROCESSINGS)
        raise UsageError(f"preprocess is {name}; {suggest(name, PREPROCESSINGS, f'expected one of {names}')}")
    found = PREPROCESSINGS[name]
    if not found.fits(channels):
        raise UsageError(f"preprocess {name} is for three channels, the net takes {channels}: use none, tf or unit")
    return name, found
