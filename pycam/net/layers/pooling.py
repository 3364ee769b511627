"""Pooling, with Caffe's rounding and clipping made explicit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pycam.errors import NetError
from pycam.net.layers.base import (
    MAX_SIDE,
    Layer,
    Pair,
    Shape,
    dims,
    image_shape,
    need,
    window,
)


@dataclass(frozen=True, kw_only=True)
class Pooling(Layer):
    """Maximum or mean over windows.

    Attributes
    ----------
    method
        `"MAX"`, which ignores padding, or `"AVE"`.
    kernel, stride, pad
        (rows, columns); `pad` is what stands before the first row and column.
    overhang
        How far the last window reaches beyond the last row and column; negative where some are left over.
    covers
        For `AVE`, how many rows and columns each window divides by: (one number an output row, one a column).
        Padding counts, what lies beyond it does not.
    """

    type = "Pooling"

    method: str
    kernel: Pair
    stride: Pair
    pad: Pair
    overhang: Pair
    covers: tuple[Shape, Shape]

    @property
    def is_global(self) -> bool:
        """Whether one window covers the whole of its bottom and nothing else."""
        return self.kernel == self.input_shapes[0][2:] and self.pad == (0, 0) and self.output_shapes[0][2:] == (1, 1)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.pooling_param
        n, channels, *size = image_shape(shapes[0])
        method = {0: "MAX", 1: "AVE"}.get(param.pool)
        if method is None:
            raise NetError("stochastic pooling is not supported: only MAX and AVE are")
        if param.global_pooling:
            kernel, stride, pad = (size[0], size[1]), (1, 1), (0, 0)
        else:
            kernel, stride, pad = window(param)
        need(
            pad[0] < kernel[0] and pad[1] < kernel[1],
            f"pad {dims(pad)} must be smaller than kernel {dims(kernel)}",
        )
        windows = [
            _windows(*side, round_up=param.round_mode == 0) for side in zip(size, kernel, stride, pad, strict=True)
        ]
        (rows, row_covers), (columns, column_covers) = windows
        need(
            rows > 0 and columns > 0,
            f"kernel {dims(kernel)} (pad {dims(pad)}) does not fit its bottom of {dims(shapes[0])}",
        )
        out = (rows, columns)
        return {
            "output_shapes": ((n, channels, *out),),
            "method": method,
            "kernel": kernel,
            "stride": stride,
            "pad": pad,
            "overhang": tuple((out[i] - 1) * stride[i] + kernel[i] - size[i] - pad[i] for i in (0, 1)),
            "covers": (row_covers, column_covers),
        }


def _windows(size: int, kernel: int, stride: int, pad: int, round_up: bool) -> tuple[int, Shape]:
    """Count the windows along one side, and how many positions each averages over."""
    room = size + 2 * pad - kernel
    count = (-(-room // stride) if round_up else room // stride) + 1
    if pad and (count - 1) * stride >= size + pad:
        count -= 1
    need(count <= MAX_SIDE, f"{count} windows along a side: pycam pools into at most {MAX_SIDE}")
    need(
        (count - 1) * stride - pad < size,
        f"stride {stride} with kernel {kernel} leaves a window without a value (Caffe fills it with garbage)",
    )
    starts = range(-pad, -pad + count * stride, stride)
    return count, tuple(min(start + kernel, size + pad) - start for start in starts)
