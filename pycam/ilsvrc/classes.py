"""The classes of a data set: their names, and the numbers that stand for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError, suggest
from pycam.formats.lines import whole_number
from pycam.ilsvrc.names import normal
from pycam.ilsvrc.synsets import synsets
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels

MOST = 100_000
"""The largest number of classes."""

_OTHER_OPTION = "(the class of each image is given with --ground-truth-classes)"


def read_class_names(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """Read the labels of a net as the names of the classes of a data set, in the order of the network's outputs.

    Returns
    -------
    names : tuple of str
        The labels; of a list with WordNet IDs, the IDs.
    notes : list of str
        How the file was read, if it can be read in another way.

    Raises
    ------
    GroundTruthError
        The file is not a list of labels, or two classes have the same label.
    """
    try:
        labels = read_labels(path)
    except FormatError as error:
        raise GroundTruthError(f"{error} {_OTHER_OPTION}") from error
    names = names_of(labels)
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            raise GroundTruthError(
                f"{path}: outputs {first[name]} and {index} both have the label {name[:40]!r}; a label of each class "
                f"once was expected {_OTHER_OPTION}"
            )
    return names, list(labels.notes)


def names_of(labels: Labels) -> tuple[str, ...]:
    """Return the names that ground truth has for the classes of a net: WordNet IDs, or else labels."""
    return labels.wnids or tuple(map(normal, labels.names))


def class_index(text: str, known: Mapping[str, int], where: str) -> int:
    """Return the network index of a class.

    Parameters
    ----------
    text : str
        The name of a class, or its network index.
    known : mapping
        The network index of each name; empty if only indices are known.
    where : str
        Start of the error message: file and line.

    Raises
    ------
    GroundTruthError
        The class is unknown.
    """
    if (name := normal(text)) in known:
        return known[name]
    try:
        index = whole_number(text, where)
    except GroundTruthError:
        names = list(known)
        shown = f"the classes are {', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
        hint = suggest(text, names, shown) if names else "a network index was expected, or a name that --labels gives"
        raise GroundTruthError(f"{where}: unknown class {text[:40]!r}: {hint}") from None
    most = len(known) or MOST
    if not 0 <= index < most:
        raise GroundTruthError(f"{where}: network index {index}; 0…{most - 1} was expected")
    return index


def has_ilsvrc_classes(names: tuple[str, ...]) -> bool:
    """Return True if these are the names of ILSVRC's classes, or if there are none, which is taken for ILSVRC."""
    return names in ((), synsets().wnids)


def indices(names: Sequence[str]) -> dict[str, int]:
    """Return the network index of each name."""
    return {name: index for index, name in enumerate(names)}


def number_classes(
    labels: Sequence[str], places: Sequence[str], listed: tuple[str, ...] = ()
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the network index of each label, and the names of all classes.

    Parameters
    ----------
    labels : sequence of str
        Classes, as many as boxes or images.
    places : sequence of str
        File and line of each label, for messages.
    listed : tuple of str
        The names of all classes in the order of the network's outputs, if the user gives them.

    Returns
    -------
    indices : (n,) int64
        Network index of each label: its position in `listed`; the number that it is, if all labels are whole numbers;
        that of its WordNet ID, if they are IDs of ILSVRC's classes; or else its position among all sorted labels.
    names : tuple of str
        The name of each index; empty if all labels are whole numbers.

    Raises
    ------
    GroundTruthError
        A label is empty, or is not among the names.
    """
    labels = [normal(label) for label in labels]
    known = set(labels)
    wnids = synsets().index_of_wnid
    if listed:
        names = listed
    elif all(label.isdecimal() for label in known):
        names = ()
    elif any(label in wnids for label in known):
        names = synsets().wnids
        for label, place in zip(labels, places, strict=True):
            if label not in wnids:
                raise GroundTruthError(f"{place}: {label[:40]!r} is not the WordNet ID of a class of ILSVRC")
    else:
        names = tuple(sorted(known))
    if "" in known:
        raise GroundTruthError(f"{places[labels.index('')]}: an empty label; the name of a class was expected")
    index_of = indices(names)
    found = [class_index(label, index_of, place) for label, place in zip(labels, places, strict=True)]
    return np.array(found, np.int64), names
