"""Maps from gradients, computed by PyTorch: Grad-CAM and its successors at any layer, and saliency at the input.

docs/methods.md has the formulas: A are the values of a blob, g the gradients of a score with respect to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pycam.engines import Options
from pycam.engines.torch import at_work, torch_device
from pycam.engines.torch_graph import TorchNet
from pycam.maps.methods import Floats, Forward, MapMethod, Request
from pycam.maps.target import check_layer, default_layer, target_value
from pycam.net import Net, positions_of


@final
class GradientMaps(MapMethod):
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

    by_engine = False

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
        check_layer(net, self.layer, self._target)
        self._sides = net.value_shapes[self.layer][2:]
        with at_work(self._device, self._threads):
            self._module = TorchNet(net).eval().requires_grad_(False).to(self._device)

    @classmethod
    def of(cls, request: Request) -> GradientMaps:
        """Make the method; the choices are the method's name, the target and the layer."""
        choices = request.method, request.target, request.layer
        return cls(request.net, request.scores, *choices, request.options)

    def __call__(
        self,
        images: Floats,
        classes: NDArray[np.intp],
        values: Mapping[str, Floats] | None = None,
        forward: Forward | None = None,
    ) -> Floats:
        """Return the maps of classes, (N, T, h, w) float32; PyTorch runs the net on the images, (N, C, H, W)."""
        if not len(classes):
            return np.empty((len(images), 0, *self._sides), np.float32)
        with at_work(self._device, self._threads):
            inputs = {self._input: torch.from_numpy(np.ascontiguousarray(images)).to(self._device)}
            blob, gradients = class_gradients(self._module, inputs, self.layer, self._target, classes.tolist())
            return np.asarray(self._method(blob, gradients).cpu().numpy(), np.float32)


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
