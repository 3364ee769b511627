"""Caffe's layers, one frozen dataclass a type, with everything that a layer leaves implicit made explicit.

A layer class turns a `LayerParameter` and the shapes that reach it into plain numbers: kernel, stride and padding a
side, the divisors of an average, the axes of a slice. An engine's translator spells these numbers and decides nothing.
Shapes are those of Caffe's blobs at batch 1; where axis 0 is the batch, translators leave it open.

Semantics are those of Caffe 1.0 (docs/caffe.md, "Layers").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
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


def _count(shape: Shape) -> int:
    return math.prod(shape)


def _axis(axis: int, shape: Shape) -> int:
    """Count a possibly negative axis from the front."""
    if not -len(shape) <= axis < len(shape):
        raise NetError(f"axis {axis} of a blob with {len(shape)} axes ({dims(shape)})")
    return axis % len(shape)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise NetError(message)


def dims(shape: Shape) -> str:
    """Write a shape as people read it: `1×3×224×224`."""
    return "×".join(map(str, shape)) or "scalar"


def _image(shape: Shape) -> tuple[int, int, int, int]:
    _need(len(shape) == 4, f"its bottom must have four axes (N×C×H×W), it has {dims(shape)}")
    n, c, h, w = shape
    return n, c, h, w


def _numbers(param: Any, *names: str) -> dict[str, float]:
    return {name: _finite(getattr(param, name), name) for name in names}


def _finite(value: float, name: str) -> float:
    _need(math.isfinite(value), f"{name} {value}: must be a number that can be computed with")
    return single(value)


def _pair(param: Any, name: str, default: int | None) -> Pair:
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
    _need(len(values) <= 2, f"{name} is given for {len(values)} axes; pycam convolves over two")
    return int(values[0]), int(values[-1])


def _window(param: Any) -> tuple[Pair, Pair, Pair]:
    """Read the kernel, the stride and the padding of a layer."""
    kernel, stride, pad = _pair(param, "kernel_size", None), _pair(param, "stride", 1), _pair(param, "pad", 0)
    _need(min(kernel) > 0, f"kernel {dims(kernel)}: its sides must be positive")
    _need(min(stride) > 0, f"stride {dims(stride)}: must be positive")
    return kernel, stride, pad


@dataclass(frozen=True, kw_only=True)
class Input(Layer):
    """Where pictures enter."""

    type = "Input"
    bottom_count = (0, 0)
    top_count = (1, None)
    # It tells nothing: where the file has no layer for its inputs, Caffe makes one and calls it `input`.
    name: str = field(compare=False)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        given = [tuple(int(d) for d in shape.dim) for shape in message.input_param.shape]
        _need(
            len(given) in (1, len(message.top)),
            f"{len(given)} shapes for {len(message.top)} tops: give one for all or one each",
        )
        for shape in given:
            _need(len(shape) > 0, "an empty shape")
            _need(all(d > 0 for d in shape), f"a shape with a side that is not positive: {dims(shape)}")
        if len(given) == 1:
            given *= len(message.top)
        return {"output_shapes": tuple((1, *shape[1:]) for shape in given)}


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
        n, channels, *size = _image(shapes[0])
        _need(param.axis in (1, -3), f"axis {param.axis}: pycam convolves N×C×H×W blobs over H and W (axis 1)")
        kernel, stride, pad = _window(param)
        dilation = [int(d) for d in param.dilation] or [1]
        outputs, group = int(param.num_output), int(param.group)
        _need(
            len(dilation) <= 2 and min(dilation) > 0,
            f"dilation {dilation}: must be one or two positive numbers",
        )
        _need(outputs > 0, "num_output must be positive")
        _need(group > 0, "group must be positive")
        _need(channels % group == 0, f"{channels} channels do not divide into {group} groups")
        _need(outputs % group == 0, f"num_output {outputs} does not divide into {group} groups")
        spread = (dilation[0], dilation[-1])
        reach = [s * (k - 1) + 1 for k, s in zip(kernel, spread, strict=True)]
        out = cls._output_size(size, reach, stride, pad)
        _need(
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
        return _count(self.output_shapes[0]) * _count(self.param_shapes[0][1:])


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
        return _count(self.input_shapes[0]) * _count(self.param_shapes[0][1:])


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
        n, channels, *size = _image(shapes[0])
        method = {0: "MAX", 1: "AVE"}.get(param.pool)
        if method is None:
            raise NetError("stochastic pooling is not supported: only MAX and AVE are")
        if param.global_pooling:
            kernel, stride, pad = (size[0], size[1]), (1, 1), (0, 0)
        else:
            kernel, stride, pad = _window(param)
        _need(
            pad[0] < kernel[0] and pad[1] < kernel[1],
            f"pad {dims(pad)} must be smaller than kernel {dims(kernel)}",
        )
        windows = [
            _windows(*side, round_up=param.round_mode == 0) for side in zip(size, kernel, stride, pad, strict=True)
        ]
        (rows, row_covers), (columns, column_covers) = windows
        _need(
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
    _need(count <= MAX_SIDE, f"{count} windows along a side: pycam pools into at most {MAX_SIDE}")
    _need(
        (count - 1) * stride - pad < size,
        f"stride {stride} with kernel {kernel} leaves a window without a value (Caffe fills it with garbage)",
    )
    starts = range(-pad, -pad + count * stride, stride)
    return count, tuple(min(start + kernel, size + pad) - start for start in starts)


@dataclass(frozen=True, kw_only=True)
class LRN(Layer):
    """Local response normalisation.

    Across channels: x / (k + alpha/local_size · Σx²)^beta over `local_size` channels.
    Within a channel: x / (1 + alpha/local_size² · Σx²)^beta over a window of that side; `k` has no effect.
    """

    type = "LRN"

    local_size: int
    alpha: float
    beta: float
    k: float
    within_channel: bool

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.lrn_param
        _image(shapes[0])
        _need(param.local_size % 2 == 1, f"local_size {param.local_size} must be odd")
        return {
            "local_size": int(param.local_size),
            **_numbers(param, "alpha", "beta", "k"),
            "within_channel": param.norm_region == 1,
        }


def single(value: float) -> float:
    """Give the shortest decimal that is the same single-precision number: 0.0001, not 9.999999747378752e-05."""
    return float(str(np.float32(value)))


@dataclass(frozen=True, kw_only=True)
class InnerProduct(Layer):
    """Fully connected: all from `axis` on is one vector. Weights: outputs × inputs, the reverse if `transpose`."""

    type = "InnerProduct"

    num_output: int
    axis: int
    transpose: bool
    bias: bool

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.inner_product_param
        axis = _axis(param.axis, shapes[0])
        _need(axis > 0, "axis 0 would make one vector of all the pictures in a batch")
        inputs, outputs = _count(shapes[0][axis:]), int(param.num_output)
        _need(outputs > 0, "num_output must be positive")
        weights = (inputs, outputs) if param.transpose else (outputs, inputs)
        return {
            "output_shapes": ((*shapes[0][:axis], outputs),),
            "param_shapes": (weights, (outputs,)) if param.bias_term else (weights,),
            "num_output": outputs,
            "axis": axis,
            "transpose": bool(param.transpose),
            "bias": bool(param.bias_term),
        }

    @property
    def multiply_adds(self) -> int:
        return _count(self.output_shapes[0][: self.axis]) * _count(self.param_shapes[0])


@dataclass(frozen=True, kw_only=True)
class ReLU(Layer):
    """max(x, 0), or `negative_slope`·x below 0."""

    type = "ReLU"
    works_in_place = True
    negative_slope: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return _numbers(message.relu_param, "negative_slope")


@dataclass(frozen=True, kw_only=True)
class PReLU(Layer):
    """ReLU with a learned slope below 0, one a channel or one for all."""

    type = "PReLU"
    works_in_place = True

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        _need(len(shapes[0]) >= 2, f"its bottom must have a channel axis, it has {dims(shapes[0])}")
        slopes: Shape = () if message.prelu_param.channel_shared else (shapes[0][1],)
        return {"param_shapes": (slopes,)}


@dataclass(frozen=True, kw_only=True)
class ELU(Layer):
    """x above 0, `alpha`·(exp(x) − 1) below."""

    type = "ELU"
    works_in_place = True
    alpha: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return _numbers(message.elu_param, "alpha")


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Layer):
    """1 / (1 + exp(−x))."""

    type = "Sigmoid"
    works_in_place = True


@dataclass(frozen=True, kw_only=True)
class TanH(Layer):
    """Hyperbolic tangent."""

    type = "TanH"
    works_in_place = True


@dataclass(frozen=True, kw_only=True)
class AbsVal(Layer):
    """Absolute value."""

    type = "AbsVal"


@dataclass(frozen=True, kw_only=True)
class Power(Layer):
    """(shift + scale·x)^power."""

    type = "Power"
    works_in_place = True
    power: float
    scale: float
    shift: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return _numbers(message.power_param, "power", "scale", "shift")


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """exp(x) over its sum along `axis`."""

    type = "Softmax"
    works_in_place = True
    axis: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"axis": _axis(message.softmax_param.axis, shapes[0])}


@dataclass(frozen=True, kw_only=True)
class Dropout(Layer):
    """Nothing when testing; in training, values are dropped at `ratio` and the rest scaled up."""

    type = "Dropout"
    works_in_place = True
    ratio: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        ratio = _finite(message.dropout_param.dropout_ratio, "dropout_ratio")
        _need(0 <= ratio < 1, f"dropout_ratio {ratio}: must be a share of the values, from 0 to less than 1")
        return {"ratio": ratio}


@dataclass(frozen=True, kw_only=True)
class Split(Layer):
    """The same values under several names."""

    type = "Split"
    top_count = (1, None)

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return {"output_shapes": shapes * len(message.top)}


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Blobs one behind the other along `axis`."""

    type = "Concat"
    bottom_count = (1, None)
    axis: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.concat_param
        axis = _axis(param.concat_dim if param.HasField("concat_dim") else param.axis, shapes[0])
        first = shapes[0]
        for name, shape in zip(message.bottom, shapes, strict=True):
            _need(
                len(shape) == len(first) and shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :],
                f"bottom {name!r} of {dims(shape)} does not fit beside {message.bottom[0]!r} of {dims(first)} "
                f"along axis {axis}",
            )
        total = sum(shape[axis] for shape in shapes)
        return {"output_shapes": ((*first[:axis], total, *first[axis + 1 :]),), "axis": axis}


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """A blob cut along `axis` at `points`, a top a piece."""

    type = "Slice"
    top_count = (1, None)
    axis: int
    points: Shape

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape, tops = message.slice_param, shapes[0], len(message.top)
        axis = _axis(param.slice_dim if param.HasField("slice_dim") else param.axis, shape)
        _need(axis > 0, "axis 0 would cut the batch")
        points = tuple(int(p) for p in param.slice_point)
        if points:
            _need(
                len(points) == tops - 1,
                f"{len(points)} slice points for {tops} tops: give one fewer than tops",
            )
        else:
            _need(
                shape[axis] % tops == 0,
                f"{shape[axis]} values along axis {axis} do not divide into {tops} tops",
            )
            points = tuple(range(shape[axis] // tops, shape[axis], shape[axis] // tops))
        edges = (0, *points, shape[axis])
        sizes = [after - before for before, after in pairwise(edges)]
        _need(min(sizes) > 0, f"slice points {points} must rise within the {shape[axis]} values of axis {axis}")
        return {
            "output_shapes": tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes),
            "axis": axis,
            "points": points,
        }


@dataclass(frozen=True, kw_only=True)
class Eltwise(Layer):
    """Blobs of one shape, value by value: `PROD`, `SUM` with `coefficients`, or `MAX`."""

    type = "Eltwise"
    bottom_count = (2, None)
    operation: str
    coefficients: tuple[float, ...]

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.eltwise_param
        for name, shape in zip(message.bottom, shapes, strict=True):
            _need(
                shape == shapes[0],
                f"bottom {name!r} of {dims(shape)} differs from {message.bottom[0]!r} of {dims(shapes[0])}",
            )
        operation = {0: "PROD", 1: "SUM", 2: "MAX"}[param.operation]
        given = tuple(_finite(c, "coeff") for c in param.coeff)
        _need(
            len(given) in (0, len(shapes)),
            f"{len(given)} coefficients for {len(shapes)} bottoms: give one each",
        )
        _need(not given or operation == "SUM", f"coefficients are for SUM, the operation is {operation}")
        return {
            "operation": operation,
            "coefficients": given or (1.0,) * len(shapes),
        }


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Layer):
    """(x − mean) / sqrt(variance + eps) a channel, from stored statistics.

    Parameters are the mean and the variance, both times a factor, and that factor (0: both are zero).
    """

    type = "BatchNorm"
    works_in_place = True
    eps: float

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.batch_norm_param
        _need(
            not param.HasField("use_global_stats") or param.use_global_stats,
            "use_global_stats is false: statistics of the batch at hand are for training only",
        )
        channels = shapes[0][1] if len(shapes[0]) > 1 else 1
        return {
            "param_shapes": ((channels,), (channels,), (1,)),
            **_numbers(param, "eps"),
        }


