"""The method `cam`: maps from the class weights of a net's head."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from pycam.maps.cam import class_activation_maps
from pycam.maps.methods import Floats, Forward, MapMethod, Request
from pycam.net import CamHead, HeadWeights, Net, head_weights


@final
class ClassWeightMaps(MapMethod):
    """Compute the class activation maps of a net with a CAM head.

    Parameters
    ----------
    net : Net
        A net with parameters.
    head : CamHead
        Its head.
    """

    from_class_weights = True
    head: CamHead

    def __init__(self, net: Net, head: CamHead) -> None:
        self._net = net
        self.head = head
        self.layer = head.feature_blob
        self.outputs = (self.layer,)

    @classmethod
    def of(cls, request: Request) -> ClassWeightMaps:
        """Make the method; the net needs a CAM head."""
        return cls(request.net, request.find_head())

    @cached_property
    def weights(self) -> HeadWeights:
        """The class weights of the head."""
        return head_weights(self._net, self.head)

    def __call__(
        self, images: Floats, classes: NDArray[np.intp], values: Mapping[str, Floats], forward: Forward
    ) -> Floats:
        """Return the maps of classes, (N, T, h, w) float32: the features, weighted by the class weights."""
        features, matrix = values[self.layer], self.weights.matrix
        chosen = features[:, classes] if matrix is None else class_activation_maps(features, matrix[classes])
        return chosen if self.weights.coverage is None else chosen * self.weights.coverage
