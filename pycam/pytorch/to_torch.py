"""A net as a PyTorch module that other tools take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pycam.errors import EngineError, UsageError
from pycam.model import Model, load_model
from pycam.net import logits_of
from pycam.predict import Cam

if TYPE_CHECKING:
    from pycam.engines.torch_model import TorchModel

Output = Literal["logits", "scores"]


def to_torch(
    model: str | os.PathLike[str] | Model | Cam | None = None,
    *,
    output: Output = "logits",
    prototxt: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    head: str | None = None,
    phase: str = "TEST",
    stages: Sequence[str] = (),
    level: int = 0,
    allow_nonfinite: bool = False,
) -> TorchModel:
    """Return a net as a PyTorch module that other tools take, such as torch-cam and pytorch-grad-cam.

    Each layer is a submodule with the layer's name: `module.get_submodule("fire9/concat")`. A dot becomes `_`, and `_`
    is added to a name that is taken or that `nn.Module` itself has. Its output is the value of the layer, so that a
    hook on a convolution gets its values before the ReLU: for those after it, name the ReLU. No layer works in place.
    A Convolution is an `nn.Conv2d`, a ReLU an `nn.ReLU`, and an InnerProduct without `transpose` an `nn.Linear`.
    Parameters are called as in PyTorch, `conv1.weight`.

    Parameters
    ----------
    model : str, path, Model or Cam, optional
        Name or alias of a bundled model, the path of a card, or a loaded model. Not needed with both `prototxt` and
        `weights`.
    output : {"logits", "scores"}
        What the module returns: the values before the last Softmax, Sigmoid or TanH, or those after it.
    prototxt, weights, head, phase, stages, level, allow_nonfinite
        As for `pycam.load`.

    Returns
    -------
    nn.Module
        Takes (N, C, H, W) float tensors, for three channels BGR, of the size of the net's input, resized and less the
        mean: `torch.from_numpy(cam.preprocess("fox.jpg"))`. Returns (N, T). It is in evaluation mode.

    Raises
    ------
    UsageError
        The model is none of these, the output is neither, or an option has no effect with a loaded model.
    ModelError, FormatError, NetError
        As for `pycam.load`.
    EngineError
        PyTorch is not installed, or it cannot run a layer of the net.
    """
    try:
        from pycam.engines.torch_model import TorchModel
    except ImportError as error:
        raise EngineError(f"to_torch needs PyTorch: pip install 'caffe-cam[torch]' ({error})") from None
    if output not in ("logits", "scores"):
        raise UsageError(f"output is {output!r}; expected logits or scores")
    if isinstance(model, Cam):
        model = model.model
    if isinstance(model, Model):
        files = {"prototxt": prototxt, "weights": weights, "head": head}
        state = {"phase": phase != "TEST", "stages": stages, "level": level, "allow_nonfinite": allow_nonfinite}
        given: dict[str, object] = {**files, **state}
        if unused := [name for name, value in given.items() if value]:
            raise UsageError(f"to_torch: {', '.join(unused)} has no effect with a loaded model: give it to pycam.load")
    elif model is None or isinstance(model, str | os.PathLike):
        model = load_model(
            model,
            prototxt=prototxt,
            weights=weights,
            head=head,
            phase=phase,
            stages=stages,
            level=level,
            allow_nonfinite=allow_nonfinite,
        )
    else:
        raise UsageError(
            f"to_torch: the model is of type {type(model).__name__}; expected a name, a path, a Model or a Cam, or "
            "prototxt= and weights="
        )
    blob = model.score_blob if output == "scores" else logits_of(model.net, model.score_blob)
    return TorchModel(model.net, model.image_input, blob).eval()
