"""MIT Indoor67: `TrainImages.txt` and `TestImages.txt`, with images such as `airport_inside/x.jpg` below `Images`."""

from __future__ import annotations

from pathlib import Path

from pycam.errors import GroundTruthError
from pycam.paper.datasets.labelled import LabelledImages, Listed, lines_of, listed_splits


def read_indoor67(folder: Path) -> LabelledImages:
    """Read the pair of lists of the data set; a class is a folder, and classes are in the order of their names.

    Raises
    ------
    GroundTruthError
        With file and line: a list is missing, a line has another form, or an image does not exist.
    """
    lists = [list(lines_of(folder / name)) for name in ("TrainImages.txt", "TestImages.txt")]
    for line, where in (*lists[0], *lists[1]):
        if len(line.strip("/").split("/")) != 2:
            raise GroundTruthError(f"{where}: {line[:80]!r}; expected a class, a slash and the name of an image")
    names = sorted({line.strip("/").split("/")[0] for lines in lists for line, _ in lines})
    training, test = (
        [
            Listed(folder / "Images" / line.strip("/"), names.index(line.strip("/").split("/")[0]), where)
            for line, where in lines
        ]
        for lines in lists
    )
    return listed_splits([(training, test)], names, "the pair of lists that comes with the data")
