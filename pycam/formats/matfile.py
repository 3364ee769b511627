"""MATLAB's `.mat` files, read in a process of their own: a bad one can crash SciPy, or fill the memory."""

from __future__ import annotations

import io
import math
import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.child import death, last_words, limit, run_child
from pycam.formats.opening import HEAD, foreign, open_file, shown

EXPECTED = "a MATLAB file"
MEMORY = 150 << 20
MEMORY_PER_BYTE = 450
MOST_MEMORY = 704 << 20
ANSWER = 64 << 20
SECONDS = 4
SECONDS_PER_BYTE = 20e-6
"""What reading may take in the child: this memory, by the size of the file and with three times the file on top, for an
answer of so many bytes and as many as the file has, and this processor time. The boxes of ILSVRC's 50,000 pictures take
570 MB there, half of it to pickle them, for a file of 1.3 MB."""

TOO_LARGE = "what it holds is too large to be unpacked"

CHILD = "from pycam.formats import matfile; matfile.child(sys.argv[1], sys.argv[2:])"


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
    name = shown(path)
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
    if head.startswith(b"MATLAB 7.3"):
        raise FormatError(f"{name}: a MATLAB 7.3 file, which is HDF5: save it with `save(…, '-v7')`")
    if mistake := foreign(path, EXPECTED, head):
        raise mistake
    process = run_child(CHILD, os.fspath(path), *variables)
    if end := death(process):
        raise FormatError(f"{name}: damaged: SciPy's MATLAB reader crashed or hung on it ({end})")
    try:
        found = _ArrayUnpickler(io.BytesIO(process.stdout)).load()
    except Exception as error:
        reason = (process.returncode and last_words(process)) or error
        raise FormatError(f"{name}: cannot be read as a MATLAB file: {reason}") from None
    if isinstance(found, str):
        raise FormatError(f"{name}: {found}")
    arrays: dict[str, NDArray[Any]] = found
    return arrays


class _ArrayUnpickler(pickle.Unpickler):
    """Takes arrays only: what a file may have done to the child must not reach this process."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")) or (
            module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {name}, expected numbers, text, cells and structs")


def child(path: str, variables: list[str]) -> None:
    """Write the variables to standard output as a pickle, or a string that says what is wrong."""
    import scipy.io

    size = Path(path).stat().st_size
    memory = min(MEMORY + MEMORY_PER_BYTE * size, MOST_MEMORY) + 3 * size
    limit(math.ceil(SECONDS + SECONDS_PER_BYTE * size), memory)
    answer: dict[str, Any] | str
    try:
        found = scipy.io.loadmat(path, variable_names=variables)
        answer = {name: found[name] for name in variables if name in found}
        if not answer:
            present = ", ".join(name for name, *_ in scipy.io.whosmat(path))
            answer = f"expected a variable {' or '.join(variables)}, found {present or 'none at all'}"
    except MemoryError:
        answer = TOO_LARGE
    except Exception as error:
        answer = f"cannot be read as a MATLAB file: {error!r}"
    packed = pickle.dumps(answer, protocol=4)
    if len(packed) > ANSWER + size:
        packed = pickle.dumps(TOO_LARGE)
    sys.stdout.buffer.write(packed)
