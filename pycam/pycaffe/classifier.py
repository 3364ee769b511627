"""`caffe.Classifier`: a net that classifies images, by one crop or the mean of ten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.pycaffe.absent import missing
from pycam.pycaffe.io import Transformer, oversample as cut_ten_crops, resize_image
from pycam.pycaffe.modes import TEST
from pycam.pycaffe.net import Net


class Classifier(Net):
    """A net with one input, (N, C, H, W), that classifies images.

    Parameters
    ----------
    model_file, pretrained_file : path
        Prototxt and caffemodel.
    image_dims : (int, int), optional
        The size to which images are resized before they are cropped; by default the size of the net's input.
    mean, input_scale, raw_scale, channel_swap
        As `pycam.pycaffe.io.Transformer` takes them.

    Attributes
    ----------
    transformer : Transformer
        Turns crops into inputs.
    image_dims, crop_dims : (int, int)
        The sizes of a resized image and of a crop.

    Raises
    ------
    UsageError
        An image is smaller than a crop, or as `Transformer`.
    FormatError, NetError
        As `Net`.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        image_dims: Sequence[int] | None = None,
        mean: ArrayLike | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = transformer_for(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else np.array(image_dims)
        if self.image_dims.shape != (2,) or (self.image_dims < self.crop_dims).any():
            least = tuple(self.crop_dims.tolist())
            raise UsageError(
                f"image_dims {tuple(self.image_dims.tolist())}: give height and width of at least {least}, the net's "
                "input"
            )

    def predict(self, inputs: Sequence[ArrayLike], oversample: bool = True) -> NDArray[np.float32]:
        """Classify images.

        Parameters
        ----------
        inputs : sequence of (H, W, K)
            Images of any sizes, as `pycam.pycaffe.io.load_image` returns them.
        oversample : bool
            Take the mean over ten crops: corners, center, and all of them mirrored. Otherwise, the center alone.

        Returns
        -------
        (N, classes) float32
            The first output of the net. Without `oversample`, in the shape that the net gives it.

        Raises
        ------
        UsageError
            There is no image, or one has another number of channels than the first.
        """
        images = [resize_image(image, self.image_dims) for image in inputs]
        if not images:
            raise UsageError("predict: there is no image")
        if oversample:
            crops = cut_ten_crops(images, self.crop_dims)
        else:
            (top, left), (height, width) = (self.image_dims - self.crop_dims) // 2, self.crop_dims
            crops = np.stack([image[top : top + height, left : left + width] for image in images])
        name = self.inputs[0]
        out = self.forward_all(None, **{name: np.stack([self.transformer.preprocess(name, crop) for crop in crops])})
        predictions = out[self.outputs[0]]
        return predictions.reshape(len(images), 10, -1).mean(axis=1) if oversample else predictions


def transformer_for(
    net: Net,
    mean: ArrayLike | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> Transformer:
    """Return the Transformer for the first input of a net, with the steps that are given."""
    if not net.inputs or len(net.blobs[net.inputs[0]].shape) != 4:
        raise UsageError("this class takes a net with an input of four axes, N×C×H×W: use caffe.Net")
    name = net.inputs[0]
    transformer = Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, globals())
