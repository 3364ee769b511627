"""Caffe's fillers: the initial parameters of a net."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import TrainingError
from pycam.formats import schema
from pycam.net import Net, Params
from pycam.net.layers import Layer, Shape, dims


def fill(net: Net, seed: int = 0, but: Collection[str] = ()) -> Params:
    """Return the initial parameters of a net, by the fillers in its prototxt; the same seed gives the same numbers.

    Parameters
    ----------
    net : Net
        The net.
    seed : int
        Decides the numbers.
    but : collection of str
        Layers that are left out.

    Raises
    ------
    TrainingError
        pycam does not have a filler, or a filler is not for this shape; the message names the layer.
    """
    params: Params = {}
    for number, layer in enumerate(net.layers):
        if not layer.param_shapes or layer.name in but:
            continue
        rng = np.random.default_rng([seed, number])
        fillers = zip(_fillers(layer), layer.param_shapes, strict=True)
        try:
            params[layer.name] = tuple(filled(filler, shape, rng) for filler, shape in fillers)
        except TrainingError as error:
            raise TrainingError(f"layer {layer.name!r}: {error}") from None

    # Of the layers that share a parameter, the first one fills it, unless it is left out.
    def of_owner(name: str, index: int) -> NDArray[np.float32]:
        owner, number = net.param_owners[name, index]
        own = params[name][index]
        return params[owner][number].reshape(own.shape) if owner in params else own

    return {name: tuple(of_owner(name, index) for index in range(len(blobs))) for name, blobs in params.items()}


def filled(filler: Any, shape: Shape, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return an array of some shape from a `FillerParameter`, or raise a `TrainingError` for one that pycam lacks."""
    if filler.type not in _FILLERS:
        raise TrainingError(f"filler {filler.type!r} is not supported: there are {', '.join(_FILLERS)}")
    if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise TrainingError(f"filler 'bilinear' is for square filters, not for {dims(shape)}")
    return np.asarray(_FILLERS[filler.type](filler, shape, rng), np.float32)


def _fillers(layer: Layer) -> list[Any]:
    """Return one filler per parameter of a layer."""
    message = layer.message
    if layer.type in ("Convolution", "Deconvolution", "InnerProduct"):
        param = message.inner_product_param if layer.type == "InnerProduct" else message.convolution_param
        given = [param.weight_filler, param.bias_filler]
    elif layer.type == "Scale":
        param = message.scale_param
        given = [param.filler if param.HasField("filler") else _constant(1), param.bias_filler]
        given = given[2 - len(layer.param_shapes) :] if len(layer.inputs) == 2 else given
    elif layer.type == "PReLU":
        param = message.prelu_param
        given = [param.filler if param.HasField("filler") else _constant(0.25)]
    else:
        given = [_constant(0)] * len(layer.param_shapes)
    return given[: len(layer.param_shapes)]


def _constant(value: float) -> Any:
    return schema.FillerParameter(type="constant", value=value)


def _fan(filler: Any, shape: Shape) -> float:
    """Return the fan-in, the fan-out, or their mean, as the filler says."""
    count = math.prod(shape)
    fan_in, fan_out = count / shape[0], count / shape[1] if len(shape) > 1 else count
    return (fan_in, fan_out, (fan_in + fan_out) / 2)[filler.variance_norm]


def _xavier(filler: Any, shape: Shape, rng: np.random.Generator) -> NDArray[np.float64]:
    limit = math.sqrt(3 / _fan(filler, shape))
    return rng.uniform(-limit, limit, shape)


def _gaussian(filler: Any, shape: Shape, rng: np.random.Generator) -> NDArray[np.float64]:
    values = rng.normal(filler.mean, filler.std, shape)
    if filler.sparse >= 0:
        # On average, `sparse` weights per output are not zero.
        values *= rng.random(shape) < filler.sparse / shape[0]
    return values


def _bilinear(filler: Any, shape: Shape, rng: np.random.Generator) -> NDArray[np.float64]:
    side = shape[3]
    ramp = 1 - np.abs(np.arange(side) - (side - 1) / 2) / math.ceil(side / 2)
    values: NDArray[np.float64] = np.broadcast_to(np.outer(ramp, ramp), shape)
    return values


def _positive_unitball(filler: Any, shape: Shape, rng: np.random.Generator) -> NDArray[np.float64]:
    rows = rng.random((shape[0], math.prod(shape[1:])))
    values: NDArray[np.float64] = (rows / rows.sum(1, keepdims=True)).reshape(shape)
    return values


_FILLERS: dict[str, Callable[[Any, Shape, np.random.Generator], NDArray[Any]]] = {
    "constant": lambda filler, shape, rng: np.full(shape, filler.value, np.float32),
    "uniform": lambda filler, shape, rng: rng.uniform(filler.min, filler.max, shape),
    "gaussian": _gaussian,
    "xavier": _xavier,
    "bilinear": _bilinear,
    "positive_unitball": _positive_unitball,
    "msra": lambda filler, shape, rng: rng.normal(0, math.sqrt(2 / _fan(filler, shape)), shape),
}
