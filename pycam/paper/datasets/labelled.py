"""Images with labels, and their splits into training and test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines

Positions = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Split:
    """A split of images into training and test.

    Attributes
    ----------
    training, test : (n,) int
        Positions of the images.
    """

    training: Positions
    test: Positions


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with one label each: n images.

    Attributes
    ----------
    paths : tuple of Path
        The files of the images.
    labels : (n,) int64
        The index of each image's class.
    class_names : tuple of str
        The name of each class.
    splits : tuple of Split
        One or more splits.
    how : str
        How the images are split, in words.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: tuple[Split, ...]
    how: str

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Listed:
    """An image in a list.

    Attributes
    ----------
    path : Path
        The file of the image.
    label : int
        The index of its class.
    where : str
        The file and the line of the list.
    """

    path: Path
    label: int
    where: str


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of a list that is not empty, and where it stands.

    Raises
    ------
    GroundTruthError
        The list is missing, empty, or no text.
    """
    is_empty = True
    for number, line in numbered_lines(path):
        if line:
            is_empty = False
            yield line, f"{path}:{number}"
    if is_empty:
        raise GroundTruthError(f"{path}:1: an empty list; one image per line was expected")


def listed_splits(
    parts: Iterable[tuple[Sequence[Listed], Sequence[Listed]]], class_names: Sequence[str], how: str
) -> LabelledImages:
    """Make labelled images from lists of training and test images.

    Parameters
    ----------
    parts : iterable of pairs of sequences
        For each split, its training and its test images.
    class_names : sequence of str
        The name of each class.
    how : str
        As in `LabelledImages`.

    Raises
    ------
    GroundTruthError
        With file and line: an image does not exist, is listed twice in a split, has two labels, or has a class without
        training images.
    """
    positions: dict[Path, int] = {}
    labels: list[int] = []
    splits: list[Split] = []
    for training, test in parts:
        seen: dict[Path, str] = {}
        for image in (*training, *test):
            if image.path in seen:
                raise GroundTruthError(f"{image.where}: {image.path.name} is already in {seen[image.path]}")
            seen[image.path] = image.where
            if image.path not in positions:
                if not is_file(image.path):
                    raise GroundTruthError(f"{image.where}: no image {image.path}")
                positions[image.path] = len(labels)
                labels.append(image.label)
            if labels[positions[image.path]] != image.label:
                raise GroundTruthError(f"{image.where}: {image.path.name} has another class in another list")
        trained = {image.label for image in training}
        for image in test:
            if image.label not in trained:
                raise GroundTruthError(
                    f"{image.where}: class {class_names[image.label]!r} has no training image in this split"
                )
        rows = ([positions[image.path] for image in part] for part in (training, test))
        splits.append(Split(*(np.array(part, np.intp) for part in rows)))
    return LabelledImages(tuple(positions), np.array(labels, np.int64), tuple(class_names), tuple(splits), how)


def random_splits(
    paths: Sequence[Path],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    training: int,
    test: int | None,
    splits: int,
) -> LabelledImages:
    """Split images at random, class by class.

    The images of a class, in the order of their names, are permuted by `numpy.random.default_rng(seed)`, which goes
    through the classes in their order; the seeds are 0, 1, …. The first images are for training, the next ones for
    test.

    Parameters
    ----------
    paths : sequence of Path
        The images.
    labels : (n,) int64
        The index of each image's class.
    class_names : sequence of str
        The name of each class.
    training : int
        The number of training images of each class.
    test : int, optional
        The greatest number of test images of each class; None for all others.
    splits : int
        The number of splits.

    Raises
    ------
    GroundTruthError
        A class has too few images; the message names it.
    """
    members = [
        np.array(sorted(np.flatnonzero(labels == label).tolist(), key=lambda row: paths[row].name), np.intp)
        for label in range(len(class_names))
    ]
    for name, rows in zip(class_names, members, strict=True):
        if len(rows) <= training:
            raise GroundTruthError(
                f"{paths[rows[0]].parent if len(rows) else name}: class {name!r} has {len(rows)} images; expected at "
                f"least {training + 1}, {training} for training and one for test: --training gives another number"
            )
    found = []
    for seed in range(splits):
        generator = np.random.default_rng(seed)
        shuffled = [generator.permutation(rows) for rows in members]
        stop = None if test is None else training + test
        found.append(
            Split(
                np.concatenate([rows[:training] for rows in shuffled]),
                np.concatenate([rows[training:stop] for rows in shuffled]),
            )
        )
    rest = "the rest" if test is None else f"at most {test}"
    how = f"random: {training} images per class for training, {rest} for test"
    return LabelledImages(tuple(paths), labels, tuple(class_names), tuple(found), how)
