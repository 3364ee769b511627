"""What a run notes of itself as JSON, read with nothing taken for granted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pycam.formats.files import is_file

_T = TypeVar("_T")

LARGEST = 8 << 20
"""Bytes that a note may have; the report of a run that left 20,000 images out is about as long."""


def read_note(path: Path) -> dict[str, Any]:
    """Read a JSON object, of finite numbers.

    Raises
    ------
    ValueError
        It is not there, or is none; the message says which.
    """
    if not is_file(path):
        raise ValueError("there is none")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        found = json.loads(path.read_text("utf-8"), parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} in it is no number")
    return value


def from_note(kind: type[_T], values: Any) -> _T:
    """Make a dataclass of the values of its fields, by name.

    Raises
    ------
    ValueError
        A field is missing, unknown, or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"no values of a {kind.__name__}")
    types = get_type_hints(kind)
    for name, value in values.items():
        if name not in types or not isinstance(value, types[name]):
            raise ValueError(f"a {kind.__name__} has no {name} {value!r:.60}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None
