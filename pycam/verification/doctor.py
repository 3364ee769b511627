"""Checks of what works on this machine, what is missing, and how to fix it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from packaging.requirements import Requirement

import pycam
from pycam import engines, zoo
from pycam.engines import DEFAULT_ENGINE, ENGINES
from pycam.errors import EngineError, PycamError
from pycam.formats import prototxt
from pycam.net import net_from_message
from pycam.page.runtime import ADVICE, find_runtime
from pycam.verification.opencv import opencv_fix, opencv_wheels

DISTRIBUTION = "caffe-cam"
DEVELOPERS = ("test", "check", "docs")
TOLERANCE = 1e-5

Floats = NDArray[np.float32]

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 7 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "max" type: "Pooling" bottom: "conv" top: "max" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "mean" type: "Pooling" bottom: "max" top: "mean" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "mean" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    about : str
        `versions`, `engines`, `files`, `models` or `extras`.
    name : str
        What was checked.
    state : str
        `ok`, `not here` (nothing is wrong; something could be added) or `wrong`.
    told : str
        The finding, in one line.
    fix : str
        What to do about it; empty where nothing needs to be done.
    core : bool
        True where pycam's core needs it.
    """

    about: str
    name: str
    state: str
    told: str
    fix: str = ""
    core: bool = False


def examine() -> Iterator[Finding]:
    """Check this machine, one finding at a time."""
    yield from _versions()
    yield from map(_engine, ENGINES)
    yield from _files()
    yield from _models()
    yield from _extras()


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "Python", "ok", f"{platform.python_version()}, {platform.platform()}", core=True)
    needs = _requirements()
    note = "" if needs else ", run without being installed: what it needs is not known"
    yield Finding("versions", "pycam", "ok", f"{pycam.__version__}, in {Path(pycam.__file__).parent}{note}", core=True)
    for requirement in needs:
        told, good = _installed(requirement)
        fix = "" if good else f"pip install '{requirement.name}{requirement.specifier}'"
        yield Finding("versions", requirement.name, "ok" if good else "wrong", told, fix, core=True)
    # Two distributions that both bring cv2 overwrite each other's files.
    wheels = opencv_wheels()
    if len(wheels) > 1:
        told = f"{' and '.join(wheels)} overwrite each other"
        yield Finding("versions", "cv2", "wrong", told, opencv_fix(), core=True)


