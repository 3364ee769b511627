"""Ground truth of a set of images: classes and boxes, read from any supported files, joined and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, UsageError
from pycam.formats.files import is_file, is_folder
from pycam.ilsvrc.annotations import read_annotations
from pycam.ilsvrc.classes import class_index, has_ilsvrc_classes, indices as numbered, names_of, read_class_names
from pycam.ilsvrc.coco import read_coco
from pycam.ilsvrc.csv_boxes import read_csv
from pycam.ilsvrc.cub import is_cub, read_cub
from pycam.ilsvrc.devkit import check_meta, read_blacklist, read_cache, read_class_list
from pycam.ilsvrc.names import known_name
from pycam.ilsvrc.source import Source
from pycam.ilsvrc.wsol_metadata import is_metadata, read_metadata
from pycam.maps.boxes import half_open
from pycam.zoo.labels import Labels


@dataclass(frozen=True)
class GroundTruth:
    """The ground-truth classes and boxes of n images, in the order of the predictions. The arrays are read-only.

    Attributes
    ----------
    names : tuple of str
        Image names without extension; for a WSOL set the IDs; "1", "2", … if the source has no names. In the form of
        `pycam.ilsvrc.names.normal`.
    classes : (n,) int64
        Ground-truth class of each image, a network index.
    boxes : (m, 4) int64
        All boxes, half-open.
    box_classes, box_images : (m,) int64
        Class of each box, and position of its image, 0-based, ascending.
    sizes : (n, 2) int64
        Width and height; zeros where the source has none.
    blacklisted : (n,) bool
        Images that localization excludes.
    notes : tuple of str
        Remarks that a reader of the results needs.
    class_names : tuple of str
        The name of each network index; empty if only indices are known.
    """

    names: tuple[str, ...]
    classes: NDArray[np.int64]
    boxes: NDArray[np.int64]
    box_classes: NDArray[np.int64]
    box_images: NDArray[np.int64]
    sizes: NDArray[np.int64]
    blacklisted: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

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
        """True if there are boxes; a list of labels has none."""
        return len(self.boxes) > 0

    @property
    def has_sizes(self) -> bool:
        """True if the size of every image that localization counts is known."""
        return bool((self.sizes[self.counted] > 0).all())

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
        """The boxes of the ground-truth class of their image, (t, 4), and the positions of these images, (t,)."""
        target = self.box_classes == self.classes[self.box_images]
        return self.boxes[target], self.box_images[target]

    @property
    def class_count(self) -> int:
        """The least number of classes that a net for these images has."""
        return len(self.class_names) or int(self.classes.max(initial=-1)) + 1

    def class_name(self, index: int) -> str:
        """Return the name of a class, or its network index if it has none."""
        return self.class_names[index] if self.class_names else str(index)

    def boxes_of(self, image: int) -> NDArray[np.int64]:
        """Return the boxes of the ground-truth class of the image at a position: (b, 4), half-open."""
        boxes, images = self.targets
        start, stop = np.searchsorted(images, [image, image + 1])
        return boxes[start:stop]

    def objects_of(self, image: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the classes and boxes of all objects of the image at a position: (b,) and (b, 4), half-open."""
        start, stop = np.searchsorted(self.box_images, [image, image + 1])
        return self.box_classes[start:stop], self.boxes[start:stop]

    def digest(self) -> str:
        """Return the SHA-256 of everything here that affects a result."""
        state = hashlib.sha256("\n".join(self.names).encode(errors="surrogatepass"))
        for array in self._arrays:
            state.update(f"{array.shape}".encode() + array.astype("<i8").tobytes())
        return state.hexdigest()

    def select(self, names: Sequence[str]) -> GroundTruth:
        """Return the ground truth of the named images only, in the order of the names.

        Raises
        ------
        GroundTruthError
            With the first image that is not in the set.
        """
        position = {name: row for row, name in enumerate(self.names)}
        if missing := next((name for name in names if name not in position), None):
            raise GroundTruthError(f"image {missing!r} is not among the {len(self)} of the ground truth")
        rows = np.array([position[name] for name in names], dtype=np.int64)
        starts, stops = np.searchsorted(self.box_images, [rows, rows + 1])
        chosen = np.concatenate([np.arange(*ends) for ends in zip(starts, stops, strict=True)])
        return replace(
            self,
            names=tuple(names),
            classes=self.classes[rows],
            boxes=self.boxes[chosen],
            box_classes=self.box_classes[chosen],
            box_images=np.repeat(np.arange(len(rows)), stops - starts),
            sizes=self.sizes[rows],
            blacklisted=self.blacklisted[rows],
        )


