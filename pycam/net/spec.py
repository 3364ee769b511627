"""Write a net layer by layer, with the names of the prototxt format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pycam.formats import schema

Filler = Mapping[str, Any]
"""Fields of a `FillerParameter`."""


class NetSpec:
    """A net under construction.

    Each method appends one layer and returns the name of its top blob, which is the bottom of the next layer. The top
    has the name of the layer; ReLU and Dropout work in place. Parameters have Caffe's names. Parameters that are not
    given are not written: Caffe's defaults apply.

    Parameters
    ----------
    name : str or None
        The name of the net.

    Attributes
    ----------
    message : NetParameter
        The layers so far, in the current format.
    """

    def __init__(self, name: str | None = None) -> None:
        self.message = schema.NetParameter(name=name)

    def input(self, name: str, *dim: int) -> str:
        """Append the input of shape N, C, H, W."""
        return self._layer("Input", name, input_param={"shape": [{"dim": dim}]})

    def convolution(
        self,
        name: str,
        bottom: str,
        *,
        num_output: int,
        group: int | None = None,
        weight_filler: Filler | None = None,
        **window: int,
    ) -> str:
        """Append a convolution; `window` is `kernel_size`, `stride` and `pad`, equal along both axes."""
        per_axis = {field: [size] for field, size in window.items()}
        param = {"num_output": num_output, "group": group, "weight_filler": weight_filler, **per_axis}
        return self._layer("Convolution", name, bottom, convolution_param=param)

    def convolution_relu(self, name: str, relu: str, bottom: str, **param: Any) -> str:
        """Append a convolution, with the parameters of `convolution`, and a ReLU in place called `relu`."""
        return self.relu(relu, self.convolution(name, bottom, **param))

    def relu(self, name: str, blob: str) -> str:
        """Append a ReLU in place."""
        return self._layer("ReLU", name, blob, in_place=True)

    def lrn(self, name: str, bottom: str, **param: float) -> str:
        """Append a local response normalization across channels: `local_size`, `alpha`, `beta`."""
        return self._layer("LRN", name, bottom, lrn_param=param)

    def max_pooling(self, name: str, bottom: str, **window: int) -> str:
        """Append a maximum over windows: `kernel_size`, `stride`, `pad`."""
        return self._layer("Pooling", name, bottom, pooling_param={"pool": "MAX", **window})

    def average_pooling(self, name: str, bottom: str, **window: int | str) -> str:
        """Append an average over windows: `kernel_size`, `stride` and `round_mode`, or `global_pooling=True`."""
        return self._layer("Pooling", name, bottom, pooling_param={"pool": "AVE", **window})

    def concat(self, name: str, *bottoms: str) -> str:
        """Append a concatenation along the channels."""
        return self._layer("Concat", name, *bottoms)

    def dropout(self, name: str, blob: str, *, dropout_ratio: float) -> str:
        """Append a dropout in place."""
        return self._layer("Dropout", name, blob, in_place=True, dropout_param={"dropout_ratio": dropout_ratio})

    def inner_product(
        self,
        name: str,
        bottom: str,
        *,
        num_output: int,
        bias_term: bool | None = None,
        weight_filler: Filler | None = None,
    ) -> str:
        """Append a fully connected layer, with bias unless `bias_term` is False."""
        param = {"num_output": num_output, "bias_term": bias_term, "weight_filler": weight_filler}
        return self._layer("InnerProduct", name, bottom, inner_product_param=param)

    def flatten(self, name: str, bottom: str) -> str:
        """Append a blob of one axis per image."""
        return self._layer("Flatten", name, bottom)

    def power(self, name: str, bottom: str, **param: float) -> str:
        """Append (shift + scale · x) ^ power: `power`, `scale`, `shift`."""
        return self._layer("Power", name, bottom, power_param=param)

    def reshape(self, name: str, bottom: str, *dim: int) -> str:
        """Append the same values in another shape; 0 keeps a side of the bottom."""
        return self._layer("Reshape", name, bottom, reshape_param={"shape": {"dim": dim}})

    def scale(self, name: str, bottom: str, factors: str, *, axis: int) -> str:
        """Append the product with a second bottom, whose axes are those of the first one from `axis` on."""
        return self._layer("Scale", name, bottom, factors, scale_param={"axis": axis})

    def softmax(self, name: str, bottom: str) -> str:
        """Append a softmax over the channels."""
        return self._layer("Softmax", name, bottom)

    def _layer(self, type: str, name: str, *bottoms: str, in_place: bool = False, **param: Any) -> str:
        top = bottoms[0] if in_place else name
        self.message.layer.add(name=name, type=type, bottom=bottoms, top=[top], **param)
        return top
