"""A folder with one folder of images per class: Scene15, Event8, Caltech101 and Caltech256."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pycam.errors import GroundTruthError
from pycam.images.files import IMAGE_SUFFIXES
from pycam.paper.datasets.labelled import LabelledImages, random_splits


def read_class_folders(
    folder: Path, *, excluded: Sequence[str] = (), training: int, test: int | None, splits: int
) -> LabelledImages:
    """Read a folder with one folder of images per class; classes and images are in the order of their names.

    Parameters
    ----------
    folder : Path
        The folder.
    excluded : sequence of str
        Folders that are no classes, such as `BACKGROUND_Google`. Upper and lower case do not matter.
    training, test, splits
        As for `random_splits`.

    Raises
    ------
    GroundTruthError
        There are fewer than two classes, a class has too few images, or the folder cannot be read.
    """
    try:
        classes = {
            entry.name: sorted(file for file in entry.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            for entry in sorted(folder.iterdir())
            if entry.is_dir() and entry.name.lower() not in {name.lower() for name in excluded}
        }
    except OSError as error:
        raise GroundTruthError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None
    classes = {name: files for name, files in classes.items() if files}
    if len(classes) < 2:
        raise GroundTruthError(
            f"{folder}: expected one folder of images per class, found {len(classes)} folders with images"
        )
    paths = [file for files in classes.values() for file in files]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes.values()])
    return random_splits(paths, labels, list(classes), training=training, test=test, splits=splits)
