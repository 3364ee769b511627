"""The processor as the libraries see it: they choose their kernels by it, so it decides the last bits of results."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
from threadpoolctl import threadpool_info

LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
)
"""Variables that keep a library from instructions which the processor has. OpenCV and OpenBLAS tell of theirs."""

_NARROW = re.compile(r"\b(?:amx_\w+|avx512_bf16|avx512_fp16)\b")
"""Instructions for narrow numbers, of which OpenCV tells nothing, in Linux's list."""


def instruction_set() -> str:
    """Return the instructions that libraries use on this processor, in one line.

    Returns
    -------
    str
        The extensions that OpenCV finds, those for narrow numbers (on Linux), the kernels of NumPy's OpenBLAS, and
        the variables in `LIMITS` that are set: ``"SSE SSE2 SSE3 SSE4.1 SSE4.2 AVX FP16 AVX2, OpenBLAS Haswell"``.
    """
    # OpenCV marks what it could use but this processor lacks with "?".
    found = [word.strip("*") for word in cv2.getCPUFeaturesLine().split() if not word.endswith("?")]
    found += _narrow()
    limits = [f"{name}={value}" for name in LIMITS if (value := os.environ.get(name))]
    return ", ".join([" ".join(found), *_blas(), *limits])


def _narrow() -> list[str]:
    try:
        listed = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return []
    return sorted(set(_NARROW.findall(listed)))


def _blas() -> list[str]:
    """Return the kernels of NumPy's OpenBLAS: other packages bring OpenBLAS too, but no array of pycam goes there."""
    found = [each for each in threadpool_info() if each["internal_api"] == "openblas"]
    own = [each for each in found if "numpy" in each["filepath"]] or found
    return sorted({f"OpenBLAS {each['architecture']}" for each in own})


def gpus() -> str:
    """Return the models of NVIDIA's GPUs on this machine; empty where Linux's driver does not list them."""
    models = set()
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        models |= set(re.findall(r"^Model:\s*(.*\S)", path.read_text("utf-8", "replace"), re.M))
    return ", ".join(sorted(models))
