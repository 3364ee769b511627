"""Text files of one item a line: read lazily, so that every complaint can name its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pycam.errors import GroundTruthError
from pycam.formats.files import exists, is_file

LONGEST = 10_000
MOST = 2_000_000
"""Longer lines, and more of them, than any list has: ILSVRC's largest names 1.3 million images."""

_WHOLE = re.compile(r"(-?[0-9]{1,9})(\.0+)?")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line of a UTF-8 text file with its number, from 1, without the white space around it.

    Raises
    ------
    GroundTruthError
        If the file is missing, not a regular file, not UTF-8 text, or larger than any list.
    """
    if not is_file(path):
        found = "not a file" if exists(path) else "no such file"
        raise GroundTruthError(f"{path}: {found}; a text file was expected")
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(LONGEST):
                number += 1
                if len(line) == LONGEST or number > MOST:
                    what = f"a line of {LONGEST:,} characters" if len(line) == LONGEST else f"more than {MOST:,} lines"
                    raise GroundTruthError(f"{path}:{number}: {what}; no list has as much: is it another file?")
                yield number, line.strip()
    except UnicodeDecodeError:
        raise GroundTruthError(f"{path}:{number + 1}: not UTF-8 text; a plain text file was expected") from None
    except OSError as error:
        raise GroundTruthError(f"{path}: cannot be read ({error.strerror})") from None


def whole_number(text: str, where: str) -> int:
    """Read a whole number of at most nine digits ("83", also "83.0"); `where` opens the error's message."""
    match = _WHOLE.fullmatch(text.strip())
    if match is None:
        raise GroundTruthError(f"{where}: {text.strip()[:40]!r} came where a whole number was expected")
    return int(match[1])
