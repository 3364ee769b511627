"""Maps without gradients, on any engine: Score-CAM and Ablation-CAM. docs/methods.md has their definitions.

Both weight the channels of a blob by how the score of a class changes when the net gets, channel by channel, a masked
image or a blob without the channel.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import final

import numpy as np
from numpy.typing import NDArray

from pycam.images.resize import resize
from pycam.images.scaling import min_max_scale
from pycam.maps.cam import class_activation_maps
from pycam.maps.methods import Floats, Forward, MapMethod, Passes, Request
from pycam.maps.target import check_layer, default_layer, target_value
from pycam.net import Net
from pycam.net.surgery import net_from


class Perturbation(MapMethod):
    """Weight the channels of a blob by the scores of many passes, sum them, and cut off negative values."""

    perturbs = True

    def __init__(self, net: Net, scores: str, target: str = "logit", layer: str = "") -> None:
        self._target = target_value(net, scores, target)
        self.layer = layer or default_layer(net, scores)
        check_layer(net, self.layer, self._target)
        self._input = net.inputs_before([self._target])[0]
        self._image_value = net.input_values[self._input]
        self._at_input = self.layer == self._image_value
        self._channels = net.value_shapes[self.layer][1]

    @classmethod
    def of(cls, request: Request) -> MapMethod:
        """Make the method; the choices are the target and the layer."""
        return cls(request.net, request.scores, request.target, request.layer)

    def __call__(
        self, images: Floats, classes: NDArray[np.intp], values: Mapping[str, Floats], forward: Forward
    ) -> Floats:
        """Return the maps of classes, (N, T, h, w) float32, none of them negative."""
        features = images if self._at_input else values[self.layer]
        maps = []
        for number in range(len(images) if len(classes) else 0):
            own = slice(number, number + 1)
            changes = self._weights(
                images[own], features[own], {k: v[own] for k, v in values.items()}, classes, forward
            )
            # (1, K, h, w) and (T, K) -> (1, T, h, w)
            maps.append(np.maximum(class_activation_maps(features[own], changes), 0))
        return np.concatenate(maps) if maps else features[:, :0]

    @abstractmethod
    def _weights(
        self,
        image: Floats,
        features: Floats,
        values: Mapping[str, Floats],
        classes: NDArray[np.intp],
        forward: Forward,
    ) -> NDArray[np.float64]:
        """Return the weight of each channel for each class, (T, K), of one image; all arrays have one row."""


@final
class ScoreCam(Perturbation):
    """Weight each channel by the score of the image that is masked with it (Wang et al., CVPR Workshops 2020).

    Parameters
    ----------
    net : Net
        A net with parameters.
    scores : str
        The blob of the class scores.
    target : {"logit", "probability"}
        The score: before the softmax, or after it.
    layer : str
        The blob whose channels are weighted. The default is that of Grad-CAM.
    """

    def __init__(self, net: Net, scores: str, target: str = "logit", layer: str = "") -> None:
        super().__init__(net, scores, target, layer)
        self.outputs = (self._target,) if self._at_input else (self.layer, self._target)
        self.passes = Passes(net, self._target, self._channels)

    def _weights(
        self,
        image: Floats,
        features: Floats,
        values: Mapping[str, Floats],
        classes: NDArray[np.intp],
        forward: Forward,
    ) -> NDArray[np.float64]:
        flat = features[0].min(axis=(1, 2)) == features[0].max(axis=(1, 2))
        channels = np.flatnonzero(~flat)
        weights = np.zeros((len(classes), self._channels))
        if len(channels) == 0:
            return weights

        def masked(numbers: range) -> dict[str, Floats]:
            size = image.shape[2:]
            masks = [min_max_scale(resize(features[0, channels[number]], *size)) for number in numbers]
            return {self._input: image * np.stack(masks)[:, None]}  # (1, C, H, W) * (M, 1, H, W)

        scores = forward(masked, len(channels))[:, classes].astype(np.float64).T  # (M, C) -> (T, M)
        # The score of a baseline image, which the paper subtracts from each, cancels here.
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights[:, channels] = powers / powers.sum(axis=1, keepdims=True)
        return weights


@final
class AblationCam(Perturbation):
    """Weight each channel by the share of the score that is lost without it (Desai and Ramaswamy, WACV 2020).

    The passes run only the part of the net behind the blob.

    Parameters
    ----------
    net, scores, target, layer
        As for `ScoreCam`.
    """

    def __init__(self, net: Net, scores: str, target: str = "logit", layer: str = "") -> None:
        super().__init__(net, scores, target, layer)
        behind = net_from(net, self.layer, self._target)
        self.outputs = tuple(each for each in behind.inputs if each != self._image_value)
        self.passes = Passes(behind, self._target, self._channels + 1)

    def _weights(
        self,
        image: Floats,
        features: Floats,
        values: Mapping[str, Floats],
        classes: NDArray[np.intp],
        forward: Forward,
    ) -> NDArray[np.float64]:
        # Without a channel that is zero everywhere, nothing changes.
        channels = np.flatnonzero(features[0].any(axis=(1, 2)))
        assert self.passes is not None
        given = {**values, self._image_value: image}
        others = {each: given[each] for each in self.passes.net.inputs if each != self.layer}

        def ablated(numbers: range) -> dict[str, Floats]:
            rows = np.repeat(features, len(numbers), axis=0)
            for row, number in zip(rows, numbers, strict=True):
                if number:  # pass 0 has all channels
                    row[channels[number - 1]] = 0
            return {self.layer: rows} | {each: np.repeat(same, len(rows), axis=0) for each, same in others.items()}

        scores = forward(ablated, 1 + len(channels))[:, classes].astype(np.float64)
        whole, without = scores[0], scores[1:]  # (T,), (M, T)
        weights = np.zeros((len(classes), self._channels))
        # The share of a score of 0 is not defined: its map is 0.
        weights[:, channels] = np.divide(whole - without, whole, out=np.zeros_like(without), where=whole != 0).T
        return weights
