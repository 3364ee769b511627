"""Layers that bring values into a net."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from pycam.net.layers.base import Layer, Pair, Shape, dims, need


class Input(Layer):
    """The layer through which images enter."""

    type = "Input"
    bottom_count = (0, 0)
    top_count = (1, None)
    # Nets that differ in this name are equal: Caffe makes a layer called `input` for a file without one.
    name: str = field(compare=False)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        given = [tuple(int(d) for d in shape.dim) for shape in message.input_param.shape]
        tops = len(message.top)
        need(len(given) in (1, tops), f"{len(given)} shapes for {tops} tops: give one for all or one per top")
        for shape in given:
            need(len(shape) > 0, "an empty shape")
            need(all(d > 0 for d in shape), f"a shape with a side that is not positive: {dims(shape)}")
        if len(given) == 1:
            given *= tops
        return {"output_shapes": tuple((1, *shape[1:]) for shape in given)}


class _Source(Layer):
    """A layer through which images and their labels enter in training; `pycam.training.data` reads them.

    Attributes
    ----------
    batch_size : int
        The number of images in a batch.
    """

    bottom_count = (0, 0)
    top_count = (1, 2)
    batch_size: int

    @staticmethod
    def _outputs(message: Any, param: Any, size: Pair, gray: bool) -> dict[str, Any]:
        crop = int(message.transform_param.crop_size)
        size = (crop, crop) if crop else size
        need(min(size) > 0, "no crop_size: only its source tells the size of its images, `pycam train` reads it")
        need(param.batch_size > 0, "batch_size must be positive")
        shapes: tuple[Shape, ...] = ((1, 1 if gray else 3, *size), (1,))
        return {"output_shapes": shapes[: len(message.top)], "batch_size": int(param.batch_size)}


class Data(_Source):
    """A database of images with labels."""

    type = "Data"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return cls._outputs(message, message.data_param, (0, 0), message.transform_param.force_gray)


class ImageData(_Source):
    """A list of image files with labels."""

    type = "ImageData"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.image_data_param
        return cls._outputs(message, param, (int(param.new_height), int(param.new_width)), not param.is_color)
