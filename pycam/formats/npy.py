"""NumPy's `.npy`: arrays of numbers, and weights in a pickled dictionary, read without running a pickle's code.

So `vgg16CAM.npy` was published, written by Python 2. A pickle is a program for a small machine; the machine here has
only those of its steps that make arrays, numbers, dictionaries, lists and texts. Python's own would also fill the
memory, or compute for years, when a file of some bytes asks for it.
"""

from __future__ import annotations

import os
import pickletools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.opening import open_file, shown

EXPECTED = "a .npy with weights"
MOST_STEPS = 1_000_000
"""More steps than weights take, which are some dozen for each array."""

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
            with _quietly():
                content = _load(file)
            content = content.value if isinstance(content, _Array) else content
        except _RefusedError as refused:
            raise FormatError(
                f"{name}: its pickle asks for {refused}: not run, only arrays and numbers are read"
            ) from None
        # A damaged pickle can fail in any way.
        except Exception as error:
            raise FormatError(f"{name}: a damaged pickle ({_reason(error)})") from None
    if not isinstance(content, dict) or not content:
        raise FormatError(f"{name}: expected a dictionary of layers, found {type(content).__name__}")
    return {layer: _checked(tensors, f"{name}: layer {layer[:200]!r}") for layer, tensors in content.items()}


def map_numbers(path: str | os.PathLike[str], expected: str = "a .npy of numbers") -> NDArray[Any]:
    """Map an array of numbers into memory, so that a header that claims more than the file holds allocates nothing.

    Parameters
    ----------
    path
        A `.npy`.
    expected
        What it should be, for messages.

    Returns
    -------
    array
        Of the shape and type in the file, read-only.

    Raises
    ------
    FormatError
        The file is something else or damaged, or a pickle, which could run anything.
    """
    with open_file(path, expected):
        pass
    try:
        with _quietly():
            values: NDArray[Any] = npy_format.open_memmap(path, mode="r")
            return values
    # The header is a Python literal: a damaged one can fail in any way.
    except Exception as error:
        reason = _reason(error)
        if "Python objects" in reason:
            reason = "it is a pickle, which could run anything"
        raise FormatError(f"{shown(path)}: not a readable .npy of numbers: {reason}") from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Python from warning of what a damaged literal has in it: it is refused, or it is sound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _skip_header(file: BinaryIO, name: str) -> None:
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        with _quietly():
            shape, _, dtype = read(file)
    # The header is a Python literal: a damaged one can fail in any way.
    except Exception as error:
        raise FormatError(f"{name}: expected {EXPECTED}: {_reason(error)}") from None
    if shape != () or dtype != np.dtype(object):
        raise FormatError(f"{name}: expected one object, a dictionary of layers; found {dtype} of shape {shape}")


def _checked(tensors: Any, where: str) -> dict[str, NDArray[np.float32]]:
    if not isinstance(tensors, dict):
        raise FormatError(f"{where}: expected its arrays by name, found {type(tensors).__name__}")
    arrays = {}
    for name, item in tensors.items():
        values = item.value if isinstance(item, _Array) else item
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
            raise FormatError(f"{where}: {name[:200]!r} should be an array of floats, it is {found}")
        with np.errstate(over="ignore", invalid="ignore"):
            arrays[name] = np.ascontiguousarray(values, np.float32)
    return arrays


class _RefusedError(Exception):
    """A pickle asks for something that is not given."""


class _Dtype:
    """What a pickle says of an array's numbers; stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[<>|=]?([fiub]\d\d?|O\d?)", code):
            raise _RefusedError("an array of something else than numbers")
        self.code = code.lstrip("<>|=")
        self.order = code[0] if code[0] in "<>" else "="

    def build(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """What a pickle says of an array; stands for `numpy.ndarray`."""

    def __init__(self, *_: object) -> None:
        self.value: Any = None

    def build(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, by_columns, data = state
        if dtype.code.startswith("O"):
            if shape != ():
                raise _RefusedError("an array of objects")
            (self.value,) = data
        else:
            self.value = _from_buffer(data, dtype, shape, "F" if by_columns else "C")


def _from_buffer(data: str | bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    content = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(content, dtype.numpy).reshape(shape, order=order)


def _number(dtype: _Dtype, data: str | bytes) -> Any:
    return _from_buffer(data, dtype, (), "C")[()]


def _latin1(text: str, encoding: str) -> bytes:
    # How protocol 2 writes the bytes of Python 3.
    if encoding != "latin1":
        raise _RefusedError("another encoding than latin1")
    return text.encode("latin1")


_GIVEN: dict[str, Any] = {
    "multiarray._reconstruct": _Array,
    "multiarray.scalar": _number,
    "numeric._frombuffer": _from_buffer,
    "numpy.ndarray": None,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _latin1,
}

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_PLAIN = re.compile("(SHORT_)?BIN(STRING|UNICODE|BYTES)8?|BININT[12]?|BINFLOAT|LONG1|BYTEARRAY8")


def _load(file: BinaryIO) -> Any:
    """Carry out a pickle from here on, step by step."""
    stack: list[Any] = []
    outer: list[list[Any]] = []
    memo: dict[Any, Any] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == MOST_STEPS:
            raise _RefusedError(f"more than {MOST_STEPS:,} steps")
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                break
            case "MARK":
                outer.append(stack)
                stack = []
            case "TUPLE" | "APPENDS" | "SETITEMS":
                items, stack = stack, outer.pop()
                if opcode.name == "TUPLE":
                    stack.append(tuple(items))
                elif opcode.name == "APPENDS":
                    stack[-1].extend(items)
                else:
                    for name, value in zip(items[::2], items[1::2], strict=True):
                        _set(stack[-1], name, value)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "SETITEM":
                value, name = stack.pop(), stack.pop()
                _set(stack[-1], name, value)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_given(*str(argument).split(" ")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_given(module, name))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(function(*arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1].build(state)
            case constant if constant in _CONSTANTS:
                stack.append(_CONSTANTS[constant])
            case plain if _PLAIN.fullmatch(plain):
                stack.append(argument)
            case other:
                raise _RefusedError(f"the step {other}")
    (content,) = stack
    return content


def _given(module: str, name: str) -> Any:
    asked = f"{module:.100}.{name:.100}"
    short = asked.replace("numpy.core.", "").replace("numpy._core.", "")
    if short not in _GIVEN:
        raise _RefusedError(asked)
    return _GIVEN[short]


def _set(target: dict[str, Any], name: str, value: Any) -> None:
    # Other keys could take years to be hashed.
    if not isinstance(name, str):
        raise _RefusedError("names that are no texts")
    target[name] = value
