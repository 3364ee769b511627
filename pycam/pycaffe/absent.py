"""Names that Caffe's Python has and pycam does not, and what to do instead.

They raise an error with this advice, as attributes and in imports: `caffe.NCCL`, `from pycam.pycaffe import NCCL`,
`import pycam.pycaffe.draw`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from typing import Any

from pycam.errors import suggest
from pycam.pycaffe.errors import MissingName

PACKAGE = "pycam.pycaffe"

_ONE_DEVICE = "pycam trains on one device: remove the call"
_LOGGING = "use the module logging of Python"

ABSENT = {
    **dict.fromkeys(
        (
            "NCCL",
            "has_nccl",
            "set_multiprocess",
            "set_solver_count",
            "set_solver_rank",
            "solver_count",
            "solver_rank",
        ),
        _ONE_DEVICE,
    ),
    "Timer": "use time.perf_counter of Python",
    "init_log": _LOGGING,
    "log": _LOGGING,
    "draw": "use `pycam net show PROTOTXT`",
    "coord_map": "compute the offset of the crop from kernel_size, stride and pad of the layers",
    "pycaffe": "take its names from the package itself: caffe.Net, caffe.SGDSolver",
    "_caffe": "take its names from the package itself: caffe.Net, caffe.set_mode_cpu",
    "io.skimage": "import skimage",
    "io.resize": "use resize_image of this module, or import resize from skimage.transform",
    "io.zoom": "import zoom from scipy.ndimage",
    "net_spec.assign_proto": "write the fields of the message",
    "net_spec.param_name_dict": "use the dictionary PARAMS of this module",
    "net_spec.OrderedDict": "import it from collections",
    "net_spec.protobuf": "import google.protobuf",
    "net_spec.six": "import six",
    "detector.caffe": "import it as pycam.pycaffe",
    "classifier.caffe": "import it as pycam.pycaffe",
}
"""Name of Caffe's, without `caffe.` -> what to do instead."""


def missing(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that a module of `pycam.pycaffe` does not have.

    Parameters
    ----------
    module : str
        The full name of the module.
    name : str
        The name that it lacks.
    known : iterable of str
        The names that it has.

    Returns
    -------
    AttributeError
        With the advice for a name of Caffe's, or with a similar name.
    """
    title = f"{module}.{name}".removeprefix(f"{PACKAGE}.")
    if title in ABSENT:
        return MissingName(_advice(title))
    public = [each for each in known if not each.startswith("_")]
    hint = suggest(name, public)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint and f': {hint}'}")


def _advice(title: str) -> str:
    return f"Caffe has caffe.{title}, pycam does not: {ABSENT[title]}"


class _Finder:
    """Refuses imports of absent names as modules; for other names it knows nothing."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, title = name.rpartition(".")
        if package == PACKAGE and title in ABSENT:
            raise ImportError(_advice(title), name=name)
        return None


sys.meta_path.append(_Finder)
