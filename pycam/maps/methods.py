"""Methods: the ways from an image to the maps of classes, and the table of their names.

A method computes maps from values of a net's run. Some need further passes: runs of the net, or of a part of it, on
changed inputs. A method only makes these inputs; any engine can run them.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycam.engines.options import Options
from pycam.errors import EngineError
from pycam.net import CamHead, Net

Floats = NDArray[np.float32]

Perturb = Callable[[range], Mapping[str, Floats]]
"""Makes the inputs of the passes with some numbers: input blob -> values, one row per pass."""
Forward = Callable[[Perturb, int], Floats]
"""Runs so many passes, and returns the class scores of each: (passes, C)."""


class _Entry(NamedTuple):
    title: str
    module: str
    class_name: str
    install_hint: str = ""


_GRADIENTS = "pycam.maps.gradients", "GradientMaps", "pip install 'caffe-cam[torch]'"

METHODS = {
    "cam": _Entry("CAM", "pycam.maps.class_weights", "ClassWeightMaps"),
    "gradcam": _Entry("Grad-CAM", *_GRADIENTS),
    "gradcam_mean": _Entry("Grad-CAM, mean over channels", *_GRADIENTS),
    "gradcam++": _Entry("Grad-CAM++", *_GRADIENTS),
    "xgradcam": _Entry("XGrad-CAM", *_GRADIENTS),
    "layercam": _Entry("LayerCAM", *_GRADIENTS),
    "saliency": _Entry("saliency", *_GRADIENTS),
    "scorecam": _Entry("Score-CAM", "pycam.maps.perturbation", "ScoreCam"),
    "ablationcam": _Entry("Ablation-CAM", "pycam.maps.perturbation", "AblationCam"),
}
"""The methods of protocols, by name: what pages and figures call them, and a class, imported when it is used."""


@dataclass(frozen=True)
class Request:
    """What maps are wanted.

    Attributes
    ----------
    net : Net
        A net with parameters.
    scores : str
        The blob of the class scores.
    find_head : callable
        Returns the CAM head of the net, or raises a `NetError` if it has none.
    method, target, layer : str
        The choices of `pycam.protocols.Protocol`.
    options : Options
        Device and threads.
    """

    net: Net
    scores: str
    find_head: Callable[[], CamHead]
    method: str
    target: str
    layer: str
    options: Options


@dataclass(frozen=True, eq=False)
class Passes:
    """The runs that a method needs for each crop, besides the run that computes its scores.

    Attributes
    ----------
    net : Net
        The net that they run.
    target : str
        The value of that net that holds the class scores.
    count : int
        The largest number of passes per crop.
    """

    net: Net
    target: str
    count: int


class MapMethod(ABC):
    """A way from an image to the maps of classes.

    Attributes
    ----------
    from_class_weights : bool
        Whether the net needs a CAM head.
    by_engine : bool
        Whether the engine alone runs the net, so that the maps have the engine's streams, and its bits.
    perturbs : bool
        Whether an image needs many passes.
    layer : str
        The blob that the maps are made at: they have its rows and columns.
    head : CamHead or None
        The head whose class weights are used.
    outputs : tuple of str
        Values of the net that the maps are computed from.
    passes : Passes or None
        The further passes.
    """

    from_class_weights: ClassVar[bool] = False
    by_engine: ClassVar[bool] = True
    perturbs: ClassVar[bool] = False
    layer: str
    head: CamHead | None = None
    outputs: tuple[str, ...] = ()
    passes: Passes | None = None

    @classmethod
    @abstractmethod
    def of(cls, request: Request) -> MapMethod:
        """Make the method for a net.

        Raises
        ------
        NetError
            The net, or the requested layer, has no such maps.
        UsageError
            The target is `probability`, but the scores come from no activation.
        """

    @abstractmethod
    def __call__(
        self, images: Floats, classes: NDArray[np.intp], values: Mapping[str, Floats], forward: Forward
    ) -> Floats:
        """Return the maps of classes.

        Parameters
        ----------
        images : (N, C, H, W) float32
            The input of the net.
        classes : (T,) int
            Indices of the classes.
        values : mapping of str to float32 array
            The values of `outputs` in the net's run on the images.
        forward : callable
            Runs `passes`; see `Forward`.

        Returns
        -------
        (N, T, h, w) float32
        """


def method_class(name: str) -> type[MapMethod]:
    """Import a method and return its class.

    Parameters
    ----------
    name : str
        A key of `METHODS`.

    Raises
    ------
    EngineError
        A library that the method needs is not installed.
    """
    _, module, class_name, install_hint = METHODS[name]
    try:
        found: type[MapMethod] = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise EngineError(f"method {name!r} needs PyTorch: {install_hint} ({error})") from None
    return found
