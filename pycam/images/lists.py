"""Lists of images in the form of Caffe's: one path per line, with or without a label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from pycam.errors import FormatError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines

_LABELLED = re.compile(r"(.*\S)\s+([0-9]{1,9})")


class ImageList(NamedTuple):
    """The images of a list.

    Attributes
    ----------
    names : tuple of str
        Their paths as the list has them.
    paths : tuple of str
        Their files.
    labels : tuple of int, optional
        Their labels.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...] | None


def read_image_list(path: Path, root: Path | None = None, advice: str = "") -> ImageList:
    """Read a list with one image per line: its path, a blank, and its label, a whole number from 0 on.

    A list may also be without labels. A path may contain blanks.

    Parameters
    ----------
    path : Path
        The list, a text file.
    root : Path, optional
        The folder of relative paths, in place of the list's own.
    advice : str
        What helps where images are missing, other than correcting the list, for the message.

    Returns
    -------
    ImageList

    Raises
    ------
    FormatError
        A line is not an image and its label, its image does not exist, or there are no images.
    GroundTruthError
        The list is not a text file.
    """
    names: list[str] = []
    paths: list[str] = []
    labels: list[int] = []
    for number, line in numbered_lines(path):
        if not line:
            continue
        found = _LABELLED.fullmatch(line)
        if not names:
            with_labels = found is not None
        if with_labels and found is None:
            raise FormatError(f"{path}:{number}: {line[:80]!r}; expected a path, a blank and a label, a whole number")
        if not with_labels and found is not None:
            raise FormatError(f"{path}:{number}: {line[:80]!r} has a label, but the lines before it have none")
        name, label = (found[1], int(found[2])) if found else (line, 0)
        place = (root or path.parent) / name
        if not is_file(place):
            raise FormatError(f"{path}:{number}: no image {place}: correct the line{advice}")
        names.append(name)
        paths.append(str(place))
        labels.append(label)
    if not names:
        raise FormatError(f"{path}: a list without images")
    return ImageList(tuple(names), tuple(paths), tuple(labels) if with_labels else None)
