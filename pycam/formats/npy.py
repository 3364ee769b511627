"""Read NumPy's `.npy`: arrays of numbers, and weights in a pickled dictionary, without running a pickle's code.

`vgg16CAM.npy` was published as such a dictionary, written by Python 2. A pickle names the functions that it needs; it
gets only those that make arrays and numbers. It can still fill the memory, or compute for years, so it is read in a
child process with limits.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pycam.errors import FormatError, PycamError
from pycam.formats.opening import open_file
from pycam.formats.sandbox import read_in_child

NPY = npy_format.MAGIC_PREFIX
"""The first bytes of a `.npy` file."""

EXPECTED = "a .npy with weights"
MEMORY = 150 << 20
MEMORY_PER_BYTE = 6
SECONDS = 4
SECONDS_PER_BYTE = 1e-7
"""Limits of the child, by the size of the file: numbers of half precision become twice as large, and the arrays in the
file, the arrays returned, and their pickle are in memory at the same time."""

Tensors = dict[str, dict[str, NDArray[np.float32]]]


def read_tensors(path: str | os.PathLike[str]) -> Tensors:
    """Read a dictionary of weights.

    Parameters
    ----------
    path : path
        A `.npy` with a 0-dimensional array of one object: a dictionary, layer -> name -> array. Pickles of Python 2
        and 3 are read.

    Returns
    -------
    dict
        Layer -> name (such as `weights`, `biases`) -> float32 array of the shape in the file.

    Raises
    ------
    FormatError
        The file is damaged or of another kind, or its pickle asks for more than arrays and numbers; then none of its
        code has run.
    """
    with open_file(path, EXPECTED) as file:
        size = os.fstat(file.fileno()).st_size
    tensors: Tensors = read_in_child(
        _load,
        path,
        expected=EXPECTED,
        library="numpy",
        seconds=SECONDS + SECONDS_PER_BYTE * size,
        memory=MEMORY + MEMORY_PER_BYTE * size,
    )
    return tensors


def _load(path: str) -> Tensors:
    """Read the weights in the child."""
    with open(path, "rb") as file, _quietly():
        _skip_header(file)
        # Python 2 wrote the bytes of arrays as text.
        content = _WeightsUnpickler(file, encoding="latin1").load()
    content = content.value if isinstance(content, _Array) else content
    if not isinstance(content, dict) or not content:
        raise FormatError(f"expected a dictionary of layers, found {type(content).__name__}")
    return {_text(layer): _checked(tensors, f"layer {layer[:200]!r}") for layer, tensors in content.items()}


def map_numbers(path: str | os.PathLike[str], expected: str = "a .npy of numbers") -> NDArray[Any]:
    """Map an array of numbers into memory: a header that claims more than the file has allocates nothing.

    Parameters
    ----------
    path : path
        A `.npy`.
    expected : str
        The expected kind of file, for messages.

    Returns
    -------
    array
        Read-only, of the shape and type in the file.

    Raises
    ------
    FormatError
        The file is damaged or of another kind, or a pickle, which could run any code.
    """
    with open_file(path, expected):
        pass
    try:
        with _quietly():
            values: NDArray[Any] = npy_format.open_memmap(path, mode="r")
            return values
    # The header is a Python literal, and a damaged one can raise any exception.
    except Exception as error:
        reason = _reason(error)
        if "Python objects" in reason:
            reason = "it is a pickle, which could run any code"
        raise FormatError(f"{path}: not a readable .npy of numbers: {reason}") from None


def numbers_in(data: bytes, name: str, error: type[PycamError] = FormatError, kinds: str = "fiub") -> NDArray[Any]:
    """Return the array of numbers in the content of a `.npy` file.

    Parameters
    ----------
    data : bytes
        The content of the file.
    name : str
        Name of the file in messages.
    error : type of PycamError
        The class of the error to raise.
    kinds : str
        The accepted kinds of NumPy's types; with "U", texts.

    Returns
    -------
    array
        Read-only, of the shape and type in the file.

    Raises
    ------
    PycamError
        The file is damaged, truncated, or has values of another kind.
    """
    file = io.BytesIO(data)
    try:
        with _quietly():
            shape, by_columns, dtype = _header(file)
            if dtype.kind not in kinds:
                raise ValueError(f"it has {dtype}")
            values: NDArray[Any] = np.ndarray(shape, dtype, data, file.tell(), order="F" if by_columns else "C")
            return values
    # The header is a Python literal, and a damaged one can raise any exception.
    except Exception as problem:
        raise error(f"{name}: not a readable .npy of numbers: {_reason(problem)}") from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress Python's warnings about a damaged literal: it is valid, or it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the shape, whether the first index changes fastest, and the type."""
    version = npy_format.read_magic(file)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    return shape, by_columns, dtype


def _skip_header(file: BinaryIO) -> None:
    try:
        shape, _, dtype = _header(file)
    # The header is a Python literal, and a damaged one can raise any exception.
    except Exception as error:
        raise FormatError(f"expected {EXPECTED}: {_reason(error)}") from None
    if shape != () or dtype != np.dtype(object):
        raise FormatError(f"expected one object, a dictionary of layers; found {dtype} of shape {shape}")


def _checked(tensors: Any, where: str) -> dict[str, NDArray[np.float32]]:
    if not isinstance(tensors, dict):
        raise FormatError(f"{where}: expected a dictionary of its arrays, found {type(tensors).__name__}")
    arrays = {}
    for key, item in tensors.items():
        name = _text(key)
        values = item.value if isinstance(item, _Array) else item
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise FormatError(f"{where}: {name[:200]!r} must be an array of floats, it is {found}")
        with np.errstate(over="ignore", invalid="ignore"):
            arrays[name] = np.ascontiguousarray(values, np.float32)
    return arrays


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise FormatError(f"expected names of layers and arrays as text, found {type(name).__name__}")
    return name


def _refused(request: str) -> FormatError:
    return FormatError(f"its pickle asks for {request}: not run, only arrays and numbers are read")


class _WeightsUnpickler(pickle.Unpickler):
    """An unpickler that knows only the functions that make arrays and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module:.100}.{name:.100}"
        short = asked.replace("numpy.core.", "").replace("numpy._core.", "")
        if short not in _ALLOWED:
            raise _refused(asked)
        return _ALLOWED[short]


class _Dtype:
    """The type of an array in a pickle. NumPy's own class would read numbers as objects if the pickle says so."""

    def __init__(self, code: str, *_: object) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "fiubO":
            raise _refused("an array of other values than numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array in a pickle."""

    def __init__(self, *_: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, kind, by_columns, data = state
        if kind.dtype.kind != "O":
            self.value = _from_buffer(data, kind, shape, "F" if by_columns else "C")
        elif shape == ():
            (self.value,) = data
        else:
            raise _refused("an array of objects")


def _from_buffer(data: str | bytes, kind: _Dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    content = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _number(kind: _Dtype, data: str | bytes) -> Any:
    return _from_buffer(data, kind, (), "C")[()]


def _latin1(text: str, encoding: str) -> bytes:
    # Protocol 2 writes the bytes of Python 3 as text.
    if encoding != "latin1":
        raise _refused("another encoding than latin1")
    return text.encode("latin1")


_ALLOWED: dict[str, Any] = {
    "multiarray._reconstruct": _Array,
    "multiarray.scalar": _number,
    "numeric._frombuffer": _from_buffer,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _latin1,
}
