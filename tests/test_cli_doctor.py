from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest

from pycam import zoo
from pycam.cli import main
from pycam.engines import ENGINES
from pycam.errors import ModelError
from pycam.verification import doctor


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """One engine, one OpenCV, and a cache of its own."""
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"]})
    monkeypatch.setattr(doctor, "ENGINES", {"onnxruntime": ENGINES["onnxruntime"]})
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)


def examined(capsys, code=0):
    assert main(["doctor", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["works"] is (code == 0)
    return {(each["about"], each["name"]): each for each in told["findings"]}


def forget(monkeypatch, package, engine):
    """Let a package be missing for an engine that may have been imported already."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"pycam.engines.{engine}", raising=False)


def test_the_core_works_here(capsys):
    found = examined(capsys)
    assert found["engines", "onnxruntime"]["state"] == "ok"
    assert found["versions", "numpy"]["told"] == np.__version__
    assert found["files", "cache"]["told"].endswith("cache, not made yet")
    bundled = found["models", "squeezenet-cam-caltech101"]
    assert bundled["state"] == "ok" and bundled["core"]
    assert found["models", "googlenet-cam"] == {
        "about": "models",
        "name": "googlenet-cam",
        "state": "not here",
        "told": "no imagenet_googlenetCAM_train_iter_120000.caffemodel",
        "fix": "pycam models download googlenet-cam",
        "core": False,
    }
    assert {each["state"] for each in found.values() if each["core"]} == {"ok"}


def test_every_engine_is_looked_at(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "ENGINES", ENGINES)
    found = examined(capsys)
    states = {name: each["state"] for (about, name), each in found.items() if about == "engines"}
    assert states.keys() == ENGINES.keys()
    assert "wrong" not in states.values()


def test_people_are_told_line_by_line(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "versions", "engines", "files", "models", "extras", "the core works; nothing is wrong"
    ]  # fmt: skip
    assert any("→ pycam models download vgg16-cam" in line for line in lines)


@pytest.mark.parametrize(("environment", "coloured"), [({}, False), ({"NO_COLOR": "1"}, False), (None, True)])
def test_colours_are_for_terminals(capsys, monkeypatch, environment, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"FORCE_COLOR": "1"} if environment is None else environment).items():
        monkeypatch.setenv(name, value)
    assert main(["doctor"]) == 0
    assert ("\x1b[32m" in capsys.readouterr().out) is coloured


def test_wrong_numbers_are_noticed(monkeypatch, capsys):
    engine = SimpleNamespace(forward=lambda _: {"prob": np.full((2, 3), 1 / 3, np.float32)}, description="Bad 1.0")
    monkeypatch.setattr(doctor.engines, "make", lambda *_: nullcontext(engine))
    found = examined(capsys, code=1)["engines", "onnxruntime"]
    assert found["state"] == "wrong" and found["told"].startswith("Bad 1.0: off by ")
    assert found["fix"] == "install it again: pip install onnxruntime"


def test_a_default_engine_that_is_missing_is_a_fault(monkeypatch, capsys):
    forget(monkeypatch, "onnxruntime", "onnxruntime")
    found = examined(capsys, code=1)["engines", "onnxruntime"]
    assert (found["state"], found["fix"]) == ("wrong", "pip install onnxruntime")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("the core does not work; 1 is wrong\n")


def test_a_broken_library_is_a_fault(monkeypatch, capsys):
    def make(*_):
        raise AttributeError("_ARRAY_API not found")

    monkeypatch.setattr(doctor.engines, "make", make)
    found = examined(capsys, code=1)["engines", "onnxruntime"]
    assert found["told"] == "it fails: AttributeError('_ARRAY_API not found')"


def test_another_engine_that_is_missing_is_not_a_fault(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "ENGINES", {name: ENGINES[name] for name in ("torch", "caffe")})
    monkeypatch.delenv("PYCAM_CAFFE", raising=False)
    monkeypatch.setenv("PYCAM_CAFFE_ROOT", "/nowhere")
    forget(monkeypatch, "torch", "torch")
    found = examined(capsys)
    torch, caffe = found["engines", "torch"], found["engines", "caffe"]
    assert (torch["state"], torch["fix"]) == ("not here", "pip install 'caffe-cam[torch]'")
    assert torch["told"].startswith("engine 'torch' is not installed (")
    assert caffe["told"] == "no Caffe: PYCAM_CAFFE is not set and there is no /nowhere/start"
    assert caffe["fix"] == "set PYCAM_CAFFE, or run `make caffe-root` in pycam's repository"


def test_two_opencvs_are_a_fault(monkeypatch, capsys):
    wheels = {"cv2": ["opencv-python", "opencv-python-headless", "opencv-python"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: wheels)
    found = examined(capsys, code=1)["versions", "cv2"]
    assert found["told"] == "opencv-python and opencv-python-headless overwrite each other"
    assert found["fix"] == (
        "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
    )


def test_packages_of_other_versions_are_a_fault(monkeypatch, capsys):
    needs = ["numpy>=999", "no-such-package>=1", 'scipy>=1; extra == "more"', 'lmdb>=999; extra == "more"']
    monkeypatch.setattr(metadata, "requires", lambda _: needs)
    monkeypatch.setattr(metadata, "metadata", lambda _: SimpleNamespace(get_all=lambda _: ["more", "test"]))
    found = examined(capsys, code=1)
    assert found["versions", "numpy"]["told"] == f"{np.__version__}, but it must be >=999"
    assert found["versions", "numpy"]["fix"] == "pip install 'numpy>=999'"
    assert found["versions", "no-such-package"]["told"] == "not installed"
    assert found["extras", "more"]["state"] == "not here"
    assert found["extras", "more"]["fix"] == "pip install 'caffe-cam[more]'"
    assert "scipy" not in found["extras", "more"]["told"] and "lmdb" in found["extras", "more"]["told"]
    assert ("extras", "test") not in found


def test_pycam_that_is_not_installed(monkeypatch, capsys):
    def none(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", none)
    monkeypatch.setattr(metadata, "metadata", none)
    found = examined(capsys)
    assert "run without being installed" in found["versions", "pycam"]["told"]
    assert [name for about, name in found if about == "extras"] == ["Chromium"]


def test_folders_that_are_not_there(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("PYCAM_MODELS", str(tmp_path / "weights"))
    found = examined(capsys)
    assert found["files", "PYCAM_MODELS"]["told"] == f"{tmp_path / 'weights'}: no such folder"
    assert found["files", "cache"]["told"] == f"{tmp_path / 'file' / 'cache'}: Not a directory"
    assert found["files", "cache"]["fix"] == "set PYCAM_CACHE to a folder that can be written"


def test_damaged_weights(monkeypatch, capsys, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bvlc_alexnet.caffemodel").write_bytes(b"cut short")
    found = examined(capsys)["models", "bvlc-alexnet"]
    assert found["state"] == "wrong" and "not the published file" in found["told"]
    assert found["fix"] == "pycam models download bvlc-alexnet"


def test_a_damaged_bundled_model_is_a_fault(monkeypatch, capsys):
    def weights_path(card):
        raise ModelError(f"{card.name}: not the published file")

    monkeypatch.setattr(zoo, "weights_path", weights_path)
    found = examined(capsys, code=1)["models", "squeezenet-cam-caltech101"]
    assert (found["state"], found["fix"]) == ("wrong", "install pycam again")
