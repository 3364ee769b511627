"""Stanford Action40: `ImageSplits/actions.txt` and two lists per action, with the images in `JPEGImages`."""

from __future__ import annotations

from pathlib import Path

from pycam.errors import GroundTruthError
from pycam.paper.datasets.labelled import LabelledImages, Listed, lines_of, listed_splits


def read_action40(folder: Path) -> LabelledImages:
    """Read the actions and their lists of training and test images; classes are in the order of `actions.txt`.

    The first line of `actions.txt` is a heading; the others begin with the name of an action.

    Raises
    ------
    GroundTruthError
        With file and line: a list is missing or empty, or an image does not exist.
    """
    place = folder / "ImageSplits"
    actions = [line.split()[0] for line, _ in lines_of(place / "actions.txt")][1:]
    if not actions:
        raise GroundTruthError(f"{place / 'actions.txt'}:2: no action below the heading; one per line was expected")
    training, test = (
        [
            Listed(folder / "JPEGImages" / line, label, where)
            for label, action in enumerate(actions)
            for line, where in lines_of(place / f"{action}_{part}.txt")
        ]
        for part in ("train", "test")
    )
    return listed_splits([(training, test)], actions, "the lists that come with the data")
