"""JSON files in a run's folder, read with all checks."""

from __future__ import annotations

import json
import math
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin, get_type_hints

from pycam.formats.files import is_file

_T = TypeVar("_T")

LARGEST = 8 << 20
"""The largest number of bytes of such a file: about the report of a run with 20,000 skipped images."""


def read_note(path: Path) -> dict[str, Any]:
    """Read a JSON object that contains only finite numbers.

    Raises
    ------
    ValueError
        The file does not exist, cannot be read, or is not such an object.
    """
    if not is_file(path):
        raise ValueError("no such file")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        found = json.loads(path.read_text("utf-8"), parse_float=_finite, parse_constant=_finite)
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it contains {text}; finite numbers were expected")
    return value


def from_note(kind: type[_T], values: Any) -> _T:
    """Make a dataclass, and the dataclasses in its fields, from JSON objects with the fields' names.

    Raises
    ------
    ValueError
        A field is missing, unknown, or of another type.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{values!r:.60} is not a JSON object with the values of a {kind.__name__}")
    types = {name: str if get_origin(hint) is Literal else hint for name, hint in get_type_hints(kind).items()}
    made = {}
    for name, value in values.items():
        wanted = types.get(name, ())
        made[name] = from_note(wanted, value) if isinstance(wanted, type) and is_dataclass(wanted) else value
        if not isinstance(made[name], wanted):
            raise ValueError(f"{name} {value!r:.60} is not a value of a {kind.__name__}")
    try:
        return kind(**made)
    except TypeError as error:
        raise ValueError(str(error)) from None
