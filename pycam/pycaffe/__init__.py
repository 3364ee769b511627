"""The names of pycaffe on top of pycam: a script for Caffe's Python runs after one change, its import.

    from pycam import pycaffe as caffe

in place of `import caffe`. docs/pycaffe.md lists the calls. New programs are shorter with `pycam.load`.

Only the names and conventions of pycaffe belong here; what they do belongs to the rest of pycam.
"""

from __future__ import annotations

from typing import Any

from pycam.pycaffe import absent, io, proto
from pycam.pycaffe.blob import Blob
from pycam.pycaffe.classifier import Classifier
from pycam.pycaffe.detector import Detector
from pycam.pycaffe.modes import TEST, TRAIN, set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from pycam.pycaffe.net import Layer, Net
from pycam.pycaffe.net_spec import NetSpec, layer_type_list, layers, params, to_proto
from pycam.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

__all__ = ["TEST", "TRAIN", "Blob", "Classifier", "Detector", "Layer", "Net", "NetSpec", "io", "proto"]
__all__ += ["layer_type_list", "layers", "params", "to_proto"]
__all__ += ["AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "NesterovSolver", "RMSPropSolver", "SGDSolver"]
__all__ += ["get_solver", "set_device", "set_mode_cpu", "set_mode_gpu", "set_random_seed"]

__version__ = "1.0.0"
"""The version of Caffe whose behaviour these names have. That of pycam is `pycam.__version__`."""


def __getattr__(name: str) -> Any:
    raise absent.missing(__name__, name, globals())
