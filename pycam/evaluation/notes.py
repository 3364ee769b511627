"""JSON files in a run's folder, read with all checks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

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
    made = msgspec.convert(values, kind)
    if not _has_fields(asdict(made), values):  # type: ignore[call-overload]
        raise ValueError(f"it has fields that a {kind.__name__} does not have")
    return made


def _has_fields(made: dict[str, Any], values: dict[str, Any]) -> bool:
    return all(
        name in made and (not isinstance(value, dict) or _has_fields(made[name], value))
        for name, value in values.items()
    )
