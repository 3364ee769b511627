"""Maps from gradients, computed by PyTorch: Grad-CAM and its successors at any layer, and saliency at the input.

docs/methods.md has the formulas: A are the values of a blob, g the gradients of a score with respect to them.
"""

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
from pycam.net import CamHead, Net, find_heads, find_scores, logits_of, positions_of
from pycam.net.layers import dims

Floats = NDArray[np.float32]


class GradientMaps:
    """Compute the maps of classes from gradients.

    Parameters
    ----------
    net : Net
        A net with parameters.
    scores : str
        The blob of the class scores.
    method : str
        A name in `METHODS`.
    target : {"logit", "probability"}
        The score to differentiate: before the softmax, or after it.
    layer : str
        The blob whose channels are weighted by their gradients. Its values are those after the whole net has run in
        Caffe, that is, after an in-place ReLU. The default is the deepest blob with rows and columns. Saliency always
        uses the input.
    options : Options
        Device and threads, as for `pycam.engines.torch.TorchEngine`.

    Raises
    ------
    NetError
        The net has no such blob, or the blob has no rows and columns.
    UsageError
        The target is `probability`, but the net has no softmax.
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
        self._target = target_value(net, scores, target)
        self._input = net.inputs_before([self._target])[0]
        self._method = METHODS[method]
        self.layer = self._input if method == "saliency" else layer or default_layer(net, scores)
        self._threads = options.threads
        self._device = torch_device(options.device)
        _check(net, self.layer, self._target)
        with at_work(self._device, self._threads):
            self._module = TorchNet(net).eval().requires_grad_(False).to(self._device)

    def __call__(self, images: Floats, classes: NDArray[np.intp]) -> Floats:
        """Return the maps of classes.

        Parameters
        ----------
        images : (N, 3, S, S) float32
            The input of the net.
        classes : (T,) int
            Indices of the classes.

        Returns
        -------
        (N, T, h, w) float32
        """
        with at_work(self._device, self._threads):
            inputs = {self._input: torch.from_numpy(np.ascontiguousarray(images)).to(self._device)}
            values, gradients = class_gradients(self._module, inputs, self.layer, self._target, classes.tolist())
            return np.asarray(self._method(values, gradients).cpu().numpy(), np.float32)


def class_gradients(
    module: TorchNet, inputs: Mapping[str, Tensor], layer: str, target: str, classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Differentiate the scores of classes with respect to a blob.

    Parameters
    ----------
    module : TorchNet
        The net, in any precision.
    inputs : mapping of str to Tensor
        The inputs of the net, by blob; axis 0 has N images.
    layer : str
        The blob.
    target : str
        The value that holds one score per class.
    classes : sequence of T ints
        Indices of the classes.

    Returns
    -------
    values : (N, K, h, w)
        The values of the blob.
    gradients : (N, T, K, h, w)
        The gradient of each class's score with respect to the blob.
    """
    with torch.no_grad():
        values = module(inputs, [layer])[layer]
    values = values.detach().requires_grad_()
    with torch.enable_grad():
        found = module({**inputs, layer: values}, [target])[target]
        scores = found.flatten(2).mean(2) if positions_of(tuple(found.shape)) else found.flatten(1)  # (N, T)
        gradients = [torch.autograd.grad(scores[:, index].sum(), values, retain_graph=True)[0] for index in classes]
    return values.detach(), torch.stack(gradients, dim=1)


def grad_cam(values: Tensor, gradients: Tensor) -> Tensor:
    """Sum the channels, each weighted by the spatial mean of its gradient.

    Shapes: (N, K, h, w) and (N, T, K, h, w) -> (N, T, h, w). This is Grad-CAM (Selvaraju et al., ICCV 2017) before
    its ReLU.
    """
    return _weighted_sum(gradients.mean(dim=(3, 4)), values)


def grad_cam_plus_plus(values: Tensor, gradients: Tensor) -> Tensor:
    """Sum the channels, each weighted by the sum of its positive gradients g, each times g² / (2 g² + g³ ΣA).

    Shapes: (N, K, h, w) and (N, T, K, h, w) -> (N, T, h, w). This is Grad-CAM++ (Chattopadhay et al., WACV 2018) before
    its ReLU, and without the factor exp(score), which is the same for all channels.
    """
    sums = values.sum(dim=(2, 3))[:, None, :, None, None]  # (N, 1, K, 1, 1)
    # The factor without the common g²: squares of small gradients would be lost in single precision.
    return _weighted_sum(_ratio(gradients.relu(), 2 + gradients * sums).sum(dim=(3, 4)), values)


