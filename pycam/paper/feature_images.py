"""Images for features: as they are given, a list of images with labels, or a folder with one folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pycam.errors import FormatError, UsageError
from pycam.formats.files import exists, is_folder
from pycam.images.files import IMAGE_SUFFIXES, LIST, image_files
from pycam.images.lists import read_image_list
from pycam.paper.feature_run import Images


def find_images(given: Sequence[str], root: Path | None = None) -> Images:
    """Return the images that arguments name.

    Parameters
    ----------
    given : sequence of str
        Images; or one `@list.txt`, in the form of Caffe's image lists; or one folder: of images, or with
        one folder per class.
    root : Path, optional
        The folder of a list's relative paths, in place of the list's own.

    Raises
    ------
    UsageError
        A list or a folder does not stand alone, or `root` has no effect.
    FormatError
        An image does not exist, a line of a list is not an image and its label, or a folder has no folders of images.
    GroundTruthError
        A list is not a text file.
    """
    several = next((each for each in given if each.startswith(LIST) or is_folder(each)), None)
    if several is not None and len(given) > 1:
        raise UsageError(f"{several}: a list or a folder stands alone, but {len(given)} arguments are given")
    if several is not None and several.startswith(LIST):
        advice = "" if root else ", or give the folder of the images with --root"
        return Images(*read_image_list(Path(several.removeprefix(LIST)), root, advice))
    if root is not None:
        raise UsageError(f"--root {root} has no effect: it is for the images of a list, @list.txt; leave it out")
    if several is not None:
        return _class_folders(Path(several))
    if missing := next((each for each in given if not exists(Path(each))), None):
        raise FormatError(f"{missing}: no such image, folder or list (@list.txt): correct the name")
    return Images(tuple(given), tuple(given))


def _class_folders(folder: Path) -> Images:
    """Return the images of a folder with one folder per class, labelled in the order of their names, or of none."""
    classes = sorted(entry for entry in folder.iterdir() if is_folder(entry))
    if not classes and (alone := image_files(folder)):
        return Images(tuple(file.name for file in alone), tuple(map(str, alone)))
    found = [
        (file, label)
        for label, each in enumerate(classes)
        for file in sorted(each.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    empty = next((each for label, each in enumerate(classes) if label not in {label for _, label in found}), None)
    if not found or empty is not None:
        what = f"{len(classes)} folders" if empty is None else f"no images in {empty.name}"
        raise FormatError(f"{folder}: expected one folder of images per class, found {what}")
    return Images(
        tuple(file.relative_to(folder).as_posix() for file, _ in found),
        tuple(str(file) for file, _ in found),
        tuple(label for _, label in found),
        tuple(each.name for each in classes),
    )
