"""Local response normalization, batch normalization, and scaling."""

from __future__ import annotations

from typing import Any

from pycam.net.layers.base import Layer, Shape, dims, image_shape, need, numbers, positive_axis


class LRN(Layer):
    """Local response normalization.

    Across channels: x / (k + alpha/local_size · Σx²)^beta over `local_size` channels.
    Within a channel: x / (1 + alpha/local_size² · Σx²)^beta over a window with that side; `k` has no effect.
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
        image_shape(shapes[0])
        need(param.local_size % 2 == 1, f"local_size {param.local_size} must be odd")
        return {
            "local_size": int(param.local_size),
            **numbers(param, "alpha", "beta", "k"),
            "within_channel": param.norm_region == 1,
        }


class BatchNorm(Layer):
    """(x − mean) / sqrt(variance + eps) per channel, from stored statistics, or in training from those of the batch.

    The parameters are the mean and the variance, both multiplied by a factor, and that factor. If the factor is 0, mean
    and variance are zero.

    Attributes
    ----------
    use_global_stats : bool or None
        Whether the stored statistics are used; None: in phase TEST, and in training those of the batch, which are
        added to the stored ones.
    moving_average_fraction : float
        What the stored sums are multiplied by before the statistics of a batch are added.
    """

    type = "BatchNorm"
    works_in_place = True
    eps: float
    moving_average_fraction: float
    use_global_stats: bool | None

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.batch_norm_param
        need(len(shapes[0]) >= 2, f"its bottom must have a channel axis, it has {dims(shapes[0])}")
        channels = shapes[0][1]
        return {
            "param_shapes": ((channels,), (channels,), (1,)),
            "use_global_stats": param.use_global_stats if param.HasField("use_global_stats") else None,
            **numbers(param, "eps", "moving_average_fraction"),
        }


class Scale(Layer):
    """x times one factor per position along the axes from `axis` on, plus one bias per position with `bias`.

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
        axis = positive_axis(param.axis, shape) if learned or shapes[1] else 0
        if learned:
            need(param.num_axes >= -1, f"num_axes {param.num_axes} must be -1 or more")
            end = len(shape) if param.num_axes == -1 else axis + param.num_axes
            need(
                end <= len(shape),
                f"num_axes {param.num_axes} from axis {axis} exceeds the {len(shape)} axes of its bottom",
            )
            need(axis > 0 or end == 0, "axis 0 would scale images by their position in the batch")
            factors = shape[axis:end]
        else:
            factors = shapes[1]
            need(
                shape[axis : axis + len(factors)] == factors,
                f"factors of {dims(factors)} do not fit {dims(shape)} from axis {axis} on",
            )
        bias = bool(param.bias_term)
        return {"param_shapes": (factors,) * (learned + bias), "axis": axis, "factor_shape": factors, "bias": bias}
