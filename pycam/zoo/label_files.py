"""Label files: the forms in which people have the names of a net's classes.

The whole file decides which form it has. A file that has a form in most of its lines is refused with the first line
that does not have it.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycam.errors import FormatError
from pycam.formats.opening import read_text
from pycam.zoo.labels import Labels

LARGEST = 4 * 1024 * 1024

LONGEST = 10_000
"""The most characters of a line."""

INDEX_COLUMNS = ("index", "idx", "id", "class_id", "class_index", "class_idx", "label_id", "output")
NAME_COLUMNS = ("label", "words", "name", "class_name", "label_name", "class")
ID_COLUMNS = ("wnid", "synset", "wordnet_id")
DELIMITERS = "\t,; "

NESTED = ("id2label", "label2id", "class_to_idx", "labels", "names", "classes", "categories")
"""Keys that a JSON file may have its labels in, the best first."""

_DIGITS = "0123456789"
_SEPARATORS = ",:;="

# A text of Python that has only strings, whole numbers and brackets, after its strings are removed.
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"")
_LITERAL = re.compile(r"[\s0-9:,\[\](){}]*")


class Entry(NamedTuple):
    """The label of one class, as a file gives it.

    `number` is its index, a text of digits, or "" if the place in the file is the index. `wnid` is "" if there is none.
    `place` is where it stands, for messages: the file and the line, or the key.
    """

    number: str
    wnid: str
    label: str
    place: str


def read_labels(path: str | Path) -> Labels:
    """Read a label file that has one of these forms.

    - one line per class in the order of the net's outputs: a label, or a WordNet ID and a label
      (`n01440764 tench, Tinca tinca`, as in `synset_words.txt`);
    - one line per class in any order, with its index: `0 applauding`, `0,applauding`, `0: applauding`, `applauding,0`,
      or `/a/abbey 0`, with or without quotes around the label;
    - a table with tabs, commas, semicolons or blanks and a heading: `index`, `label` (or `words`, or `name`), `wnid`;
    - JSON: a list of labels, `{"0": "tench"}`, `{"0": ["n01440764", "tench"]}`, `{"tench": 0}`, or a list of objects
      with `index` and `label`; also under a key such as `id2label`. A dictionary or a list as Python prints it, too.

    The numbers of a file without a heading are indices if they are consecutive from 0 or from 1, and if the rest of the
    lines is different: `notes` says so. Labels with numbers of their own ("1 cent" and "2 cent") are no indices.

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
        The file does not exist or is not text, most of its lines have a form that others do not have, or its indices
        are not consecutive from 0 or from 1, each once.
    """
    path = os.fspath(path)
    text = read_text(path, "a label list", LARGEST)
    if path.lower().endswith(".json") or text.strip()[:1] + text.strip()[-1:] in ("{}", "[]"):
        return _in_order(_from_json(text, path), path)
    lines = _lines(text, path)
    if (table := _from_table(lines, path)) is not None:
        return _in_order(table, path)
    if _most(_synset(line) is not None for line in lines):
        return _in_order(_from_synsets(lines, path), path)
    for whole in (True, False):
        for form in (_index_first, _index_last, _index_after_blank):
            found = [form(line) for line in lines]
            if _are_indices(found, whole, every=form is _index_after_blank):
                return _in_order(_from_numbered(lines, found, path), path, without_heading=True)
    return Labels(tuple(lines), path=path)


def _lines(text: str, path: str) -> list[str]:
    lines = text.rstrip().splitlines()
    if not lines:
        raise FormatError(f"{path}: expected a label list, found only blank lines")
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST:
            raise FormatError(f"{path}:{number}: a line of {len(line):,} characters, expected at most {LONGEST:,}")
        if not line.strip() or not _printable(line):
            raise FormatError(f"{path}:{number}: expected a label, found {line[:40]!r}")
    return [line.strip(" ") for line in lines]


def _printable(text: str) -> bool:
    # The two joiners of Persian and of the scripts of India are part of words, but are not printable for Python.
    return text.translate({9: " ", 0x200C: "x", 0x200D: "x"}).isprintable()


def _most(fitting: Iterable[bool]) -> bool:
    answers = list(fitting)
    return sum(answers) * 2 > len(answers)


# Tables with a heading.


def _from_table(lines: Sequence[str], path: str) -> list[Entry] | None:
    """Return the rows of a table, or None if the first line is no heading."""
    for delimiter in DELIMITERS:
        heading = [cell.strip().casefold() for cell in _cells(lines[0], delimiter)]
        id_ = next((heading.index(name) for name in ID_COLUMNS if name in heading), None)
        names = [heading.index(name) for name in NAME_COLUMNS if name in heading]
        index = next((heading.index(name) for name in INDEX_COLUMNS if name in heading), None)
        if index is None and len(names) > 1 and id_ is None:  # `label,name` and `class,name`: a number and its name
            index = names.pop(0)
        if len(heading) > 1 and names and (index, id_) != (None, None):
            break
    else:
        return None
    entries = []
    for number, line in enumerate(lines[1:], 2):
        row = _cells(line, delimiter, most=len(heading) if delimiter == " " else 0)
        if len(row) != len(heading):
            quote = f": put quotes around a label with {delimiter!r} in it" if len(row) > len(heading) else ""
            raise FormatError(f"{path}:{number}: expected {len(heading)} columns, found {len(row)}{quote}")
        cell = [text.strip() for text in row]
        entries.append(
            Entry(
                "" if index is None else cell[index] or "(blank)",
                "" if id_ is None else cell[id_],
                cell[names[0]],
                f"{path}:{number}",
            )
        )
    if not entries:
        raise FormatError(f"{path}:1: expected rows with labels below the heading {lines[0][:40]!r}, found none")
    return entries


def _cells(line: str, delimiter: str, most: int = 0) -> list[str]:
    """Split a line; quotes are removed except between tabs, and the last of `most` columns may contain blanks."""
    if delimiter == "\t":
        return line.split("\t")
    if delimiter == " " and most:
        return [_unquoted(cell) for cell in line.split(None, most - 1)]
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


# Lines with a WordNet ID.


def _synset(line: str) -> tuple[str, str] | None:
    """Return the WordNet ID at the start of a line, and the label after it."""
    found = re.match(r"n[0-9]{8}(?![0-9A-Za-z_])", line)
    return found and (found[0], _unquoted(line[found.end() :].lstrip(" \t,:;").strip()))


def _from_synsets(lines: Sequence[str], path: str) -> list[Entry]:
    entries = []
    for number, line in enumerate(lines, 1):
        found = _synset(line)
        if found is None:
            raise FormatError(
                f"{path}:{number}: expected a WordNet ID and a label, as on the other lines, found {line[:40]!r}"
            )
        entries.append(Entry("", found[0], found[1] or found[0], f"{path}:{number}"))
    return entries


# Lines with an index. Regular expressions for these forms would take minutes for a line of many blanks.

Numbered = tuple[str, str]
"""An index and a label."""


def _index_first(line: str) -> Numbered | None:
    """Return the parts of `0 label`, `0,label`, `0: label`, `0) label`, `"0","label"`."""
    quoted = line[:1] == '"'
    rest = line[quoted:].lstrip(_DIGITS)
    index = line[quoted : len(line) - len(rest)]
    if quoted:
        if rest[:2] not in ('",', '";'):
            return None
        rest = rest[1:]
    label = rest.lstrip()
    if label[:1] and label[:1] in _SEPARATORS and label[1:].strip():
        label = label[1:].strip()
    elif rest[:2] in (". ", ") ") and rest[2:].strip():
        label = rest[2:].strip()
    elif not rest[:1].isspace():
        return None
    return (index, _unquoted(label)) if index and label else None


def _index_last(line: str) -> Numbered | None:
    """Return the parts of `label,0`, `label: 0`, `"label",0`, or with a tab in place of the comma."""
    line = line[:-1] if line.startswith('"') and line.endswith('"') and '","' in line else line
    rest = line.rstrip(_DIGITS)
    index, rest = line[len(rest) :], rest.removesuffix('"') if line.startswith('"') else rest
    label = rest.rstrip()
    if label[-1:] and label[-1:] in _SEPARATORS and label[:-1].rstrip():
        label = label[:-1].rstrip()
    elif "\t" not in rest[len(label) :]:
        return None
    return (index, _unquoted(label)) if label and index else None


def _index_after_blank(line: str) -> Numbered | None:
    """Return the parts of `label 0`."""
    rest = line.rstrip(_DIGITS)
    label = rest.rstrip()
    return (line[len(rest) :], _unquoted(label)) if label and label != rest and rest != line else None


def _unquoted(label: str) -> str:
    """Remove one pair of quotes around a label, and undouble those inside, as CSV has them."""
    quote = label[:1]
    if len(label) > 2 and quote in ('"', "'") and label.endswith(quote):
        return label[1:-1].replace(2 * quote, quote)
    return label


def _are_indices(found: Sequence[Numbered | None], whole: bool, every: bool) -> bool:
    """Return whether the numbers of lines are indices, and not parts of labels.

    In labels with numbers, such as "1 cent" and "2 cent", the text repeats, or few numbers are an index: "Audi 100".

    Parameters
    ----------
    found : sequence
        Index and label of each line, None for a line of another form.
    whole : bool
        Whether the indices must be consecutive from 0 or 1, each once. Otherwise half of them suffices, for a list with
        mistakes.
    every : bool
        Whether each line must have the form.
    """
    lines = [each for each in found if each is not None]
    if (every or whole) and len(lines) < len(found):
        return False
    if len({label for _, label in lines}) * 2 <= len(lines):
        return False
    within = {number for number in map(_number, lines) if number <= len(found)}
    if whole:
        return len(within) == len(found) and {0, len(found)} - within != set()
    return len(within) * 2 >= len(found)


def _number(found: Numbered) -> int:
    return int(found[0]) if len(found[0]) < 10 else 10**9


def _from_numbered(lines: Sequence[str], found: Sequence[Numbered | None], path: str) -> list[Entry]:
    entries = []
    for number, (line, each) in enumerate(zip(lines, found, strict=True), 1):
        if each is None:
            raise FormatError(
                f"{path}:{number}: expected an index and a label, as on the other lines, found {line[:40]!r}"
            )
        entries.append(Entry(each[0], "", each[1], f"{path}:{number}"))
    synsets = [_synset(entry.label) for entry in entries]
    if all(synsets):
        return [
            entry._replace(wnid=synset[0], label=synset[1] or synset[0])
            for entry, synset in zip(entries, synsets, strict=True)
            if synset
        ]
    return entries


# JSON, and what Python prints.


def _from_json(text: str, path: str) -> list[Entry]:
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: _distinct(pairs, path))
    except RecursionError:
        raise FormatError(f"{path}: brackets that are nested too deep; expected a list or a map of labels") from None
    except ValueError as error:
        found = _from_python(text)
        if found is None:
            at = f"{path}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else path
            raise FormatError(
                f"{at}: expected JSON, a list or a map of labels, but: {str(error).partition(': line')[0]}"
            ) from None
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict | list):
            found = found[key]
    if not isinstance(found, dict | list) or not found:
        raise FormatError(f"{path}: expected a list or a map of labels, found {str(found)[:40]}")
    pairs = list(found.items() if isinstance(found, dict) else enumerate(found))
    keyed = isinstance(found, dict)
    if keyed and all(_is_number(value) for _, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    elif keyed and all(_synset(str(key)) for key, _ in pairs):
        pairs, keyed = [(number, [key, value]) for number, (key, value) in enumerate(pairs)], False
    return [_json_entry(key, value, keyed, path) for key, value in pairs]


def _distinct(pairs: Sequence[tuple[str, Any]], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormatError(f"{path}: {key[:40]!r} is there twice; expected each index and each label once")
        found[key] = value
    return found


def _from_python(text: str) -> Any:
    """Return a dictionary or a list as Python prints it, or None if it is something else."""
    if not _LITERAL.fullmatch(_STRING.sub("", text)):
        return None
    try:
        found = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _json_entry(key: object, value: object, keyed: bool, path: str) -> Entry:
    """Return the label of one item of a list or a map; the key is its index, unless the item has one."""
    index, wnid, label = str(key) if keyed else "", "", value
    if isinstance(value, Mapping):
        index = next((str(value[name]) for name in INDEX_COLUMNS if name in value), index)
        wnid = next((str(value[name]) for name in ID_COLUMNS if name in value), "")
        label = next((value[name] for name in NAME_COLUMNS if name in value), None)
    elif isinstance(value, list | tuple) and len(value) == 2 and _synset(str(value[0])):
        wnid, label = str(value[0]), value[1]
    elif isinstance(value, str) and (synset := _synset(value)):
        wnid, label = synset[0], synset[1] or synset[0]
    place = f"{path}: item {str(key)[:40]}"
    if not isinstance(label, str) or not _printable(label) or len(label) > LONGEST:
        raise FormatError(f"{place}: expected a label, or a WordNet ID and a label, found {_shown(value)[:60]}")
    return Entry(index, wnid, label.strip(), place)


def _shown(value: object) -> str:
    """Return a value as JSON, or as Python prints it: a set, or a dictionary with other keys than strings."""
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


# All forms.


def _in_order(entries: Sequence[Entry], path: str, without_heading: bool = False) -> Labels:
    """Sort labels by their indices, which must be 0 to n − 1 or 1 to n, each once."""
    count = len(entries)
    notes: list[str] = []
    ordered = list(entries)
    if any(entry.number for entry in entries):
        numbers = [int(entry.number) if re.fullmatch(r"[0-9]{1,9}", entry.number) else -1 for entry in entries]
        base = 0 if 0 in numbers else 1
        seen: set[int] = set()
        for number, entry in zip(numbers, entries, strict=True):
            if not base <= number < base + count or number in seen:
                advice = (
                    f"; if the numbers belong to the labels, write an index before each: 0,{entries[0].label[:20]} …"
                    if without_heading
                    else ""
                )
                missing = next(index for index in range(base, base + count) if index not in numbers)
                raise FormatError(
                    f"{entry.place}: expected each index from {base} to {base + count - 1} once, "
                    f"found {entry.number[:40]!r} for the label {entry.label[:40]!r}, "
                    f"and no label for {missing}{advice}"
                )
            seen.add(number)
        ordered = [entry for _, entry in sorted(zip(numbers, entries, strict=True), key=lambda each: each[0])]
        if base == 1 or without_heading:
            meant = "the numbers are indices" if without_heading else "the indices begin"
            notes.append(f"{path}: {meant}, from {base}: the net's output 0 is {ordered[0].label!r}")
    for entry in ordered:
        if not entry.label.strip():
            raise FormatError(f"{entry.place}: expected a label, found a blank")
    wnids = tuple(entry.wnid for entry in ordered)
    if any(wnids) and (lacking := next((entry for entry in ordered if not _synset(entry.wnid)), None)):
        raise FormatError(f"{lacking.place}: expected a WordNet ID, as in n01440764, found {lacking.wnid[:40]!r}")
    return Labels(tuple(entry.label for entry in ordered), wnids if any(wnids) else None, path, tuple(notes))
