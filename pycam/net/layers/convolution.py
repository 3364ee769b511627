"""Convolution and deconvolution."""

from __future__ import annotations

from typing import Any, ClassVar

from pycam.net.layers.base import Layer, Pair, Shape, count, dims, image_shape, need, window


class _Filter(Layer):
    """A convolution or its transpose.

    Attributes
    ----------
    num_output : int
        Channels of the top.
    kernel, stride, pad, dilation : tuple of int
        (rows, columns).
    group : int
        The number of groups into which the channels are divided.
    bias : bool
        True if a bias per output channel is added.
    """

    transposed: ClassVar[bool]
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
        outputs, group, bias = int(param.num_output), int(param.group), bool(param.bias_term)
        need(len(dilation) <= 2 and min(dilation) > 0, f"dilation {dilation}: must be one or two positive numbers")
        need(outputs > 0, "num_output must be positive")
        need(group > 0, "group must be positive")
        need(channels % group == 0, f"{channels} channels do not divide into {group} groups")
        need(outputs % group == 0, f"num_output {outputs} does not divide into {group} groups")
        spread = (dilation[0], dilation[-1])
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, spread, strict=True)]
        sides = list(zip(size, reach, stride, pad, strict=True))
        if cls.transposed:
            out = [s * (side - 1) + r - 2 * p for side, r, s, p in sides]
            weights = (channels, outputs // group, *kernel)
        else:
            out = [(side + 2 * p - r) // s + 1 for side, r, s, p in sides]
            weights = (outputs, channels // group, *kernel)
        need(
            min(out) > 0,
            f"kernel {dims(kernel)} (dilation {dims(spread)}, pad {dims(pad)}) does not fit "
            f"its bottom of {dims(shapes[0])}",
        )
        return {
            "output_shapes": ((n, outputs, *out),),
            "param_shapes": (weights, (outputs,)) if bias else (weights,),
            "num_output": outputs,
            "kernel": kernel,
            "stride": stride,
            "pad": pad,
            "dilation": spread,
            "group": group,
            "bias": bias,
        }

    @property
    def multiply_adds(self) -> int:
        positions = self.input_shapes if self.transposed else self.output_shapes
        return count(positions[0]) * count(self.param_shapes[0][1:])


class Convolution(_Filter):
    """Convolution over H and W; sizes round down. Weights: num_output × channels/group × kernel."""

    type = "Convolution"
    transposed = False


class Deconvolution(_Filter):
    """The transpose of a convolution. Weights: channels × num_output/group × kernel."""

    type = "Deconvolution"
    transposed = True
