"""MATLAB's `.mat` files, read in a child process: a bad one can crash SciPy, or fill the memory."""

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
"""What reading may take in the child: this memory, by the size of the file and with three times the file on top, and
this processor time. The boxes of ILSVRC's 50,000 images take 570 MB there, half of it to pickle them, for a file of
1.3 MB."""


def read_mat(path: str | os.PathLike[str], variables: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read variables from a MATLAB file of version 4 to 7.

    Parameters
    ----------
    path
        The file.
    variables
        The names wanted.

    Returns
    -------
    dict
        Those of the wanted variables that the file has, at least one, as `scipy.io.loadmat` gives them: all
        with two axes or more; cells as arrays of objects, structs as arrays with named fields of objects.

    Raises
    ------
    FormatError
        The file is not there, is something else, of version 7.3, damaged, or too large when unpacked; it has
        none of the variables, or objects of MATLAB classes in them.
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
        raise FormatError(f"expected a variable {' or '.join(variables)}, found {present or 'none at all'}")
    return {name: found[name] for name in variables if name in found}
