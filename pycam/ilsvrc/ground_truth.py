"""What is true of a set of images: classes and boxes, from whichever files hold them, joined, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, UsageError
from pycam.formats.files import is_file, is_folder
from pycam.ilsvrc.annotations import read_annotation
from pycam.ilsvrc.devkit import TrueClasses, check_meta, read_blacklist, read_cache, read_true_classes
from pycam.ilsvrc.synsets import synsets
from pycam.ilsvrc.wsol_metadata import is_metadata, read_metadata
from pycam.maps.boxes import half_open


@dataclass(frozen=True)
class GroundTruth:
    """The true classes and boxes of n images, in the order of the predictions. The arrays are read-only.

    Attributes
    ----------
    names : tuple of str
        Of the images, without extension; a WSOL set's IDs as they are; "1", "2", … where there are none.
    classes : (n,) int64
        True class, a network index.
    boxes : (m, 4) int64
        All boxes, half-open.
    box_classes, box_images : (m,) int64
        Class of each box, and the image it lies in; images ascend from 0.
    sizes : (n, 2) int64
        Width and height; zeros where the source gives none.
    blacklisted : (n,) bool
        Images that localization leaves out.
    notes : tuple of str
        What somebody who reads the result should know.
    """

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    box_classes: NDArray[np.int64]
    box_images: NDArray[np.int64]
    sizes: NDArray[np.int64]
    blacklisted: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in self._arrays:
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def _arrays(self) -> tuple[NDArray[np.int64] | NDArray[np.bool_], ...]:
        return (self.classes, self.boxes, self.box_classes, self.box_images, self.sizes, self.blacklisted)

    @property
    def has_boxes(self) -> bool:
        """Whether the source holds boxes; a list of labels does not."""
        return len(self.boxes) > 0

    @property
    def has_sizes(self) -> bool:
        """Whether the size of every image is known."""
        return bool((self.sizes > 0).all())

    @property
    def counted(self) -> NDArray[np.int64]:
        """Positions of the images that localization counts: those that are not blacklisted."""
        return np.flatnonzero(~self.blacklisted)

    @property
    def counted_names(self) -> list[str]:
        """Names of the images that localization counts."""
        return [self.names[row] for row in self.counted]

    @cached_property
    def targets(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The boxes that carry their image's true class, (t, 4), and the images they lie in, (t,)."""
        true = self.box_classes == self.classes[self.box_images]
        return self.boxes[true], self.box_images[true]

    def boxes_of(self, image: int) -> NDArray[np.int64]:
        """Boxes of an image, by its position, that carry its true class: (b, 4)."""
        boxes, images = self.targets
        start, stop = np.searchsorted(images, [image, image + 1])
        return boxes[start:stop]

    def digest(self) -> str:
        """SHA-256 of everything here that decides a result."""
        state = hashlib.sha256("\n".join(self.names).encode())
        for array in self._arrays:
            state.update(f"{array.shape}".encode() + array.astype("<i8").tobytes())
        return state.hexdigest()

    def select(self, names: Sequence[str]) -> GroundTruth:
        """Give the ground truth of these images alone, in this order.

        Raises
        ------
        GroundTruthError
            Naming the first image that is not in the set.
        """
        position = {name: row for row, name in enumerate(self.names)}
        rows = np.array([position.get(name, -1) for name in names], dtype=np.int64)
        if (rows < 0).any():
            missing = names[int(np.argmin(rows))]
            raise GroundTruthError(f"image {missing!r} is not among the {len(self)} of the ground truth")
        starts, stops = np.searchsorted(self.box_images, [rows, rows + 1])
        kept = np.concatenate([np.arange(*ends) for ends in zip(starts, stops, strict=True)])
        return GroundTruth(
            tuple(names),
            self.classes[rows],
            self.boxes[kept],
            self.box_classes[kept],
            np.repeat(np.arange(len(rows)), stops - starts),
            self.sizes[rows],
            self.blacklisted[rows],
            self.notes,
        )


