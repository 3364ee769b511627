"""Fully connected layers."""

from __future__ import annotations

from typing import Any

from pycam.net.layers.base import Layer, Shape, count, need, positive_axis


class InnerProduct(Layer):
    """Fully connected layer. All axes from `axis` on form one vector.

    Weights: outputs × inputs, or inputs × outputs with `transpose`.
    """

    type = "InnerProduct"
    num_output: int
    axis: int
    transpose: bool
    bias: bool

    @classmethod
    def resolve(cls, message: Any, shapes: tuple[Shape, ...]) -> dict[str, Any]:
        param = message.inner_product_param
        axis = positive_axis(param.axis, shapes[0])
        need(axis > 0, "axis 0 would make one vector of all the images in a batch")
        inputs, outputs = count(shapes[0][axis:]), int(param.num_output)
        need(outputs > 0, "num_output must be positive")
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
        return count(self.output_shapes[0][: self.axis]) * count(self.param_shapes[0])