@dataclass(frozen=True, kw_only=True)
class Scale(Layer):
    """x times a factor a position along the axes from `axis` on, plus a bias a position if `bias`.

    The factors are the layer's parameters, or its second bottom.
    """

    type = "Scale"
    works_in_place = True
    bottom_count = (1, 2)
    axis: int
    factor_shape: Shape
    bias: bool

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, shape = message.scale_param, shapes[0]
        learned = len(shapes) == 1
        axis = _axis(param.axis, shape) if learned or shapes[1] else 0
        if learned:
            _need(param.num_axes >= -1, f"num_axes {param.num_axes} must be -1 or more")
            end = len(shape) if param.num_axes == -1 else axis + param.num_axes
            _need(
                end <= len(shape),
                f"num_axes {param.num_axes} from axis {axis} leaves the {len(shape)} axes of its bottom",
            )
            _need(axis > 0 or end == 0, "axis 0 would weigh pictures by their place in the batch")
            factors = shape[axis:end]
        else:
            factors = shapes[1]
            _need(
                shape[axis : axis + len(factors)] == factors,
                f"factors of {dims(factors)} do not fit {dims(shape)} from axis {axis} on",
            )
        params = ((factors,) if learned else ()) + ((factors,) if param.bias_term else ())
        return {
            "param_shapes": params,
            "axis": axis,
            "factor_shape": factors,
            "bias": bool(param.bias_term),
        }


