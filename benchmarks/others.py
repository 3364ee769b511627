"""The same nets in other packages for class activation maps, for `pipeline.py`.

torch-cam multiplies the features with the class weights, as pycam does. pytorch-grad-cam has no such method: Grad-CAM
gives the same maps for these nets, with a run and a backward pass per class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pycam.net import CamHead, Net, head_weights

if TYPE_CHECKING:
    import torch

Maps = Callable[[np.ndarray], object]
"""A function that makes the maps of the five best classes: (1, 3, S, S) float32 -> anything."""


def cam_module(net: Net, head: CamHead) -> torch.nn.Module:
    """Make a module with a layer `features`, whose output the maps are made of, and a linear layer `classes`."""
    import torch

    from pycam.engines.torch_graph import TorchNet

    weights = head_weights(net, head)
    if weights.matrix is None:
        raise ValueError("the net has maps itself, and no class weights")

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = TorchNet(net)
            self.features = torch.nn.Identity()
            self.classes = torch.nn.Linear(weights.matrix.shape[1], weights.matrix.shape[0])
            self.classes.weight.data = torch.from_numpy(weights.matrix.copy())
            self.classes.bias.data = torch.from_numpy(weights.bias.copy())

        def forward(self, x: Any) -> Any:
            features = self.features(self.trunk({net.inputs[0]: x}, [head.feature_blob])[head.feature_blob])
            return self.classes(features.mean(dim=(2, 3)))

    return Module().eval()


def torch_cam(net: Net, head: CamHead) -> Maps:
    import torch
    from torchcam.methods import CAM

    module = cam_module(net, head)
    extractor = CAM(module, "features", "classes", net.shapes[net.inputs[0]][1:])

    def maps(x: np.ndarray) -> object:
        with torch.inference_mode():
            scores = module(torch.from_numpy(x))
            return [extractor(index, scores) for index in scores[0].topk(5).indices.tolist()]

    return maps


def pytorch_grad_cam(net: Net, head: CamHead) -> Maps:
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = cam_module(net, head)
    extractor = GradCAM(module, [module.features])

    def maps(x: np.ndarray) -> object:
        given = torch.from_numpy(x)
        with torch.inference_mode():
            best = module(given)[0].topk(5).indices.tolist()
        return [extractor(given, [ClassifierOutputTarget(index)]) for index in best]

    return maps


OTHERS: dict[str, Callable[[Net, CamHead], Maps]] = {"torch-cam": torch_cam, "pytorch-grad-cam": pytorch_grad_cam}
