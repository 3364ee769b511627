"""Parameters: the arrays of a weights file, matched to the layers of a net by name, as Caffe does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pycam.errors import NetError
from pycam.net.layers import (
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    InnerProduct,
    Layer,
    Reshape,
    Shape,
    Source,
    dims,
)

Params = dict[str, tuple[NDArray[np.float32], ...]]


def fit_params(
    layers: Sequence[Layer],
    given: Mapping[str, Sequence[NDArray[np.float32]]],
    path: str,
    allow_nonfinite: bool,
) -> Params:
    """Match parameters to layers by name, as Caffe does, and check their shapes against the net's.

    Parameters
    ----------
    layers : sequence of Layer
        The layers of the net.
    given : mapping
        Layer name -> float32 arrays, in the order of a file. Those of layers that the net does not have are left out.
    path : str
        The file, for messages.
    allow_nonfinite : bool
        Accept values that are infinite or not a number.

    Returns
    -------
    dict
        Layer name -> float32 arrays of the shapes in `layer.param_shapes`, for each layer that has any.

    Raises
    ------
    NetError
        A layer has no parameters, or of other shapes, or not finite; or layers with parameters share a name.
    """
    learned = [layer for layer in layers if layer.param_shapes]
    _check_names(layers, path)
    shared: dict[str, NDArray[np.float32]] = {}
    # Caffe copies the arrays of the file, in its order, into the memory that layers share: the last one counts.
    by_name = {layer.name: layer for layer in learned}
    for name, arrays in given.items():
        if name in by_name:
            _check_arrays(by_name[name], arrays, layers, path, allow_nonfinite)
            shared.update((key, a) for key, a in zip(by_name[name].param_names, arrays, strict=True) if key)
    params: Params = {}
    for layer in learned:
        if layer.name not in given and not shared.keys() >= set(layer.param_names):
            present = sum(other.name in given for other in learned)
            untrained = "is it cut off, or is this layer yet to be trained (`pycam train`)?"
            raise NetError(
                f"{path}: no weights for layer {layer.name!r}{_at(layer)}; the file has {present} of the net's "
                f"{len(learned)} layers with weights: "
                f"{untrained if present else 'are these the weights of another net?'}"
            )
        own = given.get(layer.name, [None] * len(layer.param_shapes))
        params[layer.name] = tuple(
            np.asarray(shared[key] if key else array, dtype=np.float32).reshape(shape)
            for key, array, shape in zip(layer.param_names, own, layer.param_shapes, strict=True)
        )
    return params


def matrix_notes(
    layers: Sequence[Layer], given: Mapping[str, Sequence[NDArray[np.float32]]], path: str
) -> tuple[str, ...]:
    """Return a note that names the layers whose weights in a file are matrices (`is_matrix`); none without them."""
    names = [layer.name for layer in layers if layer.name in given and is_matrix(layer, given[layer.name])]
    if not names:
        return ()
    some = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    count = f"{len(names)} layers" if len(names) > 1 else "layer"
    return (f"{path}: 1×1×N×K weights, which Caffe refuses, were read as N×K×1×1 in {count} {some}",)


def is_matrix(layer: Layer, arrays: Sequence[NDArray[np.float32]]) -> bool:
    """Return True for the weights of a 1×1 convolution as a matrix: 1×1×N×K, or N×K, in place of N×K×1×1.

    The first of the two published files of NIN has them, and Caffe refuses them. The values are in the same order.
    """
    if not isinstance(layer, Convolution) or len(arrays) != len(layer.param_shapes):
        return False
    weights, *biases = layer.param_shapes
    found, *others = (array.shape for array in arrays)
    matrix = weights[2:] == (1, 1) and not _same_shape(found, weights) and _same_shape(found, weights[:2])
    return matrix and all(map(_same_shape, others, biases))


def _why_misfit(layer: Layer, found: Sequence[Shape], layers: Sequence[Layer]) -> str:
    """Return why a layer's weights do not fit it, and what to do."""
    if isinstance(layer, BatchNorm) and len(found) == 5:
        return (
            "these are mean, variance, factor, scale and bias, as in NVIDIA's Caffe: write `scale_bias: true` in the "
            "layer's batch_norm_param"
        )
    channels = _channels_before(layer, layers)
    if isinstance(layer, InnerProduct) and channels and len(found) == len(layer.param_shapes):
        count, expected = found[0][-2:], layer.param_shapes[0]
        outputs, inputs = (1, 0) if layer.transpose else (0, 1)
        if len(count) == 2 and count[outputs] == expected[outputs] and count[inputs] % channels == 0:
            sizes = ", ".join(
                dims(shape[1:]) for each in layers if isinstance(each, Source) for shape in each.output_shapes[:1]
            )
            return (
                f"with inputs of {sizes} the layer reads {expected[inputs]:,} values, and its weights are for "
                f"{count[inputs]:,}, so the net was probably trained with inputs of another size: write that size in "
                "the net"
            )
    return "are these the weights of another net?"


