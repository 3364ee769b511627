"""pycam runs the Caffe models of the CAM paper without Caffe.

The public names are imported when they are first used, so `import pycam` is fast and needs no engine.
"""

from __future__ import annotations

import os  # Python itself has imported it before

# Neither `typing` nor another module is imported here: they take longer than all the rest, and a Ctrl-C during this
# import would show a traceback, because the command has no handler yet.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

# ONNX Runtime reads this when it is imported. A user's own setting stays, and child processes inherit either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOME = {
    "Cam": "predict",
    "Prediction": "prediction",
    "load": "predict",
    "metrics": "metrics",
    "Net": "net",
    "read_net": "net",
    "class_activation_maps": "maps.cam",
    "merge_ten_crop": "maps.cam",
    "py_map2jpg": "drawing",
    "py_returnCAMmap": "maps.cam",
    "imresize": "images.matlab",
    "box_rules": "maps.rules",
    "paper_box": "maps.boxes",
    "released_boxes": "maps.boxes",
    "PycamError": "errors",
    "from_torch": "pytorch.from_torch",
    "to_torch": "pytorch.to_torch",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from pycam import metrics as metrics
    from pycam.drawing import py_map2jpg as py_map2jpg
    from pycam.errors import PycamError as PycamError
    from pycam.images.matlab import imresize as imresize
    from pycam.maps.boxes import paper_box as paper_box, released_boxes as released_boxes
    from pycam.maps.cam import (
        class_activation_maps as class_activation_maps,
        merge_ten_crop as merge_ten_crop,
        py_returnCAMmap as py_returnCAMmap,
    )
    from pycam.maps.rules import box_rules as box_rules
    from pycam.net import Net as Net, read_net as read_net
    from pycam.predict import Cam as Cam, load as load
    from pycam.prediction import Prediction as Prediction
    from pycam.pytorch.from_torch import from_torch as from_torch
    from pycam.pytorch.to_torch import to_torch as to_torch


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pycam' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"pycam.{_HOME[name]}")
    value = module if name == _HOME[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
