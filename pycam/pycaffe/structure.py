"""The structure of a net as Caffe builds it: the Split layers that it adds, and what a backward run computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pycam.formats import schema
from pycam.net.layers import LAYER_TYPES, Source, loss_weights

Place = tuple[int, int]
"""A top: the index of its layer, and its index there."""


def insert_splits(layers: Sequence[tuple[Any, int]]) -> list[tuple[Any, int]]:
    """Add a Split behind each top that several bottoms read, with Caffe's names.

    Parameters
    ----------
    layers : sequence of (LayerParameter, int)
        The layers that take part, with their lines. They are not changed.

    Returns
    -------
    list of (LayerParameter, int)
        A loss weight counts as a reader. It moves from the layer to the Split.
    """
    last: dict[str, Place] = {}
    sources: dict[Place, Place] = {}
    readers: Counter[Place] = Counter()
    weights: dict[Place, float] = {}
    for i, (layer, _) in enumerate(layers):
        for j, bottom in enumerate(layer.bottom):
            sources[i, j] = last.get(bottom, (i, -1))
            readers[sources[i, j]] += 1
        last.update({top: (i, j) for j, top in enumerate(layer.top)})
        for top, weight in zip(layer.top, layer.loss_weight, strict=False):
            weights[last[top]] = weight
            readers[last[top]] += weight != 0

    def split_name(place: Place) -> str:
        layer = layers[place[0]][0]
        return f"{layer.top[place[1]]}_{layer.name}_{place[1]}_split"

    used: Counter[Place] = Counter()
    result: list[tuple[Any, int]] = []
    for i, (original, line) in enumerate(layers):
        layer = schema.LayerParameter()
        layer.CopyFrom(original)
        result.append((layer, line))
        for j in range(len(layer.bottom)):
            place = sources[i, j]
            if readers[place] > 1:
                layer.bottom[j] = f"{split_name(place)}_{used[place]}"
                used[place] += 1
        for j, top in enumerate(layer.top):
            count, weight = readers[i, j], weights.get((i, j), 0)
            if count > 1:
                name = split_name((i, j))
                split = schema.LayerParameter(name=name, type="Split", bottom=[top])
                split.top.extend(f"{name}_{k}" for k in range(count))
                if weight:
                    layer.ClearField("loss_weight")
                    split.loss_weight.extend([weight] + [0] * (count - 1))
                    used[i, j] += 1
                result.append((split, line))
    return result


_ALWAYS = ("BatchNorm", "LRN", "Softmax")
"""Layers that write the gradient of their bottom whenever they run."""


@dataclass
class Backward:
    """What a layer computes in a backward run.

    Attributes
    ----------
    runs : bool
        Whether the layer takes part.
    bottoms, params : list of bool
        For which of its bottoms and parameters there are gradients.
    """

    runs: bool
    bottoms: list[bool]
    params: list[bool]


def plan_backward(
    layers: Sequence[Any], tops: Sequence[Sequence[str]], param_counts: Sequence[int], force: bool
) -> list[Backward]:
    """Decide as Caffe what a backward run computes.

    Gradients are needed below a loss, for parameters whose `lr_mult` is not 0, and for the blobs on the way to them.

    Parameters
    ----------
    layers : sequence of LayerParameter
        With their Splits.
    tops : sequence of sequence of str
        The tops of each layer, with those that Caffe adds.
    param_counts : sequence of int
        The number of parameters of each layer.
    force : bool
        The net's `force_backward`: gradients for everything that can have one.

    Returns
    -------
    list of Backward
        One per layer.
    """
    plans = _towards_parameters(layers, tops, param_counts)
    _below_losses(plans, layers, tops)
    for layer, plan in zip(layers, plans, strict=True):
        if plan.runs and layer.type in _ALWAYS:
            plan.bottoms = [True] * len(plan.bottoms)
    if force:
        for layer, plan in zip(layers, plans, strict=True):
            plan.runs = True
            plan.bottoms = [before or _may_force(layer.type, index) for index, before in enumerate(plan.bottoms)]
            plan.params = [True] * len(plan.params)
    return plans


def _towards_parameters(
    layers: Sequence[Any], tops: Sequence[Sequence[str]], param_counts: Sequence[int]
) -> list[Backward]:
    needed: set[str] = set()
    plans = []
    for layer, names, count in zip(layers, tops, param_counts, strict=True):
        # The statistics of a BatchNorm are not learned, but Caffe goes backward for them as well.
        params = [i >= len(layer.param) or layer.param[i].lr_mult != 0 for i in range(count)]
        runs = any(params) or any(bottom in needed for bottom in layer.bottom)
        bottoms = list(layer.propagate_down) or [bottom in needed for bottom in layer.bottom]
        plans.append(Backward(runs, bottoms, params))
        # In place, a layer that needs no gradient leaves the need of its bottom.
        needed.update(names if runs else ())
    return plans


def _below_losses(plans: Sequence[Backward], layers: Sequence[Any], tops: Sequence[Sequence[str]]) -> None:
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for layer, names, plan in reversed(list(zip(layers, tops, plans, strict=True))):
        contributes, skips = False, True
        for name, weight in zip(names, loss_weights(layer, len(names)), strict=True):
            contributes = contributes or bool(weight) or name in under_loss
            skips = skips and name in skipped
            if contributes and not skips:
                break
        if plan.runs and skips:
            plan.runs, plan.bottoms = False, [False] * len(plan.bottoms)
        if not contributes:
            plan.runs = False
        for i, bottom in enumerate(layer.bottom):
            if contributes:
                under_loss.add(bottom)
            else:
                plan.bottoms[i] = False
            if not plan.bottoms[i]:
                skipped.add(bottom)


def _may_force(kind: str, bottom: int) -> bool:
    """Return whether `force_backward` makes a gradient for a bottom: not for labels."""
    if kind == "EuclideanLoss" or kind not in LAYER_TYPES or issubclass(LAYER_TYPES[kind], Source):
        return True
    if kind == "ContrastiveLoss":
        return bottom != 2
    return bottom != 1 or not (LAYER_TYPES[kind].auto_tops or kind == "Accuracy")
