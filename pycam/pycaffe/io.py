"""`caffe.io`: reading images as pycaffe does, turning them into inputs of a net, and arrays into Caffe's messages."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.formats.schema import Message
from pycam.images.caffe_resize import caffe_resize
from pycam.images.read import read_image
from pycam.pycaffe.absent import missing
from pycam.pycaffe.proto import caffe_pb2

Array = NDArray[Any]
Floats = NDArray[np.float32]

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

GREY = np.array([[0.2125], [0.7154], [0.0721]])
"""Scikit-image's weights of red, green and blue."""


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

    Raises
    ------
    ImageError
        As `pycam.images.read.read_image`.
    """
    rgb = read_image(filename).pixels[..., ::-1] / 255
    return np.asarray(rgb if color else rgb @ GREY, np.float32)


def resize_image(im: ArrayLike, new_dims: Sequence[int] | Array, interp_order: int = 1) -> Floats:
    """Resize an image as Caffe 1.0 does, without smoothing.

    Parameters
    ----------
    im : (H, W, K)
        Any range.
    new_dims : (int, int)
        Height and width.
    interp_order : int
        The order of interpolation, 0 to 5; 1 is bilinear (`pycam.images.caffe_resize`).

    Returns
    -------
    (height, width, K) float32
        With one or three channels, dark outside of the image. All values are NaN if a value of the image is.

    Raises
    ------
    UsageError
        The image has not three axes, or the size or the order is not valid.
    """
    image = np.asarray(im)
    if image.ndim != 3:
        raise UsageError(f"an image of shape {image.shape}: give height, width and channels; grey is (H, W, 1)")
    if len(new_dims) != 2:
        raise UsageError(f"an image cannot be resized to {tuple(new_dims)}: give a height and a width")
    return caffe_resize(image, int(new_dims[0]), int(new_dims[1]), interp_order)


def oversample(images: Sequence[ArrayLike], crop_dims: Sequence[int] | Array) -> Floats:
    """Cut ten crops from each image: four corners, the center, and all of them mirrored.

    Parameters
    ----------
    images : sequence of (H, W, K)
        Images of the same shape.
    crop_dims : (int, int)
        Height and width of a crop.

    Returns
    -------
    (10·N, height, width, K) float32
        For each image, the corners row by row and the center, then the same mirrored.

    Raises
    ------
    UsageError
        There is no image, the images differ in shape, or a crop is larger than they are.
    """
    arrays = [np.asarray(image, np.float32) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise UsageError(f"oversample takes images of one shape (H, W, K), not {sorted(shapes)}: resize them first")
    height, width = (int(side) for side in crop_dims)
    below, right = arrays[0].shape[0] - height, arrays[0].shape[1] - width
    if below < 0 or right < 0 or height < 1 or width < 1:
        raise UsageError(f"a crop of {height}×{width} from an image of {arrays[0].shape[0]}×{arrays[0].shape[1]}")
    corners = [(0, 0), (0, right), (below, 0), (below, right), (below // 2, right // 2)]
    crops = [array[top : top + height, left : left + width] for array in arrays for top, left in corners]
    five = np.stack(crops).reshape(len(arrays), 5, height, width, -1)
    return np.concatenate([five, five[:, :, :, ::-1]], axis=1).reshape(-1, *five.shape[2:])


class Transformer:
    """Turns images into inputs, by steps that are set for each input.

    The steps follow in this order: resize, transpose, channel swap, raw scale, mean, input scale.

    Parameters
    ----------
    inputs : dict
        Input -> shape of its blob, N×C×H×W.

    Attributes
    ----------
    inputs : dict
        As given.
    transpose, channel_swap, raw_scale, mean, input_scale : dict
        Input -> what was set for it.

    Raises
    ------
    UsageError
        In every method: there is no such input, or what is set or given does not fit it.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of axes: (2, 0, 1) turns H×W×C into C×H×W."""
        axes = len(self._shape(in_)) - 1
        if sorted(order) != list(range(axes)):
            raise UsageError(f"transpose {tuple(order)} of input {in_!r}: give each of its axes 0 to {axes - 1} once")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of channels, after the transpose: (2, 1, 0) turns RGB into BGR."""
        channels = self._shape(in_)[1]
        if len(order) != channels or not all(0 <= channel < channels for channel in order):
            raise UsageError(
                f"channel swap {tuple(order)} of input {in_!r}: give {channels} channels, each from 0 to {channels - 1}"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set the factor that is applied before the mean is subtracted: 255 for the result of `load_image`."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: ArrayLike) -> None:
        """Set the mean, in the channel order and range of the input.

        Parameters
        ----------
        in_ : str
            The input.
        mean : (C,) or (C, H, W)
            One value per channel, or a mean image. An image of another size is resized as by `resize_image`; a
            constant one then becomes NaN, with a warning, as in Caffe. One of one channel is for all channels.

        Raises
        ------
        UsageError
            There is no such input, or the mean has another shape.
        """
        channels, *size = self._shape(in_)[1:]
        values = np.asarray(mean)
        if values.ndim == 1 and len(values) == channels:
            self.mean[in_] = values[:, np.newaxis, np.newaxis]
        elif values.shape == (channels, *size) or (channels == 1 and values.shape == tuple(size)):
            self.mean[in_] = values
        elif values.ndim == 3 and values.shape[0] in (1, channels):
            self.mean[in_] = _resize_mean(values, size)
        else:
            hint = ""
            if values.ndim == 4 and len(values) == 1:
                hint = "; `mean[0]` has no batch"
            elif values.ndim == 3 and values.shape[2] == channels:
                hint = "; `mean.transpose(2, 0, 1)` moves the channels to the front"
            raise UsageError(
                f"a mean of shape {values.shape} for input {in_!r}: give ({channels},), or (channels, height, width) "
                f"with {' or '.join(sorted({'1', str(channels)}))} channels{hint}"
            )

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set the factor that is applied last."""
        self._shape(in_)
        self.input_scale[in_] = scale

    def preprocess(self, in_: str, data: ArrayLike) -> Floats:
        """Turn an image into an input.

        Parameters
        ----------
        in_ : str
            The input.
        data : (H, W, C)
            An image of any size. It is not changed.

        Returns
        -------
        (C, H, W) float32
            Without `set_transpose`, (H, W, C).

        Raises
        ------
        UsageError
            There is no such input, or the image does not fit the steps.
        """
        size = self._shape(in_)[2:]
        values = np.array(data, np.float32)
        if values.shape[:2] != size:
            values = resize_image(values, size)
        if in_ in self.transpose:
            values = self._transposed(in_, values, self.transpose[in_])
        if in_ in self.channel_swap:
            values = self._swapped(in_, values, self.channel_swap[in_])
        values *= self.raw_scale.get(in_, 1)
        if in_ in self.mean:
            values -= self._fitting_mean(in_, values)
        values *= self.input_scale.get(in_, 1)
        return np.ascontiguousarray(values)

    def deprocess(self, in_: str, data: ArrayLike) -> Array:
        """Turn the values of an input back into an image; the inverse of `preprocess`, except for the size.

        Parameters
        ----------
        in_ : str
            The input.
        data : (1, C, H, W) or (C, H, W)
            The values. As in Caffe, all axes of length 1 are removed first: an input of one channel cannot be
            transposed.

        Returns
        -------
        (H, W, C) float32 or float64
            The dtype of `data`.

        Raises
        ------
        UsageError
            There is no such input, or the values do not fit the steps.
        """
        self._shape(in_)
        values = np.array(data).squeeze()
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        values /= self.input_scale.get(in_, 1)
        if in_ in self.mean:
            values += self._fitting_mean(in_, values)
        values /= self.raw_scale.get(in_, 1)
        if in_ in self.channel_swap:
            values = self._swapped(in_, values, np.argsort(self.channel_swap[in_]))
        if in_ in self.transpose:
            values = self._transposed(in_, values, np.argsort(self.transpose[in_]))
        return np.ascontiguousarray(values)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.inputs:
            raise UsageError(f"{name!r} is not an input of this Transformer; its inputs are {', '.join(self.inputs)}")
        return tuple(self.inputs[name])

    def _transposed(self, name: str, values: Array, order: Sequence[int] | Array) -> Array:
        if values.ndim != len(order):
            raise UsageError(
                f"input {name!r}: the transpose is of {len(order)} axes, the array has shape {values.shape}; "
                "an image of one channel is (H, W, 1), and deprocess removes axes of length 1"
            )
        return np.transpose(values, order)

    def _swapped(self, name: str, values: Array, order: Sequence[int] | Array) -> Array:
        if len(values) <= max(order):
            raise UsageError(
                f"input {name!r}: the channel swap is of {len(order)} channels, the array has shape {values.shape}; "
                "the channels must be its first axis: set_transpose moves them there"
            )
        return np.take(values, order, axis=0)

    def _fitting_mean(self, name: str, values: Array) -> Array:
        mean = self.mean[name]
        try:
            fits = np.broadcast_shapes(mean.shape, values.shape) == values.shape
        except ValueError:
            fits = False
        if not fits:
            raise UsageError(
                f"input {name!r}: the mean has shape {mean.shape}, the array {values.shape}; give an image of as many "
                "channels as the net takes, and move them to the front with set_transpose"
            )
        return mean


def _resize_mean(mean: Array, size: Sequence[int]) -> Floats:
    low, high = mean.min(), mean.max()
    if low == high:
        warnings.warn(
            "a constant mean image of another size than the input becomes NaN, as in Caffe: give its values per "
            "channel, (C,)",
            RuntimeWarning,
            stacklevel=3,
        )
        return np.full((len(mean), *size), np.nan, np.float32)
    unit = ((mean - low) / (high - low)).transpose(1, 2, 0)
    resized: Floats = np.asarray(resize_image(unit, size).transpose(2, 0, 1) * (high - low) + low, np.float32)
    return resized


def blobproto_to_array(blob: Message, return_diff: bool = False) -> Array:
    """Convert a `BlobProto` to an array.

    Parameters
    ----------
    blob : BlobProto
        With `shape`, or with the old `num`, `channels`, `height` and `width`.
    return_diff : bool
        Return the gradient in place of the values.

    Returns
    -------
    float64 array
        In the shape of the blob.

    Raises
    ------
    UsageError
        The number of values does not fit the shape.
    """
    values = np.array(blob.diff if return_diff else blob.data, np.float64)
    old = ("num", "channels", "height", "width")
    is_old = any(blob.HasField(field) for field in old)
    return _in_shape(values, [getattr(blob, field) for field in old] if is_old else list(blob.shape.dim), "BlobProto")


def array_to_blobproto(arr: ArrayLike, diff: ArrayLike | None = None) -> Message:
    """Convert an array, and its gradient if one is given, to a `BlobProto` of the same shape."""
    values = np.asarray(arr, np.float64)
    blob = caffe_pb2.BlobProto(data=values.flat)
    blob.shape.dim.extend(values.shape)
    if diff is not None:
        blob.diff.extend(np.asarray(diff, np.float64).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[ArrayLike]) -> bytes:
    """Convert arrays to the bytes of a `BlobProtoVector`."""
    vector: bytes = caffe_pb2.BlobProtoVector(blobs=map(array_to_blobproto, arraylist)).SerializeToString()
    return vector


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:
    """Convert the bytes of a `BlobProtoVector` to arrays, float64."""
    vector = caffe_pb2.BlobProtoVector()
    vector.ParseFromString(str)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: ArrayLike, label: int | None = None) -> Message:
    """Convert an image to a `Datum`.

    Parameters
    ----------
    arr : (C, H, W)
        uint8 is kept as bytes, everything else as float32.
    label : int, optional
        The class.

    Returns
    -------
    Datum

    Raises
    ------
    UsageError
        The array has not three axes.
    """
    array = np.asarray(arr)
    if array.ndim != 3:
        raise UsageError(f"a datum of an array of shape {array.shape}: give (channels, height, width)")
    channels, height, width = array.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width, label=label)
    if array.dtype == np.uint8:
        datum.data = array.tobytes()
    else:
        datum.float_data.extend(array.astype(np.float64).flat)
    return datum


def datum_to_array(datum: Message) -> Array:
    """Convert a `Datum` to an array, without its label.

    Parameters
    ----------
    datum : Datum
        Its pixels are not encoded as JPEG or PNG.

    Returns
    -------
    (C, H, W) uint8 or float64
        float64 if the datum has `float_data`.

    Raises
    ------
    UsageError
        The number of values does not fit the shape, as that of an encoded image.
    """
    shape = [datum.channels, datum.height, datum.width]
    if datum.encoded:
        raise UsageError(
            "the Datum has an encoded image: decode it with cv2.imdecode(np.frombuffer(datum.data, np.uint8), 1)"
        )
    if datum.data:
        return _in_shape(np.frombuffer(datum.data, np.uint8).copy(), shape, "Datum")
    return _in_shape(np.array(datum.float_data, np.float64), shape, "Datum")


def _in_shape(values: Array, shape: Sequence[int], kind: str) -> Array:
    if values.size != np.prod(shape, dtype=np.int64):
        raise UsageError(f"the {kind} has {values.size} values, but its shape is {tuple(shape)}")
    return values.reshape(shape)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, globals())