def read_ground_truth(
    path: Path,
    *,
    labels: Path | None = None,
    ground_truth_classes: Path | None = None,
    blacklist: Path | None = None,
    meta: Path | None = None,
) -> GroundTruth:
    """Read ground truth, join its files, and check that they agree.

    Parameters
    ----------
    path : Path
        A folder of VOC-style XML files (or a folder with them in its `val/` or `Annotations/`): images in the order of
        their names. A devkit's `cache_groundtruth.mat`: images in its order. A WSOL metadata folder, CUB's folder, a
        CSV file, or COCO's JSON. Or a list of labels, which has no boxes.
    labels : Path, optional
        The labels of the net's classes, in any form that `pycam.zoo.label_files.read_labels` reads; of a list with
        WordNet IDs, the IDs. They are the names that `path` has for its classes.
    ground_truth_classes : Path, optional
        The class of each image: a devkit list in the order of the images, or a `val.txt`, joined by name if `path`
        has names. Without it, the class of an image is that of its boxes.
    blacklist : Path, optional
        Numbers, 1-based, of the images that localization excludes.
    meta : Path, optional
        `meta_clsloc.mat`, which is compared with pycam's own table of classes.

    Raises
    ------
    UsageError
        A list of classes or a blacklist has no effect with this kind of ground truth.
    GroundTruthError
        A file is damaged, or the files disagree; one line, with the first image, file and line at fault.
    """
    if meta is not None:
        check_meta(meta)
    is_list = is_file(path) and path.suffix.lower() not in _READERS
    if ground_truth_classes is not None and (is_list or is_metadata(path) or is_cub(path)):
        raise UsageError(
            f"{ground_truth_classes} has no effect: {path} has classes of its own; give only one of the two"
        )
    if blacklist is not None and is_list:
        raise UsageError(f"{blacklist} has no effect: {path} has no boxes, and a blacklist affects only localization")
    given, notes = ((), []) if labels is None else read_class_names(labels)
    source = _numbered(_read_source(path, given), given)
    class_names = given or source.class_names
    listed = None if ground_truth_classes is None else read_class_list(ground_truth_classes, class_names)
    names = source.names or (listed and listed.names) or tuple(str(number) for number in range(1, source.count + 1))
    if source.classes is not None:
        indices = source.classes
    elif listed is not None:
        indices = _listed_classes(listed, source)
        class_names = class_names or listed.class_names
    else:
        indices = _classes_of_boxes(source, names)
    if class_names and (indices >= len(class_names)).any():
        image = int(np.argmax(indices >= len(class_names)))
        where = f"{path}: image {names[image]!r} has class {indices[image]}"
        raise GroundTruthError(
            f"{where}, but {labels or path} has {len(class_names)} classes: 0…{len(class_names) - 1}"
        )
    blacklisted, note = read_blacklist(blacklist, source.count)
    if blacklisted.all():
        raise GroundTruthError(f"{blacklist}: excludes every image of {path}")
    # ILSVRC alone publishes a blacklist.
    if blacklist is not None or has_ilsvrc_classes(class_names):
        notes.append(note)
    if not len(source.boxes):
        notes.insert(0, f"{path.name} has no boxes: localization is not scored")
    elif source.names is None:
        notes.insert(0, f"{path.name} has no image names: all files are joined by order")
    truth = GroundTruth(
        names,
        indices,
        half_open(source.boxes),
        source.box_classes if source.labelled else indices[source.box_images],
        source.box_images,
        np.zeros((source.count, 2), np.int64) if source.sizes is None else source.sizes,
        blacklisted,
        tuple(notes),
        class_names,
    )
    if truth.has_boxes:
        _check_boxes(truth, path, listed)
    return truth