@dataclass(frozen=True, kw_only=True)
class _Reshaping(Layer):
    """The same values in another shape.

    Attributes
    ----------
    target
        The new shape with 0 for "as in the bottom" and at most one −1 for "whatever is left", so that it holds at any
        batch.
    """

    target: Shape


@dataclass(frozen=True, kw_only=True)
class Flatten(_Reshaping):
    """Several neighbouring axes made one."""

    type = "Flatten"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        shape, param = shapes[0], message.flatten_param
        start, end = _axis(param.axis, shape), _axis(param.end_axis, shape)
        _need(start <= end, f"axis {start} lies behind end_axis {end}")
        kept, merged, rest = shape[:start], _count(shape[start : end + 1]), shape[end + 1 :]
        return {"output_shapes": ((*kept, merged, *rest),), "target": (0,) * len(kept) + (-1,) + rest}


@dataclass(frozen=True, kw_only=True)
class Reshape(_Reshaping):
    """A blob in the shape that is asked for."""

    type = "Reshape"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        shape, param = shapes[0], message.reshape_param
        asked = tuple(int(d) for d in param.shape.dim)
        # An axis of -1 stands for "behind the last one" here, unlike in other layers.
        start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
        end = len(shape) if param.num_axes == -1 else start + param.num_axes
        _need(
            0 <= start <= end <= len(shape),
            f"axis {param.axis} and num_axes {param.num_axes} leave its bottom of {dims(shape)}",
        )
        _need(asked.count(-1) <= 1, "two sides of -1: only one can be worked out")
        _need(all(d >= -1 for d in asked), f"a side below -1: {dims(asked)}")
        _need(
            all(start + i < len(shape) for i, d in enumerate(asked) if d == 0),
            "a side of 0 where its bottom has none",
        )
        sides = [shape[start + i] if d == 0 else d for i, d in enumerate(asked)]
        full = [*shape[:start], *sides, *shape[end:]]
        if -1 in full:
            known = _count(tuple(d for d in full if d != -1))
            _need(_count(shape) % known == 0, f"{dims(shape)} does not divide into {dims(asked)}")
            full[full.index(-1)] = _count(shape) // known
        _need(_count(tuple(full)) == _count(shape), f"{dims(shape)} cannot become {dims(tuple(full))}")
        keeps_batch = start > 0 or (asked and asked[0] == 0)
        _need(
            keeps_batch or -1 in asked[:1],
            f"its shape {dims(asked)} fixes the batch: let the first side be 0 (as in the bottom) or -1",
        )
        return {"output_shapes": (tuple(full),), "target": (0 if keeps_batch else -1, *full[1:])}


