from __future__ import annotations

import subprocess
import sys

import pytest

import pycam


def test_importing_pycam_loads_no_engine_and_no_opencv():
    script = "import pycam, sys; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"cv2", "onnx", "onnxruntime", "openvino", "torch", "scipy", "pandas", "PIL"}
    assert "pycam" in loaded
    assert not heavy.intersection(loaded)


def test_every_public_name_is_there():
    for name in pycam.__all__:
        assert getattr(pycam, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pycam.nothing  # noqa: B018
