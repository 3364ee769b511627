"""What every layer is, and the helpers that read its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from pycam.errors import NetError

Shape: TypeAlias = tuple[int, ...]

Pair: TypeAlias = tuple[int, int]


# Caffe counts a blob's values in a C int.
MAX_BLOB_COUNT = 2**31 - 1


# Of a pooled blob; a damaged number must not cost all memory.
MAX_SIDE = 2**16

LAYER_TYPES: dict[str, type[Layer]] = {}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step of a net.

    Attributes
    ----------
    name
        The layer's name, by which weights find it.
    bottoms, tops
        Names of the blobs read and written, as the prototxt has them. A top that equals its bottom is in place.
    inputs, outputs
        Names of the *values* read and written. Every value is written once: the last one that a blob `b` holds is
        called `b`, an earlier one (before an in-place layer) `b@layer`, after the layer that wrote it.
    input_shapes, output_shapes
        Their shapes at batch 1.
    param_shapes
        Shapes of the layer's learned blobs.
    line
        Line of the layer in its prototxt, 0 where there is none.
    message
        The `LayerParameter` itself, for what only training needs (fillers, multipliers, loss weights).
    """

    type: ClassVar[str]

    name: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    param_shapes: tuple[Shape, ...] = ()
    line: int = field(default=0, compare=False)
    message: Any = field(default=None, compare=False, repr=False)

    # How many bottoms and tops the type takes: (least, most), None for no bound.
    bottom_count: ClassVar[tuple[int, int | None]] = (1, 1)
    top_count: ClassVar[tuple[int, int | None]] = (1, 1)
    # Whether Caffe gives the right values, not garbage, where the top is the bottom.
    works_in_place: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "type" in cls.__dict__:
            LAYER_TYPES[cls.type] = cls

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        """Give the fields of the layer that follow from its parameters and the shapes that reach it.

        Parameters
        ----------
        message
            The layer's `LayerParameter`.
        shapes
            Shapes of its bottoms.

        Returns
        -------
        dict
            The type's own fields, `param_shapes` where the type has parameters, and `output_shapes` where they are
            not the shape of its first bottom.

        Raises
        ------
        NetError
            When the layer cannot be as it says; the caller adds the layer's name and line.
        """
        return {}

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight, at batch 1."""
        return 0


def count(shape: Shape) -> int:
    """Return how many values a shape holds."""
    return math.prod(shape)


def positive_axis(axis: int, shape: Shape) -> int:
    """Count a possibly negative axis from the front."""
    if not -len(shape) <= axis < len(shape):
        raise NetError(f"axis {axis} of a blob with {len(shape)} axes ({dims(shape)})")
    return axis % len(shape)


def need(condition: bool, message: str) -> None:
    """Raise a `NetError` with the message unless the condition holds."""
    if not condition:
        raise NetError(message)


def dims(shape: Shape) -> str:
    """Write a shape as people read it: `1×3×224×224`."""
    return "×".join(map(str, shape)) or "scalar"


def image_shape(shape: Shape) -> tuple[int, int, int, int]:
    """Return N, C, H and W, or raise a `NetError`."""
    need(len(shape) == 4, f"its bottom must have four axes (N×C×H×W), it has {dims(shape)}")
    n, c, h, w = shape
    return n, c, h, w


def numbers(param: Any, *names: str) -> dict[str, float]:
    """Read finite numbers of a layer's parameters by their names."""
    return {name: finite(getattr(param, name), name) for name in names}


def finite(value: float, name: str) -> float:
    """Return a number in single precision, or raise a `NetError` where it is not finite."""
    need(math.isfinite(value), f"{name} {value}: must be a number that can be computed with")
    return single(value)


def pair(param: Any, name: str, default: int | None) -> Pair:
    """Read a size given as one number, as one a side, or as `_h` and `_w`."""
    # Caffe says `kernel_size` and `kernel_h`, but `pad` and `pad_h`.
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
    need(len(values) <= 2, f"{name} is given for {len(values)} axes; pycam convolves over two")
    return int(values[0]), int(values[-1])


def window(param: Any) -> tuple[Pair, Pair, Pair]:
    """Read the kernel, the stride and the padding of a layer."""
    kernel, stride, pad = pair(param, "kernel_size", None), pair(param, "stride", 1), pair(param, "pad", 0)
    need(min(kernel) > 0, f"kernel {dims(kernel)}: its sides must be positive")
    need(min(stride) > 0, f"stride {dims(stride)}: must be positive")
    return kernel, stride, pad


def single(value: float) -> float:
    """Give the shortest decimal that is the same single-precision number: 0.0001, not 9.999999747378752e-05."""
    return float(str(np.float32(value)))
