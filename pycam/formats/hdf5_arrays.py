"""Read arrays from HDF5 files of other people, as Caffe's HDF5Data does.

A bad file can crash the HDF5 library. Each file is first read in a child process, which refuses links, data in other
files, and filters that Caffe does not have; then this process reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.sandbox import read_in_child

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
"""The filters that every HDF5 library has, by their numbers."""

LARGEST_RATIO = 1100
"""Limit on the size of the values, by their size in the file: gzip reaches 1032."""

MEMORY = 600 << 20
SECONDS = 10
SECONDS_PER_BYTE = 1e-6
"""Limits of the child, by the size of the file. Four times the size of the file is added to the memory."""

PART = 16 << 20
"""About how many bytes the child reads at once."""


def check_arrays(path: Path, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Check the datasets of some names in a file by reading them in a child process.

    Returns
    -------
    tuple of tuple of int
        Their shapes: one row or more.

    Raises
    ------
    FormatError
        The package `h5py` is not installed; the file is damaged or no HDF5; or a dataset is missing, empty, not of
        numbers, a link, stored in another file, or filtered otherwise than Caffe reads.
    """
    if find_spec("h5py") is None:
        raise FormatError(f"{path}: reading HDF5 needs `pip install 'caffe-cam[hdf5]'`")
    size = path.stat().st_size
    seconds, memory = SECONDS + SECONDS_PER_BYTE * size, MEMORY + 4 * size
    shapes = read_in_child(_check, path, *names, expected="HDF5", library="h5py", seconds=seconds, memory=memory)
    return tuple(tuple(shape) for shape in shapes)


def read_arrays(path: str, names: Sequence[str]) -> tuple[NDArray[np.float32], ...]:
    """Read the datasets of some names in a file that was checked, as float32 arrays.

    Raises
    ------
    FormatError
        The file cannot be read any more.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file, np.errstate(over="ignore", invalid="ignore"):
            return tuple(np.asarray(file[name][()]).astype(np.float32) for name in names)
    except (OSError, KeyError, RuntimeError) as error:
        raise FormatError(f"{path}: cannot be read any more ({error}): did it change since the start?") from None


def _check(path: str, *names: str) -> list[list[int]]:
    """Read the datasets once, in the child, and return their shapes."""
    import h5py

    shapes = []
    with h5py.File(path, "r") as file:
        for name in names:
            dataset = _dataset(file, name)
            _check_storage(dataset, name)
            shapes.append(list(map(int, dataset.shape)))
            row = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
            step = max(1, PART // row)
            for first in range(0, len(dataset), step):
                dataset[first : first + step]
    return shapes


def _dataset(file: Any, name: str) -> Any:
    import h5py

    # Caffe finds no dataset in a group.
    if name not in list(file):
        present = ", ".join(sorted(file)[:8]) or "nothing"
        raise FormatError(f"no dataset {name!r} for the top of that name: the file has {present}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise FormatError(f"{name!r} is a link, perhaps to another file: pycam follows none, store the values here")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{name!r} is a group: expected a dataset for the top of that name")
    return dataset


def _check_storage(dataset: Any, name: str) -> None:
    if dataset.dtype.kind not in "fiu" or dataset.dtype.itemsize > 8:
        raise FormatError(f"{name!r} has values of type {dataset.dtype}: expected float, double or integers")
    if not dataset.shape or dataset.size == 0:
        raise FormatError(f"{name!r} has the shape {_dims(dataset.shape or ())}: expected one row or more")
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"the values of {name!r} are in another file: store them here")
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if unknown := [number for number in filters if number not in FILTERS]:
        raise FormatError(
            f"{name!r} has the filter {unknown[0]}, Caffe reads {', '.join(FILTERS.values())}: write it with "
            "`h5repack -f GZIP=1 OLD NEW`"
        )
    stored = dataset.id.get_storage_size() * (LARGEST_RATIO if filters else 1)
    if dataset.size * dataset.dtype.itemsize > stored:
        raise FormatError(
            f"{name!r} of {_dims(dataset.shape)} is larger than its values in the file: damaged or cut off"
        )


def _dims(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