@dataclass(frozen=True, kw_only=True)
class Crop(Layer):
    """The part of its first bottom that has the second's size, from `offsets` on, along the axes from `axis` on."""

    type = "Crop"
    bottom_count = (2, 2)
    axis: int
    offsets: Shape

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param, (shape, like) = message.crop_param, shapes
        _need(
            len(shape) == len(like),
            f"bottoms of {dims(shape)} and {dims(like)} differ in their number of axes",
        )
        axis = _axis(param.axis, shape)
        _need(axis > 0, "axis 0 would crop the batch")
        given = tuple(int(o) for o in param.offset) or (0,)
        cropped = len(shape) - axis
        _need(
            len(given) in (1, cropped),
            f"{len(given)} offsets for {cropped} axes: give one for all or one each",
        )
        offsets = given * cropped if len(given) == 1 else given
        for i, offset in enumerate(offsets, start=axis):
            _need(
                offset + like[i] <= shape[i],
                f"offset {offset} and size {like[i]} leave the {shape[i]} values of axis {i}",
            )
        return {"output_shapes": ((*shape[:axis], *like[axis:]),), "axis": axis, "offsets": offsets}


@dataclass(frozen=True, kw_only=True)
class _Source(Layer):
    """Where pictures and their labels enter in training; `pycam.training.data` reads them.

    Attributes
    ----------
    batch_size
        Pictures that go through the net together.
    """

    bottom_count = (0, 0)
    top_count = (1, 2)
    batch_size: int

    @staticmethod
    def _outputs(message: Any, param: Any, size: Pair, grey: bool) -> dict[str, Any]:
        crop = int(message.transform_param.crop_size)
        size = (crop, crop) if crop else size
        _need(
            min(size) > 0, "no crop_size: how large its pictures are stands in its source alone, `pycam train` reads it"
        )
        _need(param.batch_size > 0, "batch_size must be positive")
        shapes: tuple[Shape, ...] = ((1, 1 if grey else 3, *size), (1,))
        return {"output_shapes": shapes[: len(message.top)], "batch_size": int(param.batch_size)}


