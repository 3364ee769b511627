"""What holds for all nets that are made from now on: the device, and where random numbers start."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from pycam.errors import UsageError

TRAIN, TEST = 0, 1

_mode = {"device": "cpu"}
_seeds: list[Iterator[int]] = [count()]


def set_mode_cpu() -> None:
    """Run nets that are made from now on on the CPU."""
    _mode["device"] = "cpu"


def set_mode_gpu() -> None:
    """Run nets that are made from now on on the GPU, by an engine that supports it (docs/engines.md)."""
    _mode["device"] = "cuda"


def set_device(number: int) -> None:
    """Accept GPU 0; `CUDA_VISIBLE_DEVICES` chooses among several."""
    if number != 0:
        raise UsageError(f"set_device({number}): pycam uses one GPU; choose it with CUDA_VISIBLE_DEVICES={number}")


def set_random_seed(seed: int) -> None:
    """Decide the random numbers of nets and solvers that are made from now on: fillers, dropout, random data.

    The numbers differ from Caffe's. Without a call they are the same in each run of a script, unlike in Caffe.
    """
    if seed < 0:
        raise UsageError(f"set_random_seed({seed}): give 0 or more")
    _seeds[0] = count(seed)


def current_device() -> str:
    """Return the device of a net that is made now."""
    return _mode["device"]


def next_seed() -> int:
    """Return the seed of a net that is made now."""
    return next(_seeds[0])
