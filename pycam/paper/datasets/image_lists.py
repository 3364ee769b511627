"""Caffe's image lists: `train.txt` and `test.txt` with a path and a label per line, for any data set."""

from __future__ import annotations

from pathlib import Path

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.formats.lines import whole_number
from pycam.paper.datasets.labelled import LabelledImages, Listed, lines_of, listed_splits

NAMES = "labels.txt"


def has_image_lists(folder: Path) -> bool:
    """Return True if a folder has both lists."""
    return is_file(folder / "train.txt") and is_file(folder / "test.txt")


def read_image_lists(folder: Path) -> LabelledImages:
    """Read `train.txt` and `test.txt`, and the names of the classes from `labels.txt` if it exists.

    A path is looked for beside the lists, then in the folder `images` there.

    Raises
    ------
    GroundTruthError
        With file and line: a line has another form, an image does not exist, or a label has no name.
    """
    names = [line for line, _ in lines_of(folder / NAMES)] if is_file(folder / NAMES) else []
    training, test = (
        [_listed(folder, *line) for line in lines_of(folder / name)] for name in ("train.txt", "test.txt")
    )
    for image in (*training, *test):
        if names and image.label >= len(names):
            raise GroundTruthError(f"{image.where}: label {image.label}, but {folder / NAMES} has {len(names)} names")
    most = max(image.label for image in (*training, *test))
    names = names or [f"class {label}" for label in range(most + 1)]
    return listed_splits([(training, test)], names, "the lists train.txt and test.txt")


def _listed(folder: Path, line: str, where: str) -> Listed:
    name, _, text = line.rpartition(" ")
    if not name:
        raise GroundTruthError(f"{where}: {line[:80]!r}; expected a path, a blank and a label")
    label = whole_number(text, where)
    if not 0 <= label < 100_000:
        raise GroundTruthError(f"{where}: label {label}; expected a number from 0 to 99,999")
    path = folder / name.strip()
    return Listed(path if is_file(path) else folder / "images" / name.strip(), label, where)
