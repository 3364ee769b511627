"""The units of a head: the channels whose weighted sum is the score of a class, and how their maps become numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.net import CamHead, Net, head_weights, layers as L
from pycam.net.linear_path import RENAMING

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UnitHead:
    """The units of a net, and the way from their maps to the logits: the scores before the last activation.

    Attributes
    ----------
    blob : str
        The value whose channels are the units: N×K×h×w.
    weights : (T, K) float64
        One row per class.
    bias : (T,) float64
        The bias of each class.
    pooling : str
        `average`, `max`, or `layers`: further layers follow the pooling, as a card says, and the weights are those of
        what they make of each unit.
    coverage : (h, w) float64, optional
        How much each position counts in the average; None if all count 1.
    pooled_value : str
        For `layers`, the value that the weights multiply.
    slope : float, optional
        If the sum of the units is taken at each position, goes through a ReLU, and is averaged then: what the ReLU
        multiplies negative values with. None if the units are averaged first.
    pad : (int, int)
        Rows and columns around the units at which that sum is the bias alone.
    are_classes : bool
        Whether each unit is the map of one class, because the net has no weights behind them.
    """

    blob: str
    weights: Floats
    bias: Floats
    pooling: str = "average"
    coverage: Floats | None = None
    pooled_value: str = ""
    slope: float | None = None
    pad: tuple[int, int] = (0, 0)
    are_classes: bool = False

    def accounts(self, features: NDArray[np.float32], pooled: Floats | None, classes: Iterable[int]) -> list[Account]:
        """Return how much each unit adds to the logits of classes, computed in double precision.

        Parameters
        ----------
        features : (n, K, h, w) float32
            `blob` for each crop of an image.
        pooled : (n, K) float64, optional
            `pooled_value` for each crop.
        classes : iterable of int
            Indices of classes.
        """
        rows, columns = self.pad
        units = np.pad(features.astype(np.float64), ((0, 0), (0, 0), (rows, rows), (columns, columns)))
        if pooled is None and self.slope is None:
            pooled = (
                units.max(axis=(2, 3))
                if self.pooling == "max"
                else (units if self.coverage is None else units * self.coverage).mean(axis=(2, 3))
            )
        return [self._account(units, pooled, index) for index in classes]

    def _account(self, units: Floats, pooled: Floats | None, index: int) -> Account:
        weights, bias = self.weights[index], float(self.bias[index])
        # (K,) and (n, K, h, w) -> (n, h, w)
        map_: Floats = np.einsum("k,nkhw->nhw", weights, units)
        if pooled is not None or self.slope is None:
            assert pooled is not None
            of_image = pooled.mean(axis=0)
            drawn = map_ if self.coverage is None else map_ * self.coverage
            return Account(index, weights, of_image, weights * of_image, bias, drawn)
        gate: Floats = np.where(map_ + bias > 0, 1.0, self.slope)
        of_image = np.einsum("nhw,nkhw->k", gate, units) / gate.size
        return Account(index, weights, of_image, weights * of_image, bias * float(gate.mean()), map_ * gate)


@dataclass(frozen=True, eq=False)
class Account:
    """How much each unit adds to the logit of a class, in an image; the mean over its crops.

    Attributes
    ----------
    index : int
        The class.
    weights : (K,) float64
        The weight of each unit.
    pooled : (K,) float64
        What the weight multiplies: the unit's mean or maximum, by the pooling of the net.
    contributions : (K,) float64
        Their products.
    bias : float
        What the bias of the class adds.
    map : (n, h, w) float64
        The class activation map of each crop. With average pooling, its mean is the sum of the contributions.
    """

    index: int
    weights: Floats
    pooled: Floats
    contributions: Floats
    bias: float
    map: Floats

    @property
    def total(self) -> float:
        """The sum of all contributions and the bias: the logit."""
        return float(self.contributions.sum()) + self.bias

    @property
    def order(self) -> NDArray[np.intp]:
        """The units, those with the largest contributions in absolute value first; of equal ones, the lower first."""
        return np.argsort(-np.abs(self.contributions), kind="stable")


def unit_head(net: Net, head: CamHead) -> UnitHead:
    """Return the units of a head.

    Parameters
    ----------
    net : Net
        With parameters.
    head : CamHead
        Its head.

    Returns
    -------
    UnitHead
        If each channel of the features is the map of one class, the units are the channels that a 1×1 convolution
        makes the maps of, as in SqueezeNet; without such a convolution, the maps themselves.

    Raises
    ------
    NetError
        A card names the head, and what its class layer gives are not the logits.
    """
    numbers = head_weights(net, head)
    coverage = None if numbers.coverage is None else numbers.coverage.astype(np.float64)
    bias = numbers.bias.astype(np.float64)
    if numbers.matrix is None:
        return _behind_the_maps(net, head, UnitHead(head.feature_blob, np.eye(len(bias)), bias, coverage=coverage))
    found = UnitHead(head.feature_blob, numbers.matrix.astype(np.float64), bias, head.pooling, coverage)
    if not head.named:
        return found
    layer = net.by_name[str(head.class_layer)]
    if _renamed(net, head.logits) not in layer.outputs:
        raise NetError(
            f"no account: layers change the scores of {layer.name!r} before they are {head.logits!r}, so that they are "
            "no sum over units"
        )
    return replace(found, pooling="layers", pooled_value=layer.inputs[0])


def _behind_the_maps(net: Net, head: CamHead, maps: UnitHead) -> UnitHead:
    """Return the units that a 1×1 convolution makes the maps of classes of, or the maps if there is no such layer."""
    if head.named:
        raise NetError(
            f"no account: a card names {head.feature_blob!r} as the maps of the classes, but the scores "
            f"{head.score_blob!r} are not their averages"
        )
    maps = replace(maps, are_classes=True, pooling="max" if head.pooling == "max" else "average")
    value, slope = _renamed(net, maps.blob), None
    if isinstance(relu := net.producer[value], L.ReLU):
        value, slope = _renamed(net, relu.inputs[0]), relu.negative_slope
    layer = net.producer[value]
    if (
        maps.pooling == "max"
        or maps.coverage is not None
        or not isinstance(layer, L.Convolution)
        or (layer.kernel, layer.stride, layer.group) != ((1, 1), (1, 1), 1)
    ):
        return maps
    weights = net.class_weights(layer.name).astype(np.float64)
    bias = net.params[layer.name][1].astype(np.float64) if layer.bias else np.zeros(len(weights))
    # Without a ReLU, the sum is linear: every position counts.
    return UnitHead(layer.inputs[0], weights, bias, slope=1.0 if slope is None else slope, pad=layer.pad)


def _renamed(net: Net, value: str) -> str:
    """Return the value that a value is another name of."""
    while isinstance(layer := net.producer[value], RENAMING) and not (
        isinstance(layer, L.Flatten | L.Reshape) and layer.input_shapes[0][1:2] != layer.output_shapes[0][1:2]
    ):
        value = layer.inputs[0]
    return value