def _requirements(extra: str = "") -> list[Requirement]:
    """List the requirements of pycam's core, or those that an extra adds."""
    try:
        listed = list(map(Requirement, metadata.requires(DISTRIBUTION) or ()))
    except metadata.PackageNotFoundError:
        return []
    always = [each for each in listed if each.marker is None or each.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [each for each in listed if each not in always and each.marker and each.marker.evaluate({"extra": extra})]


def _installed(requirement: Requirement) -> tuple[str, bool]:
    """Return the installed version, and whether it satisfies the requirement."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return "not installed", False
    good = requirement.specifier.contains(version, prereleases=True)
    return version if good else f"{version}, but it must be {requirement.specifier}", good


def _engine(name: str) -> Finding:
    """Run a small net, and compare its output with the same computation in NumPy."""
    core, fix = name == DEFAULT_ENGINE, ENGINES[name].install_hint
    rng = np.random.default_rng(0)
    params = {"conv": _random(rng, (4, 3, 1, 1), (4,)), "fc": _random(rng, (3, 4), (3,))}
    net = net_from_message(prototxt.parse(NET).message).with_params(params)
    (images,) = _random(rng, (2, 3, 5, 7))
    try:
        with engines.make(name, net, ["prob"]) as engine:
            found = engine.forward({"data": images})["prob"]
            told = engine.description
    except EngineError as error:
        told = str(error).removesuffix(f": {fix}").partition("; ")[0]
        return Finding("engines", name, "wrong" if core else "not here", told, fix, core)
    except Exception as error:  # a library that is broken can fail in any way
        return Finding("engines", name, "wrong", f"it fails: {error!r}", f"install it again: {fix}", core)
    furthest = float(np.abs(found - _by_hand(params, images)).max())
    if not furthest <= TOLERANCE:
        return Finding("engines", name, "wrong", f"{told}: off by {furthest:.1e}", f"install it again: {fix}", core)
    return Finding("engines", name, "ok", f"{told}; right to {furthest:.0e}", core=core)


def _random(rng: np.random.Generator, *shapes: tuple[int, ...]) -> tuple[Floats, ...]:
    return tuple(rng.normal(0, 1, shape).astype(np.float32) for shape in shapes)


def _by_hand(params: dict[str, tuple[Floats, ...]], images: Floats) -> Floats:
    """Compute the output of `NET` with NumPy: (N, 3, 5, 7) -> (N, 3)."""
    (kernel, bias), (weights, fc_bias) = params["conv"], params["fc"]
    conv = np.maximum(np.einsum("kc,nchw->nkhw", kernel[:, :, 0, 0], images) + bias[:, None, None], 0)
    # Caffe rounds the size of a pooled blob up. No value is below 0 here, so zeros change no maximum.
    padded = np.pad(conv, ((0, 0), (0, 0), (0, 1), (0, 1)))
    pooled = padded.reshape(len(images), 4, 3, 2, 4, 2).max(axis=(3, 5))
    exp = np.exp(pooled.mean(axis=(2, 3)) @ weights.T + fc_bias)
    return np.asarray(exp / exp.sum(axis=1, keepdims=True), np.float32)


def _files() -> Iterator[Finding]:
    for name, folder in (("nets", zoo.prototxt_folder), ("cards", zoo.models_folder)):
        try:
            yield Finding("files", name, "ok", str(folder()), core=True)
        except PycamError as error:
            yield Finding("files", name, "wrong", str(error), "install pycam again", core=True)
    for named in filter(None, os.environ.get("PYCAM_MODELS", "").split(os.pathsep)):
        if Path(named).expanduser().is_dir():
            yield Finding("files", "PYCAM_MODELS", "ok", named)
        else:
            yield Finding("files", "PYCAM_MODELS", "wrong", f"{named}: no such folder", "make it, or name another")
    fix = "set PYCAM_CACHE to a folder that can be written"
    try:
        cache = zoo.cache_folder()
    except PycamError as error:
        yield Finding("files", "cache", "wrong", str(error), fix)
        return
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            yield Finding("files", "cache", "ok", f"{cache}{'' if nearest == cache else ', not made yet'}")
    except OSError as error:
        yield Finding("files", "cache", "wrong", f"{cache}: {error.strerror}", fix)


def _models() -> Iterator[Finding]:
    for card in zoo.all_cards():
        bundled = card.name == zoo.BUNDLED
        try:
            yield Finding("models", card.name, "ok", str(zoo.weights_path(card)), core=bundled)
        except PycamError as error:
            wrong = bundled or zoo.find_weights(card) is not None
            told = str(error) if wrong else f"no {card.weights.file}"
            fix = "install pycam again" if bundled else f"pycam models download {card.name}"
            if command := zoo.training_command(card):
                told, fix = f"{told}, never published", command
            yield Finding("models", card.name, "wrong" if wrong else "not here", told, fix, core=bundled)


def _extras() -> Iterator[Finding]:
    try:
        extras = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        extras = []
    for extra in (each for each in extras if each not in DEVELOPERS):
        checked = [(requirement.name, *_installed(requirement)) for requirement in _requirements(extra)]
        if all(good for *_, good in checked):
            yield Finding("extras", extra, "ok", ", ".join(f"{name} {version}" for name, version, _ in checked))
        else:
            lacking = ", ".join(f"{name} {why}" for name, why, good in checked if not good)
            yield Finding("extras", extra, "not here", lacking, f"pip install '{DISTRIBUTION}[{extra}]'")
    try:
        runtime = find_runtime(download=False)
        yield Finding("extras", "ONNX Runtime Web", "ok", f"{runtime.version}, in {runtime.place}")
    except EngineError:
        told, fix = "only `pycam page` needs it", ADVICE
        if shutil.which("npm"):
            told, fix = f"{told}, and lets npm fetch it", ""
        yield Finding("extras", "ONNX Runtime Web", "not here", told, fix)
    chromium = os.environ.get("PYCAM_CHROMIUM") or shutil.which("chromium")
    if chromium:
        yield Finding("extras", "Chromium", "ok", chromium)
    else:
        fix = "install it, or set PYCAM_CHROMIUM"
        yield Finding("extras", "Chromium", "not here", "only the tests of the viewer need one", fix)