def xgrad_cam(values: Tensor, gradients: Tensor) -> Tensor:
    """Sum the channels, each weighted by the mean of its gradient, weighted by the values themselves.

    Shapes: (N, K, h, w) and (N, T, K, h, w) -> (N, T, h, w). This is XGrad-CAM (Fu et al., BMVC 2020) before its ReLU.
    A channel whose values have the sum 0 has the weight 0.
    """
    sums = values.sum(dim=(2, 3))[:, None]  # (N, 1, K)
    return _weighted_sum(_ratio((gradients * values[:, None]).sum(dim=(3, 4)), sums), values)


def layer_cam(values: Tensor, gradients: Tensor) -> Tensor:
    """Sum the channels, each value weighted by its own gradient where that is positive.

    Shapes: (N, K, h, w) and (N, T, K, h, w) -> (N, T, h, w). This is LayerCAM (Jiang et al., TIP 2021) before its ReLU.
    """
    return torch.einsum("ntkhw,nkhw->nthw", gradients.relu(), values)


def _weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    # (N, T, K) with (N, K, h, w) -> (N, T, h, w)
    return torch.einsum("ntk,nkhw->nthw", weights, values)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return a quotient; 0 where the denominator is 0."""
    zero = denominator == 0
    return (numerator / denominator.masked_fill(zero, 1)).masked_fill(zero, 0)


def saliency(values: Tensor, gradients: Tensor) -> Tensor:
    """Return the largest absolute gradient over the channels.

    Shapes: (N, K, H, W) and (N, T, K, H, W) -> (N, T, H, W). Simonyan et al., 2014; "Backprop" in the paper's Table 2.
    """
    return gradients.abs().amax(dim=2)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": lambda values, gradients: grad_cam(values, gradients).relu(),
    # As in the Keras walkthrough; docs/recipes.md.
    "gradcam_mean": lambda values, gradients: grad_cam(values, gradients) / values.shape[1],
    "gradcam++": lambda values, gradients: grad_cam_plus_plus(values, gradients).relu(),
    "xgradcam": lambda values, gradients: xgrad_cam(values, gradients).relu(),
    "layercam": lambda values, gradients: layer_cam(values, gradients).relu(),
    "saliency": saliency,
}
"""The methods of protocols, by name: each takes the values of a blob and its gradients, and returns the maps."""


def target_value(net: Net, scores: str, target: str) -> str:
    """Return the name of the value that holds the target: the blob of the scores, or the input of its last activation.

    Raises
    ------
    UsageError
        The target is `probability`, but the scores come from no activation.
    """
    logits = logits_of(net, scores)
    if target == "logit":
        return logits
    if logits == scores:
        layer = net.producer[scores]
        raise UsageError(f"target probability: {scores!r} comes from {layer.name!r} ({layer.type}), not from a Softmax")
    return scores


def default_layer(net: Net, scores: str | None = None) -> str:
    """Return the default blob for gradients: the feature blob of a CAM head, or the deepest with rows and columns.

    Parameters
    ----------
    net : Net
        With or without parameters.
    scores : str, optional
        The blob of the scores; by default the net's only one.

    Raises
    ------
    NetError
        The net has no such blob.
    """
    scores = scores or find_scores(net)
    head = find_heads(net).get(scores)
    if isinstance(head, CamHead) and head.class_layer is not None:
        return head.feature_blob
    logits = logits_of(net, scores)
    for layer in reversed(net.layers_before([logits])):
        for blob in layer.outputs:
            shape = net.value_shapes[blob]
            if len(shape) == 4 and min(shape[2:]) > 1 and blob in net.shapes and blob not in (*net.inputs, logits):
                return blob
    raise NetError("no blob of the net has rows and columns, so there are no maps")


def _check(net: Net, layer: str, target: str) -> None:
    if layer not in net.value_shapes:
        blobs = [blob for blob, shape in net.shapes.items() if len(shape) == 4]
        raise NetError(f"the net has no blob {layer!r} for maps; expected one of {', '.join(blobs)}")
    shape = net.value_shapes[layer]
    if len(shape) != 4:
        raise NetError(f"blob {layer!r} is {dims(shape)}: maps need rows and columns, N×K×h×w")
    if not _reaches(net, layer, target):
        raise NetError(f"blob {layer!r} has no influence on the scores {target!r}")


def _reaches(net: Net, value: str, target: str) -> bool:
    """Return whether a value has an influence on another."""
    return value != target and any(value in (*step.inputs, *step.outputs) for step in net.layers_before([target]))
