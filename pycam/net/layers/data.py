"""Layers that bring values into a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar

from pycam.net.layers.base import Layer, Pair, Shape, dims, need


class Source(Layer):
    """A layer whose tops are inputs of the net: the user fills them.

    Attributes
    ----------
    shapes_in_file : tuple of tuple of int
        The shapes of the tops in the file, with their batch sizes.
    """

    bottom_count = (0, 0)
    top_count: ClassVar[tuple[int, int | None]] = (1, None)
    # Nets that differ in this name are equal: Caffe makes a layer called `input` for a file without one.
    name: str = field(compare=False)
    # Nets compute the same at any batch size.
    shapes_in_file: tuple[Shape, ...] = field(compare=False)

    @staticmethod
    def _given(shapes: Sequence[Shape]) -> dict[str, Any]:
        """Return the fields of a source whose tops have some shapes in the file."""
        for shape in shapes:
            need(len(shape) > 0, "an empty shape")
            need(all(d > 0 for d in shape), f"a shape with a side that is not positive: {dims(shape)}")
        return {"output_shapes": tuple((1, *shape[1:]) for shape in shapes), "shapes_in_file": tuple(shapes)}


def _one_per_top(given: Sequence[Any], tops: int, what: str = "shapes") -> Sequence[Any]:
    """Return one entry for each top: one that is given alone is for all."""
    need(len(given) in (1, tops), f"{len(given)} {what} for {tops} tops: give one for all or one per top")
    return list(given) * (tops if len(given) == 1 else 1)


class Input(Source):
    """The layer through which images enter."""

    type = "Input"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        given = [tuple(int(d) for d in shape.dim) for shape in message.input_param.shape]
        return cls._given(_one_per_top(given, len(message.top)))


class DummyData(Source):
    """Values from fillers. The user's values take their place."""

    type = "DummyData"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return cls._given(cls.shapes_of(message))

    @staticmethod
    def shapes_of(message: Any) -> list[Shape]:
        """Return the shape of each top in the file, with its batch size."""
        param, tops = message.dummy_data_param, len(message.top)
        old = [name for name in ("num", "channels", "height", "width") if len(getattr(param, name))]
        need(not (old and param.shape), f"shape and its old form, {', '.join(old)}: use one of them")
        if old:
            sides = [_one_per_top(getattr(param, name), tops, name) for name in ("num", "channels", "height", "width")]
            return [tuple(map(int, shape)) for shape in zip(*sides, strict=True)]
        return list(_one_per_top([tuple(int(d) for d in shape.dim) for shape in param.shape], tops))


class MemoryData(Source):
    """Images and labels from the memory of a program."""

    type = "MemoryData"
    top_count = (2, 2)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.memory_data_param
        images = (param.batch_size, param.channels, param.height, param.width)
        return cls._given([images, (param.batch_size,)])


class _Files(Source):
    """A source of images and their labels in files, which `pycam.training.data` reads in training."""

    top_count = (1, 2)

    @classmethod
    def _of_files(cls, message: Any, param: Any, size: Pair, gray: bool) -> dict[str, Any]:
        crop = int(message.transform_param.crop_size)
        size = (crop, crop) if crop else size
        need(min(size) > 0, "no crop_size: only its source tells the size of its images, `pycam train` reads it")
        need(param.batch_size > 0, "batch_size must be positive")
        tops: list[Shape] = [(param.batch_size, 1 if gray else 3, *size), (param.batch_size,)]
        return cls._given(tops[: len(message.top)])


class Data(_Files):
    """A database of images with labels."""

    type = "Data"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return cls._of_files(message, message.data_param, (0, 0), message.transform_param.force_gray)


class ImageData(_Files):
    """A list of image files with labels."""

    type = "ImageData"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.image_data_param
        return cls._of_files(message, param, (int(param.new_height), int(param.new_width)), not param.is_color)


class WindowData(_Files):
    """Windows of images with labels."""

    type = "WindowData"
    top_count = (2, 2)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        need(message.transform_param.crop_size > 0, "no crop_size in transform_param: it is the size of each window")
        return cls._of_files(message, message.window_data_param, (0, 0), gray=False)


class HDF5Data(Source):
    """Arrays from HDF5 files, one dataset per top, which `pycam.training.data` reads in training."""

    type = "HDF5Data"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        need(
            False,
            "only its source, for `pycam train`, tells the shapes of its tops: replace it by a layer of type Input",
        )
        return {}
