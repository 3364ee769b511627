"""Maps from gradients: Grad-CAM at any layer, and saliency at the input; PyTorch differentiates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pycam.engines import Options
from pycam.engines.torch import at_work, torch_device
from pycam.engines.torch_graph import TorchNet
from pycam.errors import NetError, UsageError
from pycam.net import Net
from pycam.net.layers import Softmax, dims

Floats = NDArray[np.float32]


class GradientMaps:
    """Makes maps of classes from gradients.

    Parameters
    ----------
    net
        With parameters.
    scores
        Blob of the class scores.
    method
        A name in `METHODS`.
    target
        What is differentiated: a class's `logit`, its score before the softmax, or its `probability` behind it.
    layer
        Of Grad-CAM: the blob whose channels are weighed by their gradients, as Caffe has it once the net has run, that
        is behind its ReLU; by default the deepest with rows and columns. Saliency is always that of the input.
    options
        Device and threads, as for `pycam.engines.torch.TorchEngine`.

    Raises
    ------
    NetError
        No such blob, or none with rows and columns.
    UsageError
        The net has no softmax, so that `probability` means nothing.
    """

    def __init__(
        self,
        net: Net,
        scores: str,
        method: str = "gradcam",
        target: str = "logit",
        layer: str = "",
        options: Options = Options(),
    ) -> None:
        self._input = net.inputs[0]
        self._make = METHODS[method]
        self.layer = self._input if method == "saliency" else layer or default_layer(net)
        self._target = target_value(net, scores, target)
        self._threads = options.threads
        self._device = torch_device(options.device)
        _check(net, self.layer, self._target)
        self._module = TorchNet(net).eval().requires_grad_(False).to(self._device)

    def __call__(self, images: Floats, classes: NDArray[np.intp]) -> Floats:
        """Give the maps of some classes.

        Parameters
        ----------
        images
            (N, 3, S, S) float32: what the net is given.
        classes
            (T,) indices.

        Returns
        -------
        (N, T, h, w) float32
        """
        with at_work(self._device, self._threads):
            given = {self._input: torch.from_numpy(np.ascontiguousarray(images)).to(self._device)}
            values, gradients = class_gradients(
                self._module, given, self.layer, self._target, [int(index) for index in classes]
            )
            return np.asarray(self._make(values, gradients).cpu().numpy(), np.float32)


def class_gradients(
    module: TorchNet, given: Mapping[str, Tensor], layer: str, target: str, classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Differentiate the scores of classes with respect to a blob.

    Parameters
    ----------
    module
        The net, of any precision.
    given
        Its inputs, N on axis 0.
    layer
        The blob.
    target
        The value with a score a class.
    classes
        T indices.

    Returns
    -------
    values : (N, K, h, w)
        The blob.
    gradients : (N, T, K, h, w)
        Of each class's score with respect to it.
    """
    with torch.no_grad():
        values = module(given, [layer])[layer]
    values = values.detach().requires_grad_()
    with torch.enable_grad():
        scores = module({**given, layer: values}, [target])[target].flatten(1)
        gradients = [torch.autograd.grad(scores[:, index].sum(), values, retain_graph=True)[0] for index in classes]
    return values.detach(), torch.stack(gradients, dim=1)


def grad_cam(values: Tensor, gradients: Tensor) -> Tensor:
    """Sum channels, each weighed by its gradient's mean over space: (N, K, h, w), (N, T, K, h, w) -> (N, T, h, w).

    This is Grad-CAM (Selvaraju et al., ICCV 2017) before its ReLU.
    """
    return torch.einsum("ntk,nkhw->nthw", gradients.mean(dim=(3, 4)), values)


def saliency(values: Tensor, gradients: Tensor) -> Tensor:
    """Give the largest absolute gradient over channels: (N, K, H, W), (N, T, K, H, W) -> (N, T, H, W).

    Simonyan et al., 2014: the backpropagation of the paper's Table 2.
    """
    return gradients.abs().amax(dim=2)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": lambda values, gradients: grad_cam(values, gradients).relu(),
    # As a walk-through in Keras has it; docs/recipes.md.
    "gradcam_mean": lambda values, gradients: grad_cam(values, gradients) / values.shape[1],
    "saliency": saliency,
}
"""Maps from a blob's values and the gradients at it, by the names that protocols call them."""


def target_value(net: Net, scores: str, target: str) -> str:
    """Name the value that holds the target: the scores' blob, or what their softmax reads.

    Raises
    ------
    UsageError
        A probability is asked for where there is no softmax.
    """
    layer = net.producer[scores]
    if isinstance(layer, Softmax):
        return scores if target == "probability" else layer.inputs[0]
    if target == "probability":
        raise UsageError(f"target probability: {scores!r} comes from {layer.name!r} ({layer.type}), not from a Softmax")
    return scores


def default_layer(net: Net) -> str:
    """Name the blob that Grad-CAM is made at unless another is asked for: the deepest that has rows and columns.

    Raises
    ------
    NetError
        There is none.
    """
    if net.cam_head is not None and net.cam_head.class_layer is not None:
        return net.cam_head.feature_blob
    for blob, shape in reversed(net.shapes.items()):
        if len(shape) == 4 and min(shape[2:]) > 1 and blob not in net.inputs:
            return blob
    raise NetError("no blob of the net has rows and columns: there is nothing to make maps of")


def _check(net: Net, layer: str, target: str) -> None:
    if layer not in net.value_shapes:
        blobs = [blob for blob, shape in net.shapes.items() if len(shape) == 4]
        raise NetError(f"the net has no blob {layer!r} to make maps at; there are {', '.join(blobs)}")
    shape = net.value_shapes[layer]
    if len(shape) != 4:
        raise NetError(f"blob {layer!r} is {dims(shape)}: maps need rows and columns, N×K×h×w")
    reached = {layer}
    for step in net.layers:
        if reached.intersection(step.inputs):
            reached.update(step.outputs)
    if target not in reached:
        raise NetError(f"blob {layer!r} has no influence on the scores {target!r}")
