"""Class labels: from an output index of a net to a label and a WordNet ID, and from a typed name to the index."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pycam.errors import UsageError

OFFERED = 5


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
    notes : tuple of str
        How the file was read, if it can be read in another way.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    path: str = "<labels>"
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Labels of {len(self)} classes, {', '.join(self.names[:3])[:60]}…>"

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
                raise UsageError(
                    f"no class {index}: the indices of {self.path} are 0 to {len(self) - 1}: the first class is 0"
                )
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
        if self.is_numbered and others.is_numbered:
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
    def is_numbered(self) -> bool:
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
