"""A net as other people's PyTorch programs expect one: a tensor of images in, a tensor of scores out."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from pycam.engines.torch_graph import TorchGraph
from pycam.errors import EngineError
from pycam.formats import schema
from pycam.net import Net, positions_of
from pycam.net.layers import dims


@final
class TorchModel(TorchGraph):
    """A net as a PyTorch module with one input and one output. Made by `pycam.to_torch`.

    What only Caffe's solver reads, `lr_mult` and `propagate_down`, has no effect: freeze parameters with
    `requires_grad_(False)`.

    Parameters
    ----------
    net : Net
        A net with parameters. Layers that the output does not need are left out.
    image_input : str
        The input blob.
    output : str
        The value that is returned.
    """

    def __init__(self, net: Net, image_input: str, output: str) -> None:
        layers = tuple(replace(layer, message=schema.LayerParameter()) for layer in net.layers_before([output]))
        super().__init__(replace(net, layers=layers))
        self._input, self._output = image_input, output
        self._sides = net.shapes[image_input][1:]
        self._has_positions = positions_of(net.value_shapes[output]) is not None

    def forward(self, images: Tensor) -> Tensor:
        """Return one value per class.

        Parameters
        ----------
        images : (N, C, H, W) float Tensor
            The input of the net: for three channels BGR, resized, less the mean; see `pycam.Cam.preprocess`.

        Returns
        -------
        (N, T) Tensor
            Of scores with positions, the mean over them.

        Raises
        ------
        EngineError
            The images are not of the size of the net's input.
        """
        # In a trace, sizes are values of the graph.
        if not torch.jit.is_tracing() and images.shape[1:] != self._sides:  # type: ignore[attr-defined,no-untyped-call]
            raise EngineError(
                f"the net takes images of N×{dims(self._sides)}, not {dims(tuple(images.shape))}: resize them; a tool "
                f"that tries a net with images of its own takes their shape, as in input_shape={self._sides}"
            )
        found = self.run({self._input: images}, [self._output])[self._output]
        return found.flatten(2).mean(2) if self._has_positions else found.flatten(1)
