"""What a test needs is said by its markers, and whether it runs is decided here alone.

Each requirement is checked once a session. A test whose requirement is missing is skipped, with the marker's name and
the reason; where `PYCAM_REQUIRE`, a comma list of markers, names the marker, it fails. A test that uses real Caffe or
the shared data without the marker fails as well, whether they are there or not.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

# A shell starts its background jobs with SIGINT ignored, and nohup its command with SIGHUP ignored; so would all
# commands be that tests interrupt.
for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if (number := getattr(signal, name, None)) and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

# How long an example takes says something of the machine, nothing of the code.
# The suite gives the same answer twice; `make fuzz` looks for new examples.
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.register_profile("pycam", deadline=None, derandomize=True)
hypothesis.settings.load_profile("pycam")

SHARED = Path(os.environ.get("PYCAM_SHARED", Path(__file__).parents[2] / "shared")).resolve()
CHROMIUM = Path(os.environ.get("PYCAM_CHROMIUM", "/usr/bin/chromium"))
LONG = 600_000
"""Milliseconds that tests wait for a browser: what takes one on a quick machine may take a minute on a busy one."""
CAFFE = {name: os.environ.get(name, "") for name in ("PYCAM_CAFFE", "PYCAM_CAFFE_ROOT")}
REQUIRED = {mark for mark in os.environ.get("PYCAM_REQUIRE", "").split(",") if mark}


# Each of these returns why a requirement is not met, or "".


def _no_shared() -> str:
    return "" if (SHARED / "data").is_dir() else f"there is no folder {SHARED}/data: set PYCAM_SHARED"


def _no_caffe() -> str:
    from pycam.engines.caffe import CaffeProcess
    from pycam.errors import EngineError

    try:
        CaffeProcess(threads=1).close()
    except EngineError as error:
        return str(error)
    return ""


def _no_caffe_root() -> str:
    from pycam.engines.caffe import find_caffe
    from pycam.errors import EngineError

    try:
        command = find_caffe()
    except EngineError as error:
        return str(error)
    return "" if Path(command[0]).name == "start" else "PYCAM_CAFFE starts a Python, not Caffe's own tools: unset it"


def _not_isolated() -> str:
    try:
        done = subprocess.run(
            ["unshare", "-rn", "strace", "-f", "-e", "trace=connect", "-o", os.devnull, "true"],
            capture_output=True,
            text=True,
        )
    except OSError as error:
        return str(error)
    return done.returncode and f"no process without network can be watched: {done.stderr.strip()}; install strace"


def _no_packages(*modules: str) -> str:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"{error}; `make test` installs it"
    return ""


def _no_cam_tool(module: str) -> str:
    # pytorch-grad-cam imports a torchvision, which must be built for the very PyTorch that is here, for names that its
    # methods do not use.
    names = {
        "torchvision": (),
        "torchvision.transforms": ("Compose", "Normalize", "ToTensor"),
        "torchvision.transforms.functional": ("resize",),
    }
    stand_ins = {name: types.ModuleType(name) for name in names if name not in sys.modules}
    for name, stand_in in stand_ins.items():
        stand_in.__dict__.update(dict.fromkeys(names[name]))
    sys.modules.update(stand_ins)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except ImportError as error:
        return f"{error}; `make test` installs it, on Python 3.11 and later"
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return ""


def _no_browser() -> str:
    if not CHROMIUM.exists():
        return f"there is no Chromium at {CHROMIUM}: install it, or set PYCAM_CHROMIUM"
    return _no_packages("playwright.sync_api", "axe_playwright_python")


def _no_ortweb() -> str:
    from pycam.errors import EngineError
    from pycam.page.runtime import find_runtime

    try:
        find_runtime(download=False)
    except EngineError as error:
        return f"{error}; `make test` fetches it where npm is"
    return ""


def _no_opencv() -> str:
    import cv2

    here = hasattr(cv2.dnn, "readNetFromCaffe")
    return "" if here else f"OpenCV {cv2.__version__} has no Caffe importer, version 4 has one; `make test` installs it"


def _no_raqm() -> str:
    from PIL import features

    return "" if features.check("raqm") else "Pillow has no Raqm here, which shapes Arabic: install libfribidi0"


def _no_fonts() -> str:
    from pycam.drawing import fonts

    if lacking := _no_raqm():
        return lacking
    lacking = [c for c in "한狐ثЛé" if not any(fonts._has(font, c) for font in fonts._faces())]
    return f"no font here has {''.join(lacking)}: install fonts-noto-cjk and fonts-dejavu-core" if lacking else ""


def _no_bf16() -> str:
    if lacking := _no_packages("pycam.engines.openvino"):
        return lacking
    from pycam.engines.openvino import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if "BF16" in capabilities else "OpenVINO has no bf16 on this processor"


def _no_gpu() -> str:
    return "" if Path("/dev/nvidia0").exists() else "there is no /dev/nvidia0"


def _no_linux() -> str:
    return "" if sys.platform == "linux" else "memory is bounded and measured on Linux only"


def _no_compiler() -> str:
    if sys.platform != "linux":
        return "calls are replaced on Linux only"
    return "" if shutil.which("cc") else "there is no C compiler: install gcc"


def _no_byte_names() -> str:
    with tempfile.TemporaryDirectory() as folder:
        names = [os.fsdecode(b"\xff" * 255), "\u00e9", "e\u0301"]
        try:
            for name in names:
                Path(folder, name).touch()
        except (OSError, UnicodeEncodeError):
            return f"the file system of {folder} has names of its own kind"
        kept = len(list(Path(folder).iterdir())) == len(names)
    return "" if kept else f"the file system of {folder} takes two forms of a name for one"


def _no_posix() -> str:
    return "" if os.name == "posix" else "permissions and SIGKILL are POSIX's"


def _no_user() -> str:
    return "root may read everything" if os.name == "posix" and os.geteuid() == 0 else ""


def _no_sha256sum() -> str:
    return "" if shutil.which("sha256sum") else "there is no program sha256sum"


class Requirement(NamedTuple):
    needs: str
    missing: Callable[[], str]


REQUIREMENTS = {
    "shared": Requirement("the test data of others, found through PYCAM_SHARED", _no_shared),
    "caffe": Requirement("a real Caffe, found through PYCAM_CAFFE or at its default place", _no_caffe),
    "caffe_root": Requirement("Caffe's own tools in the folder of `make caffe-root`", _no_caffe_root),
    "torch": Requirement("PyTorch", partial(_no_packages, "torch")),
    "torchcam": Requirement("torch-cam", partial(_no_cam_tool, "torchcam.methods")),
    "gradcam": Requirement("pytorch-grad-cam", partial(_no_cam_tool, "pytorch_grad_cam")),
    "captum": Requirement("captum", partial(_no_cam_tool, "captum.attr")),
    "openvino": Requirement("OpenVINO", partial(_no_packages, "pycam.engines.openvino")),
    "ncnn": Requirement("ncnn", partial(_no_packages, "pycam.engines.ncnn")),
    "onnx": Requirement("the package onnx, which checks what is written", partial(_no_packages, "onnx")),
    "opencv": Requirement("OpenCV 4, whose DNN module reads Caffe's files", _no_opencv),
    "fonts": Requirement("fonts with Hangul, Chinese, Arabic and Cyrillic", _no_fonts),
    "raqm": Requirement("Pillow with Raqm, which shapes Arabic", _no_raqm),
    "bf16": Requirement("OpenVINO and a processor that has bf16", _no_bf16),
    "cluster": Requirement("Dask", partial(_no_packages, "distributed")),
    "lmdb": Requirement("lmdb", partial(_no_packages, "lmdb")),
    "hdf5": Requirement("h5py", partial(_no_packages, "h5py")),
    "paper": Requirement("scikit-learn and matplotlib", partial(_no_packages, "sklearn", "matplotlib")),
    "web": Requirement("FastAPI and uvicorn", partial(_no_packages, "fastapi", "uvicorn")),
    "browser": Requirement("headless Chromium, Playwright and axe", _no_browser),
    "ortweb": Requirement("ONNX Runtime Web on this machine", _no_ortweb),
    "demo": Requirement("scikit-image", partial(_no_packages, "skimage")),
    "docs": Requirement("Zensical and mkdocstrings", partial(_no_packages, "zensical", "mkdocstrings_handlers.python")),
    "notebook": Requirement(
        "nbclient, nbformat and ipykernel", partial(_no_packages, "nbclient", "nbformat", "ipykernel")
    ),
    "gpu": Requirement("an NVIDIA GPU", _no_gpu),
    "isolated": Requirement("a network namespace of its own (unshare) and strace", _not_isolated),
    "compiler": Requirement("a C compiler (cc), for calls that fail", _no_compiler),
    "linux": Requirement("Linux", _no_linux),
    "posix": Requirement("a POSIX system", _no_posix),
    "byte_names": Requirement("a file system whose names are any 255 bytes, as on Linux", _no_byte_names),
    "unprivileged": Requirement("a user other than root", _no_user),
    "sha256sum": Requirement("the program sha256sum", _no_sha256sum),
}

_running = set(REQUIREMENTS)
"""The markers of the running test."""


@cache
def missing(mark: str) -> str:
    """Return why the requirement of a marker is not met here, or ""."""
    return REQUIREMENTS[mark].missing()


def pytest_configure(config: pytest.Config) -> None:
    for mark, requirement in REQUIREMENTS.items():
        config.addinivalue_line("markers", f"{mark}: needs {requirement.needs}")
    if unknown := REQUIRED - REQUIREMENTS.keys():
        raise pytest.UsageError(
            f"PYCAM_REQUIRE names {', '.join(sorted(unknown))}: the markers are {', '.join(REQUIREMENTS)}"
        )
    sys.addaudithook(_guard_shared)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Workers take files in this order: with a long file at the end, one of them would run it alone.
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global _running
    marks = {mark.name for mark in item.iter_markers()}
    _running = marks
    # In the environment, so that the processes that a test starts obey, too.
    os.environ.update(
        CAFFE if "caffe" in marks else {"PYCAM_CAFFE": "", "PYCAM_CAFFE_ROOT": "/(this test has no @pytest.mark.caffe)"}
    )
    for mark in REQUIREMENTS.keys() - marks:
        if mark in getattr(item, "fixturenames", ()):
            pytest.fail(f"the fixture {mark!r} is for tests with @pytest.mark.{mark}: add the marker", pytrace=False)
    unmet = {mark: missing(mark) for mark in REQUIREMENTS if mark in marks and missing(mark)}
    for mark in unmet.keys() & REQUIRED:
        # Without its fixtures, and as a failure of the test: pytest counts what fails in a setup as an error.
        item.setup = lambda: None
        item.runtest = partial(pytest.fail, f"PYCAM_REQUIRE names {mark!r}, but {unmet[mark]}", pytrace=False)
        return
    for mark, reason in unmet.items():
        pytest.skip(f"{mark}: {reason}")


def _guard_shared(event: str, arguments: tuple) -> None:
    if "shared" in _running or event not in ("open", "os.listdir", "os.scandir"):
        return
    if str(arguments[0]).startswith(f"{SHARED}{os.sep}data"):
        pytest.fail(f"{arguments[0]} is for tests with @pytest.mark.shared: add the marker")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the test data of others."""
    return SHARED


