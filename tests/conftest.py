from __future__ import annotations

import importlib
import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("pycam", deadline=None)
hypothesis.settings.load_profile("pycam")

REQUIRED = {mark for mark in os.environ.get("PYCAM_REQUIRE", "").split(",") if mark}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the test data of others; its tests are skipped, or fail when required, without it."""
    folder = Path(os.environ.get("PYCAM_SHARED", Path(__file__).parents[2] / "shared")).resolve()
    if not (folder / "data").is_dir():
        unavailable("shared", f"no folder {folder}/data: set PYCAM_SHARED")
    return folder


def unavailable(mark: str, reason: str) -> None:
    """Skip the running test, or fail it when `PYCAM_REQUIRE` names its marker."""
    if mark in REQUIRED:
        pytest.fail(f"PYCAM_REQUIRE names {mark!r}, but {reason}", pytrace=False)
    pytest.skip(reason)


def import_or_skip(mark: str, module: str):
    """Import what a file or a test needs; skip it without, or fail when `PYCAM_REQUIRE` names its marker."""
    return importlib.import_module(module) if mark in REQUIRED else pytest.importorskip(module)


@pytest.fixture
def require():
    """Import a module or skip: `require('torch', 'torch')` gives the module, marker first, then the module."""

    def importer(mark: str, module: str):
        try:
            return __import__(module)
        except ImportError as error:
            return unavailable(mark, str(error))

    return importer


# What the fixtures below need is imported where it is used: most tests do without.


@pytest.fixture(scope="module")
def caffe():
    """Real Caffe in a process of its own, for what engines do not offer."""
    from pycam.engines.caffe import CaffeProcess
    from pycam.errors import EngineError

    try:
        process = CaffeProcess(threads=1)
    except EngineError as error:
        unavailable("caffe", str(error))
    with process:
        yield process


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[Path, Path]:
    """Prototxt and weights of a net that is evaluated in no time."""
    from runs import write_model

    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Pictures for `model`."""
    from runs import write_pictures

    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(model, pictures, tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    from runs import make_plan

    from pycam.evaluation.run import evaluate

    folder = tmp_path_factory.mktemp("run")
    evaluate(make_plan(model, pictures), folder)
    return folder
