"""The base class of all layers, and the functions that read a layer's parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from inspect import get_annotations
from typing import Any, ClassVar, TypeAlias

import numpy as np
from typing_extensions import dataclass_transform

from pycam.errors import NetError

Shape: TypeAlias = tuple[int, ...]
"""The sides of a blob, at batch 1."""

Pair: TypeAlias = tuple[int, int]
"""A number for the rows and a number for the columns."""

MAX_BLOB_COUNT = 2**31 - 1
"""The most values in a blob: Caffe counts them in a C int."""

LAYER_TYPES: dict[str, type[Layer]] = {}
"""The layer classes by Caffe's type names."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One step of a net. Every subclass becomes a frozen dataclass by itself.

    Attributes
    ----------
    name : str
        The layer's name. Weights are matched by it.
    bottoms, tops : tuple of str
        Names of the blobs read and written, as in the prototxt. A top that equals its bottom is in place.
    inputs, outputs : tuple of str
        Names of the *values* read and written. Every value is written once: the last value of a blob `b` is called
        `b`, an earlier one (before an in-place layer) is called `b@layer`, after the layer that wrote it.
    input_shapes, output_shapes : tuple of tuple of int
        Their shapes at batch 1.
    param_shapes : tuple of tuple of int
        Shapes of the layer's learned blobs.
    param_names : tuple of str
        Their names, with which layers share them; empty for those that cannot be shared.
    line : int
        Line of the layer in its prototxt, from 1; 0 if there is none.
    message : LayerParameter
        The layer's message, for what only training needs (fillers, multipliers, loss weights).
    """

    type: ClassVar[str]
    of_caffe: ClassVar[bool] = True
    """Whether a prototxt can have the type."""

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    param_shapes: tuple[Shape, ...] = ()
    param_names: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)
    message: Any = field(default=None, compare=False, repr=False)

    # The smallest and largest number of bottoms and tops of the type; None for no limit.
    bottom_count: ClassVar[tuple[int, int | None]] = (1, 1)
    top_count: ClassVar[tuple[int, int | None]] = (1, 1)
    # The number of tops that Caffe adds, without a name, to a layer that has fewer.
    auto_tops: ClassVar[int] = 0
    # Caffe computes garbage where another type has its bottom as its top.
    works_in_place: ClassVar[bool] = False

    def __repr__(self) -> str:
        shapes = ", ".join(map(dims, self.output_shapes))
        return f"<{type(self).__name__} {self.name[:60]!r} -> {', '.join(self.tops)[:60]}, {shapes[:40]}>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, each.name) == getattr(other, each.name) for each in fields(self) if each.compare)

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.outputs))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if get_annotations(cls):  # a type without fields of its own inherits what a dataclass has
            # `eq` would write two methods for each type: a third of the time that all types take at the import.
            dataclass(frozen=True, kw_only=True, repr=False, eq=False)(cls)
        if "type" in cls.__dict__ and cls.of_caffe:
            LAYER_TYPES[cls.type] = cls

    @classmethod
    def for_any_batch(cls, message: Any, shapes: tuple[Shape, ...], batch: int) -> Any:
        """Return the layer's message in a form that fits any batch size.

        Parameters
        ----------
        message : LayerParameter
            The layer.
        shapes : tuple of tuple of int
            Shapes of its bottoms, at batch 1.
        batch : int
            The batch size in the file.

        Returns
        -------
        LayerParameter

        Raises
        ------
        NetError
            The layer computes an image's values from those of other images.
        """
        return message

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        """Return the fields of the layer that follow from its parameters and the shapes of its bottoms.

        Without an override, each field of the type is a finite number with the same name in the parameters of the type:
        `negative_slope` of `relu_param`.

        Parameters
        ----------
        message : LayerParameter
            The layer.
        shapes : tuple of tuple of int
            Shapes of its bottoms.

        Returns
        -------
        dict
            The type's own fields, `param_shapes` if the type has parameters, and `output_shapes` if they differ from
            the shape of the first bottom.

        Raises
        ------
        NetError
            The layer's parameters are impossible; the caller adds the layer's name and line.
        """
        own = fields(cls)[len(fields(Layer)) :]
        return numbers(getattr(message, f"{cls.type.lower()}_param", None), *(each.name for each in own))

    @property
    def multiply_adds(self) -> int:
        """The number of multiplications with a weight, at batch 1."""
        return 0


def count(shape: Shape) -> int:
    """Return the number of values in a shape."""
    return math.prod(shape)


def positive_axis(axis: int, shape: Shape) -> int:
    """Return the index of an axis counted from the front; a negative `axis` counts from the end."""
    if not -len(shape) <= axis < len(shape):
        raise NetError(f"axis {axis} of a blob with {len(shape)} axes ({dims(shape)})")
    return axis % len(shape)


def need(condition: bool, message: str) -> None:
    """Raise a `NetError` with the message unless the condition holds."""
    if not condition:
        raise NetError(message)


def dims(shape: Shape) -> str:
    """Write a shape for messages: `1×3×224×224`."""
    return "×".join(map(str, shape)) or "scalar"


def image_shape(shape: Shape) -> tuple[int, int, int, int]:
    """Return N, C, H and W, or raise a `NetError` for another number of axes."""
    need(len(shape) == 4, f"its bottom must have four axes (N×C×H×W), it has {dims(shape)}")
    n, c, h, w = shape
    return n, c, h, w


def numbers(param: Any, *names: str) -> dict[str, float]:
    """Read finite numbers of a layer's parameters by their names."""
    return {name: finite(getattr(param, name), name) for name in names}


def finite(value: float, name: str) -> float:
    """Return a number in single precision; raise a `NetError` if it is infinite or not a number."""
    need(math.isfinite(value), f"{name} {value}: must be a finite number")
    return single(value)


def pair(param: Any, name: str, default: int | None) -> Pair:
    """Read a size that is given as one number, as one number per side, or as `_h` and `_w`."""
    # Caffe has `kernel_size` and `kernel_h`, but `pad` and `pad_h`.
    side = name.removesuffix("_size")
    if param.HasField(f"{side}_h") or param.HasField(f"{side}_w"):
        return int(getattr(param, f"{side}_h")), int(getattr(param, f"{side}_w"))
    value = getattr(param, name)
    if isinstance(value, int):
        values = [value] if param.HasField(name) else []
    else:
        values = list(value)
    if not values:
        if default is None:
            raise NetError(f"no {name} is given")
        values = [default]
    need(len(values) <= 2, f"{name} is given for {len(values)} axes; pycam supports two, rows and columns")
    return int(values[0]), int(values[-1])


def window(param: Any) -> tuple[Pair, Pair, Pair]:
    """Read the kernel, the stride and the padding of a layer."""
    kernel, stride, pad = pair(param, "kernel_size", None), pair(param, "stride", 1), pair(param, "pad", 0)
    need(min(kernel) > 0, f"kernel {dims(kernel)}: its sides must be positive")
    need(min(stride) > 0, f"stride {dims(stride)}: must be positive")
    return kernel, stride, pad


def single(value: float) -> float:
    """Return the shortest decimal that is the same single-precision number: 0.0001, not 9.999999747378752e-05."""
    return float(str(np.float32(value)))
