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
