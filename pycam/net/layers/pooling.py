"""Pooling, with Caffe's rounding and clipping made explicit."""

from __future__ import annotations

from typing import Any

from pycam.net.layers.base import Layer, Pair, Shape, dims, image_shape, need, window

MAX_SIDE = 2**16
"""The most rows or columns of a pooled blob: a damaged number must not fill the memory."""


class Pooling(Layer):
    """Maximum or mean over windows.

    Attributes
    ----------
    method : str
        `"MAX"`, which ignores padding, or `"AVE"`.
    kernel, stride, pad : tuple of int
        (rows, columns); `pad` is the padding before the first row and column.
    overhang : tuple of int
        The rows and columns of the last window beyond the last row and column; negative if some are left over.
    covers : tuple of tuple of int
        For `AVE`, the rows and columns by which each window divides: one number per output row, and one per output
        column. Padding counts, positions beyond the padding do not.
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
        """True if one window covers the whole bottom and nothing else."""
        return self.kernel == self.input_shapes[0][2:] and self.pad == (0, 0) and self.output_shapes[0][2:] == (1, 1)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.pooling_param
        n, channels, height, width = image_shape(shapes[0])
        need(param.pool in (0, 1), "stochastic pooling is not supported: only MAX and AVE are")
        kernel, stride, pad = ((height, width), (1, 1), (0, 0)) if param.global_pooling else window(param)
        need(pad[0] < kernel[0] and pad[1] < kernel[1], f"pad {dims(pad)} must be smaller than kernel {dims(kernel)}")
        sides = list(zip((height, width), kernel, stride, pad, strict=True))
        rows, columns = (_divisors(*side, round_up=param.round_mode == 0) for side in sides)
        out = (len(rows), len(columns))
        need(min(out) > 0, f"kernel {dims(kernel)} (pad {dims(pad)}) does not fit its bottom of {dims(shapes[0])}")
        return {
            "output_shapes": ((n, channels, *out),),
            "method": ("MAX", "AVE")[param.pool],
            "kernel": kernel,
            "stride": stride,
            "pad": pad,
            "overhang": tuple((o - 1) * s + k - size - p for o, (size, k, s, p) in zip(out, sides, strict=True)),
            "covers": (rows, columns),
        }


def _divisors(size: int, kernel: int, stride: int, pad: int, round_up: bool) -> Shape:
    """Return the number of positions that each window along one side averages over."""
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
    return tuple(min(start + kernel, size + pad) - start for start in starts)