# What the fixtures below need is imported where it is used: most tests do without.


@pytest.fixture(scope="session")
def ortweb() -> Path:
    """The folder with the files of ONNX Runtime Web, for `find_runtime` or `--runtime`."""
    from pycam.page.runtime import find_runtime

    return find_runtime(download=False).place


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable]:
    """Start headless Chromium, with more flags."""
    from playwright.sync_api import sync_playwright

    # All but the first two keep it from work of its own.
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, *more], timeout=LONG)


@pytest.fixture
def minutes(monkeypatch) -> None:
    """A minute passes with each step of a command, so that each prints a line."""
    from pycam.console import MINUTE, LineProgress

    clock = count(0, MINUTE)
    monkeypatch.setattr("pycam.console.LineProgress", partial(LineProgress, clock=lambda: next(clock)))


@pytest.fixture(scope="module")
def caffe():
    """Real Caffe in a process of its own, for what engines do not offer."""
    from caffe_trainer import CaffeTrainer

    with CaffeTrainer(threads=1) as process:
        yield process


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> tuple[Path, Path]:
    """Prototxt and weights of a net that is evaluated in no time."""
    from runs import write_model

    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images for `model`."""
    from runs import write_images

    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(model, images, tmp_path_factory) -> Path:
    """A run that nothing happened to."""
    from runs import make_plan

    from pycam.evaluation.run import evaluate

    folder = tmp_path_factory.mktemp("run")
    evaluate(make_plan(model, images), folder)
    return folder