_READERS: dict[str, Callable[[Path, tuple[str, ...]], Source]] = {
    ".mat": lambda path, _: read_cache(path),
    ".csv": read_csv,
    ".json": read_coco,
}
"""Readers of files with boxes, by the file's suffix. They take the names of all classes, if the user gives them."""


def label_file(truth: GroundTruth, labels: Labels) -> Path | None:
    """Return the file of a net's labels, for `read_ground_truth`, if only it gives the numbers of the classes.

    It does if the net has all classes that the ground truth names, but numbers them in another way.
    """
    own, names = truth.class_names, names_of(labels)
    if own in ((), names) or not set(own) <= set(names) or len(set(names)) < len(names):
        return None
    return Path(labels.path)


def _read_source(path: Path, class_names: tuple[str, ...]) -> Source:
    if is_metadata(path):
        return read_metadata(path)
    if is_cub(path):
        return read_cub(path)
    if is_folder(path):
        return read_annotations(path, class_names)
    return _READERS.get(path.suffix.lower(), read_class_list)(path, class_names)


def _numbered(source: Source, names: tuple[str, ...]) -> Source:
    """Return a source with its classes numbered as in a list of names, if there is one and the source has names."""
    if not names or source.class_names in ((), names):
        return source
    known = numbered(names)
    index = np.array([class_index(name, known, str(source.path)) for name in source.class_names])
    classes = None if source.classes is None else index[source.classes]
    return replace(source, classes=classes, box_classes=index[source.box_classes], class_names=names)


def _listed_classes(listed: Source, source: Source) -> NDArray[np.int64]:
    """Return the classes of a list for the images of a source: by name if both have names, else by order."""
    assert listed.classes is not None
    if listed.names is None or source.names is None:
        if listed.count != source.count:
            line = min(listed.count, source.count) + 1
            counts = f"{listed.count} labels for {source.count} images of {source.path}"
            raise GroundTruthError(f"{listed.path}:{line}: {counts}")
        return listed.classes
    row_of = {name: row for row, name in enumerate(listed.names)}
    rows: list[int] = []
    missing = ""
    for name in source.names:
        # Each line is for one image.
        row = row_of.pop(known_name(name, row_of) or "", None)
        missing = missing or ("" if row is not None else name)
        rows.append(-1 if row is None else row)
    if extra := next(iter(row_of), None):
        raise GroundTruthError(
            f"{listed.path}:{row_of[extra] + 1}: image {extra!r} is not in {source.path}: remove the line"
        )
    if missing:
        raise GroundTruthError(f"{listed.path}: image {missing!r} of {source.path} is missing")
    return listed.classes[rows]


_WITHOUT_BOX = (
    "it has no box: remove the image, or give its class with --ground-truth-classes and its number with --blacklist"
)


def _classes_of_boxes(source: Source, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the class of each image, taken from its boxes, which must all have the same class."""
    classes = np.full(source.count, -1)
    classes[source.box_images] = source.box_classes
    for wrong, complaint in (
        (
            source.box_images[classes[source.box_images] != source.box_classes],
            "has boxes of several classes: give its class in a list, with --ground-truth-classes",
        ),
        (np.flatnonzero(classes < 0), ""),
    ):
        if len(wrong):
            where = f"{source.path}: image {names[wrong[0]]!r}"
            raise GroundTruthError(f"{where} {complaint}" if complaint else f"{where}: {_WITHOUT_BOX}")
    return classes


def _check_boxes(truth: GroundTruth, path: Path, listed: Source | None) -> None:
    """Refuse images whose boxes all have another class than the list gives, and images without boxes."""
    images = np.arange(len(truth))
    wrong = ~np.isin(images, truth.targets[1]) & (np.isin(images, truth.box_images) | ~truth.blacklisted)
    if not wrong.any():
        return
    image = int(np.argmax(wrong))
    name = truth.names[image]
    others = sorted({truth.class_name(index) for index in truth.box_classes[truth.box_images == image].tolist()})
    found = f"its boxes have class {', '.join(others)}" if others else _WITHOUT_BOX
    expected = ""
    if listed is not None:
        row = listed.names.index(known_name(name, listed.names) or name) if listed.names else image
        expected = f"{listed.path}:{row + 1} gives class {truth.class_name(int(truth.classes[image]))}, but "
    raise GroundTruthError(f"{path}: image {name!r}: {expected}{found}")
