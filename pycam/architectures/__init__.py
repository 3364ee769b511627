"""The released architectures, each a short function that reads like the prototxt it writes.

Nets that are published as files in `prototxt/` belong here. Reading a user's net belongs to `pycam.net`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pycam.architectures.alexnet import alexnetplus_cam, bvlc_alexnet, bvlc_caffenet, caffenet_cam
from pycam.architectures.googlenet import bvlc_googlenet, googlenet_cam, googlenet_gmp
from pycam.architectures.nin import nin_imagenet
from pycam.architectures.squeezenet import squeezenet_cam, squeezenet_v1_0, squeezenet_v1_1
from pycam.architectures.train_val import (
    solver_imagenet_caffenet_cam,
    solver_imagenet_googlenet_cam,
    solver_imagenet_googlenet_gmp,
    solver_nin_imagenet,
    train_val_caffenet_cam,
    train_val_googlenet_cam,
    train_val_googlenet_gmp,
    train_val_nin_imagenet,
)
from pycam.architectures.vgg import vgg16, vgg16_cam, vgg16_cam_tf
from pycam.errors import UsageError, suggest
from pycam.formats import prototxt

RELEASED: dict[str, Callable[[], Any]] = {
    "deploy_alexnetplusCAM_imagenet": partial(alexnetplus_cam, "imagenetCNN_alexnetdeep", classes=1000, dropout=True),
    "deploy_alexnetplusCAM_places205": partial(
        alexnetplus_cam, "placesCNNobjectdiscoveryAverageSumDeepNoDropout", classes=205, dropout=False
    ),
    "deploy_googlenetCAM": partial(googlenet_cam, classes=1000),
    "deploy_googlenetCAM_places205": partial(googlenet_cam, classes=205),
    "deploy_googlenetGMP": googlenet_gmp,
    "deploy_caffeNetCAM": caffenet_cam,
    "deploy_nin_imagenet": nin_imagenet,
    "deploy_vgg16CAM": vgg16_cam,
    "deploy_vgg16CAM_tf": vgg16_cam_tf,
    "deploy_squeezenet_v1.0": squeezenet_v1_0,
    "deploy_squeezenet_v1.1": squeezenet_v1_1,
    "deploy_bvlc_googlenet": bvlc_googlenet,
    "deploy_bvlc_alexnet": bvlc_alexnet,
    "deploy_bvlc_caffenet": bvlc_caffenet,
    "deploy_vgg16": vgg16,
    "deploy_squeezenet_cam_caltech101": partial(squeezenet_cam, classes=101),
}
"""The nets by the names of their files without `.prototxt`."""

TRAINING: dict[str, Callable[[], Any]] = {
    "train_val_googlenetCAM": train_val_googlenet_cam,
    "solver_imagenet_googlenetCAM": solver_imagenet_googlenet_cam,
    "train_val_googlenetGMP": train_val_googlenet_gmp,
    "solver_imagenet_googlenetGMP": solver_imagenet_googlenet_gmp,
    "train_val_caffeNetCAM": train_val_caffenet_cam,
    "solver_imagenet_caffeNetCAM": solver_imagenet_caffenet_cam,
    "train_val_nin_imagenet": train_val_nin_imagenet,
    "solver_nin_imagenet": solver_nin_imagenet,
}
"""Training nets and their solvers."""

FILES = {**RELEASED, **TRAINING}
"""All files in `prototxt/`."""

_LIKE_GOOGLENET_CAM = (
    "The settings of the authors are unknown; these are the ones that they released for GoogLeNet-CAM in December 2016."
)
_SHAPE_FROM_LATER_CODE = (
    "Not released: the layers are those of CaffeNetCAM in the authors' later code (CSAILVision/IBD); that the paper's "
    "CAM_conv has two groups is likely."
)
_LIKE_THE_AVERAGE = (
    "Not released: GoogLeNet-CAM with a maximum in CAM_pool, which is likely all that the paper changes."
)

FIRST_LINES: dict[str, str] = {
    "deploy_caffeNetCAM": _SHAPE_FROM_LATER_CODE,
    "train_val_caffeNetCAM": f"{_SHAPE_FROM_LATER_CODE} {_LIKE_GOOGLENET_CAM} Fillers of conv1 to conv5: CaffeNet's.",
    "solver_imagenet_caffeNetCAM": f"{_LIKE_GOOGLENET_CAM} A snapshot of 100,000 iterations is confirmed.",
    "deploy_googlenetGMP": _LIKE_THE_AVERAGE,
    "train_val_googlenetGMP": f"{_LIKE_THE_AVERAGE} {_LIKE_GOOGLENET_CAM}",
    "solver_imagenet_googlenetGMP": _LIKE_GOOGLENET_CAM,
}
"""The comment in the first line of a file: how sure it is that what is written was the authors'."""


def build(name: str) -> Any:
    """Build a released net, or its solver.

    Parameters
    ----------
    name : str
        A key of `FILES`, with or without `.prototxt`.

    Returns
    -------
    NetParameter or SolverParameter
        A net in the current format, with a batch of 10 as released.

    Raises
    ------
    UsageError
        No released net has that name.
    """
    stem = name.removesuffix(".prototxt")
    if stem not in FILES:
        hint = suggest(stem, FILES, f"there are {', '.join(FILES)}")
        raise UsageError(f"no released net has the name {name!r}: {hint}")
    return FILES[stem]()


def write(names: Iterable[str], folder: Path) -> list[Path]:
    """Write released nets into a folder under their released names, and return the paths of the files.

    Nothing is written if one of the names is unknown.

    Parameters
    ----------
    names : iterable of str
        Keys of `FILES`, with or without `.prototxt`.
    folder : Path
        It is made if it does not exist.

    Returns
    -------
    list of Path
        In the order of `names`.

    Raises
    ------
    UsageError
        No released net has one of the names.
    """
    messages = {name.removesuffix(".prototxt"): build(name) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.prototxt" for name in messages]
    for path, (name, message) in zip(paths, messages.items(), strict=True):
        prototxt.write(path, message, FIRST_LINES.get(name, ""))
    return paths
