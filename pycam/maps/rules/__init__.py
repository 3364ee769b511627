"""Box rules: the ways in which public programs turn a map into boxes, by name.

A rule is a function of one map; its docstring names the program that it follows and where it deviates. What several
rules share is in `regions`. These do not belong here: the choice of a rule (`pycam.protocols`), and the comparison of
boxes with ground truth. docs/box-rules.md has the rules side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, final

from pycam.errors import UsageError, suggest

if TYPE_CHECKING:
    from pycam.maps.rules.rule import BoxRule

_MODULES = {
    "paper": "zhou",
    "smoothed": "zhou",
    "released": "zhou",
    "released_30_90_150": "zhou",
    "released_no_jpeg": "zhou",
    "dtbox-corners": "zhou",
    "grabcut": "grabcut",
    "wsol-single": "contours",
    "wsol-multi": "contours",
    "ccam-contour": "contours",
    "adl": "contours",
    "tscam": "contours",
    "eil-classical": "contours",
    "rethink": "contours",
    "ccam-extent": "extents",
    "eil-union": "extents",
    "danet-union": "extents",
    "danet-max": "extents",
    "psol-448": "cells",
    "chexnet-peaks": "peaks",
}

PYTHON_ONLY = {
    "chexnet-peaks": (
        "box rule 'chexnet-peaks' needs the size of the boxes of a disease, which no map tells: use it in Python, "
        "pycam.box_rules['chexnet-peaks'](map, box=(width, height))"
    ),
}
"""Rules that cannot find boxes in the maps of images, and the reason."""


class UnknownRuleError(UsageError, KeyError):
    """No box rule has this name."""

    __str__ = UsageError.__str__


@final
class BoxRules(Mapping[str, "BoxRule"]):
    """The box rules by name. A rule is imported when it is looked up, and the names alone need no import.

    Raises
    ------
    UnknownRuleError
        A KeyError and a UsageError: no rule has the name; the message suggests the most similar one.
    """

    def __getitem__(self, name: str) -> BoxRule:
        if name not in _MODULES:
            hint = suggest(str(name), _MODULES, f"expected one of {', '.join(_MODULES)}")
            raise UnknownRuleError(f"unknown box rule {name!r}: {hint}")
        found: BoxRule = importlib.import_module(f"{__name__}.{_MODULES[name]}").RULES[name]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)

    def __repr__(self) -> str:
        return f"<{len(self)} box rules: {', '.join(self)[:120]}…>"


box_rules = BoxRules()
"""The table of box rules."""
