"""The eight data sets of Table 5: under which name each is found, where it comes from, and how it is split."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pycam.errors import GroundTruthError, UsageError
from pycam.formats.files import is_folder
from pycam.paper.datasets.action40 import read_action40
from pycam.paper.datasets.class_folders import read_class_folders
from pycam.paper.datasets.image_lists import has_image_lists, read_image_lists
from pycam.paper.datasets.indoor67 import read_indoor67
from pycam.paper.datasets.labelled import LabelledImages
from pycam.paper.datasets.sun397 import read_sun397
from pycam.paper.datasets.sun_attribute import AttributeImages, read_sun_attribute

SPLITS = 10
"""The number of random splits and of partitions in the paper."""

CLASS_FOLDERS = "one folder of images per class"


@dataclass(frozen=True)
class DataSet:
    """A data set of Table 5.

    Attributes
    ----------
    name : str
        The value of `--sets`.
    column : str
        The heading of its column in the paper.
    folders : tuple of str
        The names of its folder; only letters and digits count, upper and lower case do not matter.
    source : str
        Where the data set comes from.
    layout : str
        What its folder contains.
    read : callable
        The reader of the folder: keywords `splits`, and `training` if the split is random.
    training : int, optional
        The number of training images per class of a random split; None if the data set comes with its splits.
    one_label : bool
        Whether each image has one label, so that Caffe's image lists can be read in place of the data set's own files.
    """

    name: str
    column: str
    folders: tuple[str, ...]
    source: str
    layout: str
    read: Callable[..., LabelledImages | AttributeImages]
    training: int | None = None
    one_label: bool = True

    def find(self, root: Path) -> Path | None:
        """Return the folder of the data set in another folder, or None."""
        wanted = {_letters(name) for name in (self.name, *self.folders)}
        found = next((each for each in _folders(root) if _letters(each.name) in wanted), None)
        # Archives have a folder of the data set's name in another one.
        return found if found is None or found == root else self.find(found) or found

    def open(
        self, folder: Path, *, splits: int = SPLITS, training: int | None = None
    ) -> LabelledImages | AttributeImages:
        """Read the data set.

        Parameters
        ----------
        folder : Path
            Its folder. If it has Caffe's image lists, `train.txt` and `test.txt`, they are the split.
        splits : int
            The greatest number of splits.
        training : int, optional
            The number of training images per class, in place of the paper's.

        Raises
        ------
        UsageError
            The data set has splits of its own, and `training` is given.
        GroundTruthError, FormatError
            A file is missing or damaged, or the files do not fit each other.
        """
        has_lists = self.one_label and has_image_lists(folder)
        if training is not None and (has_lists or self.training is None):
            raise UsageError(f"{training} training images: {folder} comes with its splits, so the number has no effect")
        if has_lists:
            return read_image_lists(folder)
        if self.training is None:
            return self.read(folder, splits=splits)
        return self.read(folder, splits=splits, training=self.training if training is None else training)

    @property
    def absent(self) -> str:
        """Say where the data set comes from, and which layout is expected."""
        return (
            f"{self.column}: not found; get it from {self.source} and name its folder {self.folders[0]}: "
            f"{self.layout}{', or train.txt and test.txt with a path and a label per line' * self.one_label}"
        )


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if is_folder(entry))
    except OSError as error:
        raise GroundTruthError(f"{root}: cannot be read ({error.strerror}); expected a folder of data sets") from None


DATA_SETS = {
    each.name: each
    for each in (
        DataSet(
            "sun397",
            "SUN397",
            ("SUN397",),
            "https://vision.princeton.edu/projects/2010/SUN/",
            "a/abbey/….jpg and so on, ClassName.txt, Training_01.txt to Testing_10.txt",
            read_sun397,
        ),
        DataSet(
            "indoor67",
            "MIT Indoor67",
            ("Indoor67", "MIT Indoor67", "indoorCVPR_09"),
            "https://web.mit.edu/torralba/www/indoor.html",
            "Images with one folder per class, TrainImages.txt and TestImages.txt",
            lambda folder, splits: read_indoor67(folder),
        ),
        DataSet(
            "scene15",
            "Scene15",
            ("Scene15", "15-Scene", "scene_categories"),
            "https://figshare.com/articles/dataset/15-Scene_Image_Dataset/7007177",
            CLASS_FOLDERS,
            partial(read_class_folders, test=None),
            training=50,
        ),
        DataSet(
            "sun-attribute",
            "SUN Attribute",
            ("SUNAttributeDB", "SUN Attribute"),
            "https://cs.brown.edu/~gmpatter/sunattributes.html",
            "images with the images, images.mat, attributes.mat and attributeLabels_continuous.mat",
            read_sun_attribute,
            training=150,
            one_label=False,
        ),
        DataSet(
            "caltech101",
            "Caltech101",
            ("Caltech101", "101_ObjectCategories"),
            "https://data.caltech.edu/records/mzrjq-6wc02",
            CLASS_FOLDERS,
            partial(read_class_folders, excluded=["BACKGROUND_Google"], test=50),
            training=30,
        ),
        DataSet(
            "caltech256",
            "Caltech256",
            ("Caltech256", "256_ObjectCategories"),
            "https://data.caltech.edu/records/nyy15-4j048",
            CLASS_FOLDERS,
            partial(read_class_folders, excluded=["257.clutter"], test=None),
            training=30,
        ),
        DataSet(
            "action40",
            "Action40",
            ("Action40", "Stanford40"),
            "http://vision.stanford.edu/Datasets/40actions.html",
            "JPEGImages, and ImageSplits with actions.txt and two lists per action",
            lambda folder, splits: read_action40(folder),
        ),
        DataSet(
            "event8",
            "Event8",
            ("Event8", "event_dataset", "event_img"),
            "http://vision.stanford.edu/lijiali/event_dataset/",
            CLASS_FOLDERS,
            partial(read_class_folders, test=60),
            training=70,
        ),
    )
}
"""The data sets, by name, in the order of the paper's columns."""
