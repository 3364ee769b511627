"""Class labels: from an output index of a net to a label and a WordNet ID, and from a typed name to the index."""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pycam.errors import FormatError, UsageError
from pycam.formats.opening import read_text

LARGEST = 4 * 1024 * 1024
OFFERED = 5

LONGEST = 10_000
"""The most characters of a line."""

_DIGITS = "0123456789"


Indexed = tuple[str, str]
"""An index or a WordNet ID, and a label."""


@dataclass(frozen=True)
class Labels:
    """The labels of a net's classes, in the order of its outputs.

    Attributes
    ----------
    names : tuple of str
        Label of each class; commas separate synonyms.
    wnids : tuple of str, optional
        WordNet ID of each class.
    path : str
        The file of the labels, for messages.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    path: str = "<labels>"

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> str:
        """Return the label of the class at a 0-based output index."""
        return self.names[index]

    def wnid(self, index: int) -> str | None:
        """Return the WordNet ID of the class at a 0-based output index, None if the list has no IDs."""
        return self.wnids[index] if self.wnids else None

    def find(self, query: str | int) -> int:
        """Return the 0-based output index of the class with a given name.

        Parameters
        ----------
        query : str or int
            The index (277, "277"), the WordNet ID ("n02119789"), the label, or one of its synonyms
            ("red fox", in any case, with spaces, underscores or slashes). Digits are always an index.

        Returns
        -------
        int

        Raises
        ------
        UsageError
            No class has this name (the message lists similar ones), or several classes have it (it lists them).
        """
        if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", str(query)):
            index = int(query)
            if not 0 <= index < len(self):
                raise UsageError(f"no class {index}: the indices of {self.path} are 0 to {len(self) - 1}")
            return index
        found = self._indices.get(_fold(str(query)), ())
        if len(found) > 1:
            raise UsageError(f"{query!r} is the name of several classes; give an index: {self._show(found)}")
        if not found:
            raise UsageError(f"no class is called {query!r} in {self.path}{self._nearest(_fold(str(query)))}")
        return found[0]

    def match(self, others: Labels) -> list[int]:
        """Return the index here of each class of other labels, -1 for a class that is not here.

        Two classes are the same if their WordNet IDs are equal; if one of the lists has no IDs, if they share a label
        or a synonym that is the name of one class in each list.
        """
        if others.names == self.names and others.wnids == self.wnids:
            return list(range(len(self)))
        if self._is_numbered and others._is_numbered:
            return [-1] * len(others)
        if self.wnids and others.wnids:
            places = {wnid: index for index, wnid in enumerate(self.wnids)}
            return [places.get(wnid, -1) for wnid in others.wnids]
        return [self._same(index, others) for index in range(len(others))]

    def _same(self, index: int, others: Labels) -> int:
        """Return the index here of the class of other labels that has the same label or synonym; -1 without."""
        label = others.names[index]
        names = [name for name in map(_fold, (label, *label.split(","))) if others._indices[name] == [index]]
        found = {own[0] for name in names if len(own := self._indices.get(name, [])) == 1}
        return found.pop() if len(found) == 1 else -1

    @property
    def _is_numbered(self) -> bool:
        """Whether the labels are only numbers of the classes, which say nothing about other models."""
        return all(name == f"class {index}" for index, name in enumerate(self.names))

    @cached_property
    def _indices(self) -> dict[str, list[int]]:
        """Folded name -> indices of the classes that have it."""
        indices = defaultdict(list)
        for index, label in enumerate(self.names):
            # Places205 puts the first letter before a label: /a/abbey.
            names = {label, *label.split(","), re.sub(r"^/[a-z]/", "", label), self.wnid(index) or label}
            for name in {_fold(name) for name in names}:
                indices[name].append(index)
        return dict(indices)

    def _nearest(self, query: str) -> str:
        containing = [name for name in self._indices if query and f" {query} " in f" {name} "]
        close = difflib.get_close_matches(query, self._indices, OFFERED)
        indices = dict.fromkeys(index for name in [*containing, *close] for index in self._indices[name])
        return f"; similar: {self._show(list(indices)[:OFFERED])}" if indices else ""

    def _show(self, indices: Iterable[int]) -> str:
        return "; ".join(f"{index} {self.names[index]}" for index in indices)


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("/", " ").split())


def read_labels(path: str | Path) -> Labels:
    """Read a label file that has one of these forms.

    - a table with tabs and a heading: `index`, `label` (or `words`, or `name`), and optionally `wnid`;
    - one line per class in the net's order: a label, or a WordNet ID and a label (`n01440764 tench, Tinca tinca`);
    - one line per class in any order, with its index: `0 applauding`, `0,applauding`, `0: applauding`, `applauding,0`,
      or `/a/abbey 0`. Labels with numbers of their own ("1 cent" and "2 cent") are no indices.

    Parameters
    ----------
    path : str or Path
        The file, UTF-8, at most 4 MiB.

    Returns
    -------
    Labels

    Raises
    ------
    FormatError
        The file does not exist or is not text, or its indices are not 0 to n − 1, each once.
    """
    path = os.fspath(path)
    lines = _read_lines(path)
    heading = lines[0].split("\t")
    column = next((name for name in ("label", "words", "name") if name in heading), None)
    if column and "index" in heading:
        return _from_table(heading, column, lines[1:], path)
    if synsets := _match_all(_synset, lines):
        names = tuple(label or wnid for wnid, label in synsets)
        return Labels(names, tuple(wnid for wnid, _ in synsets), path)
    for form in (_index_first, _index_last, _word_and_index):
        if _are_indices(numbered := _match_all(form, lines)):
            return Labels(_in_order(numbered, path), path=path)
    return Labels(tuple(lines), path=path)


def _read_lines(path: str) -> list[str]:
    lines = read_text(path, "a label list", LARGEST).rstrip().splitlines()
    if not lines:
        raise FormatError(f"{path}: expected a label list, found only blank lines")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST:
            raise FormatError(f"{path}:{number}: a line of {len(line):,} characters, expected at most {LONGEST:,}")
        if not line.strip() or not line.replace("\t", " ").isprintable():
            raise FormatError(f"{path}:{number}: expected a label, found {line[:40]!r}")
    return [line.strip(" ") for line in lines]


def _match_all(form: Callable[[str], Indexed | None], lines: list[str]) -> list[Indexed]:
    """Return index (or WordNet ID) and label of each line, or nothing if some line does not have the form."""
    found = []
    for line in lines:
        if (indexed := form(line)) is None:
            return []
        found.append(indexed)
    return found


# Regular expressions for these forms would take minutes for a line of many blanks.


def _synset(line: str) -> Indexed | None:
    wnid = line.replace("\t", " ").partition(" ")[0]
    return (wnid, line[len(wnid) :].strip()) if re.fullmatch(r"n[0-9]{8}", wnid) else None


def _index_first(line: str) -> Indexed | None:
    """Return the parts of `0 label`, `0,label`, `0: label`, or with quotes around the label."""
    rest = line.lstrip(_DIGITS)
    index, label = line[: len(line) - len(rest)], rest.strip()
    if label[:1] in (",", ":") and label[1:].strip():
        label = label[1:].strip()
    elif not rest[:1].isspace():
        return None
    if len(label) > 1:
        label = label.removeprefix('"')
    if len(label) > 1:
        label = label.removesuffix('"')
    return (index, label) if index and rest else None


def _index_last(line: str) -> Indexed | None:
    """Return the parts of `label,0`, or with a tab in place of the comma."""
    rest = line.rstrip(_DIGITS)
    label = rest.rstrip()
    if label.endswith(",") and label[:-1].rstrip():
        label = label[:-1].rstrip()
    elif "\t" not in rest[len(label) :]:
        return None
    return (line[len(rest) :], label) if label and rest != line else None


def _word_and_index(line: str) -> Indexed | None:
    """Return the parts of `label 0`; a label of several words may end in a number of its own: "polling booth 7"."""
    label, _, index = line.replace("\t", " ").partition(" ")
    index = index.strip()
    return (index, label) if label and index and not index.strip(_DIGITS) else None


def _are_indices(numbered: list[Indexed]) -> bool:
    """Return whether the numbers of a list are indices, and not parts of its labels.

    In labels with numbers, such as "1 cent" and "2 cent", the text repeats, or no number is an index: "Audi 100".
    """
    distinct = len({label for _, label in numbered}) == len(numbered)
    return distinct and any(len(index) < 10 and int(index) < len(numbered) for index, _ in numbered)


def _in_order(numbered: list[Indexed], path: str) -> tuple[str, ...]:
    """Sort names by their indices, which must be 0 to n − 1, each once."""
    names: dict[int, str] = {}
    for index, name in numbered:
        if not re.fullmatch(r"\d{1,9}", index) or int(index) >= len(numbered) or int(index) in names:
            raise FormatError(
                f"{path}: expected each index from 0 to {len(numbered) - 1} once, "
                f"found {index[:40]!r} for the label {name[:40]!r}"
            )
        if not name.strip():
            raise FormatError(f"{path}: expected a label for index {index}, found a blank")
        names[int(index)] = name
    return tuple(names[index] for index in range(len(names)))


def _from_table(heading: list[str], column: str, lines: list[str], path: str) -> Labels:
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, 2):
        if len(row) != len(heading):
            raise FormatError(f"{path}:{number}: expected {len(heading)} columns, found {len(row)}")

    def in_order(name: str) -> tuple[str, ...]:
        return _in_order([(row[heading.index("index")], row[heading.index(name)]) for row in rows], path)

    return Labels(in_order(column), in_order("wnid") if "wnid" in heading else None, path)
