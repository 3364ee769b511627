"""Weights in a `.npy` that holds a pickled dictionary, layer -> name -> array, read without running a pickle's code.

So `vgg16CAM.npy` was published, written by Python 2. A pickle is a program; of what one can ask for, only arrays and
numbers are given here, made by this module's own code, and dictionaries, lists and texts.
"""

from __future__ import annotations

import os
import pickle
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.opening import open_file, shown

EXPECTED = "a .npy with weights"

Tensors = dict[str, dict[str, NDArray[np.float32]]]


def read_tensors(path: str | os.PathLike[str]) -> Tensors:
    """Read a dictionary of weights.

    Parameters
    ----------
    path
        A `.npy` with a 0-dimensional array of one object: a dictionary, layer -> name -> array. Pickles of Python 2
        and 3 are read.

    Returns
    -------
    dict
        Layer -> name (such as `weights`, `biases`) -> float32 array of the shape in the file.

    Raises
    ------
    FormatError
        The file is something else or damaged, or its pickle asks for more than arrays and numbers: then nothing of
        it was run.
    """
    name = shown(path)
    with open_file(path, EXPECTED) as file:
        _skip_header(file, name)
        try:
            content = _plain(_Unpickler(file, encoding="latin1").load())
        except _RefusedError as refused:
            raise FormatError(
                f"{name}: its pickle asks for {refused}: not run, only arrays and numbers are read"
            ) from None
        # A damaged pickle can fail in any way.
        except Exception as error:
            raise FormatError(f"{name}: a damaged pickle ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or not content:
        raise FormatError(f"{name}: expected a dictionary of layers, found {type(content).__name__}")
    return {str(layer): _checked(tensors, f"{name}: layer {str(layer)!r}") for layer, tensors in content.items()}


def _skip_header(file: BinaryIO, name: str) -> None:
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(file)
    # The header is a Python literal: a damaged one can fail in any way.
    except Exception as error:
        raise FormatError(f"{name}: expected {EXPECTED}: {' '.join(str(error).split())}") from None
    if shape != () or dtype != np.dtype(object):
        raise FormatError(f"{name}: expected one object, a dictionary of layers; found {dtype} of shape {shape}")


def _checked(tensors: Any, where: str) -> dict[str, NDArray[np.float32]]:
    if not isinstance(tensors, dict):
        raise FormatError(f"{where}: expected its arrays by name, found {type(tensors).__name__}")
    for name, values in tensors.items():
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise FormatError(f"{where}: {name!r} should be an array of floats, it is {found}")
    return {str(name): np.ascontiguousarray(values, np.float32) for name, values in tensors.items()}


class _RefusedError(Exception):
    """A pickle asks for something that is not given."""


class _Dtype:
    """What a pickle says of an array's numbers; stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.code.lstrip("<>|=") if self.order == "|" else self.order + self.code.lstrip("<>|="))

    @property
    def is_object(self) -> bool:
        return self.code.startswith("O")


class _Array:
    """What a pickle says of an array; stands for `numpy.ndarray`."""

    def __init__(self, *_: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, by_columns, data = state
        if dtype.is_object:
            if shape != ():
                raise _RefusedError("an array of objects")
            (self.value,) = data
        else:
            values = np.frombuffer(_bytes(data), dtype.numpy)
            self.value = values.reshape(shape, order="F" if by_columns else "C")


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(data, dtype.numpy).reshape(shape, order=order)


def _number(dtype: _Dtype, data: str | bytes) -> Any:
    return np.frombuffer(_bytes(data), dtype.numpy)[0]


def _bytes(data: str | bytes) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else data


def _latin1(text: str, encoding: str) -> bytes:
    # How protocol 2 writes the bytes of Python 3.
    if encoding != "latin1":
        raise _RefusedError(f"the encoding {encoding!r}")
    return text.encode("latin1")


_GIVEN: dict[str, Any] = {
    "multiarray._reconstruct": _Array,
    "multiarray.scalar": _number,
    "numeric._frombuffer": _from_buffer,
    "numpy.ndarray": None,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _latin1,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        short = asked.replace("numpy.core.", "").replace("numpy._core.", "")
        if short not in _GIVEN:
            raise _RefusedError(asked)
        return _GIVEN[short]


def _plain(content: Any) -> Any:
    """Put the arrays themselves where a pickle's stand-ins are."""
    if isinstance(content, _Array):
        return _plain(content.value)
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items()}
    return content
