"""JSON files in a run's folder, read with all checks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from pycam.errors import RunError
from pycam.formats.files import is_file

_T = TypeVar("_T")

LARGEST = 8 << 20
"""The largest number of bytes of such a file, without its long lists."""

LONGEST = 1 << 30
"""The largest number of bytes of a long list: more than two million skipped images take."""


def read_note(path: Path, lists: Mapping[str, type[msgspec.Struct]] = MappingProxyType({})) -> dict[str, Any]:
    """Read a JSON object that contains only finite numbers.

    Parameters
    ----------
    path : Path
        The file.
    lists : mapping
        Name of each field with a list that may be long -> the kind of its items.

    Raises
    ------
    ValueError
        The file does not exist, or is not such an object.
    RunError
        The machine cannot read it now.
    """
    if not is_file(path):
        raise ValueError("no such file")
    most = LARGEST + LONGEST * len(lists)
    try:
        if path.stat().st_size > most:
            raise ValueError(f"it is larger than {most >> 20} MB")
        text = path.read_bytes()
        if not lists:
            return _object(text)
        # Split into fields first: brackets take more than twenty times their size as objects.
        fields = msgspec.json.decode(_LONE.sub(rb"\1\\\\u\2", text), type=dict[str, msgspec.Raw])
        long = {name: fields.pop(name) for name in lists if name in fields}
        if sum(len(memoryview(raw)) for raw in fields.values()) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MB")
        found = {name: _value(bytes(raw)) for name, raw in fields.items()}
        for name, raw in long.items():
            found[name] = msgspec.to_builtins(msgspec.json.decode(raw, type=list[lists[name]]))  # type: ignore[valid-type]
        return found
    except OSError as error:
        raise RunError(f"{path}: cannot be read now ({error.strerror}): try the same command again") from None
    except RecursionError:
        raise ValueError("its brackets are nested too deep") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"it is not a JSON object ({error})") from None


# A byte of a file's name that is not UTF-8: the other reader refuses it, and gets the escape itself as the text.
_LONE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u(d[89a-f][0-9a-f]{2})", re.IGNORECASE)


def _object(text: bytes) -> dict[str, Any]:
    found = _value(text)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _value(text: bytes) -> Any:
    return json.loads(text, parse_float=_finite, parse_constant=_finite)


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
