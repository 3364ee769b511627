"""Text files with one item per line. They are read lazily, so that each error message can name its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from pycam.errors import GroundTruthError
from pycam.formats.files import exists, is_file

LONGEST = 10_000
"""The limit on the length of a line."""

_WHOLE = re.compile(r"(-?[0-9]{1,9})(\.0+)?")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?", re.IGNORECASE)


def numbered_lines(path: Path, most: int = 2_000_000) -> Iterator[tuple[int, str]]:
    """Yield the number, 1-based, and the text of each line of a UTF-8 file, without surrounding white space.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        The limit on the number of lines. The largest list of ILSVRC names 1.3 million images.

    Raises
    ------
    GroundTruthError
        The file is missing, not a regular file, not UTF-8 text, or larger than any list.
    """
    if not is_file(path):
        found = "not a file" if exists(path) else "no such file"
        raise GroundTruthError(f"{path}: {found}; a text file was expected")
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST):
                number += 1
                too_long = len(line) == LONGEST
                if too_long or number > most:
                    length = f"a line of {LONGEST:,} characters" if too_long else f"more than {most:,} lines"
                    raise GroundTruthError(f"{path}:{number}: {length}; no list is that long: is it another file?")
                yield number, line.strip()
    except UnicodeDecodeError:
        raise GroundTruthError(f"{path}:{number + 1}: not UTF-8 text; a plain text file was expected") from None
    except OSError as error:
        raise GroundTruthError(f"{path}: cannot be read ({error.strerror})") from None


def whole_number(text: str, where: str) -> int:
    """Convert text to a whole number of at most nine digits.

    Parameters
    ----------
    text : str
        "83" or "83.0".
    where : str
        Start of the error message: file and line.

    Raises
    ------
    GroundTruthError
        The text is not a whole number.
    """
    match = _WHOLE.fullmatch(text.strip())
    if match is None:
        raise GroundTruthError(f"{where}: {text.strip()[:40]!r}; a whole number was expected")
    return int(match[1])


def number_of(text: str, where: str) -> float:
    """Convert text to a number of at most nine digits before the point.

    Parameters
    ----------
    text : str
        "83", "83.5" or "8.35e1".
    where : str
        Start of the error message: file and line.

    Raises
    ------
    GroundTruthError
        The text is not such a number.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text) is None or not abs(float(text)) < 1e9:
        raise GroundTruthError(f"{where}: {text[:40]!r}; a number was expected")
    return float(text)


def cells_of(line: str, where: str) -> list[str]:
    """Return the cells of a line of a CSV file, without surrounding white space; a cell in quotes may have commas.

    Raises
    ------
    GroundTruthError
        A quotation mark is not closed.
    """
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True), [])]
    except csv.Error as error:
        raise GroundTruthError(f"{where}: not a line of a CSV file ({error})") from None