@dataclass(frozen=True, kw_only=True)
class Data(_Source):
    """A database of pictures with labels."""

    type = "Data"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        return cls._outputs(message, message.data_param, (0, 0), message.transform_param.force_gray)


@dataclass(frozen=True, kw_only=True)
class ImageData(_Source):
    """A list of picture files with labels."""

    type = "ImageData"

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.image_data_param
        return cls._outputs(message, param, (int(param.new_height), int(param.new_width)), not param.is_color)


@dataclass(frozen=True, kw_only=True)
class _Judging(Layer):
    """What compares scores, its first bottom, with labels, its second: one a position.

    Attributes
    ----------
    axis
        Along which the scores of the classes lie.
    ignore_label
        Positions with this label don't count; None: all do.
    """

    bottom_count = (2, 2)
    axis: int
    ignore_label: int | None

    @property
    def class_count(self) -> int:
        """How many classes are told apart."""
        return self.input_shapes[0][self.axis]

    @staticmethod
    def _judged(param: Any, axis: int, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        scores, labels = shapes
        axis = _axis(axis, scores)
        _need(
            _count(labels) * scores[axis] == _count(scores),
            f"labels of {dims(labels)} do not go with scores of {dims(scores)}: one label a position is needed",
        )
        ignored = int(param.ignore_label) if param.HasField("ignore_label") else None
        return {"axis": axis, "ignore_label": ignored}


@dataclass(frozen=True, kw_only=True)
class SoftmaxWithLoss(_Judging):
    """The mean of −log softmax at the labels; a second top is the softmax.

    Attributes
    ----------
    normalization
        What the sum is divided by: `FULL`, all positions; `VALID`, those not ignored; `BATCH_SIZE`; `NONE`, 1.
    """

    type = "SoftmaxWithLoss"
    top_count = (1, 2)
    normalization: str

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.loss_param
        normalization = {0: "FULL", 1: "VALID", 2: "BATCH_SIZE", 3: "NONE"}[param.normalization]
        if param.HasField("normalize") and not param.HasField("normalization"):
            normalization = "VALID" if param.normalize else "BATCH_SIZE"
        tops: tuple[Shape, ...] = ((), shapes[0])
        return {
            "output_shapes": tops[: len(message.top)],
            "normalization": normalization,
            **cls._judged(param, message.softmax_param.axis, shapes),
        }


@dataclass(frozen=True, kw_only=True)
class Accuracy(_Judging):
    """The fraction of labels among the `top_k` classes of the highest scores."""

    type = "Accuracy"
    top_k: int

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.accuracy_param
        judged = cls._judged(param, param.axis, shapes)
        classes = shapes[0][judged["axis"]]
        _need(1 <= param.top_k <= classes, f"top_k {param.top_k}: must be from 1 to the {classes} classes")
        return {"output_shapes": ((),), "top_k": int(param.top_k), **judged}
