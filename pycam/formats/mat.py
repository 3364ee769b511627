"""Read MATLAB's `.mat` files in a child process: a bad file can crash SciPy or fill the memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.opening import HEAD, foreign, open_file
from pycam.formats.sandbox import read_in_child

EXPECTED = "a MATLAB file"
MEMORY = 150 << 20
MEMORY_PER_BYTE = 450
MOST_MEMORY = 704 << 20
SECONDS = 4
SECONDS_PER_BYTE = 20e-6
"""Limits of the child: memory and processor time, by the size of the file. Three times the size of the file is added to
the memory. The boxes of ILSVRC's 50,000 images, a file of 1.3 MB, take 570 MB there, and half of it is their pickle."""


def read_mat(path: str | os.PathLike[str], variables: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read variables from a MATLAB file of version 4 to 7.

    Parameters
    ----------
    path : path
        The file.
    variables : sequence of str
        The names of the variables.

    Returns
    -------
    dict
        Those of the variables that the file has, at least one, in the order of `variables`, as `scipy.io.loadmat`
        returns them: arrays with two axes or more; cells are arrays of objects, structs are arrays with named fields of
        objects.

    Raises
    ------
    FormatError
        The file is missing, of another kind, of version 7.3, damaged, or too large after decompression; it has none of
        the variables, or they contain objects of MATLAB classes.
    """
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
    if head.startswith(b"MATLAB 7.3"):
        raise FormatError(f"{path}: a MATLAB 7.3 file, which is HDF5: save it with `save(…, '-v7')`")
    if mistake := foreign(path, EXPECTED, head):
        raise mistake
    size = Path(path).stat().st_size
    arrays: dict[str, NDArray[Any]] = read_in_child(
        _load,
        path,
        *variables,
        expected=EXPECTED,
        library="scipy.io",
        seconds=SECONDS + SECONDS_PER_BYTE * size,
        memory=min(MEMORY + MEMORY_PER_BYTE * size, MOST_MEMORY) + 3 * size,
    )
    return arrays


def _load(path: str, *variables: str) -> dict[str, Any]:
    """Read the variables in the child."""
    import scipy.io

    found = scipy.io.loadmat(path, variable_names=variables)
    if not any(name in found for name in variables):
        present = ", ".join(name for name, *_ in scipy.io.whosmat(path))
        raise FormatError(f"expected a variable {' or '.join(variables)}, found {present or 'no variables'}")
    return {name: found[name] for name in variables if name in found}