def _channels_before(layer: Layer, layers: Sequence[Layer]) -> int:
    """Return the number of channels of the maps that a layer reads, also through a Flatten; 0 if it reads none."""
    producers = {value: each for each in layers for value in each.outputs}
    while len(layer.input_shapes[0]) != 4:
        layer = producers[layer.inputs[0]]
        if not isinstance(layer, Flatten | Reshape | Dropout):
            return 0
    return layer.input_shapes[0][1]


def _check_names(layers: Sequence[Layer], path: str) -> None:
    """Raise a `NetError` if several layers have one name, so that Caffe gives weights to the first one only."""
    named: dict[str, list[Layer]] = {}
    for layer in layers:
        named.setdefault(layer.name, []).append(layer)
    for name, (first, *others) in named.items():
        learned = [other for other in others if other.param_shapes]
        shared = all(first.param_names) and all(
            (other.param_names, other.param_shapes) == (first.param_names, first.param_shapes) for other in learned
        )
        if learned and not (first.param_shapes and shared):
            lines = " and ".join(str(layer.line) for layer in (first, *others))
            raise NetError(
                f"{path}: layers with weights share the name {name!r} (lines {lines} of the net): Caffe fills only the "
                "first one; give each a name of its own, in the net and in its weights"
            )


def _check_arrays(
    layer: Layer,
    arrays: Sequence[NDArray[np.float32]],
    layers: Sequence[Layer],
    path: str,
    allow_nonfinite: bool,
) -> None:
    """Raise a `NetError` for arrays that do not fit a layer."""
    found = tuple(tuple(array.shape) for array in arrays)
    fits = len(found) == len(layer.param_shapes) and all(map(_same_shape, found, layer.param_shapes))
    if not fits and not is_matrix(layer, arrays):
        raise NetError(
            f"{path}: layer {layer.name!r}{_at(layer)} has weights of {_list_shapes(found)}, the net expects "
            f"{_list_shapes(layer.param_shapes)}: {_why_misfit(layer, found, layers)}"
        )
    if not allow_nonfinite:
        _check_finite(layer.name, arrays, path)


def _at(layer: Layer) -> str:
    return f" (line {layer.line} of the net)" if layer.line else ""


def _same_shape(found: Shape, expected: Shape) -> bool:
    """Compare shapes as Caffe does for old files: N×K is the same as 1×1×N×K."""
    axes = max(len(found), len(expected))
    return (1,) * (axes - len(found)) + found == (1,) * (axes - len(expected)) + expected


def _list_shapes(shapes: Sequence[Shape]) -> str:
    return " and ".join(map(dims, shapes)) or "no shape"


def _check_finite(name: str, arrays: Sequence[NDArray[np.float32]], path: str) -> None:
    # A finite sum proves that all values are finite, and costs far less than a test of each value.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = [array for array in arrays if not np.isfinite(array.sum())]
    if bad := sum(int(np.count_nonzero(~np.isfinite(array))) for array in suspects):
        raise NetError(
            f"{path}: layer {name!r} has {bad} weights that are infinite or not a number: the file is damaged, or "
            "training diverged; `pycam heatmap`, `compare` and `net show` accept them with --allow-nonfinite"
        )