def read_ground_truth(
    path: Path, *, labels: Path | None = None, blacklist: Path | None = None, meta: Path | None = None
) -> GroundTruth:
    """Read ground truth, join its files, and refuse a set that contradicts itself.

    Parameters
    ----------
    path : Path
        A folder of VOC-style XML (or one with them in its `val/`): the images in the order of their names.
        A devkit's `cache_groundtruth.mat`: the images in its order. A WSOL metadata folder. Or a list of
        labels, which gives no boxes.
    labels : Path, optional
        True classes: a devkit list in the order of the images, or a `val.txt`, joined by name where `path`
        gives names. Without it an image's class is that of its boxes.
    blacklist : Path, optional
        Numbers, from 1, of the images that localization leaves out.
    meta : Path, optional
        `meta_clsloc.mat`, to be checked against pycam's own table of classes.

    Raises
    ------
    UsageError
        Labels, or a blacklist, for a kind of ground truth that has no use for them.
    GroundTruthError
        One line, naming the first image, file and line at fault.
    """
    if meta is not None:
        check_meta(meta)
    is_list = is_file(path) and path.suffix != ".mat"
    if labels is not None and (is_list or is_metadata(path)):
        raise UsageError(f"{labels} has no effect: {path} holds labels of its own; leave one of the two out")
    if blacklist is not None and is_list:
        raise UsageError(f"{blacklist} has no effect: {path} holds no boxes, and only localization leaves images out")
    listed = None if labels is None else read_true_classes(labels)
    if is_metadata(path):
        truth = _read_wsol(path)
    elif is_folder(path):
        truth = _read_annotations(path, listed)
    elif path.suffix == ".mat":
        truth = _read_cache(path, listed)
    else:
        truth = _from_labels(read_true_classes(path))
    blacklisted, note = read_blacklist(blacklist, len(truth))
    if blacklisted.all():
        raise GroundTruthError(f"{blacklist}: leaves out every image of {path}")
    truth = replace(truth, blacklisted=blacklisted, notes=(*truth.notes, note))
    if truth.has_boxes:
        _check_boxes(truth, path, listed)
    return truth


def _read_annotations(folder: Path, labels: TrueClasses | None) -> GroundTruth:
    if not any(folder.glob("*.xml")) and is_folder(folder / "val"):
        folder = folder / "val"
    names = tuple(sorted(file.stem for file in folder.glob("*.xml")))
    if not names:
        raise GroundTruthError(f"{folder}: neither XML annotations nor a WSOL set (image_ids.txt, …) in it")
    listed = None if labels is None else _listed_classes(labels, names, folder)
    sizes: list[tuple[int, int]] = []
    boxes: list[tuple[int, int, int, int]] = []
    classes: list[int] = []
    counts: list[int] = []
    for name in names:
        file = folder / f"{name}.xml"
        annotation = read_annotation(file)
        sizes.append(annotation.size or (0, 0))
        counts.append(len(annotation.boxes))
        for annotated in annotation.boxes:
            index = synsets().index_of_wnid.get(annotated.wnid)
            if index is None:
                unknown = f"{annotated.wnid[:40]!r} is not the WordNet ID of a class of ILSVRC"
                raise GroundTruthError(f"{file}:{annotated.line}: {unknown}")
            classes.append(index)
            boxes.append(annotated.box)
    if not boxes:
        raise GroundTruthError(f"{folder}: not one box in {len(names)} annotations")
    box_classes, box_images = np.array(classes), np.repeat(np.arange(len(names)), counts)
    return GroundTruth(
        names,
        _classes_of_boxes(names, box_classes, box_images, folder) if listed is None else listed,
        half_open(boxes),
        box_classes,
        box_images,
        np.array(sizes),
        np.zeros(len(names), dtype=bool),
    )


