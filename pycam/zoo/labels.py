"""Class labels: from a network's output index to words and WordNet ID, and back from what a person types."""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pycam.errors import FormatError, UsageError
from pycam.formats.opening import read_text

LARGEST = 4 * 1024 * 1024
OFFERED = 5


@dataclass(frozen=True)
class Labels:
    """The labels of a net's classes, in the order of its outputs.

    Attributes
    ----------
    names : tuple of str
        Words of each class; synonyms are separated by commas.
    wnids : tuple of str, optional
        WordNet ID of each class.
    path : str
        Where they come from, for messages.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    path: str = "<labels>"

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> str:
        """Return the words of the class at the 0-based network index."""
        return self.names[index]

    def wnid(self, index: int) -> str | None:
        """Return the WordNet ID of the class at the 0-based network index, None when the list has none."""
        return self.wnids[index] if self.wnids else None

    def find(self, query: str | int) -> int:
        """Return the 0-based network index of a class that a person names.

        Parameters
        ----------
        query : str or int
            The index (277, "277"), the WordNet ID ("n02119789"), or the words or one of the synonyms
            ("red fox", in any case, with blanks, underscores or slashes). An index wins over words.

        Raises
        ------
        UsageError
            No class is called so (the nearest are offered), or several are (they are listed).
        """
        if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", str(query)):
            index = int(query)
            if not 0 <= index < len(self):
                raise UsageError(f"no class {index}: the labels of {self.path} go from 0 to {len(self) - 1}")
            return index
        found = self._indices.get(_fold(str(query)), ())
        if len(found) > 1:
            raise UsageError(f"{query!r} is the name of several classes; give an index: {self._show(found)}")
        if not found:
            raise UsageError(f"no class is called {query!r} in {self.path}{self._nearest(_fold(str(query)))}")
        return found[0]

    @cached_property
    def _indices(self) -> dict[str, list[int]]:
        """From each folded name to the classes that have it."""
        indices = defaultdict(list)
        for index, words in enumerate(self.names):
            # Places205 files a class under its first letter: /a/abbey.
            names = {words, *words.split(","), re.sub(r"^/[a-z]/", "", words), self.wnid(index) or words}
            for name in {_fold(name) for name in names}:
                indices[name].append(index)
        return dict(indices)

    def _nearest(self, query: str) -> str:
        containing = [name for name in self._indices if query and f" {query} " in f" {name} "]
        close = difflib.get_close_matches(query, self._indices, OFFERED)
        indices = dict.fromkeys(index for name in [*containing, *close] for index in self._indices[name])
        return f"; near: {self._show(list(indices)[:OFFERED])}" if indices else ""

    def _show(self, indices: Iterable[int]) -> str:
        return "; ".join(f"{index} {self.names[index]}" for index in indices)


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("/", " ").split())


def read_labels(path: str | Path) -> Labels:
    """Read a label file, in whichever of these forms it is.

    - a table with tabs and a heading: `index`, `words` (or `name`), and maybe `wnid`;
    - a line a class in the net's order: words, maybe after a WordNet ID (`n01440764 tench, Tinca tinca`);
    - a line a class in any order, index and name apart by blanks: `0 applauding`, or `/a/abbey 0`.

    Raises
    ------
    FormatError
        The file is missing, is no text, or its indices are not 0 to n − 1, each once.
    """
    path = os.fspath(path)
    lines = _read_lines(path)
    heading = lines[0].split("\t")
    if "index" in heading and {"label", "name"} & set(heading):
        return _from_table(heading, lines[1:], path)
    if synsets := _match_all(r"(n\d{8})(?:\s+(.+))?", lines):
        names = tuple(words or wnid for wnid, words in synsets)
        return Labels(names, tuple(wnid for wnid, _ in synsets), path)
    if numbered := _match_all(r'(\d+)\s+"?(.+?)"?', lines):
        return Labels(_in_order(numbered, path), path=path)
    named = _match_all(r"(\S+)\s+(\d+)", lines)
    # Names that end in a number, such as "cell 7", are no indices: there the first words repeat.
    if len(dict(named)) == len(lines):
        return Labels(_in_order([(index, name) for name, index in named], path), path=path)
    return Labels(tuple(lines), path=path)


def _read_lines(path: str) -> list[str]:
    lines = read_text(path, "a label list", LARGEST).rstrip().splitlines()
    if not lines:
        raise FormatError(f"{path}: expected a label list, found blank lines only")
    for number, line in enumerate(lines, 1):
        if not line.strip() or not line.replace("\t", " ").isprintable():
            raise FormatError(f"{path}:{number}: expected a label, found {line[:40]!r}")
    return [line.strip(" ") for line in lines]


def _match_all(pattern: str, lines: list[str]) -> list[tuple[str, str]]:
    """Return the two groups of `pattern` in each line, or nothing when a line does not match."""
    matches = [re.fullmatch(pattern, line) for line in lines]
    return [(match[1], match[2]) for match in matches if match] if all(matches) else []


def _in_order(numbered: list[tuple[str, str]], path: str) -> tuple[str, ...]:
    """Sort names by their indices, which must be 0 to n − 1, each once."""
    names: dict[int, str] = {}
    for index, name in numbered:
        if not re.fullmatch(r"\d{1,9}", index) or int(index) >= len(numbered) or int(index) in names:
            raise FormatError(
                f"{path}: {index[:40]!r} beside {name[:40]!r} expected to be an index "
                f"from 0 to {len(numbered) - 1}, each once"
            )
        if not name.strip():
            raise FormatError(f"{path}: index {index} has a blank beside it, expected a label")
        names[int(index)] = name
    return tuple(names[index] for index in range(len(names)))


def _from_table(heading: list[str], lines: list[str], path: str) -> Labels:
    cells = [line.split("\t") for line in lines]
    for number, row in enumerate(cells, 2):
        if len(row) != len(heading):
            raise FormatError(f"{path}:{number}: expected {len(heading)} columns, found {len(row)}")
    rows = [dict(zip(heading, row, strict=True)) for row in cells]
    words = "label" if "label" in heading else "name"
    names = _in_order([(row["index"], row[words]) for row in rows], path)
    if "wnid" not in heading:
        return Labels(names, path=path)
    return Labels(names, _in_order([(row["index"], row["wnid"]) for row in rows], path), path)
