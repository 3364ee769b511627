"""Convolution and deconvolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pycam.net.layers.base import (
    Layer,
    Pair,
    Shape,
    count,
    dims,
    image_shape,
    need,
    window,
)


@dataclass(frozen=True, kw_only=True)
class _Filter(Layer):
    """What convolution and its transpose share."""

    num_output: int
    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair
    group: int
    bias: bool

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.convolution_param
        n, channels, *size = image_shape(shapes[0])
        need(param.axis in (1, -3), f"axis {param.axis}: pycam convolves N×C×H×W blobs over H and W (axis 1)")
        kernel, stride, pad = window(param)
        dilation = [int(d) for d in param.dilation] or [1]
        outputs, group = int(param.num_output), int(param.group)
        need(
            len(dilation) <= 2 and min(dilation) > 0,
            f"dilation {dilation}: must be one or two positive numbers",
        )
        need(outputs > 0, "num_output must be positive")
        need(group > 0, "group must be positive")
        need(channels % group == 0, f"{channels} channels do not divide into {group} groups")
        need(outputs % group == 0, f"num_output {outputs} does not divide into {group} groups")
        spread = (dilation[0], dilation[-1])
        reach = [s * (k - 1) + 1 for k, s in zip(kernel, spread, strict=True)]
        out = cls._output_size(size, reach, stride, pad)
        need(
            min(out) > 0,
            f"kernel {dims(kernel)} (dilation {dims(spread)}, pad {dims(pad)}) does not fit "
            f"its bottom of {dims(shapes[0])}",
        )
        weights = cls._weight_shape(channels, outputs, group) + kernel
        return {
            "output_shapes": ((n, outputs, *out),),
            "param_shapes": (weights, (outputs,)) if param.bias_term else (weights,),
            "num_output": outputs,
            "kernel": kernel,
            "stride": stride,
            "pad": pad,
            "dilation": spread,
            "group": group,
            "bias": bool(param.bias_term),
        }

    @staticmethod
    def _output_size(size: list[int], reach: list[int], stride: Pair, pad: Pair) -> list[int]:
        raise NotImplementedError

    @staticmethod
    def _weight_shape(channels: int, outputs: int, group: int) -> Pair:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Convolution(_Filter):
    """Convolution over H and W; sizes round down. Weights: num_output × channels/group × kernel."""

    type = "Convolution"

    @staticmethod
    def _output_size(size: list[int], reach: list[int], stride: Pair, pad: Pair) -> list[int]:
        return [(n + 2 * p - r) // s + 1 for n, r, s, p in zip(size, reach, stride, pad, strict=True)]

    @staticmethod
    def _weight_shape(channels: int, outputs: int, group: int) -> Pair:
        return outputs, channels // group

    @property
    def multiply_adds(self) -> int:
        return count(self.output_shapes[0]) * count(self.param_shapes[0][1:])


@dataclass(frozen=True, kw_only=True)
class Deconvolution(_Filter):
    """The transpose of a convolution. Weights: channels × num_output/group × kernel."""

    type = "Deconvolution"

    @staticmethod
    def _output_size(size: list[int], reach: list[int], stride: Pair, pad: Pair) -> list[int]:
        return [s * (n - 1) + r - 2 * p for n, r, s, p in zip(size, reach, stride, pad, strict=True)]

    @staticmethod
    def _weight_shape(channels: int, outputs: int, group: int) -> Pair:
        return channels, outputs // group

    @property
    def multiply_adds(self) -> int:
        return count(self.input_shapes[0]) * count(self.param_shapes[0][1:])