def _read_cache(path: Path, labels: TrueClasses | None) -> GroundTruth:
    cached = read_cache(path)
    names = labels.names if labels is not None else None
    if names is None:
        names = tuple(str(number) for number in range(1, cached.count + 1))
    if labels is None:
        classes = _classes_of_boxes(names, cached.classes, cached.images, path)
    elif len(labels.classes) == cached.count:
        classes = labels.classes
    else:
        raise _wrong_count(labels, cached.count, path)
    return GroundTruth(
        names,
        classes,
        half_open(cached.boxes),
        cached.classes,
        cached.images,
        np.zeros((cached.count, 2), dtype=np.int64),
        np.zeros(cached.count, dtype=bool),
        (f"{path.name} names no images: everything is joined by order",),
    )


def _from_labels(labels: TrueClasses) -> GroundTruth:
    count = len(labels.classes)
    none = np.zeros(0, dtype=np.int64)
    return GroundTruth(
        labels.names or tuple(str(number) for number in range(1, count + 1)),
        labels.classes,
        none.reshape(0, 4),
        none,
        none,
        np.zeros((count, 2), dtype=np.int64),
        np.zeros(count, dtype=bool),
        (f"{labels.path.name} holds no boxes: localization is not scored",),
    )


def _read_wsol(folder: Path) -> GroundTruth:
    found = read_metadata(folder)
    return GroundTruth(
        found.names,
        found.classes,
        half_open(found.boxes),
        found.classes[found.images],
        found.images,
        found.sizes,
        np.zeros(len(found.names), dtype=bool),
    )


def _listed_classes(labels: TrueClasses, names: tuple[str, ...], folder: Path) -> NDArray[np.int64]:
    """Classes of the images of a folder: by name where the list gives names, else by order."""
    if labels.names is None:
        if len(labels.classes) != len(names):
            raise _wrong_count(labels, len(names), folder)
        return labels.classes
    row_of = {name: row for row, name in enumerate(labels.names)}
    annotated = set(names)
    for name, row in row_of.items():
        if name not in annotated:
            raise GroundTruthError(f"{folder / name}.xml: no such file; {labels.path}:{row + 1} names it")
    for name in names:
        if name not in row_of:
            raise GroundTruthError(f"{labels.path}: image {name!r} is missing, which {folder} annotates")
    return labels.classes[[row_of[name] for name in names]]


def _wrong_count(labels: TrueClasses, count: int, path: Path) -> GroundTruthError:
    came = len(labels.classes)
    line = min(came, count) + 1
    return GroundTruthError(f"{labels.path}:{line}: {came} labels for {count} images of {path}")


def _classes_of_boxes(
    names: tuple[str, ...], box_classes: NDArray[np.int64], box_images: NDArray[np.int64], path: Path
) -> NDArray[np.int64]:
    """Class of each image where no list says it: that of its boxes, which must be one."""
    classes = np.full(len(names), -1)
    classes[box_images] = box_classes
    for wrong, complaint in (
        (box_images[classes[box_images] != box_classes], "holds boxes of several classes"),
        (np.flatnonzero(classes < 0), "holds no box"),
    ):
        if len(wrong):
            name = names[wrong[0]]
            raise GroundTruthError(f"{path}: image {name!r} {complaint}: a list of labels must say its class")
    return classes


def _check_boxes(truth: GroundTruth, path: Path, labels: TrueClasses | None) -> None:
    """Refuse images whose boxes are all of another class than the list says, and those without any."""
    known = np.zeros(len(truth), dtype=bool)
    known[truth.targets[1]] = True
    annotated = np.zeros(len(truth), dtype=bool)
    annotated[truth.box_images] = True
    wrong = np.flatnonzero(~known & (annotated | ~truth.blacklisted))
    if len(wrong):
        image = int(wrong[0])
        wnids = synsets().wnids
        others = sorted({wnids[index] for index in truth.box_classes[truth.box_images == image]})
        found = f"its boxes are of {', '.join(others)}" if others else "it has no box"
        name, said = truth.names[image], ""
        if labels is not None:
            row = labels.names.index(name) if labels.names else image
            said = f"{labels.path}:{row + 1} says {wnids[labels.classes[row]]}, but "
        raise GroundTruthError(f"{path}: image {name!r}: {said}{found}")
