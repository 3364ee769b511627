"""`caffe.io`: reading images as pycaffe does, and turning them into inputs of a net."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.formats.schema import Message
from pycam.images.read import read_image
from pycam.images.resize import resize
from pycam.pycaffe.proto import caffe_pb2

Floats = NDArray[np.float32]


def array_to_blobproto(arr: ArrayLike, diff: ArrayLike | None = None) -> Message:
    """Convert an array, and its gradient if one is given, to a `BlobProto` of the same shape."""
    values = np.asarray(arr, float)
    blob = caffe_pb2.BlobProto(data=values.flat)
    blob.shape.dim.extend(values.shape)
    if diff is not None:
        blob.diff.extend(np.asarray(diff, float).flat)
    return blob


def load_image(filename: str | os.PathLike[str], color: bool = True) -> Floats:
    """Read an image.

    Parameters
    ----------
    filename : path
        The image file.
    color : bool
        False for grey, by the formula of scikit-image.

    Returns
    -------
    (H, W, 3) or (H, W, 1) float32
        RGB, 0…1. As everywhere in pycam, an EXIF orientation is not applied.
    """
    rgb: Floats = read_image(filename).pixels[..., ::-1].astype(np.float32) / np.float32(255)
    return rgb if color else np.asarray(rgb @ np.array([[0.2125], [0.7154], [0.0721]], np.float32))


def resize_image(im: ArrayLike, new_dims: Sequence[int], interp_order: int = 1) -> Floats:
    """Resize an image as Caffe 1.0 does: bilinear, without smoothing, dark outside.

    Parameters
    ----------
    im : (H, W, K)
        Any range.
    new_dims : (int, int)
        Height and width.
    interp_order : int
        Only 1, bilinear, is supported.

    Returns
    -------
    (height, width, K) float32
    """
    if interp_order != 1:
        raise UsageError(f"resize_image: interp_order {interp_order}: pycam supports 1, bilinear")
    height, width = new_dims
    return resize(np.asarray(im), height, width, "caffe_bilinear")


@dataclass
class _Steps:
    """The steps that follow the resizing of an image, in this order."""

    transpose: tuple[int, ...] | None = None
    channel_swap: tuple[int, ...] | None = None
    raw_scale: float = 1
    mean: Floats | float = 0
    input_scale: float = 1


class Transformer:
    """Turns images into inputs, by steps that are set for each input.

    Parameters
    ----------
    inputs : dict
        Input -> shape of its blob, N×C×H×W.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self._steps = {name: _Steps() for name in inputs}

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of axes: (2, 0, 1) turns H×W×C into C×H×W."""
        self._of(in_).transpose = tuple(order)

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of channels: (2, 1, 0) turns RGB into BGR."""
        self._of(in_).channel_swap = tuple(order)

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set the factor that is applied before the mean is subtracted: 255 for the result of `load_image`."""
        self._of(in_).raw_scale = scale

    def set_mean(self, in_: str, mean: ArrayLike) -> None:
        """Set the mean, (C,) or (C, H, W), in the channel order and range of the input."""
        values = np.asarray(mean, np.float32)
        self._of(in_).mean = values[:, np.newaxis, np.newaxis] if values.ndim == 1 else values

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set the factor that is applied last."""
        self._of(in_).input_scale = scale

    def preprocess(self, in_: str, data: ArrayLike) -> Floats:
        """Turn an image into an input.

        Parameters
        ----------
        in_ : str
            The input.
        data : (H, W, C)
            An image of any size.

        Returns
        -------
        (C, H, W) float32
        """
        steps = self._of(in_)
        values = np.asarray(data, np.float32)
        if values.shape[:2] != tuple(self.inputs[in_][2:]):
            values = resize_image(values, self.inputs[in_][2:])
        if steps.transpose is not None:
            values = values.transpose(steps.transpose)
        if steps.channel_swap is not None:
            values = values[list(steps.channel_swap)]
        scaled = (values * np.float32(steps.raw_scale) - steps.mean) * np.float32(steps.input_scale)
        return np.ascontiguousarray(scaled, np.float32)

    def deprocess(self, in_: str, data: ArrayLike) -> Floats:
        """Turn the values of an input back into an image; the inverse of `preprocess`, except for the size."""
        steps = self._of(in_)
        values = np.asarray(data, np.float32).squeeze()
        values = (values / np.float32(steps.input_scale) + steps.mean) / np.float32(steps.raw_scale)
        if steps.channel_swap is not None:
            values = values[np.argsort(steps.channel_swap)]
        if steps.transpose is not None:
            values = values.transpose(np.argsort(steps.transpose))
        return np.ascontiguousarray(values, np.float32)

    def _of(self, name: str) -> _Steps:
        if name not in self._steps:
            raise UsageError(f"{name!r} is not an input of this Transformer; its inputs are {', '.join(self._steps)}")
        return self._steps[name]
