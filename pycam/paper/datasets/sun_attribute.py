"""SUN Attribute: MATLAB files with the names of images and attributes, and the share of votes of each pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file, is_folder
from pycam.formats.mat import read_mat
from pycam.paper.datasets.labelled import Split

POSITIVE, NEGATIVE = 0.5, 0.0
"""Shares of votes: more than `POSITIVE`, at least two votes of three; and none. Images with one vote are left out."""


@dataclass(frozen=True, eq=False)
class AttributeImages:
    """Images with attributes: n images, A attributes, each of them a problem of two classes.

    Attributes
    ----------
    paths : tuple of Path
        The files of the images.
    has_attribute : (n, A) bool
        Whether the image has the attribute; only for images in a split of that attribute.
    attribute_names : tuple of str
        The name of each attribute.
    splits : tuple of tuple of Split
        One or more splits, each with one split per attribute.
    how : str
        How the images are split, in words.
    """

    paths: tuple[Path, ...]
    has_attribute: NDArray[np.bool_]
    attribute_names: tuple[str, ...]
    splits: tuple[tuple[Split, ...], ...]
    how: str

    def __len__(self) -> int:
        return len(self.paths)


def read_sun_attribute(folder: Path, *, training: int, splits: int) -> AttributeImages:
    """Read the three files; the images are below the folder or below `images` in it.

    For each attribute, as many positive as negative images are for training, and as many of the others for test. The
    images of an attribute, in the order of their names, are permuted by `numpy.random.default_rng(seed)`, which goes
    through the attributes in their order, positive images first; the seeds are 0, 1, ….

    Parameters
    ----------
    folder : Path
        The folder with `images.mat`, `attributes.mat` and `attributeLabels_continuous.mat`.
    training : int
        The greatest number of positive training images of an attribute. It has half of its images for training if they
        are not twice as many.
    splits : int
        The number of splits.

    Raises
    ------
    GroundTruthError
        A file has another content, the files do not fit each other, an image does not exist, or an attribute has too
        few images.
    FormatError
        A file is missing or damaged.
    """
    names = _texts(folder / "images.mat", "images")
    attributes = _texts(folder / "attributes.mat", "attributes")
    votes = _votes(folder / "attributeLabels_continuous.mat", len(names), len(attributes))
    root = folder / "images" if is_folder(folder / "images") else folder
    paths = tuple(root / PurePosixPath(name.lstrip("/")) for name in names)
    for number, path in enumerate(paths, 1):
        if not is_file(path):
            raise GroundTruthError(f"{folder / 'images.mat'}: image {number}: no image {path}")
    order = np.array(sorted(range(len(names)), key=lambda row: names[row]), np.intp)
    found = []
    for seed in range(splits):
        generator = np.random.default_rng(seed)
        found.append(
            tuple(_split(votes[:, a], order, training, generator, attributes[a]) for a in range(len(attributes)))
        )
    how = (
        f"random: per attribute at most {training} images that have it and as many that do not for training, "
        "as many of each kind of the others for test"
    )
    return AttributeImages(paths, votes > POSITIVE, tuple(attributes), tuple(found), how)


def _split(
    votes: NDArray[np.float64], order: NDArray[np.intp], training: int, generator: np.random.Generator, name: str
) -> Split:
    positive, negative = (
        generator.permutation(order[chosen]) for chosen in (votes[order] > POSITIVE, votes[order] <= NEGATIVE)
    )
    fewest = min(len(positive), len(negative))
    if fewest < 2:
        raise GroundTruthError(
            f"attribute {name!r}: {len(positive)} images with at least two votes and {len(negative)} without a vote; "
            "expected at least two of each kind, one for training and one for test"
        )
    count = min(training, fewest // 2)
    return Split(
        np.concatenate([positive[:count], negative[:count]]),
        np.concatenate([positive[count:fewest], negative[count:fewest]]),
    )


def _texts(path: Path, variable: str) -> list[str]:
    """Read a column of cells with text."""
    cells = _variable(path, variable).ravel()
    found = []
    for number, cell in enumerate(cells, 1):
        text: Any = np.asarray(cell).ravel()
        if cells.dtype != object or text.dtype.kind != "U" or len(text) != 1:
            raise GroundTruthError(f"{path}: {variable} {number} is no text: cells with text were expected")
        found.append(str(text[0]).strip())
    if not found:
        raise GroundTruthError(f"{path}: {variable} is empty: cells with text were expected")
    return found


def _votes(path: Path, images: int, attributes: int) -> NDArray[np.float64]:
    votes = _variable(path, "labels_cv")
    if votes.shape != (images, attributes) or votes.dtype.kind not in "fiub":
        raise GroundTruthError(
            f"{path}: labels_cv is {'×'.join(map(str, votes.shape))} {votes.dtype}; "
            f"expected numbers, {images}×{attributes}: one row per image, one column per attribute"
        )
    votes = votes.astype(np.float64)
    if not ((votes >= 0) & (votes <= 1)).all():
        raise GroundTruthError(f"{path}: labels_cv has values outside of 0 to 1; expected shares of votes")
    return votes


def _variable(path: Path, variable: str) -> NDArray[Any]:
    return read_mat(path, [variable])[variable]
